"""What tests of links need: probed, and named when it is missing."""

from __future__ import annotations

import functools
import os
import shutil

import pytest

from tests.integration.link_pair import BUILD


@functools.cache
def missing() -> str | None:
    """Why no link can be tried here, or None."""
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    for program in ("ip", "tc", "iptables-legacy"):
        if shutil.which(program) is None:
            return f"no {program} on this machine"
    return None


def need_link_programs() -> None:
    """Skip where the machine lacks something; fail where only the programs were not built."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    for program in ("linkem", "linkprobe", "hostprobe"):
        assert (BUILD / program).exists(), f"{program} is not built: make -C images"
