"""Runs from start to end in a scripted world: records, verdicts, resuming, and every way for a point to go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.analysis.claims import judge_claims
from testbed.engine.lab import Lab
from testbed.engine.run import Silent, run
from testbed.engine.sweep import Point
from testbed.errors import EnvironmentLack, PointsFailed, ProgramError, RunError, UsageError
from testbed.model.claim import Outcome, compared
from testbed.model.manifest import NodeProgram
from testbed.model.record import Record, Verdict
from testbed.model.scenario import Profile, Scenario
from testbed.workload.specweb99 import SpecWeb99
from testbed.workload.trace import Trace
from tests.unit.records import SCENARIO
from tests.unit.scripted_world import World, measuring

FAST = Profile(rates_per_s=(1000, 2000), warm_up_s=0, window_s=0.01, client_timeout_s=0.1)


def scenario(**changes: object) -> Scenario:
    """The example scenario with a profile that takes no time."""
    return SCENARIO.model_copy(update={"profiles": {"quick": FAST}, **changes})


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Programs from the script, and a machine on which nothing else runs."""
    return measuring(monkeypatch)


@pytest.fixture
def lab(world: World) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


def test_every_point_is_recorded_with_its_rates_cost_and_response(world: World, lab: Lab, tmp_path: Path) -> None:
    done = run(scenario(), lab, results=tmp_path)
    assert done.folder.parent == tmp_path / "example"
    assert {(r.mechanism, r.offered_per_s) for r in done.records} == {
        (m, r) for m in ("select", "epoll-lt") for r in (1000, 2000)
    }
    for record in done.records:
        assert record.replies_per_s == pytest.approx(record.offered_per_s)
        assert record.sent_per_s == pytest.approx(record.offered_per_s)
        assert record.requests_per_s == pytest.approx(0.9 * record.offered_per_s)
        assert record.server_cpu_us_per_reply == pytest.approx(20.0)
        assert record.response_ms.max == pytest.approx(0.002)
        assert len(record.raw["clients"]) == 8
        assert record.verdict is Verdict.VALID, record.reasons
    manifest = done.manifest
    assert manifest.runtime["name"] == "fake"
    assert manifest.paths["switched"] is False
    assert manifest.topology["lab"] == "scripted"
    assert manifest.labels == ("select", "epoll-lt")


def test_the_programs_are_told_what_the_scenario_says(world: World, lab: Lab, tmp_path: Path) -> None:
    run(scenario(idle_connections=101, max_connections=900), lab, results=tmp_path, seed=5)
    started = {node: " ".join(command) for node, command in world.commands}
    assert "--backlog 128 --accept-limit inf --max-connections 900" in started["server"]
    assert "--connections 51" in started["idle0"]
    assert "--connections 50" in started["idle1"]
    rates = {float(c[c.index("--rate") + 1]) for node, c in world.commands if node.startswith("client")}
    assert rates == {125.0, 250.0}
    seeds = [c[c.index("--seed") + 1] for node, c in world.commands if node.startswith("client")]
    assert len(set(seeds)) == 16  # eight clients at two rates; both servers face the same arrivals
    documents = lab.runtime.files("scripted", "server")  # type: ignore[attr-defined]  # the fake's own
    assert documents["/srv/1.bin"] == b"x"


@pytest.mark.parametrize(("cpus", "first"), [(2, True), (1, False)])
def test_clients_go_before_others_only_where_the_server_has_a_cpu_of_its_own(
    world: World, tmp_path: Path, cpus: int, first: bool
) -> None:
    with world.lab(cpus) as lab:
        run(scenario(), lab, results=tmp_path)
    assert set(world.preferred) == {first}


def test_idle_populations_are_swept_over(world: World, lab: Lab, tmp_path: Path) -> None:
    done = run(scenario(idle_connections=(0, 10)), lab, results=tmp_path)
    assert len(done.records) == 8
    assert {r.idle_connections for r in done.records} == {0, 10}
    assert {r.idle_connections_minimum for r in done.records} == {0, 10}


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({"told_late": True}, Verdict.INVALID, "8 clients were not ready"),
        ({"sent_share": 0.9}, Verdict.CLIENT_LIMITED, "sent 90.0%"),
        ({"lateness_ns": 20_000_000}, Verdict.CLIENT_LIMITED, "ms late"),
        ({"errors": {"ftab_full": 1}}, Verdict.CLIENT_LIMITED, "8 starts found"),
        ({"errors": {"fd_unavail": 1}}, Verdict.SUSPECT, "8 fd_unavail"),
        ({"idle_lost": 1}, Verdict.INVALID, "only 8 of 10"),
    ],
)
def test_what_went_wrong_is_in_the_verdict(
    world: World, lab: Lab, tmp_path: Path, change: dict[str, object], verdict: Verdict, reason: str
) -> None:
    for name, value in change.items():
        setattr(world, name, value)
    done = run(scenario(idle_connections=10), lab, results=tmp_path)
    assert {record.verdict for record in done.records} == {verdict}
    assert reason in "; ".join(done.records[0].reasons)


def test_an_unknown_mechanism_is_refused_before_anything_is_written(world: World, lab: Lab, tmp_path: Path) -> None:
    del world.mechanisms["select"]
    with pytest.raises(UsageError, match="unknown mechanism 'select': one of poll, epoll-lt"):
        run(scenario(), lab, results=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_mechanism_is_skipped_by_name_and_never_replaced(world: World, lab: Lab, tmp_path: Path) -> None:
    world.mechanisms["select"] = "unavailable: Operation not permitted"
    done = run(scenario(), lab, results=tmp_path)
    assert {r.mechanism for r in done.records} == {"epoll-lt"}
    assert done.manifest.skipped == {"select": "Operation not permitted"}


def test_a_run_of_nothing_but_refused_mechanisms_fails(world: World, lab: Lab, tmp_path: Path) -> None:
    world.mechanisms = dict.fromkeys(world.mechanisms, "unavailable: no")
    with pytest.raises(RunError, match="none of the scenario's servers can run here: select: no; epoll-lt: no"):
        run(scenario(), lab, results=tmp_path)


class Spoiling(Silent):
    """Fails the server's starts that follow the third good point: those of a point that failed before."""

    def __init__(self, world: World) -> None:
        self.world, self.good, self.failed = world, 0, 0

    def point_done(self, record: Record) -> None:
        self.good += 1
        if self.good == 3:
            self.world.fail_servers = 1

    def point_failed(self, point: Point, error: ProgramError) -> None:
        self.failed += 1


def test_a_failed_point_is_tried_once_more(world: World, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 1
    done = run(scenario(), lab, results=tmp_path)
    assert len(done.latest()) == 4


def test_a_point_that_fails_twice_is_named_the_others_stand_and_resume_runs_it(
    world: World, lab: Lab, tmp_path: Path
) -> None:
    world.fail_servers = 1
    observer = Spoiling(world)
    said = r"1 of 4 points failed, .*cannot bind .*; go on with: testbed run … --resume"
    with pytest.raises(PointsFailed, match=said) as caught:
        run(scenario(), lab, results=tmp_path, observer=observer)
    assert observer.failed == 2
    (folder,) = (tmp_path / "example").iterdir()
    assert caught.value.folder == folder
    before = len(world.commands)
    done = run(scenario(), lab, results=tmp_path, resume=folder)
    assert done.folder == folder
    assert len(done.records) == 4
    assert sum(node == "server" for node, _ in world.commands[before:]) == 1


def test_a_file_set_that_is_not_all_in_the_cache_is_not_measured(world: World, lab: Lab, tmp_path: Path) -> None:
    world.cached_files = 0
    with pytest.raises(RunError, match="the server caches 0 files of 1 bytes; the workload has 1 of 1"):
        run(scenario(), lab, results=tmp_path)


def test_a_file_set_larger_than_the_memory_for_it_is_refused_with_both_sizes(
    world: World, lab: Lab, tmp_path: Path
) -> None:
    world.root_bytes = 4_000_000
    said = r"files need 5 MB, and /srv of server holds 4 MB: take a smaller set, or give its tmpfs more \(size= in"
    with pytest.raises(UsageError, match=said):
        run(scenario(workload=SpecWeb99(directories=1)), lab, results=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_has_the_workload_of_its_profile(world: World, lab: Lab, tmp_path: Path) -> None:
    world.cached_bytes = 5
    larger = FAST.model_copy(update={"workload": {"size_bytes": 5}})
    done = run(scenario(profiles={"quick": larger}), lab, results=tmp_path)
    assert {record.workload for record in done.records} == {"one-file-5-bytes"}
    assert done.manifest.scenario["workload"]["size_bytes"] == 5


def test_requests_that_the_userver_does_not_answer_are_refused(world: World, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("/a method=POST contents=x\n")
    with pytest.raises(UsageError, match="trace log sends POST, contents=: the µserver answers GET and HEAD alone"):
        run(scenario(workload=Trace(path=tmp_path / "log", folder=tmp_path)), lab, results=tmp_path / "results")


def test_a_broken_world_is_given_up_on(world: World, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 99
    with pytest.raises(
        RunError, match=r"gave up: 3 points in a row failed, the last with: userver on server .*cannot bind"
    ):
        run(scenario(), lab, results=tmp_path)
    assert list((tmp_path / "example").iterdir()) == []


def test_a_run_of_which_every_point_failed_leaves_nothing(world: World, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 99
    one = scenario(servers=SCENARIO.servers[:1])
    with pytest.raises(RunError, match=r"2 of 2 points failed, the last with: .*cannot bind") as caught:
        run(one, lab, results=tmp_path)
    assert not isinstance(caught.value, PointsFailed)
    assert list((tmp_path / "example").iterdir()) == []


@pytest.mark.parametrize("error", [EnvironmentLack("no image", "build it"), KeyboardInterrupt()])
def test_whatever_ends_a_run_before_its_first_point_leaves_nothing(
    lab: Lab, tmp_path: Path, error: BaseException
) -> None:
    class Ending(Silent):
        def point_started(self, point: Point) -> None:
            raise error

    with pytest.raises(type(error)):
        run(scenario(), lab, results=tmp_path, observer=Ending())
    assert list((tmp_path / "example").iterdir()) == []


def test_an_unknown_arrival_process_is_refused_with_what_there_is(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="arrival process 'nonsense': one of deterministic, exponential, uniform"):
        run(scenario(arrival="nonsense"), lab, results=tmp_path)


def test_the_manifest_says_what_each_node_runs(lab: Lab, tmp_path: Path) -> None:
    lab.runtime.images["server"] = ("testbed/server:0123456789ab", "sha256:1")  # type: ignore[attr-defined]
    programs = run(scenario(), lab, results=tmp_path).manifest.programs
    assert programs["server"] == NodeProgram(image="testbed/server", tag="testbed/server:0123456789ab", id="sha256:1")
    assert programs["client1"] == NodeProgram(image="testbed/client")


def test_a_link_that_flapped_unasked_makes_the_point_invalid(world: World, lab: Lab, tmp_path: Path) -> None:
    world.flaps = 1
    record = run(scenario(), lab, results=tmp_path).records[0]
    assert record.verdict is Verdict.INVALID
    assert "no timeline says so (+1 changes of carrier)" in record.reasons[0]


def test_retry_invalid_runs_just_what_is_not_valid(world: World, lab: Lab, tmp_path: Path) -> None:
    world.idle_lost = 1
    first = run(scenario(idle_connections=10), lab, results=tmp_path)
    world.idle_lost = 0
    unchanged = run(scenario(idle_connections=10), lab, results=tmp_path, resume=first.folder)
    assert len(unchanged.records) == 4
    again = run(scenario(idle_connections=10), lab, results=tmp_path, resume=first.folder, retry_invalid=True)
    assert len(again.records) == 8
    assert len(again.latest()) == 4
    assert Verdict.INVALID not in {record.verdict for record in again.latest()}


@pytest.mark.parametrize(
    ("change", "seed", "what"),
    [({"idle_connections": 5}, 1, "scenario.idle_connections"), ({}, 2, "seed")],
    ids=["scenario", "seed"],
)
def test_another_experiment_is_not_resumed(
    world: World, lab: Lab, tmp_path: Path, change: dict[str, object], seed: int, what: str
) -> None:
    first = run(scenario(), lab, results=tmp_path)
    with pytest.raises(UsageError, match=f"was started otherwise: {what} was "):
        run(scenario(**change), lab, results=tmp_path, resume=first.folder, seed=seed)


CHANGED: dict[str, tuple[dict[str, object], str]] = {
    "host": ({"host": {"kernel": "2.4.26"}}, r"host\.kernel was '2\.4\.26' and is now "),
    "runtime": ({"runtime": {"name": "docker"}}, r"runtime\.name was 'docker' and is now 'fake'"),
    "paths": ({"paths": {"switched": True, "steered": False}}, r"paths\.switched was True and is now False"),
    "cpuset": ({"topology": {"nodes": []}}, r"cpuset\.server was None and is now '1'"),
    "topology": ({"topology": {"topology": {}}}, r"topology\.networks was None"),
    "programs": ({"programs": {"server": {"image": "a", "tag": "testbed/server:0"}}}, r"programs\.server was "),
    "links": (
        {"links": [{"node": "a", "network": "b", "direction": "up", "backend": "tbf"}]},
        r"link backend\.a b up was ",
    ),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_run_is_not_resumed_in_another_world(lab: Lab, tmp_path: Path, what: str) -> None:
    changes, said = CHANGED[what]
    path = run(scenario(), lab, results=tmp_path).folder / "manifest.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps({**saved, **{name: _over(saved[name], value) for name, value in changes.items()}}))
    with pytest.raises(UsageError, match=f"was started otherwise: {said}"):
        run(scenario(), lab, results=tmp_path, resume=path.parent)


def _over(there: object, value: object) -> object:
    return {**there, **value} if isinstance(there, dict) and isinstance(value, dict) else value


def test_a_run_of_a_trace_that_was_changed_is_not_resumed(world: World, lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "1.bin").write_bytes(b"x")
    log = tmp_path / "log"

    def traced() -> Scenario:
        return scenario(workload=Trace(path=log, folder=tmp_path / "docs"))

    log.write_text("/1.bin\n\n")
    folder = run(traced(), lab, results=tmp_path).folder
    run(traced(), lab, results=tmp_path, resume=folder)
    log.write_text("/1.bin\n\n/1.bin\n\n")
    with pytest.raises(UsageError, match=r"scenario\.workload_digest was 'sha256:"):
        run(traced(), lab, results=tmp_path, resume=folder)


def test_another_lab_of_the_same_world_may_go_on_and_its_links_are_kept(world: World, lab: Lab, tmp_path: Path) -> None:
    world.fail_servers = 1
    with pytest.raises(PointsFailed):
        run(scenario(), lab, results=tmp_path, observer=Spoiling(world))
    (folder,) = (tmp_path / "example").iterdir()
    first = lab.placed.networks[0].subnet
    lab.down()
    lab.runtime.taken[first] = "somebody else"  # type: ignore[attr-defined]  # the fake's own
    lab.up()
    assert lab.placed.networks[0].subnet != first
    done = run(scenario(), lab, results=tmp_path, resume=folder)
    assert len(done.records) == 4
    (resumed,) = done.manifest.resumed
    assert resumed["links"] == []
    assert resumed["at"] >= done.manifest.started_at


def test_claims_judge_a_run_and_do_not_make_it_another(world: World, lab: Lab, tmp_path: Path) -> None:
    first = run(scenario(), lab, results=tmp_path)
    claim = compared("same", "They are the same.", "here", "select", "epoll-lt", at_least=0.9, at_most=1.1)
    again = run(scenario(claims=(claim,)), lab, results=tmp_path, resume=first.folder)
    assert len(again.records) == 4
    fresh = run(scenario(claims=(claim,)), lab, results=tmp_path)
    assert [finding.outcome for finding in judge_claims(fresh)] == [Outcome.REPRODUCED]


def test_an_unknown_profile_is_refused(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no profile 'huge': one of quick"):
        run(scenario(), lab, profile="huge", results=tmp_path)
