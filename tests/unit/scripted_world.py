"""A lab in memory whose programs say what a test wants: everything above the runtimes runs without an engine."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from testbed.engine import point as point_life
from testbed.engine.lab import Lab
from testbed.engine.measured import HostSample
from testbed.model.record import Errors
from testbed.runtime.fake import Call, FakeRuntime, Script

NO_ERRORS = dict.fromkeys(Errors.model_fields, 0)
COUNTERS = dict.fromkeys(("frames_sent", "frames_received", "ring_drops", "send_drops", "not_understood"), 0)
_DIRECTION = {"frames": 100, "lost": 1, "overflowed": 0, "duplicated": 0, "corrupted": 0, "no_room": 0}
LINKS = {"down": _DIRECTION, "up": _DIRECTION, "held_max": 9, "late": 2, "very_late": 0, "late_max_us": 1500}
WAITING = '{"type": "waiting"}'


def histogram(*values: int) -> dict[str, Any]:
    """As the programs write one (values below 2048 have buckets of their own)."""
    buckets = [[value, values.count(value)] for value in sorted(set(values))]
    return {"count": len(values), "max": max(values, default=0), "sum": sum(values), "buckets": buckets}


def measuring(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which points take no time, on a machine on which nothing else runs."""
    monkeypatch.setattr(point_life, "_START_MARGIN_S", 0.0)
    still = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0.0)
    monkeypatch.setattr(
        point_life, "sample_host", lambda: HostSample(time.monotonic_ns(), {0: still, 1: still}, 0.0, 0.0, 0)
    )
    return World()


@dataclass
class World:
    """What the programs will say; a test changes it before it runs something. ``commands``: those that were started."""

    mechanisms: dict[str, str] = field(default_factory=lambda: {"select": "ok", "poll": "ok", "epoll-lt": "ok"})
    told_late: bool = False
    idle_lost: int = 0
    idles_come_up: bool = True
    sent_share: float = 1.0
    most_sent_per_s: float = math.inf
    most_replies_per_s: dict[str, float] = field(default_factory=lambda: defaultdict(lambda: math.inf))
    lateness_ns: int = 5
    errors: dict[str, int] = field(default_factory=dict)
    fail_servers: int = 0
    cached_files: int = 1
    cached_bytes: int = 1
    root_bytes: int = 1_000_000
    carrier_changes: int = 2
    flaps: int = 0
    closing_sockets: int = 0
    most_connections: int = 1_000_000
    lost_answers: int = 0
    unshaped: bool = False
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    preferred: list[bool] = field(default_factory=list)

    def lab(self, cpus: int = 2) -> Lab:
        """A lab that is not up yet, on so many CPUs, in a runtime with these programs."""
        programs = {"userver": self._server, "loadgen": self._client, "idleconn": self._idle, "cat": self._cat}
        programs |= {"df": self._df, "sh": partial(self._shell, programs)}
        return Lab(name="scripted", runtime=FakeRuntime(programs, cpus))

    def _note(self, call: Call) -> None:
        self.commands.append((call.node, call.command))

    def _shell(self, programs: Mapping[str, Script], call: Call) -> Iterator[str]:
        """The launcher's: it starts what it is told. Others have nothing to do here."""
        while "testbed-launcher" in call.command[-1] and "USR2" not in call.signals:
            if not call.told:
                yield WAITING
                continue
            inner = Call(
                call.lab,
                call.node,
                tuple(call.told.pop(0).removeprefix("testbed-launcher: launch ").split()),
                b"",
                call.signals,
                call.told,
            )
            inner.preferred = call.preferred
            for line in programs[inner.command[0]](inner):
                if "USR2" in call.signals:
                    return
                yield line
            call.stderr += inner.stderr
            call.signals.clear()
            yield f"testbed-launcher: ended {inner.status}"

    def _server(self, call: Call) -> Iterator[str]:
        if "--list-mechs" in call.command:
            if self._answer_is_lost():
                return
            for name, state in self.mechanisms.items():
                yield f"{name} {state}"
            return
        self._note(call)
        if self.fail_servers:
            self.fail_servers -= 1
            call.status, call.stderr = 1, "bind: address in use"
            yield json.dumps({"type": "error", "message": "cannot bind"})
            return
        counters = {"replies": 0, "cpu_user_us": 0, "cpu_system_us": 0, "run_delay_us": 0}
        most = min(self.most_connections, int(call.command[call.command.index("--max-connections") + 1]))
        ready = {"cached_files": self.cached_files, "cached_bytes": self.cached_bytes, "max_connections": most}
        yield json.dumps({"type": "ready", **ready})
        while "TERM" not in call.signals:
            if "USR1" in call.signals:
                call.signals.remove("USR1")
                yield json.dumps({"type": "interval", **counters})
                counters = {"replies": 1000, "cpu_user_us": 5_000, "cpu_system_us": 15_000, "run_delay_us": 1_000}
            else:
                yield WAITING
        yield json.dumps({"type": "summary", **counters})

    def _idle(self, call: Call) -> Iterator[str]:
        self._note(call)
        count = int(call.command[call.command.index("--connections") + 1])
        while not self.idles_come_up:
            yield WAITING
        yield json.dumps({"type": "ready", "established": count})
        while "TERM" not in call.signals:
            yield WAITING
        least = {"minimum_established": count - self.idle_lost}
        yield json.dumps({"type": "summary", **least, "engine_counters": COUNTERS, "cpu_us": 1})

    def _client(self, call: Call) -> Iterator[str]:
        self._note(call)
        rate = float(call.command[call.command.index("--rate") + 1])
        assert call.command[call.command.index("--start-at") + 1] == "stdin"
        yield json.dumps({"type": "ready", "now_ns": 1})
        while not call.told:
            yield WAITING
        self.preferred.append(call.preferred)
        mechanism = next(c[c.index("--mech") + 1] for _, c in reversed(self.commands) if c[0] == "userver")
        start_ns = int(call.told.pop(0))
        yield json.dumps({"type": "told", "now_ns": start_ns + (1 if self.told_late else -1)})
        sent_per_s = min(rate * self.sent_share, self.most_sent_per_s / 8)
        window = {
            "seconds": 1.0,
            "intended": rate,
            "sent_per_s": sent_per_s,
            "requests_wanted": sent_per_s,
            "requests": 0.9 * sent_per_s,
            "replies": 125,
            "replies_per_s": min(sent_per_s, self.most_replies_per_s[mechanism] / 8),
            "errors": {**NO_ERRORS, **self.errors},
            "response_ns": histogram(1000, 2000),
            "lateness_ns": histogram(self.lateness_ns),
            "max_burst": 1,
            "cpu_us": 10,
            "open_mean": 3.0,
            "open_max": 5,
            "established_mean": 2.0,
            "established_max": 4,
        }
        ended_ns = start_ns + 20_000_000
        yield json.dumps(
            {"type": "interval", "now_ns": start_ns + 5_000_000, "started": 60, "replies": 50, "errors": 0}
        )
        counters = {**COUNTERS, "links": LINKS} if "--links" in call.command and not self.unshaped else COUNTERS
        whole = {"now_ns": ended_ns, "attempted": 130, "replies": 125, "errors": window["errors"]}
        yield json.dumps({"type": "summary", **whole, "window": window, "engine_counters": counters})

    def _answer_is_lost(self) -> bool:
        """As a busy engine loses it: all of it, and the command ends well."""
        self.lost_answers -= 1
        return self.lost_answers >= 0

    def _df(self, call: Call) -> Iterator[str]:
        if self._answer_is_lost():
            return
        yield "Filesystem     1024-blocks  Used Available Capacity Mounted on"
        yield f"tmpfs             {self.root_bytes // 1024}     0         0       0% /srv"

    def _cat(self, call: Call) -> Iterator[str]:
        if "carrier_changes" not in call.command[1] or self._answer_is_lost():
            return
        for _ in range(sum("carrier_changes" in file for file in call.command) - 1):
            yield "7"
        yield str(self.carrier_changes)
        self.carrier_changes += self.flaps
        for sockets in (["0A"], ["0A", "06", *["04"] * self.closing_sockets]):
            yield "  sl  local_address rem_address   st"
            for number, state in enumerate(sockets):
                yield f"   {number}: 00000000:0050 00000000:0000 {state}"
