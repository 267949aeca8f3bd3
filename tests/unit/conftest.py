"""Unit tests say nothing about how fast the machine is: an example of Hypothesis may take its time."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
