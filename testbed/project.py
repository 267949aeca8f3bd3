"""Where the project's own files are: in a source tree, or in an installed package."""

from __future__ import annotations

from pathlib import Path

from testbed.errors import EnvironmentLack

_PACKAGE = Path(__file__).resolve().parent


def images_folder() -> Path:
    """The folder with the programs' sources and the Dockerfiles. Raises EnvironmentLack when there is none."""
    for path in (_PACKAGE.parent / "images", _PACKAGE / "_data" / "images"):
        if (path / "Makefile").is_file():
            return path
    raise EnvironmentLack("the installed testbed has no images folder", "install the testbed package again")
