"""Runtimes that can be had here: one that cannot is a skip that names the reason, or a failure where CI=true.

A test that failed because the engine miscounts the ends of its lab's network is skipped, after a probe, naming it.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from docker.errors import DockerException

from testbed.errors import EnvironmentLack
from testbed.runtime.base import Runtime
from testbed.runtime.choose import choose
from testbed.runtime.docker_images import build
from tests.integration.engine_faults import miscounted_network


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """See the module's text."""
    report = yield
    if report.failed:
        try:
            network = miscounted_network(report.longreprtext)
        except DockerException:
            network = None  # no engine, no fault of one
        if network is not None:
            reason = f"Skipped: the engine miscounts the ends of network {network}, until it is restarted"
            report.outcome = "skipped"
            report.longrepr = (str(item.path), (item.location[1] or 0) + 1, reason)
    return report
