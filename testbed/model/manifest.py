"""What stands in ``manifest.json``: everything needed to read, redraw or resume a run."""

from __future__ import annotations

from typing import Any

from testbed.model.value import Value

FORMAT_VERSION = 1


class Manifest(Value):
    """A run: what was asked for and where it ran.

    ``scenario`` and ``topology`` are dumped values, kept as plain data so that results stay readable when the classes
    behind them change; ``skipped`` maps the label of a server that could not run here to the reason; ``links`` are the
    reports of shaped links, each direction declared, read back and measured before the first point.
    """

    format_version: int = FORMAT_VERSION
    run: str
    started_at: str
    testbed_version: str
    scenario: dict[str, Any]
    profile_name: str
    profile: dict[str, Any]
    seed: int
    topology: dict[str, Any]
    paths: dict[str, Any]
    runtime: dict[str, str]
    host: dict[str, Any]
    programs: dict[str, str]
    skipped: dict[str, str] = {}
    links: tuple[dict[str, Any], ...] = ()
    command: tuple[str, ...]

    @property
    def name(self) -> str:
        """The scenario's name."""
        return str(self.scenario["name"])

    @property
    def title(self) -> str:
        """The scenario's heading."""
        return str(self.scenario["title"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The servers' labels, in declared order: the order of legends and tables."""
        return tuple(str(label) for label in self.scenario["labels"])
