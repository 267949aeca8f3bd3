"""Reply rate against request rate, as in the paper's Figures 1 to 7, with the line where every request is answered."""

from __future__ import annotations

import itertools
from collections import defaultdict
from statistics import mean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from testbed.figures.base import FIGURES
from testbed.figures.style import Look, legend, looks, markers, new_figure
from testbed.model.record import Record
from testbed.store.reading import Run

LineStyle = Literal["-", "--", ":"]
_LINES: tuple[LineStyle, ...] = ("-", "--", ":")
"""One for each idle population, where a scenario has several."""


def draw(run: Run) -> Figure:
    """One line a server and idle population through the mean of its repetitions, one marker a point."""
    figure, axes = new_figure(run.manifest.title)
    records = sorted(run.latest(), key=lambda record: (record.offered_per_s, record.repetition))
    style = looks(run.manifest.labels)
    idle_counts = sorted({record.idle_connections for record in records})
    handles = []
    for label in run.manifest.labels:
        for idle, line in zip(idle_counts, itertools.cycle(_LINES), strict=False):
            own = [r for r in records if r.label == label and r.idle_connections == idle]
            if own:
                name = label if len(idle_counts) == 1 else f"{label}, {idle:,} idle"
                handles.append(_server_line(axes, name, own, style[label], line))
    _ideal(axes, records)
    axes.set_xlabel("request rate offered (requests/s)")
    axes.set_ylabel("reply rate (replies/s)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    legend(axes, handles, records)
    return figure


def _server_line(axes: Axes, name: str, records: list[Record], look: Look, line: LineStyle) -> Line2D:
    by_rate: dict[float, list[float]] = defaultdict(list)
    for record in records:
        by_rate[record.offered_per_s].append(record.replies_per_s)
    rates = sorted(by_rate)
    axes.plot(rates, [mean(by_rate[rate]) for rate in rates], color=look.colour, linestyle=line, linewidth=1.4)
    markers(axes, [r.offered_per_s for r in records], [r.replies_per_s for r in records], records, look)
    return Line2D([], [], color=look.colour, linestyle=line, marker=look.marker, label=name)


def _ideal(axes: Axes, records: list[Record]) -> None:
    """The line y = x, as far as the tallest point needs it: beyond, it would flatten the curves."""
    if not records:
        return
    end = min(max(r.offered_per_s for r in records), 1.15 * max(r.replies_per_s for r in records))
    axes.plot([0, end], [0, end], linestyle="--", color="0.6", linewidth=1, zorder=0)
    axes.annotate("y = x", (end, end), xytext=(4, -2), textcoords="offset points", color="0.4", fontsize=9)


FIGURES.register("reply_rate", draw)
