"""Which runtime is used: Docker, else namespaces, else one line on what is missing; never the fake on its own."""

from __future__ import annotations

import pytest

from testbed.errors import EnvironmentLack, UsageError
from testbed.runtime.base import RUNTIMES
from testbed.runtime.choose import choose, working
from testbed.runtime.fake import FakeRuntime


class Docker(FakeRuntime):
    """An engine that answers."""


class Netns(FakeRuntime):
    """Namespaces that can be made."""


def no_engine() -> FakeRuntime:
    raise EnvironmentLack("no engine answers", "start it")


def no_root() -> FakeRuntime:
    raise EnvironmentLack("not root", "use sudo")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with both; a test takes one away."""
    RUNTIMES.names()
    monkeypatch.setitem(RUNTIMES._entries, "docker", Docker)
    monkeypatch.setitem(RUNTIMES._entries, "netns", Netns)
    return monkeypatch


@pytest.mark.usefixtures("here")
def test_docker_is_preferred() -> None:
    assert isinstance(choose(), Docker)
    assert isinstance(choose("netns"), Netns)
    assert [type(runtime) for runtime in working()] == [Docker, Netns]


def test_namespaces_stand_in(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", no_engine)
    assert isinstance(choose(), Netns)
    assert [type(runtime) for runtime in working()] == [Netns]


def test_with_neither_the_user_is_told_both_and_how_to_fix_the_first(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", no_engine)
    here.setitem(RUNTIMES._entries, "netns", no_root)
    with pytest.raises(EnvironmentLack) as caught:
        choose()
    assert str(caught.value) == (
        "no runtime works here (docker: no engine answers; netns: not root); to fix it: start it"
    )
    assert working() == []


def test_what_was_asked_for_by_name_is_not_replaced(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", no_engine)
    with pytest.raises(EnvironmentLack, match="no engine answers"):
        choose("docker")


def test_an_unknown_runtime_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown runtime 'podman': one of docker, fake, netns"):
        choose("podman")
