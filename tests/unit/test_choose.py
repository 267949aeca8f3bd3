"""Which runtime is used: Docker, else namespaces, else one line on what is missing; never the fake on its own."""

from __future__ import annotations

import pytest

from testbed.errors import EnvironmentLack, UsageError
from testbed.runtime.base import RUNTIMES
from testbed.runtime.choose import choose, working
from testbed.runtime.fake import FakeRuntime


class Docker(FakeRuntime):
    """An engine that answers."""

    preference = 1


class Netns(FakeRuntime):
    """Namespaces that can be made."""

    preference = 2


class NoEngine(Docker):
    """One that does not."""

    def __init__(self) -> None:
        raise EnvironmentLack("no engine answers", "start it")


class NoRoot(Netns):
    """Namespaces that this user cannot make."""

    def __init__(self) -> None:
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
    found, lacks = working()
    assert [type(runtime) for runtime in found] == [Docker, Netns]
    assert not lacks


def test_namespaces_stand_in(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", NoEngine)
    assert isinstance(choose(), Netns)
    (found,), lacks = working()
    assert isinstance(found, Netns)
    assert {name: lack.what for name, lack in lacks.items()} == {"docker": "no engine answers"}


def test_with_neither_the_user_is_told_both_and_how_to_fix_the_first(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", NoEngine)
    here.setitem(RUNTIMES._entries, "netns", NoRoot)
    with pytest.raises(EnvironmentLack) as caught:
        choose()
    assert str(caught.value) == (
        "no runtime works here (docker: no engine answers; netns: not root); to fix it: start it"
    )
    assert working()[0] == []


def test_a_runtime_of_its_own_file_is_chosen_by_its_rank(here: pytest.MonkeyPatch) -> None:
    class Podman(FakeRuntime):
        preference = 0

    here.setitem(RUNTIMES._entries, "podman", Podman)
    assert isinstance(choose(), Podman)


def test_what_was_asked_for_by_name_is_not_replaced(here: pytest.MonkeyPatch) -> None:
    here.setitem(RUNTIMES._entries, "docker", NoEngine)
    with pytest.raises(EnvironmentLack, match="no engine answers"):
        choose("docker")


def test_an_unknown_runtime_is_told_what_there_is() -> None:
    with pytest.raises(UsageError, match="unknown runtime 'podman': one of docker, fake, netns"):
        choose("podman")
