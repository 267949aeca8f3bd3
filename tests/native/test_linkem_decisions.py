"""What linkem decides for each packet, without a network: the shape's own code in a small program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, norm

from testbed.model.interval import clopper_pearson
from testbed.model.shape import Distribution, jitter_quantile
from tests.native.link_programs import harness

_SOURCE = """
#include <stdio.h>
#include <stdlib.h>
#include "options.h"
#include "shape_options.h"

/* COUNT packets of LENGTH bytes, one each GAP nanoseconds: one line of JSON each. */
int main(int argc, char **argv)
{
    uint64_t count = 1, length = 100, gap = 1000;
    struct shape_options options = {0};
    struct option_spec specs[SHAPE_OPTIONS + 4] = {
        {"count", OPTION_COUNT, &count, "N", "packets", .required = false},
        {"length", OPTION_COUNT, &length, "N", "bytes", .required = false},
        {"gap", OPTION_COUNT, &gap, "N", "nanoseconds", .required = false},
    };
    shape_options_specs(&options, specs + 3);
    options_parse(argc, argv, "decides", specs);
    if (shape_options_finish(&options))
        return 1;
    struct link link;
    link_init(&link, &options.shape, options.shape.seed);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t now = 1000000000ull + i * gap;
        struct fate fate = link_packet(&link, now, length);
        printf("[%d,%d,%d,%d,%lld]\\n", fate.lost, fate.overflowed, fate.duplicated, fate.corrupted,
               fate.lost || fate.overflowed ? -1ll : (long long)(fate.release_ns - now));
    }
    link_free(&link);
    return 0;
}
"""
CUT = 3.999
LOST, OVERFLOWED, DUPLICATED, CORRUPTED, DELAY = range(5)


@pytest.fixture(scope="module")
def decide(tmp_path_factory: pytest.TempPathFactory) -> Any:
    parts = ["shape/shape.c", "shape/shape_options.c", "common/options.c"]
    binary = harness(tmp_path_factory.mktemp("decisions"), "decisions", _SOURCE, parts)

    def run(count: int, **flags: object) -> np.ndarray[Any, np.dtype[np.int64]]:
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        done = subprocess.run(
            [binary, "--count", str(count), *words], capture_output=True, text=True, timeout=60, check=True
        )
        return np.asarray([json.loads(line) for line in done.stdout.splitlines()])

    return run


def test_nothing_declared_nothing_done(decide: Any) -> None:
    assert (decide(100) == 0).all()


def test_the_same_seed_the_same_fates(decide: Any) -> None:
    flags = {"loss": 0.3, "delay": "5ms", "jitter": "1ms", "distribution": "normal", "duplicate": 0.1, "corrupt": 0.1}
    first = decide(500, seed=7, **flags)
    assert (decide(500, seed=7, **flags) == first).all()
    assert (decide(500, seed=8, **flags) != first).any()


def test_one_effect_does_not_change_the_fates_of_another(decide: Any) -> None:
    alone = decide(2000, loss=0.1)[:, LOST]
    among = decide(2000, loss=0.1, delay="5ms", jitter="2ms", duplicate=0.2, reorder=0.1, corrupt=0.1)[:, LOST]
    assert (alone == among).all()


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
@pytest.mark.parametrize("correlation", [0, 0.9])
def test_jitter_follows_its_quantiles(decide: Any, distribution: Distribution, correlation: float) -> None:
    delays = decide(60_000, delay="80ms", jitter="10ms", distribution=distribution, correlation=correlation)[:, DELAY]
    jitters = (delays[:: 60 if correlation else 1] - 80e6) / 10e6
    grid = np.linspace(0.00005, 0.99995, 20_000)
    quantiles = np.asarray([jitter_quantile(distribution, share) for share in grid])
    below = (quantiles < CUT).mean()  # a hundredth of pareto lies beyond the cut, and stands on it
    assert (jitters < CUT).mean() == pytest.approx(below, abs=0.003)
    result = kstest(jitters[jitters < CUT], lambda values: np.interp(values, quantiles, grid) / below)
    assert result.pvalue > 0.001, result


def test_correlation_is_that_of_the_normal_numbers_behind(decide: Any) -> None:
    delays = decide(40_000, delay="80ms", jitter="10ms", distribution="normal", correlation=0.6)[:, DELAY]
    assert np.corrcoef(delays[:-1], delays[1:])[0, 1] == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 1])
def test_losses_and_others_are_as_frequent_as_declared(decide: Any, share: float) -> None:
    flags = {"loss": share, "duplicate": share, "corrupt": share, "reorder": share, "delay": "1ms"}
    fates = decide(50_000, **flags)
    survivors = fates[fates[:, LOST] == 0]
    counts = [(fates[:, LOST].sum(), 50_000)]
    if len(survivors):
        counts += [(survivors[:, column].sum(), len(survivors)) for column in (DUPLICATED, CORRUPTED)]
        counts.append(((survivors[:, DELAY] == 0).sum(), len(survivors)))
    for count, of in counts:
        low, high = clopper_pearson(int(count), of, 0.9999)
        assert low <= share <= high


def test_gilbert_elliott_bursts_are_geometric(decide: Any) -> None:
    lost = decide(200_000, gemodel="0.01,0.2")[:, LOST]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], lost, [0]))))
    bursts = edges[1::2] - edges[::2]
    low, high = clopper_pearson(len(bursts), int(lost.sum()), 0.9999)
    assert low <= 0.2 <= high
    assert lost.mean() == pytest.approx(0.01 / 0.21, rel=0.1)
    assert (bursts == 1).mean() == pytest.approx(0.2, abs=0.04)


def test_gilbert_elliott_in_full_loses_some_in_the_good_state(decide: Any) -> None:
    lost = decide(200_000, gemodel="0.02,0.08,0.5,0.01")[:, LOST]
    assert lost.mean() == pytest.approx(0.2 * 0.5 + 0.8 * 0.01, rel=0.08)


def test_a_rate_spaces_packets_and_bounds_its_queue(decide: Any) -> None:
    fates = decide(100, rate=8_000_000, length=986, gap=1, limit=10)  # a packet each millisecond
    went = fates[fates[:, OVERFLOWED] == 0][:, DELAY]
    assert len(went) == 11, "one is sent, ten wait"
    assert np.allclose(np.diff(went), 1_000_000, atol=10)
    assert went[0] == 1_000_000


def test_a_queue_that_drained_takes_packets_again(decide: Any) -> None:
    fates = decide(1000, rate=8_000_000, length=986, gap=500_000, limit=10)
    kept = (fates[:, OVERFLOWED] == 0).mean()
    assert kept == pytest.approx(0.5, abs=0.02)
    assert fates[:, DELAY].max() <= 11.5e6


def test_a_burst_passes_at_once_and_the_rate_holds_after_it(decide: Any) -> None:
    went = decide(50, rate=8_000_000, length=986, gap=1, burst=5000)[:, DELAY]
    assert (went[:5] == 0).all()
    assert np.allclose(np.diff(went[5:]), 1_000_000, atol=10)


def test_with_a_rate_nothing_overtakes(decide: Any) -> None:
    flags = {"delay": "20ms", "jitter": "10ms", "gap": 100_000}
    free, bound = decide(2000, **flags), decide(2000, rate=100_000_000, **flags)
    arrivals = np.arange(2000) * 100_000
    assert (np.diff(arrivals + free[:, DELAY]) < 0).any()
    assert (np.diff(arrivals + bound[:, DELAY]) >= 0).all()


def test_normal_quantiles_agree_with_scipy_s(tmp_path: Path) -> None:
    source = """
#include <stdio.h>
#include "shape.h"
int main(void)
{
    for (int i = 1; i < 1000; i++)
        printf("%.12g\\n", distribution_quantile(DISTRIBUTION_NORMAL, i / 1000.0));
    return 0;
}
"""
    binary = harness(tmp_path, "quantiles", source, ["shape/shape.c"])
    text = subprocess.run([binary], capture_output=True, text=True, timeout=20, check=True).stdout
    assert np.allclose([float(line) for line in text.split()], norm.ppf(np.arange(1, 1000) / 1000), atol=1e-9)
