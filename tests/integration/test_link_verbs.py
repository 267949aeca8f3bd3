"""``testbed link`` and ``testbed capture`` on a lab of two nodes, with and without Docker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.engine.lab import Lab
from testbed.link.capture import Bounds, Capture
from testbed.link.lab_links import LabLinks
from testbed.link.pcap_summary import summarise
from testbed.runtime.base import Runtime
from testbed.topology.compose import parse_compose
from tests.integration.conftest import available
from tests.integration.link_requirements import need_link_programs

NAME = f"links{os.getpid()}"
WORLD = """
services:
  server: {image: debian:bookworm-slim, command: sleep infinity, networks: [net0], x-testbed: {role: server}}
  client1:
    image: debian:bookworm-slim
    command: sleep infinity
    networks: [net0]
    x-testbed: {links: {net0: {delay: 4ms}}}
networks: {net0: {}}
"""


@pytest.fixture(scope="module", params=["docker", "netns"])
def runtime(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    need_link_programs()
    if request.param == "docker":
        chosen: Runtime = request.getfixturevalue("docker_engine")
    else:
        chosen = available(request.param)
    lab = Lab(parse_compose(WORLD, "compose.yaml"), name=NAME, runtime=chosen)
    with lab:
        yield chosen


def verb(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a verb on the lab."""
    status = main([*words[:2], "--lab", NAME, *words[2:]])
    seen = capsys.readouterr()
    return status, seen.out, seen.err


def test_what_compose_declares_is_set_measured_changed_and_removed(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = verb(capsys, "link", "show", "--json")
    assert status == 0
    assert {row["direction"]: row["read_back"]["delay_us"] for row in json.loads(out)} == {"down": 4000, "up": 4000}

    status, out, err = verb(capsys, "link", "set", "client1", "--delay", "9ms", "--rate", "20mbit", "--direction", "up")
    assert status == 0, err
    assert "client1 net0 down: delay 4ms" in out
    assert "client1 net0 up: delay 9ms, rate 20mbit" in out

    status, out, err = verb(capsys, "link", "test", "--json")
    reports = json.loads(out)
    assert [report["direction"] for report in reports] == ["down", "up"]
    assert [round(report["measured"]["delay_us"] / 1000) for report in reports] == [4, 9], reports
    # On a busy machine a link may honestly be off: then it says so, by its status and with a capture.
    off = [report for report in reports if report["verdict"] == "off"]
    assert status == (1 if off else 0)
    kept = {tmp_path / f"{NAME}-client1-net0-{report['direction']}-off.pcap" for report in off}
    assert set(tmp_path.glob("*.pcap")) == kept

    assert verb(capsys, "link", "reset", "client1")[1] == "1 link is unshaped\n"
    status, out, _ = verb(capsys, "link", "show")
    assert "client1 net0 down: unshaped [none]" in out


@pytest.mark.parametrize("runtime", ["netns"], indirect=True)  # the same code, and containers are slow to ask
def test_a_link_that_is_off_ends_with_status_1_and_keeps_its_pcap(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    verb(capsys, "link", "set", "client1", "--rate", "5mbit", "--link", "tbf")
    removed = ["tc", "qdisc", "del", "dev", "eth0", "root"]
    assert runtime.run(NAME, "client1-link", removed).status == 0
    status, out, err = verb(capsys, "link", "test", "client1", "--keep", str(tmp_path))
    assert status == 1
    assert "read back `unshaped`, declared `rate 5mbit`" in out
    assert "client1 is off: its second measurement is in" in err
    kept = summarise((tmp_path / f"{NAME}-client1-net0-up-off.pcap").read_bytes())
    assert kept.protocols["UDP"] > 400
    verb(capsys, "link", "reset")


def test_capture_is_bounded_and_summarised(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server = runtime.run(NAME, "client1-link", ["getent", "hosts", "server"]).stdout.split()[0]
    probe = f"sleep 2; linkprobe --send --address {server} --count 500 --interval 2ms"
    sending = runtime.start(NAME, "client1-link", ["sh", "-c", probe])
    file = tmp_path / "a.pcap"
    words = ["--packets", "100", "--seconds", "20", "--out", str(file), "--json"]
    status = main(["capture", "--lab", NAME, "client1", *words])
    assert status == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packets"] == 100
    assert summarise(file.read_bytes()).packets == 100
    sending.wait(20)


def test_a_capture_has_what_came_just_before_it_was_ended(runtime: Runtime) -> None:
    lab = Lab.attach(NAME, runtime.name)
    server = lab.placed.node("server").addresses["net0"]
    send = ["linkprobe", "--send", "--address", server, "--count", "50", "--interval", "1ms"]
    capture = Capture(LabLinks(lab.runtime, lab.placed).endpoint("client1", "net0"), Bounds(seconds=20))
    with capture:
        sent = json.loads(runtime.run(NAME, "client1-link", send).stdout)
    assert summarise(capture.fetch().pcap).protocols["UDP"] >= sent["sent"] - sent["refused"] > 30


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("set", "client1"), "nothing to set: give a --profile, or --delay"),
        (("set", "client1", "--delay", "-1ms"), "link set: delay: -1ms is out of range: from 0us to 60s"),
        (("set", "client1", "--rate", "100mbps"), "write 100mbit for bits a second, or 800mbit for bytes"),
        (("set", "client1", "--profile", "pigeon"), "unknown profile 'pigeon': one of lan, fiber"),
        (("set", "client7", "--delay", "1ms"), "has no node 'client7': one of server, client1"),
        (("set", "client1", "--delay", "1ms", "--network", "net7"), "client1 is not on network 'net7': one of net0"),
        (("set", "client1", "--delay", "1ms", "--link", "tbf"), "tbf cannot do this exactly: delay 1ms"),
        (("set", "client1", "--delay", "1ms", "--link", "magic"), "unknown link backend 'magic'"),
        (("test", "client1", "--via", "client1"), "'client1' is not on net0: one of server"),
        (("reset", "client7"), "has no node 'client7'"),
    ],
)
def test_bad_input_is_one_line_with_what_is_allowed(
    runtime: Runtime, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], what: str
) -> None:
    status, _, err = verb(capsys, "link", *words)
    assert status == 2
    assert what in err
    assert err.count("\n") == 1


def test_profiles_name_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link", "profiles"]) == 0
    out = capsys.readouterr().out
    assert "satellite-geo\n  down: delay 300ms, rate 100mbit" in out
    assert "IMC 2022" in out
