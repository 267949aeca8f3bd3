"""The scripted world with links: sidecars in which linkem, iptables and ip answer as the real ones do."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from testbed.engine import point as point_life
from testbed.engine.lab import Lab
from testbed.engine.measured import HostSample
from testbed.engine.timeline import Timeline
from testbed.link.lab_links import LabLinks
from testbed.runtime.fake import Call, FakeRuntime
from tests.unit.scripted_world import World

Key = tuple[str, str]
_UNITS = {"us": 1_000, "ms": 1_000_000}


@dataclass
class LinkWorld(World):
    """``emulators``: (sidecar, queue) → what its linkem was told. ``rules``: (sidecar, table, words …); ``tables``:
    those that iptables was asked for. ``late_ns``: how late a change comes. ``drops``: how many
    packets the kernel drops before each time a linkem is asked. A change after which a linkem dies, or at
    which nobody answers, is chosen by ``dies`` and ``deaf``."""

    emulators: dict[Key, dict[str, str]] = field(default_factory=dict)
    rules: set[tuple[str, ...]] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    changes: list[tuple[int, str]] = field(default_factory=list)
    late_ns: int = 0
    drops: int = 0
    asked: int = 0
    dies: bool = False
    deaf: bool = False

    def lab(self, cpus: int = 2) -> Lab:
        """Its programs know where the nodes are once it is up."""
        made = super().lab(cpus)
        assert isinstance(made.runtime, FakeRuntime)
        self._made = made
        made.runtime.programs |= {
            "ip": self._ip,
            "cat": self._file,
            "linkem": self._linkem,
            "iptables-legacy": self._iptables,
        }
        return made

    def _ip(self, call: Call) -> Iterator[str]:
        addresses = self._made.placed.node(call.node.removesuffix("-link")).addresses.values()
        yield json.dumps(
            [{"ifname": f"eth{index}", "addr_info": [{"local": local}]} for index, local in enumerate(addresses)]
        )

    def _file(self, call: Call) -> Iterator[str]:
        """/proc/net/tcp, or what was put into the sidecar."""
        if call.command[1] == "/proc/net/ip_tables_names":
            yield from self.tables
            return
        if call.command[1].startswith(("/proc", "/sys")):
            yield from self._cat(call)
            return
        files = self._made.runtime.files(call.lab, call.node)  # type: ignore[attr-defined]  # the fake's own
        if call.command[1] not in files:
            call.status = 1
            return
        yield files[call.command[1]].decode()

    def _iptables(self, call: Call) -> Iterator[str]:
        words = list(call.command[3:])  # without the lock's
        table, action = words[1], words[2]
        assert action in ("-A", "-D", "-S")
        self.tables |= {table}
        rule = (call.node, table, *words[3:])
        if action == "-A":
            self.rules.add(rule)
        elif action == "-D":
            self.rules.remove(rule)
        else:
            yield from ("-A " + shlex.join(of[2:]) for of in sorted(self.rules) if of[:2] == (call.node, table))

    def _linkem(self, call: Call) -> Iterator[str]:
        words = call.command[1:]
        told = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=False))
        if "help" in told or words == ("--help",):
            return
        key, question = (call.node, told["queue"]), told.get("ask")
        if question is None:
            self.emulators[key] = told
            yield json.dumps({"type": "ready"})
            return
        if "at" in told:
            yield json.dumps({"type": "waiting", "now_ns": 0})
        if key not in self.emulators or (self.deaf and "at" in told):
            call.status = 1
            yield json.dumps({"type": "error", "message": "nobody answers on this queue"})
            return
        if question == "change":
            self.emulators[key] |= {name: value for name, value in told.items() if name not in ("ask", "at")}
        now_ns = int(told.get("at", "0")) + self.late_ns
        if "at" in told:
            self.changes.append((now_ns, told["loss"]))
        state = _state(self.emulators[key])
        self.asked += 1
        state |= {"pid": 1, "released": 0, "late_counts": []}
        state |= {"kernel_dropped_full": self.drops * self.asked, "kernel_dropped_unread": 0, "failed_copies": 0}
        if question == "stop" or (self.dies and "at" in told):
            del self.emulators[key]
        yield json.dumps({"type": "state", "now_ns": now_ns, **state})


def quiet_link_world(monkeypatch: pytest.MonkeyPatch) -> LinkWorld:
    """One in which points take no time: nothing is waited for, and links, which carry no packets here, measure well."""
    monkeypatch.setattr(point_life, "_START_MARGIN_S", 0.0)
    monkeypatch.setattr(Timeline, "arming_s", 0.0)
    monkeypatch.setattr(Timeline, "measure", lambda self: None)
    monkeypatch.setattr(LabLinks, "test", lambda *_: [])
    still = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), 0.0)
    monkeypatch.setattr(
        point_life, "sample_host", lambda: HostSample(time.monotonic_ns(), {0: still, 1: still}, 0.0, 0.0, 0)
    )
    return LinkWorld()


def _state(told: dict[str, str]) -> dict[str, Any]:
    shares = {name: float(told[name]) for name in ("correlation", "loss", "duplicate", "reorder", "corrupt")}
    times = {f"{name}_ns": int(told[name][:-2]) * _UNITS[told[name][-2:]] for name in ("delay", "jitter")}
    counts = {"rate_bps": "rate", "burst_bytes": "burst", "limit": "limit", "seed": "seed"}
    shape = {**shares, **times, **{name: int(told[flag]) for name, flag in counts.items()}}
    bursts = {"bursts": False, **dict.fromkeys(("to_bad", "to_good", "bad_loss", "good_loss"), 0.0)}
    return {"label": told["label"], "shape": {**shape, **bursts, "distribution": told["distribution"]}}
