"""Real netem in tests, whatever this machine's kernel: directly where it has netem, else in user-mode-linux."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from testbed.link.netem import kernel_lack
from tests.realnetem import uml
from tests.realnetem.uml import UmlFailure

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent.relative_to(ROOT)
BOOT_TIMEOUT_S = 60
SUITE_TIMEOUT_S = 420
"""A kernel that hangs must end some day; on an idle machine a suite takes a tenth of it."""

LEAN = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
"""Plugins cost seconds in user-mode-linux, and the suites use none."""

POWER_OFF = "import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)"

ON_ANOTHER_KERNEL = (
    *("reach_each_other_on_both", "capabilities_are", "root_is_read_only", "sysctls_limits", "routes_emulated"),
    *("run_gives_status", "signal_right_after", "passes_stdin", "nothing_is_left"),
)
"""What depends most on the kernel: namespaces, capabilities, control groups of version 2, and that nothing is left.

Nothing that must happen within a time: this kernel is slow, and slower beside other programs.
"""


@pytest.fixture(scope="module")
def _uml() -> None:
    """user-mode-linux, or a skip that says what is missing; a failure where CI=true says that everything is there."""
    lack = uml.lacks()
    if lack and os.environ.get("CI") == "true":
        pytest.fail(lack)
    if lack:
        pytest.skip(lack)


def suite_command(*words: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=short", *words]


@pytest.mark.usefixtures("_uml")
def test_a_command_runs_in_a_kernel_of_its_own_and_changes_no_file_here() -> None:
    script = (
        "uname -r; tc qdisc add dev lo root netem delay 1ms && tc qdisc show dev lo; echo x > /etc/was-here; exit 7"
    )
    done = uml.run(["sh", "-c", script], ROOT, BOOT_TIMEOUT_S)
    assert done.status == 7
    assert "delay 1ms" in done.output
    assert os.uname().release not in done.output.splitlines()
    assert not Path("/etc/was-here").exists()


@pytest.mark.usefixtures("_uml")
def test_a_kernel_that_ends_before_the_command_is_a_failure() -> None:
    with pytest.raises(UmlFailure, match="no status"):
        uml.run([sys.executable, "-c", POWER_OFF], ROOT, BOOT_TIMEOUT_S)


@pytest.mark.usefixtures("_uml")
def test_a_kernel_that_is_not_done_in_time_is_a_failure_and_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # stands in the kernel's command line, and in no other
    with pytest.raises(UmlFailure, match="not done after 4 s"):
        uml.run(["sleep", "1000"], ROOT, 4)
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if any(str(tmp_path) in word for word in line)]


@pytest.mark.timeout(SUITE_TIMEOUT_S + 10)
def test_the_netem_backend_where_there_is_netem(request: pytest.FixtureRequest) -> None:
    command = suite_command(str(HERE / "netem_suite.py"))
    if kernel_lack() is None:
        direct = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **LEAN}, capture_output=True, text=True, timeout=SUITE_TIMEOUT_S
        )
        assert direct.returncode == 0, direct.stdout + direct.stderr
        return
    request.getfixturevalue("_uml")
    done = uml.run(command, ROOT, SUITE_TIMEOUT_S, LEAN)
    assert done.status == 0, done.output


@pytest.mark.usefixtures("_uml")
@pytest.mark.timeout(SUITE_TIMEOUT_S + 10)
def test_the_runtime_without_an_engine_on_another_kernel() -> None:
    folder = "tests/integration"
    files = [f"{folder}/test_{name}.py" for name in ("runtime_conformance", "program_conformance", "netns")]
    command = suite_command(*files, "-k", f"netns and ({' or '.join(ON_ANOTHER_KERNEL)})", "-rs")
    done = uml.run(command, ROOT, SUITE_TIMEOUT_S, LEAN)
    assert done.status == 0, done.output
    assert f"{len(ON_ANOTHER_KERNEL)} passed" in done.output, f"one test by each word: {done.output}"
