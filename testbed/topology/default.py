"""Where the default world is: the compose.yaml of the source tree, or its copy in an installed package."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import EnvironmentLack
from testbed.model.topology import Topology
from testbed.topology.compose import load_compose

_PACKAGE = Path(__file__).resolve().parent.parent


def default_file() -> Path:
    """The compose.yaml that describes the default world. Raises EnvironmentLack when the installation lost it."""
    for path in (_PACKAGE / "_data" / "compose.yaml", _PACKAGE.parent / "compose.yaml"):
        if path.is_file():
            return path
    raise EnvironmentLack("the installed testbed has no compose.yaml", "install the testbed package again")


def default_topology() -> Topology:
    """The default world."""
    return load_compose(default_file())
