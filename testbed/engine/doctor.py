"""What this machine has and lacks for the testbed: findings, each with a one-line fix.

Every probe stands alone: one that fails becomes a finding of its own and hides no other.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from testbed.awake import awake
from testbed.engine import kernel
from testbed.engine.finding import Finding, State
from testbed.engine.inside import probe_inside
from testbed.engine.kernel import Trial
from testbed.errors import EnvironmentLack, TestbedError
from testbed.runtime import docker_engine, docker_images, netns_programs
from testbed.runtime.base import Runtime
from testbed.runtime.choose import choose, preferred

_FAILURES = (TestbedError, OSError, ValueError, LookupError, subprocess.SubprocessError)
"""What a probe may fail with because of the machine. Anything else is a mistake in the probe, and is shown as such."""

_STEAL_WATCH_S = 0.5
_STEAL_LIMIT = 0.02

BASE = docker_images.BASE_IMAGE

Probe = Callable[[], Iterable[Finding]]


def examine() -> list[Finding]:
    """Look at everything; takes some seconds, because it also starts two containers. Leaves nothing behind."""
    findings = isolated("packages", _packages)
    runtime, engine = _engine()
    findings += engine
    images = [] if runtime is None else isolated("images", lambda: _images(runtime))
    findings += images
    elsewhere = _engine_elsewhere(runtime)
    for name, probe in (
        ("cpus", _cpus),
        ("root", _root),
        ("idle states", _idle_states),
        ("steal", _steal),
        ("netem", lambda: _kernel_feature("netem", kernel.netem(), _NETEM_FIX, _NETEM_LACK)),
        ("tbf", lambda: _kernel_feature("tbf", kernel.token_bucket(), _TBF_FIX, "no rate limits on links")),
        ("nfqueue", lambda: _kernel_feature("nfqueue", kernel.packet_queue(), _NFQUEUE_FIX, "no userspace links")),
        ("br_netfilter", _bridge_netfilter),
        ("congestion control", _congestion_control),
    ):
        findings += [_not_known(name)] if elsewhere else isolated(name, probe)
    if runtime is not None:
        findings += probe_inside(runtime, built=all(finding.state == "ok" for finding in images))
    return findings


def isolated(name: str, probe: Probe) -> list[Finding]:
    """The findings of a probe; if it fails, one that says so."""
    findings: list[Finding] = []
    try:
        findings.extend(probe())
    except _FAILURES as error:
        findings.append(Finding(name, "warn", f"could not be looked at: {error}", "see the message"))
    return findings


def _engine() -> tuple[Runtime | None, list[Finding]]:
    """The runtime that would be used, and findings on the preferred one and on what stands in for it."""
    try:
        best = choose(preferred()[0])
    except EnvironmentLack as lack:
        return _without_the_best(lack)
    return best, isolated("engine", lambda: _facts(best))


def _facts(runtime: Runtime) -> Iterator[Finding]:
    text = ", ".join(f"{key} {value}" for key, value in runtime.describe().items())
    yield Finding("engine", "ok", text, required=True)


def _without_the_best(lack: EnvironmentLack) -> tuple[Runtime | None, list[Finding]]:
    try:
        stand_in = choose("auto")
    except EnvironmentLack:
        return None, [Finding("engine", "lack", lack.what, lack.fix, required=True)]
    what = f"{lack.what}; the {stand_in.name} runtime stands in"
    return stand_in, [Finding("engine", "warn", what, lack.fix, required=True)]


def _engine_elsewhere(runtime: Runtime | None) -> bool:
    """Whether the nodes run under another kernel than this one; False where nobody can say."""
    try:
        return runtime is not None and runtime.describe().get("local") == "no"
    except TestbedError:
        return False  # the finding on the engine says so


def _not_known(name: str) -> Finding:
    what = "not known: the engine is on another machine"
    return Finding(name, "warn", what, "run testbed doctor on the engine's own machine")


def _packages() -> Iterator[Finding]:
    missing = []
    for requirement in requires("testbed") or []:
        name, _, marker = requirement.partition(";")
        bare = re.split(r"[\s<>=!~\[(]", name.strip(), maxsplit=1)[0]
        if "extra" not in marker and not _installed(bare):
            missing.append(bare)
    if missing:
        yield Finding("packages", "lack", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}", True)
    else:
        yield Finding("packages", "ok", "all Python packages are there", required=True)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _cpus() -> Iterator[Finding]:
    count = len(os.sched_getaffinity(0))
    if count < 2:
        fix = "give the machine (or the virtual machine) two CPUs"
        yield Finding("cpus", "warn", "one CPU: server and clients share it, points show both together", fix)
    else:
        yield Finding("cpus", "ok", f"{count} CPUs: the server has one of its own")


def _root() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("root", "ok", "root: the fast path can be laid")
    else:
        what = "not root: no fast path, frames pass the engine's own bridge (fewer replies/s at the top)"
        yield Finding("root", "warn", what, "run testbed with sudo")


def _idle_states() -> Iterator[Finding]:
    with awake() as why_not:
        if why_not:
            what = (
                f"CPUs sleep while points are measured ({why_not}): in a virtual machine waking costs much of a reply"
            )
            yield Finding("idle states", "warn", what, "run testbed as root of the machine")
        else:
            yield Finding("idle states", "ok", "CPUs can be kept awake while points are measured")


def _steal() -> Iterator[Finding]:
    share = kernel.steal_share(_STEAL_WATCH_S)
    if share > _STEAL_LIMIT:
        what = f"the hypervisor takes {share:.0%} of the CPU time now: points will be suspect"
        yield Finding("steal", "warn", what, "wait until other virtual machines rest, or use another machine")
    else:
        yield Finding("steal", "ok", f"{share:.1%} of the CPU time is stolen now")


_NETEM_FIX = "load it (modprobe sch_netem) or install the package with extra modules (linux-modules-extra-$(uname -r))"
_NETEM_LACK = "links are shaped by the userspace emulator instead"
_TBF_FIX = "load it (modprobe sch_tbf) or install the package with extra modules"
_NFQUEUE_FIX = "load it (modprobe nfnetlink_queue xt_NFQUEUE) and install iptables"


def _kernel_feature(name: str, trial: Trial, fix: str, otherwise: str) -> Iterator[Finding]:
    said = f" ({trial.said})" if trial.said else ""
    if trial.works:
        yield Finding(name, "ok", f"the kernel has it{said}")
    elif trial.works is None:
        yield Finding(name, "warn", f"not known{said}", "install iproute2, iptables and util-linux, or run as root")
    else:
        yield Finding(name, "lack", f"the kernel does not have it{said}: {otherwise}", fix)


def _bridge_netfilter() -> Iterator[Finding]:
    active = kernel.bridge_netfilter()
    if not active:
        state = "off" if active is False else "not loaded"
        yield Finding("br_netfilter", "ok", f"{state}: bridged frames do not walk the host's iptables")
    elif os.geteuid() == 0:
        yield Finding("br_netfilter", "ok", "on, and the fast path goes around it")
    else:
        what = "on: every frame walks the host's iptables and fills its connection tracking"
        fix = "run as root (the fast path goes around it), or sysctl -w net.bridge.bridge-nf-call-iptables=0"
        yield Finding("br_netfilter", "warn", what, fix)


_WANTED_CONTROL = "reno"
"""What the default world asks for (compose.yaml)."""


def _congestion_control() -> Iterator[Finding]:
    available, allowed = kernel.congestion_controls()
    state: State = "ok" if _WANTED_CONTROL in allowed else "lack"
    fix = "" if state == "ok" else f"sysctl -w net.ipv4.tcp_allowed_congestion_control='{' '.join(allowed)} reno'"
    what = f"containers may use {' '.join(allowed)}; the kernel has {' '.join(available)}"
    yield Finding("congestion control", state, what, fix, required=True)


def _images(runtime: Runtime) -> Iterator[Finding]:
    if not runtime.has_images and not netns_programs.programs_folder().is_dir():
        yield Finding("programs", "warn", "are not built yet", f"testbed build --runtime {runtime.name}")
    if runtime.name != "docker":
        return
    for image, there in _images_present().items():
        if there:
            yield Finding(
                f"image {image}", "ok", "is there, made of the present sources" if image != BASE else "is there"
            )
        elif image == BASE and (why_not := docker_images.cannot_be_had()):
            what = f"is not there, and cannot be had: {why_not}"
            yield Finding(f"image {image}", "lack", what, docker_images.BASE_FIX, required=True)
        else:
            yield Finding(f"image {image}", "warn", "is not there yet", "testbed build")


def _images_present() -> dict[str, bool]:
    """The base image and those of the programs: whether the engine has them as the present sources make them."""
    tags = {tag for image in docker_engine.connect().images.list() for tag in image.tags}
    ours = {name: docker_images.image_tag(name) in tags for name in docker_images.program_images()}
    return {BASE: BASE in tags, **ours}
