"""Writes a run's figures as PNG and SVG, byte-identical when drawn again from the same results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from testbed.figures.base import FIGURES
from testbed.store.reading import Run


def draw_figures(run: Run, kinds: Sequence[str] | None = None, folder: Path | None = None) -> list[Path]:
    """Draw the kinds that the scenario names (or ``kinds``) into the run's ``figures`` folder (or ``folder``).

    Returns the files. Raises UsageError for an unknown kind.
    """
    target = folder or run.folder / "figures"
    painters = [(kind, FIGURES.get(kind)) for kind in (kinds or run.manifest.scenario["figures"])]
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for kind, painter in painters:
        figure = painter(run)
        for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            path = target / f"{run.manifest.name}_{kind}.{suffix}"
            figure.savefig(path, metadata=metadata)
            written.append(path)
    return written
