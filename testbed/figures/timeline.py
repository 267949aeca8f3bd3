"""Replies over time, network by network, with the changes of the scenario's timeline: bands where a link was down."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from testbed.errors import UsageError
from testbed.figures.base import FIGURES
from testbed.figures.style import hollow_handle, looks
from testbed.model.intervals import Intervals
from testbed.model.record import Record, Verdict
from testbed.model.timeline import LinkChange
from testbed.store.reading import Run

_PANEL_INCHES, _REST_INCHES = 1.9, 1.6
_ERRORS, _DOWN, _CHANGE = "#c0392b", "0.86", "0.35"


def draw(run: Run) -> Figure:
    """A panel a server; in it a line a network and record, and the errors. Raises UsageError without intervals."""
    records = [record for record in run.latest() if record.intervals is not None]
    if run.latest() and not records:
        raise UsageError(f"{run.folder}: no point has counts over time, so there is no curve to draw")
    labels = [label for label in run.manifest.labels if any(r.label == label for r in records)] or [""]
    figure = Figure(figsize=(7.2, _REST_INCHES + _PANEL_INCHES * len(labels)), dpi=120, layout="constrained")
    panels = figure.subplots(len(labels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    networks = sorted({network for record in records for network in (record.intervals or _NONE).networks})
    changes = [LinkChange.model_validate(change) for change in run.manifest.scenario.get("timeline", ())]
    profile = run.manifest.profile
    load_s = profile["warm_up_s"] + profile["window_s"]
    for axes, label in zip(panels, labels, strict=True):
        _bands(axes, changes, load_s)
        for record in (r for r in records if r.label == label):
            _curves(axes, record, networks)
        axes.set_title(label, fontsize=10, loc="right")
        axes.set_xlim(0, load_s)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(visible=True, linewidth=0.4, alpha=0.6)
        axes.set_ylabel("per second")
    panels[0].set_ylim(bottom=0)  # of all panels, and only now that everything is drawn: the top stays as it is
    _name_changes(panels[0], changes)
    figure.suptitle(run.manifest.title, fontsize=11, x=0.02, ha="left")
    panels[-1].set_xlabel(f"seconds from the start of the load (measured from {profile['warm_up_s']:g} s)")
    _legend(panels[-1], networks, changes, records)
    return figure


_NONE = Intervals(interval_s=1, networks={})


def _curves(axes: Axes, record: Record, networks: Sequence[str]) -> None:
    """Each interval's count stands at its middle. The marker at the end is hollow when the point is not valid."""
    intervals = record.intervals or _NONE
    step = intervals.interval_s
    style = looks(networks)
    valid = record.verdict is Verdict.VALID
    for network, counts in intervals.networks.items():
        look = style[network]
        middles = [(index + 0.5) * step for index in range(len(counts.replies))]
        axes.plot(middles, [count / step for count in counts.replies], color=look.colour, linewidth=1.2)
        axes.plot(
            middles[-1:],
            [count / step for count in counts.replies[-1:]],
            look.marker,
            color=look.colour,
            markerfacecolor=look.colour if valid else "white",
            ms=6,
            clip_on=False,
        )
    errors = [count / step for count in intervals.total("errors")]
    axes.plot([(index + 0.5) * step for index in range(len(errors))], errors, color=_ERRORS, linewidth=0.9, ls=":")


def _bands(axes: Axes, changes: Sequence[LinkChange], load_s: float) -> None:
    """Grey from each down to the next up of the same link; a line for each change of shape."""
    for change in changes:
        if change.state == "down":
            ups = [other.at_s for other in changes if other.link == change.link and other.state == "up"]
            axes.axvspan(change.at_s, min((up for up in ups if up > change.at_s), default=load_s), color=_DOWN, lw=0)
        elif change.state is None:
            axes.axvline(change.at_s, color=_CHANGE, linestyle="--", linewidth=1)


def _name_changes(axes: Axes, changes: Sequence[LinkChange]) -> None:
    """What happens, along the line where it does; an end of a band needs no words."""
    for change in changes:
        if change.state != "up":
            words = change.text().partition(": ")[2]
            axes.annotate(
                words,
                (change.at_s, 0.97),
                xycoords=("data", "axes fraction"),
                xytext=(3, 0),
                textcoords="offset points",
                rotation=90,
                va="top",
                fontsize=7,
                color=_CHANGE,
            )


def _legend(axes: Axes, networks: Sequence[str], changes: Sequence[LinkChange], records: Sequence[Record]) -> None:
    style = looks(networks)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style[name].colour, marker=style[name].marker, label=f"replies, clients on {name}")
        for name in networks
    ]
    handles.append(Line2D([], [], color=_ERRORS, linestyle=":", label="errors"))
    if any(change.state == "down" for change in changes):
        handles.append(Patch(color=_DOWN, label="down"))
    handles += hollow_handle(records)
    axes.legend(
        handles=handles, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(handles)
    )


FIGURES.register("timeline", draw)
