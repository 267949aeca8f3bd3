"""The paper's one-byte workload: one request a connection for the same one-byte file; the client closes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from testbed.model.workload import Workload

_PATH = "1.bin"


class OneByte(Workload):
    """One HTTP/1.1 request per connection for a file of ``size_bytes`` bytes (the paper: one)."""

    size_bytes: int = Field(default=1, ge=0, le=64 * 1024 * 1024)

    @property
    def name(self) -> str:
        """``one-byte``, or the size where another one was asked for."""
        return "one-byte" if self.size_bytes == 1 else f"one-file-{self.size_bytes}-bytes"

    def documents(self) -> Mapping[str, bytes]:
        """A single file."""
        return {_PATH: b"x" * self.size_bytes}

    def client_flags(self, folder: str) -> Sequence[str]:
        """Ask for the single file."""
        return ("--uri", f"/{_PATH}")
