"""What the userspace link emulator carries at 5 ms, and how evenly it and the token bucket space packets.

Two namespaces and a veth pair: nothing else is on the path. netem is measured beside it where the kernel has it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from testbed.errors import ProgramError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.choose import apply, reset
from testbed.link.train import Train, TrainPlan, run_train
from testbed.model.shape import LinkShape, Shape
from tests.benchmark.outcome import Outcome
from tests.integration.link_pair import Pair, pair_of_namespaces

_ROUNDS = 3
_DELAYED = LinkShape(down=Shape(delay_us=5_000))
_STREAM_S = 3
_FLOOD_PORT = 7999
_FLOOD_S = 2.0
_FLOOD_BYTES = 40
_FLOOD_RATES = (100_000, 150_000, 200_000, 250_000, 300_000, 350_000, 400_000, 500_000)
_CARRIED = 0.999
_PROBES = TrainPlan(count=1500, interval_us=1000, settle_ms=50, linger_s=0.1)
_FULL_PAYLOAD = 1472
_SPACING_RATES = (10, 100, 1000)
_EVEN = 0.1
"""A packet is spaced evenly when its distance to the one before is within a tenth of the ideal (Mininet-HiFi)."""


def main() -> list[Outcome]:
    """Delay alone first, then streams, small packets, and spacing; both sides of a comparison alternate."""
    outcomes: list[Outcome] = []
    with pair_of_namespaces() as pair:
        emulators = [name for name in ("userspace", "netem") if _works(name, pair.near)]
        for name in emulators:
            outcomes += [_delay(pair, name), *_streams(pair, name), *_small_packets(pair, name)]
        outcomes += _spacing(pair, [*emulators, "tbf", "probes alone"])
    return outcomes


def _works(backend: str, endpoint: Endpoint) -> bool:
    lack = BACKENDS.get(backend).lack(endpoint, "down")
    if lack is not None:
        print(f"{backend} is not measured: {lack}", flush=True)
    return lack is None


def _delay(pair: Pair, backend: str) -> Outcome:
    apply(pair.near, _DELAYED, backend)
    off_us = abs(float(np.median(_probe(pair).delay_us)) - 5_000)
    reset(pair.near)
    return Outcome(f"{backend}: 5 ms is off by, median", off_us / 1000, "ms", 0.2, at_least=False)


def _streams(pair: Pair, backend: str) -> list[Outcome]:
    rates: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(_ROUNDS):
        for shaped in (False, True):
            if shaped:
                apply(pair.near, _DELAYED, backend)
            rates[shaped].append(_stream_gbit(pair))
            print(f"TCP, {backend if shaped else 'unshaped'}: {rates[shaped][-1]:.2f} Gbit/s", flush=True)
            reset(pair.near)
    ratio = median(with_it / without for with_it, without in zip(rates[True], rates[False], strict=True))
    return [
        Outcome(f"{backend}: TCP at 5 ms, best of {_ROUNDS}", max(rates[True]), "Gbit/s", 4.0),
        Outcome(f"{backend}: the same ÷ unshaped, median of pairs", ratio, "×"),
    ]


def _stream_gbit(pair: Pair) -> float:
    """One TCP stream from far to near, as its receiver counts it; the start is left out."""
    server = pair.near.place.start(["iperf3", "--server", "--one-off", "--bind", pair.near.address])
    time.sleep(0.3)
    seconds = ["--time", str(_STREAM_S), "--omit", "1"]
    # 2.6.5's own congestion control, as in the labs; it never paces.
    command = ["iperf3", "--client", pair.near.address, *seconds, "--congestion", "reno", "--json"]
    done = pair.far.place.run(command, timeout_s=_STREAM_S * 5 + 10)
    report: dict[str, Any] = json.loads(done.stdout)
    if "error" in report:
        raise ProgramError(f"iperf3: {report['error']}")
    server.wait(10)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 1e9


def _small_packets(pair: Pair, backend: str) -> list[Outcome]:
    """The highest rate of 40-byte datagrams of which 99.9 % are carried, and the delay of probes beside them."""
    drop = ["INPUT", "-p", "udp", "--dport", str(_FLOOD_PORT), "-j", "DROP"]
    apply(pair.near, _DELAYED, backend)
    _iptables(pair.near, "-A", *drop)
    best, off_us = 0.0, 0.0
    for rate in _FLOOD_RATES:
        sent_per_s, carried, probed = _flood(pair, rate)
        beside_us = float(np.median(probed.delay_us)) - 5_000 if len(probed.delay_us) else float("nan")
        print(
            f"{backend}, small packets: {sent_per_s:,.0f}/s sent, {carried:.2%} carried, "
            f"probes beside them {beside_us:+.0f} µs",
            flush=True,
        )
        if carried >= _CARRIED and sent_per_s > best:
            best, off_us = sent_per_s, beside_us
    _iptables(pair.near, "-D", *drop)
    reset(pair.near)
    return [
        Outcome(f"{backend}: small packets carried at 5 ms", best, "packets/s", 300_000),
        Outcome(f"{backend}: delay of probes beside them is off by, median", off_us / 1000, "ms", 0.2, at_least=False),
    ]


def _flood(pair: Pair, rate: int) -> tuple[float, float, Train]:
    """Packets sent a second, the share of them that came out of the link, and the probes beside them."""
    before = _counted(pair.near)
    command = ["linkprobe", "--send", "--address", pair.near.address, "--port", str(_FLOOD_PORT)]
    command += [
        "--size",
        str(_FLOOD_BYTES),
        "--count",
        str(round(rate * _FLOOD_S)),
        "--interval",
        f"{1e6 / rate:.3f}us",
    ]
    flood = pair.far.place.start(command)
    probed = _probe(pair)
    flood.wait(60)
    time.sleep(0.2)
    (line,) = flood.lines(5)
    sent = json.loads(line)
    seconds = (sent["ended_ns"] - sent["began_ns"]) / 1e9
    return sent["sent"] / seconds, (_counted(pair.near) - before) / sent["sent"], probed


def _counted(endpoint: Endpoint) -> int:
    """Packets of floods that came out of the link so far: those that our rule has dropped."""
    listed = _iptables(endpoint, "-nvxL", "INPUT")
    return next(int(line.split()[0]) for line in listed.splitlines() if str(_FLOOD_PORT) in line)


def _iptables(endpoint: Endpoint, *words: str) -> str:
    done = endpoint.place.run(["iptables-legacy", "-w", "20", *words])
    if done.status != 0:
        raise ProgramError(f"iptables-legacy: {done.stderr.strip()}")
    return done.stdout


def _spacing(pair: Pair, names: Sequence[str]) -> list[Outcome]:
    """Packets that wait for a rate, on every backend in turn; and what the probes alone would see of it."""
    outcomes = []
    for mbit in _SPACING_RATES:
        shares: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(_ROUNDS):
            for name in shares:
                shares[name].append(_even_share(pair, name, mbit))
        for name, found in shares.items():
            print(f"{mbit} Mbit/s, {name}: {', '.join(f'{share:.1%}' for share in found)} evenly spaced", flush=True)
            outcomes.append(Outcome(f"{mbit} Mbit/s, {name}: evenly spaced", median(found) * 100, "%"))
    return outcomes


def _even_share(pair: Pair, backend: str, mbit: int) -> float:
    spacing_us = TrainPlan(count=1, interval_us=1, payload=_FULL_PAYLOAD).wire_bits / mbit
    shaped = backend in BACKENDS.names()
    if shaped:
        apply(pair.near, LinkShape(down=Shape(rate_bps=mbit * 10**6)), backend)
    plan = TrainPlan(
        count=round(max(300, min(20_000, 1e6 / spacing_us))),
        interval_us=spacing_us / 1.3 if shaped else spacing_us,
        payload=_FULL_PAYLOAD,
        linger_s=0.6,
    )
    try:
        arrived_us = np.sort(run_train(pair.far.place, pair.near.place, pair.near.address, plan).arrived_us)
    finally:
        reset(pair.near)
    gaps_us = np.diff(arrived_us[len(arrived_us) // 5 :])
    return float(np.mean(np.abs(gaps_us - spacing_us) <= _EVEN * spacing_us))


def _probe(pair: Pair) -> Train:
    return run_train(pair.far.place, pair.near.place, pair.near.address, _PROBES)
