"""Which programs a lab runs: what its nodes were made from, and whether that is what the sources make now."""

from __future__ import annotations

from testbed.engine.lab import Lab
from testbed.errors import UsageError
from testbed.link.sidecar import BUILD as SIDECAR_BUILD
from testbed.link.sidecar import sidecar_name
from testbed.model.manifest import NodeProgram
from testbed.runtime.base import IMAGE_ID_LABEL, IMAGE_LABEL


def programs_of(lab: Lab) -> dict[str, NodeProgram]:
    """What every node that stands in the lab was made from, servers from images and sidecars of links among them."""
    declared = {node.name: node.node.image for node in lab.placed.nodes}
    found = {}
    for made in sorted(lab.runtime.made(lab.name), key=lambda made: made.name):
        if made.kind == "node":
            tag, identity = made.labels.get(IMAGE_LABEL, ""), made.labels.get(IMAGE_ID_LABEL, "")
            found[made.name] = NodeProgram(image=declared.get(made.name, tag), tag=tag, id=identity)
    return found


def check_current(lab: Lab) -> None:
    """Raises UsageError for a lab that was brought up before its programs' sources were changed: it would measure the
    programs of then."""
    builds = {node.name: node.node.build for node in lab.placed.nodes}
    builds |= {sidecar_name(name): SIDECAR_BUILD for name in builds}
    for name, program in programs_of(lab).items():
        build = builds.get(name)
        if build is None or not program.tag:
            continue
        from testbed.runtime.docker_images import image_tag  # only an engine has tags, and its library loads slowly

        now = image_tag(build)
        if program.tag != now:
            raise UsageError(
                f"{name} of lab {lab.name!r} runs {program.tag}, and the sources have changed since (now {now}): "
                f"`testbed build`, then take the lab down and bring it up again"
            )
