"""Containers and networks go away, also while another process removes the same ones, or the engine is not done yet."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from docker.errors import APIError, NotFound

from testbed.errors import RuntimeFault
from testbed.runtime.docker_engine import explained

_CONTAINER_TIMEOUT_S = 20.0
_NETWORK_TIMEOUT_S = 5.0
_PAUSE_S = 0.05


def remove_container(api: Any, container: str) -> None:
    """Remove it, or wait until whoever is removing it already has done so. Raises APIError."""
    deadline = time.monotonic() + _CONTAINER_TIMEOUT_S
    while True:
        try:
            api.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409 or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def remove_networks(api: Any, networks: Sequence[Mapping[str, Any]], timeout_s: float = _NETWORK_TIMEOUT_S) -> None:
    """Remove them all, each as the engine lists it. One that stays does not save the others.

    Raises RuntimeFault that says what holds the first one that stayed, APIError for another refusal.
    """
    refusals = []
    for network in networks:
        try:
            _remove_network(api, network, timeout_s)
        except (APIError, RuntimeFault) as error:
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _remove_network(api: Any, network: Mapping[str, Any], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            api.remove_network(network["Id"])
        except NotFound:  # another process is removing the same lab
            return
        except APIError as error:
            # The engine lets go of a container's end a little after the container.
            if "active endpoints" not in explained(error):
                raise
            if time.monotonic() > deadline:
                raise RuntimeFault(f"network {network['Name']!r} stays: {_holder(api, network['Id'])}") from None
            time.sleep(_PAUSE_S)
        else:
            return


def _holder(api: Any, network: str) -> str:
    """What keeps a network in use: containers that are no lab's, or the engine's count of ends that has gone wrong."""
    try:
        there = sorted(container["Name"] for container in api.inspect_network(network)["Containers"].values())
    except NotFound:
        there = []
    if there:
        return f"in use by containers that the lab did not make ({', '.join(there)}): remove those first"
    return "the engine counts ends on it that no container has, until it is restarted (systemctl restart docker)"
