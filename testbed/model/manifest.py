"""What stands in ``manifest.json``: everything needed to read, redraw or resume a run."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from testbed.model.value import Value

FORMAT_VERSION = 1


class NodeProgram(Value):
    """What a node runs: the image as declared, the tag that it was made from (a hash of the sources stands in those of
    our own; "" where there are no images), and the digest of that image, or of the programs without an engine."""

    image: str
    tag: str = ""
    id: str = ""

    @model_validator(mode="before")
    @classmethod
    def _declared_alone(cls, data: Any) -> Any:
        """The first runs kept nothing but the declared name."""
        return {"image": data} if isinstance(data, str) else data

    @property
    def identity(self) -> str:
        """What tells it from another program; "" where that is not known. The same sources of ours give the same tag,
        and never the same digest twice; anyone else's tag may be given to another image."""
        return self.tag if self.tag.startswith("testbed/") else self.id


class Manifest(Value):
    """A run: what was asked for and where it ran.

    ``scenario`` and ``topology`` are dumped values, kept as plain data so that results stay readable when the classes
    behind them change; ``programs`` says of each node what it runs; ``skipped`` maps the label of a server that could
    not run here to the reason; ``links`` are the reports of shaped links, each direction declared, read back and
    measured before the first point. ``resumed`` has an entry for each time that the run was gone on with: when, the
    command, and the links as they were measured then.
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
    programs: dict[str, NodeProgram]
    skipped: dict[str, str] = {}
    links: tuple[dict[str, Any], ...] = ()
    command: tuple[str, ...]
    resumed: tuple[dict[str, Any], ...] = ()

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
