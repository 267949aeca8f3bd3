"""A containerised network-emulation testbed that says whether its numbers can be believed."""
