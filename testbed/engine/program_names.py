"""Names that the programs in the nodes know, told from their sources: a bad one is refused before a lab comes up.

One file is one name there (``CONTRIBUTING.md``), and the tests hold these names against what the programs say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from testbed.errors import UsageError
from testbed.model.scenario import Scenario
from testbed.model.server import Userver
from testbed.project import images_folder

ARRIVALS, MECHANISMS = PurePosixPath("client/arrival"), PurePosixPath("server/mech")


def names_in(folder: PurePosixPath) -> list[str]:
    """The names that a folder of ``images/`` defines, sorted."""
    return sorted(path.stem for path in (images_folder() / folder).glob("*.c"))


def check_arrival(scenario: Scenario) -> None:
    """Raises UsageError for an arrival process that loadgen does not have."""
    _check("arrival process", scenario.arrival, names_in(ARRIVALS))


def check_mechanisms(scenario: Scenario) -> None:
    """Raises UsageError for an event mechanism that the µserver of these sources does not have."""
    known = names_in(MECHANISMS)
    for server in scenario.servers:
        if isinstance(server, Userver):
            _check("mechanism", server.mechanism, known)


def _check(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UsageError(f"unknown {kind} {name!r}: one of {', '.join(known)}")
