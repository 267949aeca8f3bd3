"""Where the server spends its CPU time: one stacked bar a server, one colour a system call."""

from __future__ import annotations

import matplotlib
from matplotlib.figure import Figure

from testbed.analysis.shares import USER, calls_in_order, shares_by_label
from testbed.figures.base import FIGURES
from testbed.figures.style import new_figure
from testbed.store.reading import Run

_LABELLED_PERCENT = 4.0
"""Smaller parts have no room for their number."""


def draw(run: Run) -> Figure:
    """Per cent of CPU time; calls in the order of their size, user time on top in grey."""
    figure, axes = new_figure(run.manifest.title)
    shares = shares_by_label(run)
    labels = list(shares)
    colours = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]  # a listed map has them
    bottom = [0.0] * len(labels)
    for index, call in enumerate(calls_in_order(shares)):
        heights = [shares[label].get(call, 0.0) for label in labels]
        colour = "0.85" if call == USER else colours[index % len(colours)]
        bars = axes.bar(labels, heights, bottom=bottom, color=colour, label=call, width=0.7)
        texts = [f"{height:.0f}" if height >= _LABELLED_PERCENT else "" for height in heights]
        axes.bar_label(bars, texts, label_type="center", fontsize=8)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.set_ylim(0, 100)
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("share of the server's CPU time (%)")
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    return figure


FIGURES.register("profile", draw)
