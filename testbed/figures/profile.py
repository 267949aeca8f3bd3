"""Where the server spends its CPU time: one stacked bar a server, one colour a system call."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from testbed.analysis.shares import KERNEL, USER, calls_in_order, profiles_by_label
from testbed.figures.base import FIGURES
from testbed.figures.style import new_figure
from testbed.store.reading import Run

_COLOURS = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]  # a listed map has them
_GREYS = {KERNEL: "0.7", USER: "0.85"}

_LABELLED_PERCENT = 4.0
"""Smaller parts have no room for their number."""


def draw(run: Run) -> Figure:
    """Per cent of CPU time; calls in the order of their size, what is outside of them on top in grey. Hatched where not
    all points are valid."""
    figure, axes = new_figure(run.manifest.title)
    profiles = profiles_by_label(run)
    # Below each other: two notes beside each other are wider than their bars.
    names = ["\n".join([label, *profile.note.split(" points ")]).strip() for label, profile in profiles.items()]
    hatches = ["//" if profile.note else "" for profile in profiles.values()]
    bottom = [0.0] * len(names)
    handles = []
    for index, call in enumerate(calls_in_order(profiles.values())):
        heights = [profile.shares.get(call, 0.0) for profile in profiles.values()]
        colour = _GREYS.get(call, _COLOURS[index % len(_COLOURS)])
        bars = axes.bar(names, heights, bottom=bottom, color=colour, width=0.7, hatch=hatches, edgecolor="white", lw=0)
        handles.append(Patch(color=colour, label=call))
        texts = [f"{height:.0f}" if height >= _LABELLED_PERCENT else "" for height in heights]
        axes.bar_label(bars, texts, label_type="center", fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("share of the server's CPU time (%)")
    axes.legend(handles=handles[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


FIGURES.register("profile", draw)
