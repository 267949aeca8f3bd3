"""How exact the userspace emulator's delay is while the server that it stands before is overloaded.

The emulator of what the server receives runs on the server's own CPUs: the worst place there is.
"""

from __future__ import annotations

import threading
import time

import numpy as np

from testbed.engine.lab import Lab
from testbed.link.base import Endpoint
from testbed.link.lab_links import LabLinks
from testbed.link.train import TrainPlan, run_train
from testbed.model.shape import LinkShape, Shape
from testbed.model.topology import Network, Topology
from testbed.topology.default import default_topology
from tests.benchmark.outcome import Outcome
from tests.benchmark.world import Load, offer, server

_DELAY_US = 5_000
_RATES = (0, 5_000, 10_000, 20_000, 30_000)
_ROUNDS = 3
_LOAD_SETTLES_S = 1.2
_PROBES = TrainPlan(count=1500, interval_us=1000, settle_ms=100, linger_s=0.3)


def main() -> list[Outcome]:
    """Every rate in turn, three times over; the probes come from the client's side and are nobody's load."""
    found: dict[int, list[tuple[float, float, float]]] = {rate: [] for rate in _RATES}
    default = default_topology()
    own = default.node("server").model_copy(update={"networks": ("net0",)})
    world = Topology(networks=(Network(name="net0"),), nodes=(own, default.node("client1")))
    with Lab(world, name="bench-under-load") as lab:
        links = LabLinks(lab.runtime, lab.placed)
        endpoint = links.endpoint("server")
        links.shape(endpoint, LinkShape(down=Shape(delay_us=_DELAY_US)), "userspace")
        for _ in range(_ROUNDS):
            for rate in _RATES:
                found[rate].append(_measured(lab, endpoint, rate))
                median_us, p99_us, lost = found[rate][-1]
                print(
                    f"{rate:6,}/s offered: 5 ms is {median_us:+,.0f} µs off (median), {p99_us:+,.0f} µs (99 %), "
                    f"{lost:.2%} of the probes lost",
                    flush=True,
                )
    outcomes = []
    for rate, rounds in found.items():
        medians, tails, losses = zip(*rounds, strict=True)
        name = f"5 ms with {rate:,}/s offered"
        outcomes += [
            Outcome(f"{name}: off by, median", float(np.median(medians)) / 1000, "ms", 0.2, at_least=False),
            Outcome(f"{name}: off by, 99 %", float(np.median(tails)) / 1000, "ms"),
            Outcome(f"{name}: probes lost", float(np.median(losses)) * 100, "%"),
        ]
    return outcomes


def _measured(lab: Lab, endpoint: Endpoint, rate: int) -> tuple[float, float, float]:
    """What the median and the 99 % quantile of the delay are off by, in microseconds, and the share of lost probes."""
    (via,) = endpoint.neighbours
    with server(lab) as userver:
        load = threading.Thread(target=lambda: offer(lab, lab.clients[0], Load(rate, window_s=4.0)), name="load")
        if rate:
            load.start()
            time.sleep(_LOAD_SETTLES_S)
        train = run_train(via.place, endpoint.place, endpoint.address, _PROBES)
        if rate:
            load.join()
        userver.finish(10, ask=True)
    off_us = train.delay_us - _DELAY_US
    median_us, p99_us = (float(value) for value in np.quantile(off_us, (0.5, 0.99)))
    return median_us, p99_us, 1 - len(train.sequence) / train.sent
