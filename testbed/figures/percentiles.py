"""Response times against request rate: one panel each for the median, the 90th and the 99th percentile.

They are those of answered requests: what failed has none. A point at which more than 1 % of the connections failed is
marked: had they been waited for, its 99th percentile at least would be another.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from testbed.figures.base import FIGURES
from testbed.figures.beside import Beside, beside
from testbed.figures.style import Look, legend, looks, markers, new_panels
from testbed.model.record import Record
from testbed.store.reading import Run

_PANELS = (("p50", "median"), ("p90", "90th percentile"), ("p99", "99th percentile"))

_FAILED_SHARE = 0.01
_FAILING = "more than 1 % of\nconnections failed"
_MARK = "0.1"


def draw(run: Run) -> Figure:
    """One line a server through the median of its repetitions, one marker a point; one logarithmic axis for all. A row
    of panels for each idle population, and for access links."""
    records = [r for r in run.latest() if r.response_ms.p50 is not None]
    groups = beside(run, records) or [Beside("", ())]
    figure, panels = new_panels(run.manifest.title, len(_PANELS), len(groups))
    style = looks(run.manifest.labels)
    labels = [label for label in run.manifest.labels if any(r.label == label for r in records)]
    shown = [(group, quantile, name) for group in groups for quantile, name in _PANELS]
    for axes, (group, quantile, name) in zip(panels, shown, strict=True):
        for label in labels:
            _server_line(axes, [r for r in group.records if r.label == label], quantile, style[label])
        _mark(axes, [r for r in group.records if _is_failing(r)], quantile)
        axes.set_title(name if len(groups) == 1 else f"{name}\n{group.name}", fontsize=9)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.set_xlim(0, 1.08 * max((r.offered_per_s for r in records), default=1.0))
    figure.supylabel("response time of answered requests,\nfrom the intended start (ms)", fontsize=10)
    figure.supxlabel("request rate offered (requests/s)", fontsize=10)
    handles = [Line2D([], [], color=style[each].colour, marker=style[each].marker, label=each) for each in labels]
    if any(map(_is_failing, records)):
        handles.append(Line2D([], [], color=_MARK, marker="x", linestyle="none", label=_FAILING))
    legend(panels[-1], handles, records)
    return figure


def _server_line(axes: Axes, records: list[Record], quantile: str, look: Look) -> None:
    by_rate: dict[float, list[float]] = defaultdict(list)
    for record in records:
        by_rate[record.offered_per_s].append(getattr(record.response_ms, quantile))
    rates = sorted(by_rate)
    axes.plot(rates, [median(by_rate[rate]) for rate in rates], color=look.colour, linewidth=1.2)
    at_ms = [float(getattr(record.response_ms, quantile)) for record in records]
    markers(axes, [record.offered_per_s for record in records], at_ms, records, look)


def _is_failing(record: Record) -> bool:
    """Whether too many of the connections failed that were to start in the window; a session counts as one."""
    intended = sum(int(line["window"]["intended"]) for line in record.raw.get("clients", ()))
    return record.errors.total > _FAILED_SHARE * intended


def _mark(axes: Axes, records: list[Record], quantile: str) -> None:
    for record in records:
        axes.plot(record.offered_per_s, getattr(record.response_ms, quantile), "x", color=_MARK, ms=5)


FIGURES.register("percentiles", draw)
