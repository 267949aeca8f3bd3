"""The server's CPU time per reply against the number of idle connections, on logarithmic axes with room for zero."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from testbed.figures.base import FIGURES
from testbed.figures.style import legend, looks, markers, new_figure
from testbed.store.reading import Run


def draw(run: Run) -> Figure:
    """One line a server through the mean of its repetitions, one marker a point."""
    figure, axes = new_figure(run.manifest.title)
    records = [r for r in run.latest() if r.server_cpu_us_per_reply is not None]
    style = looks(run.manifest.labels)
    handles = []
    for label in run.manifest.labels:
        own = sorted((r for r in records if r.label == label), key=lambda r: r.idle_connections)
        if not own:
            continue
        costs: dict[int, list[float]] = defaultdict(list)
        for record in own:
            costs[record.idle_connections].append(float(record.server_cpu_us_per_reply or 0))
        axes.plot(list(costs), [mean(each) for each in costs.values()], color=style[label].colour, linewidth=1.4)
        at_us = [float(r.server_cpu_us_per_reply or 0) for r in own]
        markers(axes, [r.idle_connections for r in own], at_us, own, style[label])
        handles.append(Line2D([], [], color=style[label].colour, marker=style[label].marker, label=label))
    # Linear below the smallest population that is not zero, so that zero has a place on the axis.
    smallest = min((r.idle_connections for r in records if r.idle_connections), default=1)
    axes.set_xscale("symlog", linthresh=smallest)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=-smallest / 15)  # so that the markers at zero are whole
    axes.set_xlabel("idle connections")
    axes.set_ylabel("server CPU time per reply (µs)")
    legend(axes, handles, records)
    return figure


FIGURES.register("idle_sweep", draw)
