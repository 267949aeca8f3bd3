"""How all figures look: one colour and marker a server, hollow markers for points that are not valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from testbed.model.record import Record, Verdict

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31", "#7a5195")
"""Okabe and Ito's palette, told apart with any colour vision; then two more."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

matplotlib.rcParams.update(
    {"svg.hashsalt": "testbed", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
)


@dataclass(frozen=True)
class Look:
    """The colour and marker of one server; stable because they follow the declared order."""

    colour: str
    marker: str


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """One look for each label; where colours come round again, they have other markers."""
    return {
        label: Look(_COLOURS[index % len(_COLOURS)], _MARKERS[(index + index // len(_COLOURS)) % len(_MARKERS)])
        for index, label in enumerate(labels)
    }


def new_figure(title: str) -> tuple[Figure, Axes]:
    """A figure with one set of axes and a title; the layout makes room for every label."""
    figure = Figure(figsize=(8.8, 4.8), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    return figure, axes


def new_panels(title: str, columns: int, rows: int = 1, *, same_y: bool = True) -> tuple[Figure, list[Axes]]:
    """A wide figure with a title and a grid of axes, row by row, which share their y axis if ``same_y``."""
    figure = Figure(figsize=(10.5, 1.0 + 3.4 * rows), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    panels = list(figure.subplots(rows, columns, sharey=same_y, squeeze=False).flat)
    for axes in panels:
        axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    return figure, panels


def markers(axes: Axes, x: Sequence[float], y: Sequence[float], records: Sequence[Record], look: Look) -> None:
    """One marker a record: filled if its verdict is valid, hollow if not."""
    for at_x, at_y, record in zip(x, y, records, strict=True):
        valid = record.verdict is Verdict.VALID
        axes.plot(at_x, at_y, look.marker, color=look.colour, markerfacecolor=look.colour if valid else "white", ms=6)


def hollow_handle(records: Sequence[Record]) -> list[Line2D]:
    """What explains the hollow markers in a legend, by their verdicts; nothing where there are none."""
    verdicts = sorted({record.verdict.value for record in records if record.verdict is not Verdict.VALID})
    if not verdicts:
        return []
    label = f"hollow: {', '.join(verdicts)}"
    return [Line2D([], [], marker="o", color="0.4", markerfacecolor="white", linestyle="none", label=label)]


def legend(axes: Axes, handles: Sequence[Line2D], records: Sequence[Record]) -> None:
    """The legend, beside the axes so that it covers no data; it explains the hollow markers where there are any."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # new_figure and new_panels made it
    figure.legend(handles=[*handles, *hollow_handle(records)], frameon=False, fontsize=9, loc="outside right center")
