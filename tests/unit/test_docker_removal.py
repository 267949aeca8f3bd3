"""Removing goes on beside other removers, and past a network that the engine does not let go of."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from requests import Response

from testbed.errors import RuntimeFault
from testbed.runtime.docker_removal import remove_container, remove_networks

NETWORKS = [{"Name": "tb-a.net0", "Id": "0"}, {"Name": "tb-a.net1", "Id": "1"}]


def refusal(status: HTTPStatus, words: str) -> APIError:
    response = Response()
    response.status_code, response.reason, response.url = status, status.phrase, "http://engine/networks/0"
    return APIError("refused", response=response, explanation=words)


IN_USE = refusal(HTTPStatus.FORBIDDEN, "error while removing network: network tb-a.net0 id 0 has active endpoints")


class Engine:
    """Answers each removal with the next of ``answers``; the last one stays. None: removed."""

    def __init__(self, containers: dict[str, Any] | None = None, **answers: list[Exception | None]) -> None:
        self._answers = answers
        self._containers = containers or {}
        self.removed: list[str] = []

    def _remove(self, what: str) -> None:
        answers = self._answers.get(f"of_{what}", [None])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is not None:
            raise answer
        self.removed.append(what)

    def remove_container(self, container: str, force: bool, v: bool) -> None:
        assert force
        assert v
        self._remove(container)

    def remove_network(self, network: str) -> None:
        self._remove(network)

    def inspect_network(self, _: str) -> Any:
        return {"Containers": self._containers}


def remove_network(api: Any, network: str) -> None:
    remove_networks(api, [{"Name": network, "Id": network}])


@pytest.mark.parametrize("remove", [remove_container, remove_network])
def test_what_is_gone_already_is_no_error(remove: Callable[[Any, str], None]) -> None:
    engine = Engine(of_x=[NotFound("gone")])
    remove(engine, "x")
    assert engine.removed == []


def test_a_container_that_another_process_is_removing_is_waited_for() -> None:
    engine = Engine(of_x=[refusal(HTTPStatus.CONFLICT, "removal is already in progress"), NotFound("gone")])
    remove_container(engine, "x")


def test_an_end_that_the_engine_is_about_to_let_go_of_is_waited_for() -> None:
    engine = Engine(of_0=[IN_USE, IN_USE, None])
    remove_networks(engine, NETWORKS)
    assert engine.removed == ["0", "1"]


@pytest.mark.parametrize(
    ("containers", "held_by"),
    [
        ({}, "counts ends on it that no container has, until it is restarted"),
        ({"1": {"Name": "mine"}, "2": {"Name": "another"}}, r"containers that the lab did not make \(another, mine\)"),
    ],
)
def test_one_network_that_stays_is_named_with_its_holder_and_the_others_go(
    containers: dict[str, Any], held_by: str
) -> None:
    engine = Engine(containers, of_0=[IN_USE])
    with pytest.raises(RuntimeFault, match=rf"^network 'tb-a\.net0' stays: .*{held_by}"):
        remove_networks(engine, NETWORKS, timeout_s=0.1)
    assert engine.removed == ["1"]


def test_another_refusal_is_not_tried_again() -> None:
    engine = Engine(of_0=[refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "no space left"), None])
    with pytest.raises(APIError, match="no space left"):
        remove_networks(engine, NETWORKS)
    assert engine.removed == ["1"]
