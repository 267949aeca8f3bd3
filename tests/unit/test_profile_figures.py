"""The profile as bars and as a table: what stands in them, and how points that are not valid are marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from matplotlib.table import Table

from testbed.errors import UsageError
from testbed.figures.base import FIGURES
from testbed.figures.draw import draw_figures
from testbed.model.record import Record, Verdict
from testbed.store.reading import Run
from tests.unit.records import record, saved_run


def _profiled(label: str, verdict: Verdict = Verdict.VALID, repetition: int = 1, **times_ms: int) -> Record:
    """100 ms of CPU time, 20 of them user time, so many in each call."""
    before: dict[str, Any] = {"cpu_user_us": 0, "cpu_system_us": 0, "syscalls": {}}
    calls = {name: {"calls": 1, "time_ns": time * 1_000_000, "waits": False} for name, time in times_ms.items()}
    after = {"cpu_user_us": 20_000, "cpu_system_us": 80_000, "syscalls": calls}
    raw = {"server_before": before, "server_after": after}
    return record(label, verdict=verdict, repetition=repetition).model_copy(
        update={"server": {"profile": True}, "raw": raw}
    )


def _run(tmp_path: Path) -> Run:
    return saved_run(
        tmp_path,
        _profiled("select", select=30, read=10),
        _profiled("select", select=30, read=20, repetition=2),
        _profiled("epoll-lt", epoll_ctl=16, epoll_wait=7, read=40),
        _profiled("epoll-lt", Verdict.SUSPECT, 2, epoll_ctl=16, epoll_wait=7, read=40),
    )


def test_bars_are_a_whole_and_hatched_where_not_all_points_are_valid(tmp_path: Path) -> None:
    (axes,) = FIGURES.get("profile")(_run(tmp_path)).axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    for place, (own, hatch) in enumerate(((30 + 15, ""), (16 + 7 + 40, "//"))):
        column = [bar for bar in bars if round(bar.get_x() + bar.get_width() / 2) == place]
        assert sum(bar.get_height() for bar in column) == pytest.approx(100)
        assert [round(bar.get_height()) for bar in column[-2:]] == [80 - own, 20], "kernel outside the calls, user time"
        assert {bar.get_hatch() or "" for bar in column} == {hatch}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["select", "epoll-lt\n1 of 2\nvalid"]
    legend = axes.get_legend()
    assert legend is not None
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["user time", "kernel, outside the calls", "epoll_wait", "epoll_ctl", "select", "read"]


def test_the_table_has_the_paper_s_figures_beside_ours_and_says_what_is_not_valid(tmp_path: Path) -> None:
    figure = FIGURES.get("profile_table")(_run(tmp_path))
    (table,) = (child for child in figure.axes[0].get_children() if isinstance(child, Table))
    cells = {place: cell.get_text().get_text() for place, cell in table.get_celld().items()}
    assert [cells[0, column] for column in (0, 1)] == ["select", "epoll-lt\n1 of 2 points valid"]
    rows = {cells[row, -1]: (cells[row, 0], cells[row, 1]) for row in range(1, 7)}
    assert rows == {
        "read": ("15.0  (21.5)", "40.0  (20.9)"),
        "select": ("30.0  (13.3)", "–  (–)"),
        "epoll_ctl": ("–  (–)", "16.0  (16.3)"),
        "epoll_wait": ("–  (–)", "7.0  (7.2)"),
        "kernel, outside the calls": ("35.0  (–)", "17.0  (–)"),
        "user time": ("20.0  (–)", "20.0  (–)"),
    }


@pytest.mark.parametrize("kind", ["profile", "profile_table"])
def test_nothing_is_cut_off(tmp_path: Path, kind: str) -> None:
    figure = FIGURES.get(kind)(_run(tmp_path))
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(tight.x0, tight.y0) >= 0
    assert tight.x1 <= width
    assert tight.y1 <= height


def test_without_a_profile_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no point was measured with profile=True"):
        draw_figures(saved_run(tmp_path, record()), ["profile"])
