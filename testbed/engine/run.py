"""Runs a scenario in a lab and writes every point as it ends."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from testbed.engine import point as point_life
from testbed.engine.calibration import find_rates
from testbed.engine.lab import Lab
from testbed.engine.provenance import host_facts
from testbed.engine.recording import record_of
from testbed.engine.sweep import Point, points
from testbed.engine.timeline import Timeline, put_back_unfinished
from testbed.engine.under_test.base import by_kind
from testbed.engine.watched_links import WatchedLinks
from testbed.errors import PointsFailed, ProgramError, RunError, UsageError
from testbed.model.manifest import Manifest
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.model.server import Server
from testbed.store.reading import Run, read_run
from testbed.store.writing import append_record, new_run_folder, write_manifest

_GIVE_UP_AFTER = 3
"""Points in a row that failed outright: the world is broken, and each further one costs its time-outs."""


class Observer(Protocol):
    """Hears of a run as it goes. All methods are called from the thread that runs it, never inside a window."""

    def calibrated(self, text: str) -> None:
        """A server's knee, where rates are automatic; before the run starts."""
        ...

    def links_put_back(self) -> None:
        """A run that was killed had left links changed; they are as declared again."""
        ...

    def run_started(self, folder: Path, todo: int) -> None:
        """Before the first point."""
        ...

    def server_skipped(self, label: str, reason: str) -> None:
        """A mechanism that the kernel or the engine's seccomp profile refuses."""
        ...

    def point_started(self, point: Point) -> None:
        """Before a point."""
        ...

    def point_done(self, record: Record) -> None:
        """After a point, when its line is on the disk."""
        ...

    def point_failed(self, point: Point, error: ProgramError) -> None:
        """A point that left no record. ``--resume`` runs it again."""
        ...


class Silent:
    """An observer that says nothing."""

    def calibrated(self, text: str) -> None:
        """Nothing."""

    def links_put_back(self) -> None:
        """Nothing."""

    def run_started(self, folder: Path, todo: int) -> None:
        """Nothing."""

    def server_skipped(self, label: str, reason: str) -> None:
        """Nothing."""

    def point_started(self, point: Point) -> None:
        """Nothing."""

    def point_done(self, record: Record) -> None:
        """Nothing."""

    def point_failed(self, point: Point, error: ProgramError) -> None:
        """Nothing."""


def profile_of(scenario: Scenario, name: str) -> Profile:
    """A scenario's profile by name. Raises UsageError that lists what there is."""
    if name not in scenario.profiles:
        raise UsageError(f"scenario {scenario.name} has no profile {name!r}: one of {', '.join(scenario.profiles)}")
    return scenario.profiles[name]


def run(
    scenario: Scenario,
    lab: Lab,
    *,
    profile: str = "quick",
    seed: int = 1,
    results: Path = Path("results"),
    resume: Path | None = None,
    retry_invalid: bool = False,
    observer: Observer | None = None,
) -> Run:
    """Run a scenario in a lab that is up; returns the run as read back from its folder.

    ``resume`` is the folder of a run to go on with: points that have a record there are not run again, unless
    ``retry_invalid`` and their verdict is not valid. Raises UsageError for a mechanism that the server does not have or
    a timeline that the lab cannot follow, and PointsFailed when points failed outright, twice (the others are on the
    disk).
    """
    observer = observer or Silent()
    scenario = scenario.in_profile(profile)
    chosen = profile_of(scenario, profile)
    if put_back_unfinished(lab):
        observer.links_put_back()
    with Timeline(lab, scenario.timeline) as timeline:
        timeline.measure()
        links = WatchedLinks(lab, timeline, scenario.access)
        skipped = _unavailable(lab, scenario)
        if not chosen.rates_per_s:
            chosen = _with_rates(lab, scenario, skipped, chosen, seed, resume, observer)
        if resume is None:
            folder = new_run_folder(results, scenario.name)
            write_manifest(folder, _manifest(folder, scenario, lab, profile, chosen, seed, skipped, links))
            done: set[str] = set()
        else:
            folder = resume
            done = _finished(read_run(resume), scenario, chosen, seed, retry_invalid)
        todo = [
            point
            for point in points(scenario, chosen, seed)
            if point.key not in done and point.server.label not in skipped
        ]
        observer.run_started(folder, len(todo))
        for label, reason in skipped.items():
            observer.server_skipped(label, reason)
        try:
            _measure_all(folder, todo, scenario, chosen, lab, seed, observer, links)
        except UsageError:
            if resume is None and not read_run(folder).records:
                shutil.rmtree(folder)  # refused before the first point: nothing is left half-made
            raise
    return read_run(folder)


def _with_rates(
    lab: Lab,
    scenario: Scenario,
    skipped: dict[str, str],
    profile: Profile,
    seed: int,
    resume: Path | None,
    observer: Observer,
) -> Profile:
    """A profile of automatic rates with the rates that were found: now, or when the run to resume was started."""
    if resume is not None:
        return profile.model_copy(update={"rates_per_s": tuple(read_run(resume).manifest.profile["rates_per_s"])})
    servers = tuple(server for server in scenario.servers if server.label not in skipped)
    with _prepared(lab, scenario, servers, seed):
        rates = find_rates(lab, scenario.model_copy(update={"servers": servers}), seed, observer.calibrated)
    return profile.model_copy(update={"rates_per_s": rates})


@contextmanager
def _prepared(lab: Lab, scenario: Scenario, servers: tuple[Server, ...], seed: int) -> Iterator[None]:
    """Files and nodes in place that the points need; what was added to the lab goes away again."""
    with ExitStack() as stack:
        for kind, own in by_kind(servers):
            stack.callback(kind.clean_up, lab, own)
            kind.prepare(lab, scenario, own)
        point_life.prepare(lab, scenario, seed)
        yield


def _measure_all(
    folder: Path,
    todo: list[Point],
    scenario: Scenario,
    profile: Profile,
    lab: Lab,
    seed: int,
    observer: Observer,
    links: WatchedLinks,
) -> None:
    if not todo:
        return
    with _prepared(lab, scenario, tuple({point.server.label: point.server for point in todo}.values()), seed):
        failed = _measure_each(folder, todo, scenario, profile, lab, seed, observer, links)
        if failed:  # once more at the end: a busy machine may have starved one program at one point
            failed = _measure_each(folder, failed, scenario, profile, lab, seed, observer, links)
    if failed:
        what = f"{len(failed)} of {len(todo)} points failed; go on with: testbed run … --resume {folder}"
        raise PointsFailed(what, folder)


def _measure_each(
    folder: Path,
    todo: list[Point],
    scenario: Scenario,
    profile: Profile,
    lab: Lab,
    seed: int,
    observer: Observer,
    links: WatchedLinks,
) -> list[Point]:
    """Measure and write the points; returns those that failed outright."""
    failed: list[Point] = []
    in_a_row = 0
    for point in todo:
        observer.point_started(point)
        try:
            seen = point_life.observe(lab, scenario, profile, point, seed, links.timeline)
            record = links.judged(record_of(scenario, point, seen))
        except ProgramError as error:
            observer.point_failed(point, error)
            failed.append(point)
            in_a_row += 1
            if in_a_row == _GIVE_UP_AFTER:
                raise RunError(f"gave up: {in_a_row} points in a row failed, the last with: {error}") from error
            continue
        in_a_row = 0
        append_record(folder, record)
        observer.point_done(record)
    return failed


def _unavailable(lab: Lab, scenario: Scenario) -> dict[str, str]:
    """Servers of the scenario that cannot run here, with the reason."""
    skipped: dict[str, str] = {}
    for kind, servers in by_kind(scenario.servers):
        skipped.update(kind.unavailable(lab, servers))
    if len(skipped) == len(scenario.servers):
        raise RunError("none of the scenario's servers can run here: " + "; ".join(map(": ".join, skipped.items())))
    return skipped


def _finished(before: Run, scenario: Scenario, profile: Profile, seed: int, retry_invalid: bool) -> set[str]:
    """Keys of the points that need not run again. Raises UsageError if the run there is another experiment."""
    manifest = before.manifest
    for what, there, now in (
        ("scenario", _measured(manifest.scenario), _measured(scenario.described())),
        ("profile", manifest.profile, profile.model_dump(mode="json")),
        ("seed", manifest.seed, seed),
    ):
        if there != now:
            raise UsageError(f"{before.folder} holds another {what}: a run is resumed with what it was started with")
    return {record.point for record in before.latest() if not (retry_invalid and record.verdict is not Verdict.VALID)}


def _measured(scenario: dict[str, Any]) -> dict[str, Any]:
    """What decides what is measured: claims only judge it, and may have changed since."""
    return {name: value for name, value in scenario.items() if name != "claims"}


def _manifest(
    folder: Path,
    scenario: Scenario,
    lab: Lab,
    name: str,
    profile: Profile,
    seed: int,
    skipped: dict[str, str],
    links: WatchedLinks,
) -> Manifest:
    return Manifest(
        run=folder.name,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        testbed_version=version("testbed"),
        scenario=scenario.described(),
        profile_name=name,
        profile=profile.model_dump(mode="json"),
        seed=seed,
        topology=lab.placed.model_dump(mode="json"),
        paths=dataclasses.asdict(lab.paths),
        runtime={"name": lab.runtime.name, **lab.runtime.describe()},
        host=host_facts(),
        programs={node.name: node.node.image for node in lab.placed.nodes},
        skipped=skipped,
        links=tuple(report.model_dump(mode="json") for report in links.reports),
        command=tuple(sys.argv),
    )
