"""Where the project's own files are: in a source tree, or in an installed package."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import EnvironmentLack

_PACKAGE = Path(__file__).resolve().parent
_TREE, _INSTALLED = _PACKAGE.parent, _PACKAGE / "_data"


def images_folder() -> Path:
    """The folder with the programs' sources and the Dockerfiles. Raises EnvironmentLack when there is none."""
    return _folder("images", "Makefile")


def scenarios_folder() -> Path:
    """The folder with the scenarios that come with the project. Raises EnvironmentLack when there is none."""
    return _folder("scenarios", "figure_5.py")


def is_installed() -> bool:
    """Whether the project's files lie inside an installed package, where nothing may be written."""
    return images_folder().is_relative_to(_INSTALLED)


def _folder(name: str, holds: str) -> Path:
    for path in (_TREE / name, _INSTALLED / name):
        if (path / holds).is_file():
            return path
    raise EnvironmentLack(f"the installed testbed has no {name} folder", "install the testbed package again")
