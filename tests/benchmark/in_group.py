"""The µserver as a kind of server whose CPU time is read as that of other people's servers is: from its control group.

In runs it tells its own CPU time and its own replies. Beside nginx both sides must be counted alike: the CPU time of
the whole container, and the replies that the clients saw.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

from testbed.engine.lab import Lab
from testbed.engine.program import Line
from testbed.engine.under_test.base import KINDS, Running, Usage
from testbed.model.scenario import Scenario
from testbed.model.server import Server, Userver, mechanisms


class UserverInGroup(Server):
    """A µserver, seen from outside."""

    kind: Literal["userver-in-group"] = "userver-in-group"
    userver: Userver

    @property
    def label(self) -> str:
        """The µserver's own."""
        return self.userver.label

    @property
    def columns(self) -> dict[str, str | int | None]:
        """The µserver's own."""
        return self.userver.columns


class _Running:
    def __init__(self, lab: Lab, running: Running) -> None:
        self.port, self.ready = running.port, running.ready
        self._lab, self._running = lab, running

    def usage(self) -> Usage:
        """CPU time of the whole container, and no counters."""
        return Usage(self._lab.runtime.cpu_time_ns(self._lab.name, self._lab.server.name) / 1e3, {})

    def finish(self) -> Line:
        """As the µserver ends."""
        return self._running.finish()


class _Kind:
    """See ``Kind``; everything but the account is the µserver's."""

    def unavailable(self, lab: Lab, servers: tuple[Server, ...]) -> dict[str, str]:
        return KINDS.get("userver").unavailable(lab, _uservers(servers))

    def prepare(self, lab: Lab, scenario: Scenario, servers: tuple[Server, ...]) -> None:
        KINDS.get("userver").prepare(lab, scenario, _uservers(servers))

    def clean_up(self, lab: Lab, servers: tuple[Server, ...]) -> None:
        KINDS.get("userver").clean_up(lab, _uservers(servers))

    @contextmanager
    def start(self, lab: Lab, scenario: Scenario, server: Server) -> Iterator[Running]:
        (own,) = _uservers((server,))
        with KINDS.get("userver").start(lab, scenario, own) as running:
            yield _Running(lab, running)


def _uservers(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    return tuple(cast("UserverInGroup", server).userver for server in servers)


def in_group(*names: str) -> tuple[UserverInGroup, ...]:
    """The µserver once for each mechanism."""
    return tuple(UserverInGroup(userver=userver) for userver in mechanisms(*names))


KINDS.register("userver-in-group", _Kind())
