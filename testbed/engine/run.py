"""Runs a scenario in a lab and writes every point as it ends."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from testbed.engine import lab_state
from testbed.engine import point as point_life
from testbed.engine.calibration import find_rates
from testbed.engine.lab import Lab
from testbed.engine.program_names import check_arrival
from testbed.engine.programs import programs_of
from testbed.engine.provenance import host_facts
from testbed.engine.recording import record_of
from testbed.engine.resuming import check_same
from testbed.engine.sweep import Point, points
from testbed.engine.timeline import Timeline, put_back_unfinished
from testbed.engine.under_test.base import by_kind
from testbed.engine.watched_links import WatchedLinks
from testbed.errors import PointsFailed, ProgramError, RunError, UsageError
from testbed.model.link_report import LinkReport
from testbed.model.manifest import Manifest
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.store.reading import Run, has_points, read_run
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

    def links_measured(self, reports: Sequence[LinkReport]) -> None:
        """The shaped links, each direction with its backend and what was found; () where none is shaped."""
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

    def links_measured(self, reports: Sequence[LinkReport]) -> None:
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


@dataclass(frozen=True)
class _Job:
    """What a run measures, where, and who hears of it. ``skipped``: servers that cannot run here, with the reason."""

    scenario: Scenario
    profile_name: str
    profile: Profile
    seed: int
    lab: Lab
    links: WatchedLinks
    skipped: dict[str, str]
    observer: Observer

    def points(self) -> list[Point]:
        """All points that can be measured here."""
        every = points(self.scenario, self.profile, self.seed)
        return [point for point in every if point.server.label not in self.skipped]

    def with_rates(self, rates_per_s: Sequence[float]) -> _Job:
        """The job with rates for automatic ones."""
        return dataclasses.replace(
            self, profile=self.profile.model_copy(update={"rates_per_s": tuple(map(float, rates_per_s))})
        )

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Files and nodes in place that the points need; what was added to the lab goes away again."""
        servers = tuple(server for server in self.scenario.servers if server.label not in self.skipped)
        with ExitStack() as stack:
            for kind, own in by_kind(servers):
                stack.callback(kind.clean_up, self.lab, own)
                kind.prepare(self.lab, self.scenario, own)
            point_life.prepare(self.lab, self.scenario, self.seed)
            yield


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
    ``retry_invalid`` and their verdict is not valid. Raises UsageError for a mechanism that the server does not have,
    a timeline that the lab cannot follow, a lab that another process measures in, and a run to resume that was made of
    or with something else; PointsFailed when points failed outright, twice (the others are on the disk). A new run
    that ends before its first record leaves nothing.
    """
    observer = observer or Silent()
    scenario = scenario.in_profile(profile)
    chosen = profile_of(scenario, profile)
    check_arrival(scenario)
    with lab_state.in_use(lab.name):
        if put_back_unfinished(lab):
            observer.links_put_back()
        with Timeline(lab, scenario.timeline) as timeline:
            timeline.measure()
            links = WatchedLinks(lab, timeline, scenario.access)
            observer.links_measured(links.reports)
            skipped = _unavailable(lab, scenario)
            for label, reason in skipped.items():
                observer.server_skipped(label, reason)
            job = _Job(scenario, profile, chosen, seed, lab, links, skipped, observer)
            if resume is not None:
                _go_on(job, resume, retry_invalid)
                return read_run(resume)
            return read_run(_begin(job, results))


def _begin(job: _Job, results: Path) -> Path:
    """Measure all points into a new folder; returns it."""
    with job.prepared():
        if not job.profile.rates_per_s:
            servers = tuple(server for server in job.scenario.servers if server.label not in job.skipped)
            tried = job.scenario.model_copy(update={"servers": servers})
            job = job.with_rates(find_rates(job.lab, tried, job.profile, job.seed, job.observer.calibrated))
        folder = new_run_folder(results, job.scenario.name)
        try:
            write_manifest(folder, _manifest(job, folder))
            _measure_all(job, folder, job.points())
        except BaseException:
            if not has_points(folder):
                shutil.rmtree(folder)  # a run without a point says nothing, and would pass for the newest
            raise
    return folder


def _go_on(job: _Job, folder: Path, retry_invalid: bool) -> None:
    """Measure the points that a run lacks. What decides their numbers is compared before and, for servers that have a
    container of their own, once these stand."""
    before = read_run(folder)
    if not job.profile.rates_per_s:
        job = job.with_rates(before.manifest.profile["rates_per_s"])
    check_same(folder, before.manifest, _manifest(job, folder))
    done = {record.point for record in before.latest() if not (retry_invalid and record.verdict is not Verdict.VALID)}
    todo = [point for point in job.points() if point.key not in done]
    if not todo:
        job.observer.run_started(folder, 0)
        return
    with job.prepared():
        now = _manifest(job, folder)
        check_same(folder, before.manifest, now)
        going_on = {"at": now.started_at, "command": list(now.command), "links": list(now.links)}
        resumed = (*before.manifest.resumed, going_on)
        write_manifest(folder, before.manifest.model_copy(update={"resumed": resumed}))
        _measure_all(job, folder, todo)


def _measure_all(job: _Job, folder: Path, todo: list[Point]) -> None:
    job.observer.run_started(folder, len(todo))
    failed = _measure_each(job, folder, todo)
    if failed:  # once more at the end: a busy machine may have starved one program at one point
        failed = _measure_each(job, folder, [point for point, _ in failed])
    if failed:
        what = f"{len(failed)} of {len(todo)} points failed, the last with: {failed[-1][1]}"
        if not has_points(folder):
            raise RunError(what)
        raise PointsFailed(f"{what}; go on with: testbed run … --resume {folder}", folder)


def _measure_each(job: _Job, folder: Path, todo: list[Point]) -> list[tuple[Point, ProgramError]]:
    """Measure and write the points; returns those that failed outright, with why."""
    failed: list[tuple[Point, ProgramError]] = []
    in_a_row = 0
    for point in todo:
        job.observer.point_started(point)
        try:
            seen = point_life.observe(job.lab, job.scenario, job.profile, point, job.seed, job.links.timeline)
            record = job.links.judged(record_of(job.scenario, point, seen))
        except ProgramError as error:
            job.observer.point_failed(point, error)
            failed.append((point, error))
            in_a_row += 1
            if in_a_row == _GIVE_UP_AFTER:
                raise RunError(f"gave up: {in_a_row} points in a row failed, the last with: {error}") from error
            continue
        in_a_row = 0
        append_record(folder, record)
        job.observer.point_done(record)
    return failed


def _unavailable(lab: Lab, scenario: Scenario) -> dict[str, str]:
    """Servers of the scenario that cannot run here, with the reason."""
    skipped: dict[str, str] = {}
    for kind, servers in by_kind(scenario.servers):
        skipped.update(kind.unavailable(lab, servers))
    if len(skipped) == len(scenario.servers):
        raise RunError("none of the scenario's servers can run here: " + "; ".join(map(": ".join, skipped.items())))
    return skipped


def _manifest(job: _Job, folder: Path) -> Manifest:
    lab = job.lab
    return Manifest(
        run=folder.name,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        testbed_version=version("testbed"),
        scenario=job.scenario.described(),
        profile_name=job.profile_name,
        profile=job.profile.model_dump(mode="json"),
        seed=job.seed,
        topology=lab.placed.model_dump(mode="json"),
        paths=dataclasses.asdict(lab.paths),
        runtime={"name": lab.runtime.name, **lab.runtime.describe()},
        host=host_facts(),
        programs=programs_of(lab),
        skipped=job.skipped,
        links=tuple(report.model_dump(mode="json") for report in job.links.reports),
        command=tuple(sys.argv),
    )
