"""Limits of descriptors that an engine gives to a container are read where the container is, or asked inside it."""

from __future__ import annotations

import os
import resource
from types import SimpleNamespace
from typing import Any

import pytest

from testbed.errors import RuntimeFault
from testbed.runtime import docker_limits, docker_paths
from testbed.runtime.base import Completed
from testbed.runtime.docker_limits import open_files

API: Any = SimpleNamespace(inspect_container=lambda container: {"State": {"Pid": os.getpid()}})


def test_here_they_are_those_of_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_paths, "not_here", lambda pid, container: "")
    assert open_files(API, "c0ffee", "server") == resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize(
    ("done", "found"),
    [
        (Completed(0, "1024\n524288\n", ""), (1024, 524_288)),
        (Completed(0, "1024\nunlimited\n", ""), "cannot be read: 1024 unlimited"),
        (Completed(127, "", "no shell\n"), "cannot be read: no shell"),
    ],
)
def test_elsewhere_they_are_asked(
    monkeypatch: pytest.MonkeyPatch, done: Completed, found: tuple[int, int] | str
) -> None:
    monkeypatch.setattr(docker_limits, "run_program", lambda *_: done)
    if isinstance(found, str):
        with pytest.raises(RuntimeFault, match=f"limits of server {found}"):
            open_files(API, "c0ffee", "server")
    else:
        assert open_files(API, "c0ffee", "server") == found
