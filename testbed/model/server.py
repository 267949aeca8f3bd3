"""Servers that a scenario can put under load: the µserver with a mechanism, or anyone's image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from testbed.model.value import Value

PAPER_BACKLOG = 128
MECHANISM_NAME = r"^[a-z][a-z0-9_-]*$"


class Server(Value):
    """Base of all kinds. One kind is one subclass, and one file in ``testbed.engine.under_test`` that starts it."""

    kind: str

    @property
    def label(self) -> str:
        """How figures and tables name it; no two servers of a scenario have the same."""
        raise NotImplementedError

    @property
    def columns(self) -> dict[str, str | int | None]:
        """What a record says of it beside its label: at least ``mechanism`` and ``accept_limit``."""
        raise NotImplementedError


class Userver(Server):
    """The µserver with one event mechanism. ``accept_limit`` None is the paper's Inf: accept all that is pending.

    ``profile`` only looks closer: it makes no other server, and stands in no label.
    """

    kind: Literal["userver"] = "userver"
    mechanism: str = Field(pattern=MECHANISM_NAME)
    accept_limit: int | None = Field(default=None, ge=1)
    backlog: int = Field(default=PAPER_BACKLOG, ge=1, le=65535)
    profile: bool = False

    @property
    def label(self) -> str:
        """The mechanism, its accept limit if it has one, and its backlog if that is another than the paper's."""
        parts = [self.mechanism]
        if self.accept_limit is not None:
            parts.append(f"accept-limit {self.accept_limit}")
        if self.backlog != PAPER_BACKLOG:
            parts.append(f"backlog {self.backlog}")
        return ", ".join(parts)

    @property
    def columns(self) -> dict[str, str | int | None]:
        """Mechanism and accept limit."""
        return {"mechanism": self.mechanism, "accept_limit": self.accept_limit}


class ServerImage(Server):
    """Anyone's server: an image, or a folder with a Dockerfile, and the command that serves ``documents`` on ``port``.

    It runs in the server node's network, on the server's CPUs, freshly started for every point. ``documents`` is where
    it finds the workload's files (a tmpfs that is mounted there); it is ready when it answers a GET of ``ready_path``
    within ``ready_timeout_s``. The image must have ``sleep``: the container stands while the command comes and goes.
    """

    kind: Literal["image"] = "image"
    name: str = Field(pattern=MECHANISM_NAME)
    image: str | None = None
    dockerfile_folder: Path | None = None
    command: tuple[str, ...] = Field(min_length=1)
    port: int = Field(default=80, ge=1, le=65535)
    documents: str = Field(default="/srv", pattern=r"^/")
    ready_path: str = Field(default="/", pattern=r"^/")
    ready_timeout_s: float = Field(default=10, gt=0, le=300)
    environment: dict[str, str] = {}

    @model_validator(mode="after")
    def _one_source(self) -> ServerImage:
        if (self.image is None) == (self.dockerfile_folder is None):
            raise ValueError("needs either image or dockerfile_folder")
        return self

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    @property
    def columns(self) -> dict[str, str | int | None]:
        """Its name stands where a mechanism's would."""
        return {"mechanism": self.name, "accept_limit": None}


def mechanisms(*names: str) -> tuple[Userver, ...]:
    """The µserver once for each mechanism, all else equal."""
    return tuple(Userver(mechanism=name) for name in names)
