"""The package as others install it: built from a tree that has been worked in, and used far from that tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "results", "build", "__pycache__", ".*_cache", ".hypothesis")
SCENARIO = """
from testbed import PROFILES, OneByte, Scenario, mechanisms

SCENARIO = Scenario(
    name="mine",
    title="Mine",
    sentence="It installs.",
    servers=mechanisms("select", "epoll-lt"),
    workload=OneByte(),
    profiles=PROFILES,
)
"""


def succeed(*command: object, folder: Path) -> str:
    """What the command printed; it has to end well."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tree in which programs were built and tests were run."""
    tree = tmp_path_factory.mktemp("tree") / "testbed"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    for litter in ("images/build/server/userver", "testbed/__pycache__/units.cpython-311.pyc", "results/figure_1/x"):
        (tree / litter).parent.mkdir(parents=True, exist_ok=True)
        (tree / litter).write_text("not for others")
    target = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    succeed(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", target, tree, folder=target)
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def testbed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console script in a fresh environment, which sees what testbed depends on, and not this tree."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    succeed(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=home)
    purelib = Path(succeed(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=home).strip())
    (purelib / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # a path: its own .pth are not read
    where = succeed(python, "-c", "import testbed; print(testbed.__file__)", folder=home)
    assert where.startswith(str(purelib))
    return home / "bin" / "testbed"


def files_of(folder: str) -> set[str]:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
    return {f"testbed/_data/{name}" for name in files if not {"build", "__pycache__"} & set(name.split("/"))}


def test_it_carries_sources_and_scenarios_and_nothing_that_was_built(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {name for name in names if name.startswith("testbed/_data/")}
    assert data == files_of("images") | files_of("scenarios") | {"testbed/_data/compose.yaml"}
    assert not [name for name in names if "__pycache__" in name or "results" in name]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"testbed"}


def test_the_installed_command_knows_its_programs_and_its_world(testbed: Path, tmp_path: Path) -> None:
    assert succeed(testbed, "--version", folder=tmp_path).startswith("testbed, version ")
    folder = "from testbed.project import images_folder; print(images_folder() / 'Makefile')"
    makefile = Path(succeed(testbed.parent / "python", "-c", folder, folder=tmp_path).strip())
    assert makefile.read_bytes() == (ROOT / "images" / "Makefile").read_bytes()
    assert makefile.is_relative_to(testbed.parents[1])


def test_ones_own_scenario_is_read_and_planned(testbed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCENARIO)
    planned = succeed(testbed, "run", "mine.py", "--profile", "quick", "--dry-run", folder=tmp_path)
    assert "select" in planned
    assert "epoll-lt" in planned


def test_the_shipped_scenarios_run_by_their_names(testbed: Path, tmp_path: Path) -> None:
    listed = succeed(testbed, "scenarios", folder=tmp_path)
    names = {line.split("  ")[0] for line in listed.splitlines() if not line.startswith("  ")}
    assert names >= {path.stem for path in (ROOT / "scenarios").rglob("*.py")}
    for name in ("figure_5", "wan_one_byte", "peers"):
        assert succeed(testbed, "run", name, "--dry-run", folder=tmp_path).startswith(f"{name} (quick): ")


def test_programs_are_built_in_a_cache_and_not_in_the_package(testbed: Path, tmp_path: Path) -> None:
    code = f"""
import os
os.environ["XDG_CACHE_HOME"] = {str(tmp_path)!r}
from testbed.runtime import netns_programs
netns_programs.build(print)
print(netns_programs.programs_folder())
"""
    folder = Path(succeed(testbed.parent / "python", "-c", code, folder=tmp_path).splitlines()[-1])
    assert folder.parent == tmp_path / "testbed"
    assert "epoll-lt" in succeed(folder / "userver", "--list-mechs", folder=tmp_path)
    assert not list(testbed.parents[1].rglob("_data/images/build"))
