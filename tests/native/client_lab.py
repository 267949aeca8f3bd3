"""A pair of network namespaces joined by a veth: loadgen or idleconn in one, any server in the other.

As in the testbed, the emulated hosts' prefix is routed to the client's address, and the client's kernel does not
forward.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "images"
_CLIENT = IMAGES / "client"
LINK_SOURCES = [
    _CLIENT / "access_plan.c",
    *(IMAGES / "shape" / name for name in ("shape.c", "shape_options.c")),
    IMAGES / "common" / "options.c",
]
ENGINE_SOURCES = [
    *sorted((_CLIENT / "engine").glob("packet*.c")),
    *LINK_SOURCES,
    _CLIENT / "engine.c",
    IMAGES / "common" / "json.c",
]
"""What the packet engine is made of, for tests that build parts of it into programs of their own."""

INCLUDES = [f"-I{IMAGES / folder}" for folder in ("client", "common", "shape")]
SERVER, CLIENT, PORT = "10.99.0.1", "10.99.0.2", 8080
SCRIPTED = "10.99.0.9"
"""An address that no kernel owns: a scripted peer answers for it (client_peer.py)."""
HOSTS = "10.77.64.0/22"
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()

Line = dict[str, Any]
Result = TypeVar("Result")


@functools.cache
def build(program: str, *, sanitize: bool = True) -> Path:
    """Builds one program of images/ and returns its path; does nothing where it is up to date."""
    folder = Path("build/sanitized" if sanitize else "build")
    command = ["make", "--no-print-directory", "-j2", str(folder / program)] + (["SANITIZE=1"] if sanitize else [])
    (IMAGES / folder).mkdir(parents=True, exist_ok=True)
    with (IMAGES / folder / ".lock").open("w") as lock:  # test processes beside each other share the folder
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(command, cwd=IMAGES, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return IMAGES / folder / program


def compiled(sources: Sequence[Path], binary: Path) -> Path:
    """Builds a program of the client's parts for a test, under the sanitizers."""
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *INCLUDES]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["cc", *flags, *map(str, sources), "-lm", "-o", str(binary)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if built.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{built.stderr}")
    return binary


@functools.cache
def missing() -> str | None:
    """Why no lab can be made here, or None; found out by making a namespace."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"tb-probe-{os.getpid()}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode != 0:
        return f"cannot make a network namespace: {done.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


class ClientLab:
    """The two namespaces, and what can be done in them."""

    def __init__(self) -> None:
        number = f"{os.getpid()}-{next(_numbers)}"
        self.server_space, self.client_space = f"tb-cl-{number}-s", f"tb-cl-{number}-c"
        self.router_space = f"tb-cl-{number}-r"
        self.client_address = CLIENT

    def create(self) -> None:
        """Make namespaces, veth, addresses and the route to the emulated hosts."""
        for space in (self.server_space, self.client_space):
            _run("ip", "netns", "add", space)
        ends = ["name", "c0", "netns", self.client_space]
        _run("ip", "link", "add", "s0", "netns", self.server_space, "type", "veth", "peer", *ends)
        for space, link, address in ((self.server_space, "s0", SERVER), (self.client_space, "c0", CLIENT)):
            for command in ("link set lo up", f"address add {address}/24 dev {link}", f"link set {link} up"):
                _run("ip", "-n", space, *command.split())
            self.command(space, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        self.command(self.server_space, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno")
        _run("ip", "-n", self.server_space, "route", "add", HOSTS, "via", CLIENT)

    def insert_router(self) -> None:
        """Put a router between the two, which can lose, double and delay what it forwards.

        These are real losses: dropped where the server's kernel sends, it would hear of them.
        """
        _run("ip", "-n", self.server_space, "link", "del", "s0")
        _run("ip", "netns", "add", self.router_space)
        for space, link in ((self.server_space, "s0"), (self.client_space, "c0")):
            end = link.replace("s", "r").replace("c", "q")
            _run(
                "ip",
                "link",
                "add",
                link,
                "netns",
                space,
                "type",
                "veth",
                "peer",
                "name",
                end,
                "netns",
                self.router_space,
            )
        addresses = (
            (self.server_space, "s0", f"{SERVER}/24"),
            (self.router_space, "r0", f"{CLIENT}/24"),
            (self.router_space, "q0", "10.98.0.1/24"),
            (self.client_space, "c0", "10.98.0.2/24"),
        )
        for space, link, address in addresses:
            _run("ip", "-n", space, "address", "add", address, "dev", link)
            _run("ip", "-n", space, "link", "set", link, "up")
        self.client_address = "10.98.0.2"
        self.command(self.router_space, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        _run("ip", "-n", self.server_space, "route", "add", HOSTS, "via", CLIENT)
        _run("ip", "-n", self.router_space, "route", "add", HOSTS, "via", "10.98.0.2")
        _run("ip", "-n", self.client_space, "route", "add", "default", "via", "10.98.0.1")
        # Without super-segments a dropped packet is one segment, as on a wire.
        self.command(self.server_space, "ip", "link", "set", "dev", "s0", "gso_max_segs", "1")

    def use_sockets(self) -> None:
        """Give the emulated addresses to the client's kernel: for the socket engine, never beside the packet engine."""
        _run("ip", "-n", self.client_space, "route", "add", "local", HOSTS, "dev", "lo")

    def destroy(self) -> None:
        """Remove the namespaces; the veths go with them."""
        for space in (self.server_space, self.client_space, self.router_space):
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def command(self, space: str, *command: str) -> str:
        """Run to the end in a namespace; the output."""
        return _run("ip", "netns", "exec", space, *command)

    def start(self, space: str, *command: str | Path) -> subprocess.Popen[str]:
        """Start a program in a namespace."""
        return subprocess.Popen(
            ["ip", "netns", "exec", space, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def inside(self, space: str, action: Callable[[], Result]) -> Result:
        """Call ``action`` in a thread that entered the namespace: sockets that it makes belong there for good."""
        results: list[Result] = []
        faults: list[BaseException] = []

        def enter() -> None:
            try:
                with open(f"/run/netns/{space}") as handle:
                    if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), _CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                results.append(action())
            except BaseException as fault:  # noqa: BLE001 (raised again in the caller's thread)
                faults.append(fault)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]
        return results[0]

    def listen(self, backlog: int = 128, port: int = PORT) -> socket.socket:
        """A listening socket of the server's kernel."""

        def make() -> socket.socket:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((SERVER, port))
            listener.listen(backlog)
            listener.settimeout(10)
            return listener

        return self.inside(self.server_space, make)

    def program(
        self, name: str, *flags: str, target: str = SERVER, sanitize: bool = True, hosts: str = HOSTS
    ) -> subprocess.Popen[str]:
        """Start loadgen or idleconn towards ``target``, with the flags that every run needs."""
        base = [
            "--target",
            target,
            "--port",
            str(PORT),
            "--hosts",
            hosts,
            "--interface",
            f"address:{self.client_address}",
            "--ring-frames",
            "1024",
        ]
        return self.start(self.client_space, build(name, sanitize=sanitize), *base, *flags)

    def loadgen(self, *flags: str, target: str = SERVER, sanitize: bool = True, hosts: str = HOSTS) -> Line:
        """Run loadgen to its end and return the checked summary."""
        return finish(self.program("loadgen", *flags, target=target, sanitize=sanitize, hosts=hosts))[-1]

    @contextmanager
    def userver(self, docroot: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
        """A µserver in the server's namespace."""
        command = [str(build("userver", sanitize=False)), "--mech", "epoll-lt", "--bind", SERVER, "--port", str(PORT)]
        process = self.start(self.server_space, *command, "--docroot", str(docroot), *flags)
        try:
            assert process.stdout is not None
            assert '"ready"' in process.stdout.readline()
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=20)


def finish(process: subprocess.Popen[str], status: int = 0, timeout_s: float = 60) -> list[Line]:
    """Wait for a program's end; its lines. Sanitizers report on stderr and by status, and so does a test then."""
    output, errors = process.communicate(timeout=timeout_s)
    lines: list[Line] = [json.loads(line) for line in output.splitlines()]
    assert process.returncode == status, (process.returncode, errors, lines[-1:])
    assert "ERROR: " not in errors, errors
    for line in lines:
        if line["type"] == "summary" and "attempted" in line:
            check_books(line)
    return lines


def check_books(summary: Line) -> None:
    """Everything attempted is completed or in one error class: over the run, and over the window."""
    window = summary["window"]
    assert summary["attempted"] == summary["completed"] + sum(summary["errors"].values())
    assert window["intended"] == window["completed"] + sum(window["errors"].values())
    assert window["started"] <= window["intended"]
    assert window["lateness_ns"]["count"] == window["started"]
    assert window["response_ns"]["count"] == window["response_actual_ns"]["count"]
    assert summary["errors"]["other"] == sum(summary["other_reasons"].values())
    for name in ("response_ns", "response_actual_ns", "connect_ns", "lateness_ns"):
        assert sum(count for _, count in window[name]["buckets"]) == window[name]["count"]


def stop(process: subprocess.Popen[str]) -> list[Line]:
    """End a program with SIGTERM; its lines."""
    process.terminate()
    return finish(process)


@contextmanager
def client_lab() -> Iterator[ClientLab]:
    """A lab that goes away with the context, whatever happened."""
    lab = ClientLab()
    try:
        lab.create()
        yield lab
    finally:
        lab.destroy()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed: {done.stderr.strip()}")
    return done.stdout
