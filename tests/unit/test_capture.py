"""Captures end well: by Ctrl-C too, without tcpdump at once, and never larger than memory bears."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testbed.cli import main
from testbed.engine.lab import Lab
from testbed.errors import ProgramError, RuntimeFault, UsageError
from testbed.link.base import Endpoint
from testbed.link.capture import Bounds, Capture
from testbed.link.lab_links import LabLinks
from testbed.runtime.base import Completed, Process
from tests.unit.pcaps import pcap, tcp
from tests.unit.scripted_world import World


class Tcpdump:
    """A process that said something on stderr, and has ended or not."""

    def __init__(self, said: str, ended: bool) -> None:
        self.said, self.ended, self.signals = said, ended, list[str]()

    def stderr(self) -> str:
        return self.said

    def signal(self, name: str) -> None:
        self.signals.append(name)
        self.ended = True

    def wait(self, timeout_s: float) -> int:
        if timeout_s > 10 and not self.ended:
            raise KeyboardInterrupt
        if not self.ended:
            raise ProgramError("still runs")
        return 0


class Place:
    """Where it runs, and what it wrote."""

    def __init__(self, process: Tcpdump) -> None:
        self.process = process
        self.removed = 0

    def start(self, command: Sequence[str]) -> Process:
        return self.process  # type: ignore[return-value]  # of the contract what a capture needs

    def run(self, command: Sequence[str], timeout_s: float = 30.0) -> Completed:
        self.removed += command[0] == "rm"
        return Completed(0, base64.b64encode(pcap((1.0, tcp(1, 2, (1, 2), 0)))).decode(), "")


@pytest.fixture
def lab() -> Iterator[Lab]:
    with World().lab() as lab:
        yield lab


def endpoint(place: Place) -> Endpoint:
    return Endpoint("client1", "net0", "eth0", "10.0.0.2", place)


def test_a_tcpdump_that_is_missing_is_told_at_once() -> None:
    place = Place(Tcpdump("timeout: failed to run command 'tcpdump': No such file or directory", ended=True))
    began = time.monotonic()
    with pytest.raises(RuntimeFault, match="No such file"), Capture(endpoint(place), Bounds()):
        pass
    assert time.monotonic() - began < 1


def test_a_capture_is_bounded_in_size() -> None:
    with pytest.raises(
        UsageError, match=r"1000000 packets with 65535 bytes of each may take more than .* at most 5118"
    ):
        Bounds(packets=1_000_000, snap_bytes=65_535)
    assert Bounds(packets=1_000_000).snap_bytes == 256


@pytest.mark.parametrize(("node", "blind"), [("client1", True), ("server", False)])
def test_ctrl_c_ends_the_capture_and_keeps_what_came(
    lab: Lab,
    node: str,
    blind: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Place(Tcpdump("listening on eth0", ended=False))
    monkeypatch.setattr(Lab, "attach", lambda *_: lab)
    monkeypatch.setattr(LabLinks, "endpoint", lambda *_: endpoint(place))
    file = tmp_path / "a.pcap"
    assert main(["capture", node, "--out", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{file}: 1 packets")
    assert ("what the packet engine's hosts on the node send is not in it" in out) == blind
    assert file.exists()
    assert place.process.signals == ["INT"]
    assert place.removed == 1
