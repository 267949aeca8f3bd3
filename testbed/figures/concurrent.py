"""Reply rate, and the server's CPU time per reply, against the number of connections open at the server at a time:
slow ones over access links and idle ones on the same axes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from statistics import mean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from testbed.errors import UsageError
from testbed.figures.base import FIGURES
from testbed.figures.style import Look, hollow_handle, looks, markers, new_panels
from testbed.model.record import Record, Surrounding
from testbed.store.reading import Run

_LINES: dict[Surrounding, Literal["-", "--", ":"]] = {"access": "-", "idle": "--", "neither": ":"}


def draw(run: Run) -> Figure:
    """One line a server and surrounding, through the mean of each rate's repetitions; one marker a point.

    Raises UsageError for a run from before open connections were counted.
    """
    records = [record for record in run.latest() if record.established_connections_mean is not None]
    if not records:
        raise UsageError(f"{run.folder}: no point says how many connections were open, so there is nothing to draw")
    figure, (rates, costs) = new_panels(run.manifest.title, 2, same_y=False)
    style = looks(run.manifest.labels)
    labels = [label for label in run.manifest.labels if any(record.label == label for record in records)]
    for label in labels:
        own = [record for record in records if record.label == label]
        _server_lines(rates, own, lambda record: record.replies_per_s, style[label])
        costed = [record for record in own if record.server_cpu_us_per_reply is not None]
        _server_lines(costs, costed, lambda record: record.server_cpu_us_per_reply or 0.0, style[label])
    rates.set_ylabel("reply rate (replies/s)")
    costs.set_ylabel("server CPU time per reply (µs)")
    for axes in (rates, costs):
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(0, 1.08 * axes.dataLim.x1)
        axes.set_ylim(0, 1.08 * axes.dataLim.y1)
    figure.supxlabel("connections open at the server at a time (slow ones and idle ones together)", fontsize=10)
    handles = [Line2D([], [], color=style[each].colour, marker=style[each].marker, label=each) for each in labels]
    figure.legend(
        handles=[*handles, *_surroundings(records), *hollow_handle(records)],
        frameon=False,
        fontsize=9,
        loc="outside right center",
    )
    return figure


def open_at_a_time(record: Record) -> float:
    """Connections that the server held: those of the clients, the mean over the window, and the idle ones."""
    return (record.established_connections_mean or 0.0) + record.idle_connections


def _server_lines(axes: Axes, records: list[Record], value: Callable[[Record], float], look: Look) -> None:
    for kind, line in _LINES.items():
        by_point: dict[tuple[float, int], list[Record]] = defaultdict(list)
        for record in records:
            if record.surrounding == kind:
                by_point[record.offered_per_s, record.idle_connections].append(record)
        points = sorted(by_point)
        at = [mean(open_at_a_time(record) for record in by_point[point]) for point in points]
        values = [mean(value(record) for record in by_point[point]) for point in points]
        axes.plot(at, values, color=look.colour, linestyle=line, linewidth=1.2)
        own = [record for point in points for record in by_point[point]]
        markers(axes, [open_at_a_time(record) for record in own], [value(record) for record in own], own, look)


def _surroundings(records: list[Record]) -> list[Line2D]:
    """What each style of line means, where it occurs."""
    access = next((record.access for record in records if record.access), "")
    names: dict[Surrounding, str] = {
        "access": access.replace(", ", ",\n"),
        "idle": "idle connections instead",
        "neither": "neither",
    }
    found = {record.surrounding for record in records}
    return [
        Line2D([], [], color="0.3", linestyle=line, label=names[kind]) for kind, line in _LINES.items() if kind in found
    ]


FIGURES.register("concurrent", draw)
