"""The connection to the container engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import docker
from docker.errors import APIError, DockerException

from testbed.errors import EnvironmentLack, RuntimeFault

_POOL = 64
"""Connections kept open. Nodes are made in threads, and each running program holds one."""

_TIMEOUT_S = 60
"""For one answer of the engine. Streams of running programs have none: they may be silent for as long as they like."""


def connect(timeout_s: float = _TIMEOUT_S) -> docker.DockerClient:
    """A client for the engine of the environment (DOCKER_HOST, else the local socket); ``timeout_s`` for each answer.

    Raises EnvironmentLack when none answers.
    """
    try:
        client = docker.from_env(timeout=int(timeout_s), max_pool_size=_POOL)
        client.ping()
    except (DockerException, OSError) as error:
        where = os.environ.get("DOCKER_HOST", "the local socket")
        sign = _short(error)
        raise EnvironmentLack(f"no container engine answers at {where} ({sign})", _fix(sign)) from None
    return client


@contextmanager
def faults(what: str) -> Iterator[None]:
    """Turn a refusal of the engine, and an engine that does not answer, into RuntimeFault that begins with ``what``."""
    try:
        yield
    except APIError as error:
        raise RuntimeFault(f"{what}: {explained(error)}") from None
    except (DockerException, OSError) as error:  # requests' errors are OSErrors
        raise RuntimeFault(f"{what}: the container engine does not answer ({_short(error)})") from None


def explained(error: APIError) -> str:
    """The engine's own words, in one line."""
    return " ".join(str(error.explanation or error).split())


def _fix(sign: str) -> str:
    if sign == "Permission denied":
        return "run testbed with sudo, or add yourself to the group docker (usermod -aG docker USER) and log in again"
    if sys.platform == "darwin":
        return "install and start Docker Desktop"
    return (
        "install Docker (Debian, Ubuntu: apt-get install docker.io) and start it (systemctl start docker), "
        "or use --runtime netns as root"
    )


def _short(error: Exception) -> str:
    text = str(error)
    for sign in ("Permission denied", "No such file or directory", "Connection refused"):
        if sign in text:
            return sign
    return text.splitlines()[0][:160] if text else type(error).__name__
