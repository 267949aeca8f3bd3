"""Reply rate against the accept limit: one panel for each offered rate, one line a mechanism."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from testbed.figures.base import FIGURES
from testbed.figures.style import Look, legend, looks, markers, new_panels
from testbed.model.record import Record
from testbed.store.reading import Run

_ALL = "all"
"""How the axis names no limit: everything pending is accepted."""


def draw(run: Run) -> Figure:
    """Limits stand at equal distances, none at the right; a line goes through the mean of its repetitions."""
    records = run.latest()
    rates = sorted({record.offered_per_s for record in records}) or [0.0]
    limits = sorted({record.accept_limit for record in records}, key=lambda limit: (limit is None, limit or 0))
    mechanisms = list(dict.fromkeys(str(server["mechanism"]) for server in run.manifest.scenario["servers"]))
    style = looks(mechanisms)
    figure, panels = new_panels(run.manifest.title, len(rates))
    for axes, rate in zip(panels, rates, strict=True):
        for name in mechanisms:
            own = [record for record in records if record.mechanism == name and record.offered_per_s == rate]
            _line(axes, own, limits, style[name])
        axes.set_title(f"{rate:,.0f} requests/s offered", fontsize=10)
        axes.set_xticks(range(len(limits)), [_ALL if limit is None else f"{limit:,}" for limit in limits])
        axes.set_xlim(-0.3, len(limits) - 0.7)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panels[0].set_ylim(bottom=0)  # shared, and fitted to what all panels hold
    panels[0].set_ylabel("reply rate (replies/s)")
    figure.supxlabel("accept limit (connections taken per listener and event)", fontsize=10)
    handles = [Line2D([], [], color=style[each].colour, marker=style[each].marker, label=each) for each in mechanisms]
    legend(panels[-1], handles, records)
    return figure


def _line(axes: Axes, records: list[Record], limits: list[int | None], look: Look) -> None:
    by_place: dict[int, list[float]] = defaultdict(list)
    for record in records:
        by_place[limits.index(record.accept_limit)].append(record.replies_per_s)
    places = sorted(by_place)
    axes.plot(places, [mean(by_place[place]) for place in places], color=look.colour, linewidth=1.4)
    at = [limits.index(record.accept_limit) for record in records]
    markers(axes, at, [record.replies_per_s for record in records], records, look)


FIGURES.register("accept_limit", draw)
