"""What links of their own cost the generator: loadgen's CPU time with a link for each of 10,000 hosts, and with none.

No two links are alike. Both sides offer the same connections to the same server, alternating.
"""

from __future__ import annotations

from ipaddress import ip_network
from statistics import median

from testbed.engine.lab import Lab
from testbed.engine.measured import cpu_seconds, sample_host
from testbed.link.engine_links import links_file
from testbed.model.access import AccessLink
from testbed.model.shape import LinkShape, Shape
from tests.benchmark.outcome import Outcome
from tests.benchmark.world import Load, offer, server

_KINDS = 10_000
_PAIRS = 5
_RATE = 10_000.0
_PREFIX_LENGTH = 18
"""16,382 hosts, the smallest prefix with 10,000."""

_FILE = "access.links"


def main() -> list[Outcome]:
    """With and without, A B A B."""
    costs: dict[bool, list[float]] = {True: [], False: []}
    with Lab(name="bench-links") as lab:
        client = lab.clients[0]
        hosts = next(ip_network(str(client.emulated_prefix)).subnets(new_prefix=_PREFIX_LENGTH))
        lab.put_files(client.name, "/tmp", {_FILE: links_file(_kinds()).encode()})
        for turn in range(_PAIRS):
            for shaped in (False, True):
                flags = ["--hosts", str(hosts), *(["--links", f"/tmp/{_FILE}"] if shaped else [])]
                before = sample_host()
                with server(lab, "epoll-lt", "--backlog", "4096") as userver:
                    load = Load(_RATE, window_s=3.0, warm_up_s=1.0, timeout_s=3.0, seed=turn)
                    summary = offer(lab, client, load, *flags)
                    userver.finish(10, ask=True)
                after = sample_host()
                elapsed_s = (after.at_ns - before.at_ns) / 1e9 * len(before.cpus)
                steal = cpu_seconds(before, after, tuple(before.cpus), ("steal",)) / elapsed_s
                window = summary["window"]
                costs[shaped].append(window["cpu_us"] / max(1, window["replies"]))
                print(
                    f"{'own links' if shaped else 'none     '}: {costs[shaped][-1]:.2f} µs of CPU a connection, "
                    f"{window['replies_per_s']:,.0f} replies/s, {window['open_mean']:,.0f} open, "
                    f"steal {steal:.1%}, {summary['engine_counters'].get('links', '')}",
                    flush=True,
                )
    ratio = median(own / none for own, none in zip(costs[True], costs[False], strict=True))
    return [Outcome("CPU a connection, 10,000 hosts with a link each ÷ none", ratio, "×", 1.3, at_least=False)]


def _kinds() -> list[AccessLink]:
    """Delay, jitter, loss and rate in all directions, each number another in each kind."""
    return [
        AccessLink(
            name=str(number),
            share=1 / _KINDS,
            shape=LinkShape(
                down=Shape(
                    delay_us=10_000 + number,
                    jitter_us=1_000 + number % 997,
                    loss_percent=0.1,
                    rate_bps=5_000_000 + 1_000 * number,
                    limit_pkts=200,
                ),
                up=Shape(delay_us=10_000 + 2 * number, loss_percent=0.1, rate_bps=1_000_000 + 100 * number),
            ),
        )
        for number in range(_KINDS)
    ]
