"""Figures: drawn from saved results alone, byte-identical when drawn again, hollow where a point is not valid."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from testbed.errors import UsageError
from testbed.figures.base import FIGURES
from testbed.figures.beside import beside
from testbed.figures.draw import draw_figures
from testbed.figures.style import looks
from testbed.model.intervals import Counts, Intervals
from testbed.model.record import Errors, Quantiles, Verdict
from testbed.model.timeline import at
from testbed.store.reading import Run
from tests.unit.records import record, saved_run


def _run(tmp_path: Path) -> Run:
    return saved_run(
        tmp_path,
        record("select", 10_000, 9_990),
        record("select", 20_000, 12_345.6),
        record("epoll-lt", 10_000, 9_999),
        record("epoll-lt", 20_000, 18_000, Verdict.CLIENT_LIMITED),
    )


def _xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def _ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def test_png_and_svg_are_byte_identical_when_drawn_again(tmp_path: Path) -> None:
    run = _run(tmp_path)
    first = [path.read_bytes() for path in draw_figures(run, folder=tmp_path / "a")]
    second = [path.read_bytes() for path in draw_figures(run, folder=tmp_path / "b")]
    assert first == second
    assert [data[:4] for data in first] == [b"\x89PNG", b"<?xm"]


def test_reply_rate_has_units_legend_the_ideal_line_and_hollow_markers(tmp_path: Path) -> None:
    figure = FIGURES.get("reply_rate")(_run(tmp_path))
    axes = figure.axes[0]
    assert axes.get_xlabel() == "request rate offered (requests/s)"
    assert axes.get_ylabel() == "reply rate (replies/s)"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["select", "epoll-lt", "hollow: client-limited"]
    singles = [line for line in axes.lines if len(_xs(line)) == 1]
    hollow = [line for line in singles if line.get_markerfacecolor() == "white"]
    assert len(singles) == 4
    assert [_ys(line) for line in hollow] == [[18_000]]
    assert any(_xs(line) == _ys(line) and len(_xs(line)) == 2 for line in axes.lines)


@pytest.mark.parametrize("kind", ["reply_rate", "percentiles", "idle_sweep", "accept_limit"])
def test_the_legend_covers_no_data(tmp_path: Path, kind: str) -> None:
    figure = FIGURES.get(kind)(_run(tmp_path))
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert all(legend.get_window_extent().x0 >= axes.get_window_extent().x1 for axes in figure.axes)


def test_percentiles_have_a_panel_each_with_every_point(tmp_path: Path) -> None:
    panels = FIGURES.get("percentiles")(_run(tmp_path)).axes
    assert [axes.get_title() for axes in panels] == ["median", "90th percentile", "99th percentile"]
    for axes, value in zip(panels, (1.0, 2.0, 3.0), strict=True):
        points = [line for line in axes.lines if len(_xs(line)) == 1]
        assert [_ys(line) for line in points] == [[value]] * 4
        assert sum(line.get_markerfacecolor() == "white" for line in points) == 1


def test_points_are_marked_at_which_more_than_one_in_a_hundred_failed(tmp_path: Path) -> None:
    clients = [{"window": {"intended": 500}}, {"window": {"intended": 500}}]
    points = [
        record("select", rate).model_copy(
            update={"errors": Errors(client_timo=failed), "raw": {"clients": clients}, "point": str(rate)}
        )
        for rate, failed in ((1000, 0), (2000, 10), (3000, 11))
    ]
    figure = FIGURES.get("percentiles")(saved_run(tmp_path, *points))
    for axes in figure.axes:
        assert [_xs(line) for line in axes.lines if line.get_marker() == "x"] == [[3000]]
    assert "more than 1 % of\nconnections failed" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert "answered requests" in figure.get_supylabel()


def _beside(tmp_path: Path, *kinds: dict[str, object]) -> Run:
    """Points at two rates, one for each kind: replies and response times are n at the n-th kind."""
    records = [
        record("select", rate, float(number)).model_copy(
            update={
                "point": f"{rate} {number}",
                "response_ms": Quantiles(p50=number, p90=number, p99=number, max=number),
                **kind,
                **({"idle_connections": int(rate) // 10} if kind.get("idle_connections") == -1 else {}),
            }
        )
        for rate in (1000, 2000)
        for number, kind in enumerate(kinds, 1)
    ]
    return saved_run(tmp_path, *records)


_IDLE: tuple[dict[str, object], ...] = ({}, {"idle_connections": 8000})
_STAND_INS: tuple[dict[str, object], ...] = ({}, {"idle_connections": -1}, {"access": "delay 40ms"})


@pytest.mark.parametrize("kind", ["reply_rate", "percentiles"])
@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (_IDLE, ["no idle connections", "8,000 idle connections"]),
        (_STAND_INS, ["fast links,\nno idle connections", "fast links,\n100 to 200 idle connections", "delay 40ms"]),
    ],
)
def test_what_stood_beside_the_servers_is_drawn_apart(
    tmp_path: Path, kind: str, kinds: tuple[dict[str, object], ...], names: list[str]
) -> None:
    panels = FIGURES.get(kind)(_beside(tmp_path, *kinds)).axes
    per_row = len(panels) // len(kinds)
    assert [axes.get_title().removeprefix("median\n") for axes in panels[::per_row]] == names
    for number, axes in enumerate(panels):
        lines = [_ys(line) for line in axes.lines if line.get_color() != "0.6"]
        assert [max(line) for line in lines] == [min(line) for line in lines] == [number // per_row + 1] * 3


def test_slow_readers_are_called_by_their_name(tmp_path: Path) -> None:
    run = _beside(tmp_path, *_IDLE)
    scenario = {**run.manifest.scenario, "idle_mode": "slow-reader"}
    run = replace(run, manifest=run.manifest.model_copy(update={"scenario": scenario}))
    assert [each.name for each in beside(run, run.latest())] == ["no slow readers", "8,000 slow readers"]


def test_repetitions_are_joined_through_their_mean(tmp_path: Path) -> None:
    run = saved_run(tmp_path, record(replies=100.0), record(replies=300.0, repetition=2))
    axes = FIGURES.get("reply_rate")(run).axes[0]
    assert next(_ys(line) for line in axes.lines if line.get_marker() == "None") == [200.0]


@pytest.mark.parametrize("kind", ["reply_rate", "percentiles", "idle_sweep", "accept_limit"])
def test_nothing_is_cut_off(tmp_path: Path, kind: str) -> None:
    figure = FIGURES.get(kind)(_run(tmp_path))
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert tight.x0 >= 0
    assert tight.y0 >= 0
    assert tight.x1 <= width
    assert tight.y1 <= height


def test_a_run_without_points_still_gives_a_figure(tmp_path: Path) -> None:
    assert all(path.stat().st_size > 1000 for path in draw_figures(saved_run(tmp_path)))


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    kinds = "accept_limit, concurrent, idle_sweep, percentiles"
    with pytest.raises(UsageError, match=re.escape(f"unknown kind of figure 'pie': one of {kinds}")):
        draw_figures(_run(tmp_path), ["pie"])


def _intervals(replies: tuple[int, int, int]) -> Intervals:
    counts = {"started": (10, 10, 10), "replies": replies, "errors": (0, 0, 3)}
    return Intervals(interval_s=0.5, networks={"net0": Counts(**counts), "net1": Counts(**counts)})


def _run_with_intervals(tmp_path: Path, *verdicts: Verdict) -> Run:
    intervals = _intervals((10, 0, 5))
    timeline = [at(0.5, "net1", "down"), at(1, "net1", "up"), at(1.1, "server/net0", "down: loss 2%")]
    run = saved_run(
        tmp_path,
        *(
            record(verdict=verdict, repetition=number).model_copy(update={"intervals": intervals})
            for number, verdict in enumerate(verdicts)
        ),
    )
    scenario = {**run.manifest.scenario, "timeline": [change.model_dump(mode="json") for change in timeline]}
    return replace(run, manifest=run.manifest.model_copy(update={"scenario": scenario}))


def test_a_timeline_has_a_line_a_network_and_marks_its_changes(tmp_path: Path) -> None:
    (axes,) = FIGURES.get("timeline")(_run_with_intervals(tmp_path, Verdict.VALID, Verdict.SUSPECT)).axes
    curves = [_ys(line) for line in axes.lines if len(_xs(line)) == 3]
    assert curves.count([20, 0, 10]) == 4, "two networks, two points; counts as rates"
    assert curves.count([0, 0, 12]) == 2, "the errors of both networks together"
    assert [patch.get_bbox().intervalx.tolist() for patch in axes.patches] == [[0.5, 1.0]]  # type: ignore[attr-defined]
    assert [_xs(line) for line in axes.lines if _xs(line) == [1.1, 1.1]]
    assert [text.get_text() for text in axes.texts] == ["net1 down", "server/net0 down: loss 2%"]
    markers = [line.get_markerfacecolor() for line in axes.lines if len(_xs(line)) == 1]
    assert [colour == "white" for colour in markers] == [False, False, True, True]
    legend = axes.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["replies, clients on net0", "replies, clients on net1", "errors", "down", "hollow: suspect"]


def test_no_panel_of_a_timeline_cuts_a_curve_off(tmp_path: Path) -> None:
    low, high = _intervals((1, 1, 1)), _intervals((1, 900, 1))
    records = (record("select"), record("epoll-lt"))
    each = zip(records, (low, high), strict=True)
    run = saved_run(tmp_path, *(one.model_copy(update={"intervals": intervals}) for one, intervals in each))
    panels = FIGURES.get("timeline")(run).axes
    assert [axes.get_ylim()[0] for axes in panels] == [0, 0]
    assert all(axes.get_ylim()[1] > 1800 for axes in panels)


def test_a_timeline_without_counts_over_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no point has counts over time"):
        draw_figures(_run(tmp_path), ["timeline"])
    assert draw_figures(saved_run(tmp_path), ["timeline"]), "a run without points gives an empty one"


def test_accept_limits_stand_in_order_and_no_limit_at_the_right(tmp_path: Path) -> None:
    limited = [
        record("select", 9_000, 100.0 * place).model_copy(update={"accept_limit": limit, "point": str(limit)})
        for place, limit in ((2, 10), (3, None), (1, 1))
    ]
    more = record("epoll-lt", 20_000, 5_000)
    axes, other = FIGURES.get("accept_limit")(saved_run(tmp_path, *limited, more)).axes
    assert other.get_ylim()[0] == 0
    assert other.get_ylim()[1] > 5_000
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10", "all"]
    line = next(line for line in axes.lines if len(_xs(line)) == 3)
    assert (_xs(line), _ys(line)) == ([0, 1, 2], [100, 200, 300])


def test_no_two_servers_look_alike() -> None:
    found = looks([str(number) for number in range(30)])
    assert len(set(found.values())) == 30
