"""Named links, each from something published; ``source`` says what, and how its numbers were taken over.

Delays are one way: half of a published round trip goes to each direction. No source gives the length of its queue:
``limit_pkts`` is ours, about a quarter of a second of full packets, at least 10 and at most Linux's usual 1000.
"""

from __future__ import annotations

from testbed.model.shape import DEFAULT_LIMIT_PKTS, LinkShape, Shape
from testbed.model.value import Value


class ShapeProfile(Value):
    """A link with the publication that its numbers come from."""

    shape: LinkShape
    source: str


_FULL_PACKET_BITS = 1514 * 8
_QUEUE_S = 0.25
_KBIT = 1_000


def _queue_pkts(rate_bps: int) -> int:
    return max(10, min(DEFAULT_LIMIT_PKTS, round(rate_bps * _QUEUE_S / _FULL_PACKET_BITS)))


def _profile(source: str, *, down_kbit: int, up_kbit: int, round_trip_ms: float, jitter_ms: float = 0) -> ShapeProfile:
    """A link of these rates; ``jitter_ms`` is a standard deviation, each way."""
    shapes = [
        Shape(
            delay_us=round(round_trip_ms * 1000 / 2),
            jitter_us=round(jitter_ms * 1000),
            distribution="normal" if jitter_ms else "uniform",
            rate_bps=kbit * _KBIT,
            limit_pkts=_queue_pkts(kbit * _KBIT),
        )
        for kbit in (down_kbit, up_kbit)
    ]
    return ShapeProfile(shape=LinkShape(down=shapes[0], up=shapes[1]), source=source)


_WEBPAGETEST = "WebPageTest, settings/connectivity.ini.sample (github.com/catchpoint/WebPageTest), entry "
_FCC = (
    "FCC, Measuring Broadband America 2016, medians of Verizon's tier as on verizon.com/about/our-company/"
    "network-performance: "
)

PROFILES: dict[str, ShapeProfile] = {
    "lan": _profile(
        "IEEE 802.3ab (1000BASE-T): its rate, and no delay but the hosts' own",
        down_kbit=1_000_000,
        up_kbit=1_000_000,
        round_trip_ms=0,
    ),
    "fiber": _profile(
        _FCC + "Fios 50/50, 55.41 and 62.90 Mbit/s, 11.56 ms", down_kbit=55_410, up_kbit=62_900, round_trip_ms=11.56
    ),
    "cable": _profile(
        _WEBPAGETEST + "Cable: 5/1 Mbit/s, 28 ms round trip", down_kbit=5_000, up_kbit=1_000, round_trip_ms=28
    ),
    "dsl": _profile(
        _FCC + "DSL 3.1-7, 5.66 and 0.82 Mbit/s, 37.05 ms", down_kbit=5_660, up_kbit=820, round_trip_ms=37.05
    ),
    "3g": _profile(
        _WEBPAGETEST + "3G: 1.6 Mbit/s and 768 kbit/s, 300 ms round trip",
        down_kbit=1_600,
        up_kbit=768,
        round_trip_ms=300,
    ),
    "4g": _profile(
        _WEBPAGETEST + "LTE: 12/12 Mbit/s, 70 ms round trip", down_kbit=12_000, up_kbit=12_000, round_trip_ms=70
    ),
    "5g": _profile(
        "Ookla Speedtest Intelligence, United States, second quarter of 2023, medians of the fastest operator: 5G "
        "download 220.00 Mbit/s, 5G latency 51 ms round trip; upload 12.16 Mbit/s, of all its mobile tests",
        down_kbit=220_000,
        up_kbit=12_160,
        round_trip_ms=51,
    ),
    "satellite-leo": _profile(
        "round trip 50 ms, quartiles 40 and 60 (F. Michel et al., A First Look at Starlink Performance, IMC 2022; "
        "blog.apnic.net 2022-11-28): normal, 10 ms each way gives these quartiles; 87.25 and 13.54 Mbit/s (Ookla, "
        "third quarter of 2021, medians in the US)",
        down_kbit=87_250,
        up_kbit=13_540,
        round_trip_ms=50,
        jitter_ms=10,
    ),
    "satellite-geo": _profile(
        "a least round trip of about 600 ms and a subscription of 100/10 Mbit/s: the geostationary service beside "
        "Starlink in the IMC 2022 study above",
        down_kbit=100_000,
        up_kbit=10_000,
        round_trip_ms=600,
    ),
    "intercontinental": _profile(
        "Verizon's transatlantic latency guarantee, New York to London: a round trip of 90 ms or less on average "
        "(verizon.com/business/terms); the rate is that of a host's gigabit port",
        down_kbit=1_000_000,
        up_kbit=1_000_000,
        round_trip_ms=90,
    ),
    "modem-56k": _profile(
        _WEBPAGETEST + "56K Dial-Up: 49 and 30 kbit/s, 120 ms round trip", down_kbit=49, up_kbit=30, round_trip_ms=120
    ),
}
"""By name, from near to far."""
