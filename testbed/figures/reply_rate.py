"""Reply rate against request rate, as in the paper's Figures 1 to 7, with the line where every request is answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from testbed.figures.base import FIGURES
from testbed.figures.beside import beside
from testbed.figures.style import Look, legend, looks, markers, new_figure, new_panels
from testbed.model.record import Record
from testbed.store.reading import Run


def draw(run: Run) -> Figure:
    """One line a server through the mean of its repetitions, one marker a point; a panel for each idle population, and
    for access links."""
    records = sorted(run.latest(), key=lambda record: (record.offered_per_s, record.repetition))
    figure, panels = _panels(run, records)
    style = looks(run.manifest.labels)
    labels = [label for label in run.manifest.labels if any(record.label == label for record in records)]
    for axes, shown in panels:
        for label in labels:
            _server_line(axes, [record for record in shown if record.label == label], style[label])
        _ideal(axes, shown)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(left=0)
    first = panels[0][0]
    first.set_ylim(bottom=0)  # shared, and fitted to what all panels hold
    first.set_ylabel("reply rate (replies/s)")
    handles = [Line2D([], [], color=style[each].colour, marker=style[each].marker, label=each) for each in labels]
    legend(first, handles, records)
    return figure


def _panels(run: Run, records: Sequence[Record]) -> tuple[Figure, list[tuple[Axes, Sequence[Record]]]]:
    """Axes, each with the points that it shows."""
    what = "request rate offered (requests/s)"
    groups = beside(run, records)
    if len(groups) < 2:
        figure, axes = new_figure(run.manifest.title)
        axes.set_xlabel(what)
        return figure, [(axes, records)]
    figure, panels = new_panels(run.manifest.title, len(groups))
    figure.supxlabel(what, fontsize=10)
    for axes, group in zip(panels, groups, strict=True):
        axes.set_title(group.name, fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    return figure, [(axes, group.records) for axes, group in zip(panels, groups, strict=True)]


def _server_line(axes: Axes, records: Sequence[Record], look: Look) -> None:
    by_rate: dict[float, list[float]] = defaultdict(list)
    for record in records:
        by_rate[record.offered_per_s].append(record.replies_per_s)
    rates = sorted(by_rate)
    axes.plot(rates, [mean(by_rate[rate]) for rate in rates], color=look.colour, linewidth=1.4)
    markers(axes, [r.offered_per_s for r in records], [r.replies_per_s for r in records], records, look)


def _ideal(axes: Axes, records: Sequence[Record]) -> None:
    """The line y = x, as far as the tallest point needs it: beyond, it would flatten the curves."""
    if not records:
        return
    end = min(max(r.offered_per_s for r in records), 1.15 * max(r.replies_per_s for r in records))
    axes.plot([0, end], [0, end], linestyle="--", color="0.6", linewidth=1, zorder=0)
    axes.annotate("y = x", (end, end), xytext=(4, -2), textcoords="offset points", color="0.4", fontsize=9)


FIGURES.register("reply_rate", draw)
