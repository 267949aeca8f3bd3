"""Response times against request rate: median, 90th and 99th percentile on a logarithmic axis."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from testbed.figures.base import FIGURES
from testbed.figures.style import legend, looks, markers, new_figure
from testbed.model.record import Record
from testbed.store.reading import Run

LineStyle = Literal["-", "--", ":"]
_LINES: tuple[tuple[str, LineStyle], ...] = (("p50", "-"), ("p90", "--"), ("p99", ":"))


def draw(run: Run) -> Figure:
    """Three lines a server (the median over repetitions); markers stand on its 99th percentile."""
    figure, axes = new_figure(run.manifest.title)
    records = [r for r in run.latest() if r.response_ms.p50 is not None]
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_label[record.label].append(record)
    style = looks(run.manifest.labels)
    handles = []
    for label in run.manifest.labels:
        if not by_label[label]:
            continue
        for quantile, line in _LINES:
            _line(axes, by_label[label], quantile, line, style[label].colour)
        marked = by_label[label]
        at_ms = [float(r.response_ms.p99 or 0) for r in marked]
        markers(axes, [r.offered_per_s for r in marked], at_ms, marked, style[label])
        handles.append(Line2D([], [], color=style[label].colour, marker=style[label].marker, label=label))
    handles += [Line2D([], [], color="0.3", linestyle=line, label=quantile) for quantile, line in _LINES]
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(left=0)
    axes.set_xlabel("request rate offered (requests/s)")
    axes.set_ylabel("response time from the intended start (ms)")
    legend(axes, handles, records)
    return figure


def _line(axes: Axes, records: list[Record], quantile: str, line: LineStyle, colour: str) -> None:
    by_rate: dict[float, list[float]] = defaultdict(list)
    for record in records:
        by_rate[record.offered_per_s].append(getattr(record.response_ms, quantile))
    rates = sorted(by_rate)
    axes.plot(rates, [median(by_rate[rate]) for rate in rates], color=colour, linestyle=line, linewidth=1.2)


FIGURES.register("percentiles", draw)
