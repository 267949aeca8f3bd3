"""Imports point downward only, as docs and design say; read from the source, so nothing need be importable."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "testbed"

BASE = {"awake", "errors", "units", "registry", "project"}
LOW = {*BASE, "model"}
MIDDLE = {"topology", "runtime", "link", "workload"}
ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(BASE, BASE),
    "model": LOW,
    **{name: {*LOW, *MIDDLE} for name in MIDDLE},
    "store": {*LOW, "store"},
    "analysis": {*LOW, "store", "analysis"},
    "figures": {*LOW, "store", "analysis", "figures"},
    "report": {*LOW, "store", "analysis", "figures", "report"},
    "engine": {*LOW, *MIDDLE, "store", "analysis", "engine"},
    "cli": {*LOW, *MIDDLE, "store", "analysis", "figures", "report", "engine", "cli"},
}
"""For each part of the package: the parts that it may import."""

CONFINED = {
    "docker": lambda path: path.startswith("runtime/docker"),
    "pyroute2": lambda path: path.startswith("link/") or path == "runtime/netns.py",
    "click": lambda path: path.startswith("cli/"),
    "rich": lambda path: path.startswith("cli/"),
    "matplotlib": lambda path: path.startswith("figures/"),
}
"""Third-party packages that only some files may import."""


@functools.cache
def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it the import stands (type checking aside)."""
    names: set[str] = set()
    for node in _reached(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "testbed" else {module}
    return names


def _reached(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return [inner for part in node.orelse for inner in _reached(part)]
    return [node, *(inner for child in ast.iter_child_nodes(node) for inner in _reached(child))]


def sources() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if "_data" not in path.parts)


def part_of(path: str) -> str:
    return path.partition("/")[0].removesuffix(".py")


@pytest.mark.parametrize("path", [path for path in sources() if path != "__init__.py"])
def test_a_file_imports_only_parts_below_its_own(path: str) -> None:
    allowed = ALLOWED[part_of(path)]
    parts = {name.split(".")[1] for name in imported(PACKAGE / path) if name.startswith("testbed.")}
    assert parts <= allowed, f"testbed/{path} imports {sorted(parts - allowed)}"


@pytest.mark.parametrize("package", sorted(CONFINED))
def test_a_third_party_package_stays_where_it_belongs(package: str) -> None:
    strays = [
        path
        for path in sources()
        if any(name.split(".")[0] == package for name in imported(PACKAGE / path)) and not CONFINED[package](path)
    ]
    assert strays == []


def test_scenario_files_import_public_names_only() -> None:
    files = sorted((ROOT / "scenarios").rglob("*.py"))
    assert files
    for file in files:
        names = {name for name in imported(file) if name.split(".")[0] == "testbed"}
        private = {name for name in names if any(part.startswith("_") for part in name.split("."))}
        workloads = {name for name in names if name.startswith("testbed.workload.")}  # a new one is one file
        engine_room = {name for name in names - workloads if name.count(".") > 1}
        assert not private | engine_room, f"{file.name} imports {sorted(private | engine_room)}"


def test_the_rules_name_every_part_of_the_package() -> None:
    parts = {part_of(path) for path in sources()} - {"__init__"}
    assert parts <= set(ALLOWED), f"no rule for {sorted(parts - set(ALLOWED))}"


def test_a_stray_import_would_be_seen(tmp_path: Path) -> None:
    stray = tmp_path / "stray.py"
    stray.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import jinja2\n"
        "def f() -> None:\n    import docker.errors\n    from testbed import engine\n"
    )
    assert imported(stray) == {"typing", "docker.errors", "testbed.engine"}
