"""The connection to the container engine."""

from __future__ import annotations

import os

import docker
from docker.errors import DockerException

from testbed.errors import EnvironmentLack

_POOL = 32
"""Nodes are made in threads, and each running program holds a connection."""

_TIMEOUT_S = 60


def connect() -> docker.DockerClient:
    """A client for the engine of the environment (DOCKER_HOST, else the local socket).

    Raises EnvironmentLack when none answers.
    """
    try:
        client = docker.from_env(timeout=_TIMEOUT_S, max_pool_size=_POOL)
        client.ping()
    except (DockerException, OSError) as error:
        where = os.environ.get("DOCKER_HOST", "the local socket")
        raise EnvironmentLack(
            f"no container engine answers at {where} ({_short(error)})",
            "install Docker (Debian, Ubuntu: apt-get install docker.io) and start it, or use --runtime netns as root",
        ) from None
    return client


def _short(error: Exception) -> str:
    text = str(error)
    for sign in ("Permission denied", "No such file or directory", "Connection refused"):
        if sign in text:
            return sign
    return text.splitlines()[0][:160]
