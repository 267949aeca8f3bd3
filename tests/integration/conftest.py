"""Runtimes that can be had here: one that cannot is a skip that names the reason, or a failure where CI=true."""

from __future__ import annotations

import os

import pytest

from testbed.errors import EnvironmentLack
from testbed.runtime.base import Runtime
from testbed.runtime.choose import choose
from testbed.runtime.docker_images import build


def available(name: str) -> Runtime:
    """The runtime of that name. Docker's has to work where CI=true says that everything is there."""
    try:
        return choose(name)
    except EnvironmentLack as lack:
        if name == "docker" and os.environ.get("CI") == "true":
            pytest.fail(str(lack))
        pytest.skip(f"{name}: {lack}")


def with_images(name: str) -> Runtime:
    """The runtime of that name; docker's with all images that its nodes need."""
    runtime = available(name)
    if name == "docker":
        build(lambda text: None)
    return runtime


@pytest.fixture(scope="session")
def docker_engine() -> Runtime:
    """The docker runtime, with all images that its nodes need."""
    return with_images("docker")
