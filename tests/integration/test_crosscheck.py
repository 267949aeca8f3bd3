"""The load generator beside the real httperf: at rates that both carry, what they count must be the same."""

from __future__ import annotations

import uuid

import pytest

from testbed.engine import crosscheck
from testbed.engine.lab import Lab
from testbed.runtime.base import Runtime


def test_both_engines_count_what_httperf_counts(docker_engine: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crosscheck, "ROUNDS", 1)
    monkeypatch.setattr(crosscheck, "SECONDS", 1)
    with Lab(name=f"t-cross-{uuid.uuid4().hex[:8]}", runtime=docker_engine) as lab:
        rows = crosscheck.crosscheck(lab, lambda row: None)
        assert "original" not in [made.name for made in docker_engine.made(lab.name)]
    assert [row.tool for row in rows[:3]] == ["httperf", "loadgen, socket engine", "loadgen, packet engine"]
    assert {row.workload for row in rows} == {"one-byte", "specweb99, 1 directories"}
    compared = crosscheck.compare(rows)
    assert len(compared) == 8
    assert {each.counts for each in compared} == {""}, "response times may differ on a busy machine, counts may not"
    assert all(row.replies > 50 and row.response_ms > 0 for row in rows)
    assert all(row.server_ms > 0 and row.client_ms > 0 for row in rows)
