"""Records and runs for tests that need some without measuring anything."""

from __future__ import annotations

from pathlib import Path

from testbed.model.link_report import LinkReport, Measured, Share
from testbed.model.manifest import Manifest
from testbed.model.profiles import PROFILES
from testbed.model.record import Errors, Quantiles, Record, Verdict
from testbed.model.scenario import Scenario
from testbed.model.server import mechanisms
from testbed.model.shape import Shape
from testbed.store.reading import Run, read_run
from testbed.store.writing import append_record, new_run_folder, write_manifest
from testbed.workload.one_byte import OneByte

SCENARIO = Scenario(
    name="example",
    title="An example",
    sentence="It is one.",
    servers=mechanisms("select", "epoll-lt"),
    workload=OneByte(),
    profiles=PROFILES,
)


def record(
    label: str = "select",
    rate: float = 1000.0,
    replies: float = 990.0,
    verdict: Verdict = Verdict.VALID,
    repetition: int = 1,
) -> Record:
    """A record with the given essentials."""
    return Record(
        point=f"{label} @ {rate:g}/s, 0 idle #{repetition}",
        label=label,
        server={"kind": "userver", "mechanism": label},
        mechanism=label,
        accept_limit=None,
        workload="one-byte",
        offered_per_s=rate,
        repetition=repetition,
        sent_per_s=rate,
        replies_per_s=replies,
        errors=Errors(),
        response_ms=Quantiles(p50=1.0, p90=2.0, p99=3.0, max=4.0),
        server_cpu_us_per_reply=20.0,
        idle_connections=0,
        idle_connections_minimum=0,
        verdict=verdict,
        reasons=() if verdict is Verdict.VALID else ("because",),
        evidence={},
        raw={},
    )


def manifest(run: str = "20260101T000000-abcdef") -> Manifest:
    """A manifest of the example scenario."""
    return Manifest(
        run=run,
        started_at="2026-01-01T00:00:00+00:00",
        testbed_version="0",
        scenario=SCENARIO.described(),
        profile_name="quick",
        profile=PROFILES["quick"].model_dump(mode="json"),
        seed=1,
        topology={},
        paths={"switched": True, "steered": True, "reason": ""},
        runtime={"name": "fake"},
        host={},
        programs={},
        command=("testbed", "run"),
    )


def saved_run(results: Path, *records: Record) -> Run:
    """A run on the disk with these records, read back."""
    folder = new_run_folder(results, SCENARIO.name)
    write_manifest(folder, manifest(folder.name))
    for each in records:
        append_record(folder, each)
    return read_run(folder)


def link_report(verdict: str) -> LinkReport:
    """A report of that verdict, of a link that nobody has."""
    share = Share(count=0, of=10, low_percent=0, high_percent=1)
    measured = dict.fromkeys(Measured.model_fields, 0.0) | {
        "probes": 10,
        "overtaken": 0,
        **dict.fromkeys(("lost", "duplicated", "corrupted", "early"), share),
    }
    return LinkReport.model_validate(
        {
            **dict.fromkeys(("node", "network", "via", "backend"), "x"),
            "node": "access wan",
            "direction": "up",
            **dict.fromkeys(("declared", "read_back", "beside"), Shape()),
            "measured": measured,
            "verdict": verdict,
            "deviations": () if verdict == "as declared" else ("delay 9ms, declared 5ms",),
        }
    )
