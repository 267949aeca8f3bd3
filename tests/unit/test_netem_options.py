"""netem's options: what is written is what is read back, and the words of tc mean the same here."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import RuntimeFault
from testbed.link.netem import Netem
from testbed.link.netem_options import decode, distribution_table, encode, queue_limit
from testbed.link.qdisc import attributes
from testbed.model.shape import Distribution, GilbertElliott, Shape

DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto")

percents = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    delay = draw(st.integers(1, 1_000_000))
    jitter = draw(st.integers(0, delay))
    rate = draw(st.none() | st.integers(1_000, 100 * 10**6).map(lambda kilobytes: kilobytes * 8))
    bursty = draw(st.booleans())
    return Shape(
        delay_us=delay,
        jitter_us=jitter,
        distribution=draw(st.sampled_from(DISTRIBUTIONS)) if jitter else "uniform",
        loss_percent=0 if bursty else draw(percents),
        gemodel=GilbertElliott(p_percent=1, r_percent=25, bad_loss_percent=75, good_loss_percent=5) if bursty else None,
        duplicate_percent=draw(percents),
        reorder_percent=draw(percents),
        corrupt_percent=draw(percents),
        rate_bps=rate,
        limit_pkts=draw(st.none() | st.integers(1, 5000)) if rate else None,
        seed=draw(st.none() | st.integers(0, 2**63 - 1)),
    )


@given(shapes())
def test_options_read_back_as_the_shape(shape: Shape) -> None:
    seeded, limited = shape.seed is not None, shape.limit_pkts is not None
    assert decode(encode(shape), shape.distribution, seeded=seeded, limited=limited) == shape


def test_the_layout_is_the_kernel_s() -> None:
    options = encode(Shape(delay_us=1000, loss_percent=100))
    latency, limit, loss, gap, duplicate, jitter = struct.unpack_from("=IIIIII", options)
    assert (latency * 64, loss, gap, duplicate, jitter) == (1_000_000, 2**32 - 1, 0, 0, 0)
    assert limit > 100_000
    assert struct.unpack("=q", dict(attributes(options[24:]))[10]) == (1_000_000,)


def test_a_declared_limit_gets_room_for_the_packets_on_the_way() -> None:
    shape = Shape(delay_us=100_000, rate_bps=12_112_000, limit_pkts=50)
    assert queue_limit(shape) == 50 + 100


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_tables_have_the_declared_spread(distribution: Distribution) -> None:
    table = struct.unpack("=4096h", distribution_table(distribution))
    mean = sum(table) / len(table) / 8192
    assert abs(mean) < 0.04  # the cut at four jitters takes a little from pareto's tail
    assert list(table) == sorted(table)


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        (Shape(delay_us=10_000, jitter_us=1000, correlation_percent=25), "correlation"),
        (Shape(rate_bps=10**6, burst_bytes=10_000), "burst"),
    ],
)
def test_what_netem_does_otherwise_is_refused_by_name(shape: Shape, word: str) -> None:
    assert (Netem().cannot(shape) or "").startswith(word)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = list(attributes(data))
    except RuntimeFault:
        found = []
    assert sum(len(payload) + 4 for _, payload in found) <= len(data)
