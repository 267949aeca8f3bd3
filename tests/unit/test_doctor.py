"""The doctor: every lack with its fix, no probe hides another, and 3 only when the main job cannot run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.engine import doctor, kernel
from testbed.engine.finding import Finding
from testbed.engine.kernel import Trial
from testbed.errors import EnvironmentLack, RuntimeFault
from testbed.runtime import docker_images
from testbed.runtime.base import Runtime
from testbed.runtime.fake import Call, FakeRuntime, Script


def prints(*lines: str, status: int = 0, stderr: str = "") -> Script:
    """A program that says this and ends."""

    def script(call: Call) -> Iterator[str]:
        call.status, call.stderr = status, stderr
        yield from lines

    return script


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRuntime:
    """A machine in good health: the engine is the one in memory, the kernel can do all."""
    monkeypatch.setenv("TESTBED_STATE_DIR", str(tmp_path / "testbed"))
    runtime = FakeRuntime({"userver": prints("select ok", "io_uring ok"), "perl": prints(), "sh": prints("20000")})
    use(monkeypatch, lambda name: runtime)
    for name in ("netem", "token_bucket", "packet_queue"):
        monkeypatch.setattr(kernel, name, lambda: Trial(True, ""))
    monkeypatch.setattr(kernel, "bridge_netfilter", lambda: False)
    monkeypatch.setattr(kernel, "congestion_controls", lambda: (["reno", "bbr"], ["reno"]))
    monkeypatch.setattr(kernel, "steal_share", lambda seconds: 0.0)
    monkeypatch.setattr(doctor, "awake", lambda: nullcontext(""))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    return runtime


def use(monkeypatch: pytest.MonkeyPatch, choose: Callable[[str], Runtime]) -> None:
    monkeypatch.setattr(doctor, "choose", choose)


def findings() -> dict[str, Finding]:
    found = doctor.examine()
    assert all(finding.fix and "\n" not in finding.fix for finding in found if finding.state != "ok")
    assert not any("\n" in finding.what for finding in found)
    return {finding.name: finding for finding in found}


@pytest.mark.usefixtures("world")
def test_a_healthy_machine_lacks_nothing() -> None:
    assert {finding.state for finding in findings().values()} == {"ok"}


def test_nothing_is_left_behind(world: FakeRuntime) -> None:
    findings()
    assert world.made() == []
    assert ("create_node", "server") in world.calls


def test_without_an_engine_the_main_job_cannot_run(
    world: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(name: str) -> Runtime:
        raise EnvironmentLack("the Docker engine does not answer", "systemctl start docker")

    use(monkeypatch, choose)
    found = findings()
    assert found["engine"].blocks
    assert found["engine"].fix == "systemctl start docker"
    assert found["netem"].state == "ok", "what needs no engine is looked at all the same"
    assert main(["doctor"]) == 3
    assert "the main job cannot run here: engine" in capsys.readouterr().out


def test_a_runtime_that_stands_in_lets_the_main_job_run(world: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(name: str) -> Runtime:
        if name == "docker":
            raise EnvironmentLack("no engine", "install Docker")
        return world

    use(monkeypatch, choose)
    found = findings()
    assert (found["engine"].state, found["engine"].blocks) == ("warn", False)
    assert found["AF_PACKET"].state == "ok"


def test_lacks_of_the_kernel_are_told_and_do_not_block(
    world: FakeRuntime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernel, "netem", lambda: Trial(False, "Error: Specified qdisc kind is unknown."))
    monkeypatch.setattr(kernel, "token_bucket", lambda: Trial(None, "tc is not installed"))
    found = findings()
    assert (found["netem"].state, found["tbf"].state) == ("lack", "warn")
    assert "Specified qdisc kind is unknown" in found["netem"].what
    assert main(["doctor", "--json"]) == 0
    data = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert data["netem"]["state"] == "lack"
    assert not data["netem"]["blocks"]


def test_a_probe_that_fails_hides_no_other(world: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> bool:
        raise PermissionError("no entry")

    monkeypatch.setattr(kernel, "bridge_netfilter", broken)
    world.programs["sh"] = prints("what?")
    found = findings()
    assert (found["br_netfilter"].state, found["nofile"].state) == ("warn", "warn")
    assert "no entry" in found["br_netfilter"].what
    assert (found["congestion control"].state, found["AF_PACKET"].state, found["mechanisms"].state) == ("ok",) * 3


def test_what_a_container_may_not_do_is_told(world: FakeRuntime) -> None:
    world.programs["perl"] = prints(status=1, stderr="Operation not permitted\n")
    world.programs["userver"] = prints("select ok", "epoll-ctlv unavailable: refused", "io_uring unavailable: EPERM")
    world.programs["sh"] = prints("1024")
    found = findings()
    assert found["AF_PACKET"].blocks
    assert "Operation not permitted" in found["AF_PACKET"].what
    for name, reason in (("epoll-ctlv", "refused"), ("io_uring", "EPERM")):
        finding = found[f"mechanism {name}"]
        assert (finding.state, finding.blocks) == ("lack", False)
        assert reason in finding.what
        assert "seccomp" in finding.fix
    assert "mechanisms" not in found
    assert "1024 descriptors" in found["nofile"].what


def test_containers_that_do_not_start_do_not_hide_the_rest(world: FakeRuntime) -> None:
    world.failures["create_node", "server"] = RuntimeFault("no image testbed/server")
    found = findings()
    assert found["container"].state == "lack"
    assert "no image testbed/server" in found["container"].what
    assert "mechanisms" not in found
    assert found["steal"].state == "ok"
    assert world.made() == []


@pytest.mark.usefixtures("world")
def test_a_container_that_lacks_something_is_told_with_the_fix_of_that_lack(world: FakeRuntime) -> None:
    world.failures["create_node", "server"] = EnvironmentLack("the programs are not built", "make -C images")
    found = findings()["container"]
    assert (found.state, found.fix) == ("lack", "make -C images")
    assert "the programs are not built" in found.what
    assert "to fix it" not in found.what


def test_limits_of_the_machine_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    monkeypatch.setattr(kernel, "steal_share", lambda seconds: 0.25)
    monkeypatch.setattr(doctor, "awake", lambda: nullcontext("/dev/cpu_dma_latency: Permission denied"))
    monkeypatch.setattr(kernel, "bridge_netfilter", lambda: True)
    monkeypatch.setattr(kernel, "congestion_controls", lambda: (["cubic"], ["cubic"]))
    found = findings()
    own = {name: finding for name, finding in found.items() if not name.startswith("image ")}  # built here or not
    assert {name for name, finding in own.items() if finding.state == "warn"} == {
        "root",
        "cpus",
        "idle states",
        "steal",
        "br_netfilter",
    }
    assert "25%" in found["steal"].what
    assert found["congestion control"].blocks


def test_trials_say_what_this_kernel_says() -> None:
    for trial in (kernel.netem(), kernel.token_bucket(), kernel.packet_queue()):
        assert trial.works or trial.said, "no refusal without a reason"


def test_a_trial_without_its_program_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_find", lambda program: None)
    assert kernel.netem() == Trial(None, "tc is not installed")
    assert kernel.packet_queue() == Trial(None, "iptables is not installed")


def test_this_machines_settings_can_be_read() -> None:
    available, allowed = kernel.congestion_controls()
    assert set(allowed) <= set(available)
    assert 0 <= kernel.steal_share(0.05) <= 1
    assert kernel.bridge_netfilter() in (True, False, None)


def test_images_that_are_not_built_are_told(world: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    world.name = "docker"
    monkeypatch.setattr(doctor, "_images_present", lambda: {"debian:bookworm-slim": True, "client": False})
    found = findings()
    assert found["image debian:bookworm-slim"].state == "ok"
    assert (found["image client"].state, found["image client"].fix) == ("warn", "testbed build")


def test_containers_that_should_start_and_do_not_block_the_main_job(world: FakeRuntime) -> None:
    world.failures["create_node", "server"] = RuntimeFault("no space left on device")
    found = findings()["container"]
    assert found.blocks
    assert "no space left on device" in found.what
    assert "testbed build" not in found.fix


def test_containers_whose_images_are_not_built_yet_do_not(world: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    world.name = "docker"
    monkeypatch.setattr(doctor, "_images_present", lambda: {"client": False})
    world.failures["create_node", "server"] = EnvironmentLack("the engine has no image", "testbed build")
    assert not findings()["container"].blocks


@pytest.mark.parametrize(("why_not", "state"), [("", "warn"), ("no registry gives it (no route)", "lack")])
def test_a_base_image_that_cannot_be_had_is_no_matter_of_building(
    world: FakeRuntime, monkeypatch: pytest.MonkeyPatch, why_not: str, state: str
) -> None:
    world.name = "docker"
    monkeypatch.setattr(doctor, "_images_present", lambda: {doctor.BASE: False})
    monkeypatch.setattr(docker_images, "cannot_be_had", lambda: why_not)
    found = findings()[f"image {doctor.BASE}"]
    assert (found.state, found.blocks) == (state, state == "lack")
    assert why_not in found.what
    assert ("mmdebstrap" in found.fix) is bool(why_not)


def test_of_the_kernel_of_another_machine_nothing_is_guessed(
    world: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "describe", lambda: {"engine": "far", "cpus": "2", "local": "no"})
    monkeypatch.setattr(kernel, "congestion_controls", lambda: (["cubic"], ["cubic"]))
    found = findings()
    own = ("cpus", "root", "steal", "netem", "tbf", "nfqueue", "br_netfilter", "congestion control")
    assert {found[name].what for name in own} == {"not known: the engine is on another machine"}
    assert found["mechanisms"].state == "ok", "what is asked inside the containers is known"
