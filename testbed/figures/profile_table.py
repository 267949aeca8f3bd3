"""The paper's Table 1 with ours beside it: per cent of CPU time by system call."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from testbed.analysis.shares import calls_in_order, profiles_by_label
from testbed.figures.base import FIGURES
from testbed.figures.style import new_figure
from testbed.model.paper_table_1 import SHARES_PERCENT
from testbed.store.reading import Run


def draw(run: Run) -> Figure:
    """A column a server: measured here, and the paper's own figure in brackets where it has one."""
    profiles = profiles_by_label(run)
    calls = calls_in_order(profiles.values())
    rows = [
        [
            f"{_number(profile.shares.get(call))}  ({_number(SHARES_PERCENT.get(label, {}).get(call))})"
            for label, profile in profiles.items()
        ]
        for call in calls
    ]
    names = [f"{label}\n{profile.note}".strip() for label, profile in profiles.items()]
    figure, axes = new_figure(run.manifest.title)
    figure.set_size_inches(10.5, 0.32 * len(calls) + 1.3)
    axes.set_axis_off()
    table = axes.table(rows, rowLabels=calls, colLabels=names, bbox=Bbox.unit(), cellLoc="center", edges="horizontal")
    table.auto_set_font_size(value=False)
    table.set_fontsize(9)
    figure.supxlabel(
        "per cent of the server's CPU time: measured here (the paper, Table 1, gprof); "
        "where the paper has its system call epoll_ctlv, io_uring_enter stands here",
        fontsize=9,
        color="0.3",
    )
    return figure


def _number(share: float | None) -> str:
    return "–" if share is None or share < 0.005 else f"{share:.1f}"


FIGURES.register("profile_table", draw)
