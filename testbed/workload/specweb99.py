"""The static part of a SPECweb99-like workload, as the paper's Section 4 uses it.

File classes, shares and sizes, the distribution of files within a class and Zipf's law over directories are those of
SPECweb99's static part (Standard Performance Evaluation Corporation, 1999), each drawn independently. The paper's own
traces are not public: it says of them that they recreate file classes, access patterns and the number of requests per
HTTP/1.1 connection "that are used in the static portion of SPECweb99". So a session here has SPECweb99's lengths: one
request with probability 0.3, else 5 to 15, in the mean 7.3; no think time.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Mapping, Sequence

from pydantic import Field

from testbed.model.workload import Workload
from testbed.workload.trace import Burst, Request, Session, trace_file, trace_flags

CLASS_SHARES = (0.35, 0.50, 0.14, 0.01)
"""Shares of requests for file classes 0 to 3."""

CLASS_SIZES = (
    (102, 204, 307, 409, 512, 614, 716, 819, 921),
    tuple(1_024 * step for step in range(1, 10)),
    tuple(10_240 * step for step in range(1, 10)),
    tuple(102_400 * step for step in range(1, 10)),
)
"""Sizes in bytes of files 0 to 8 of each class."""

FILE_CUMULATIVE = (0.039, 0.098, 0.186, 0.363, 0.716, 0.834, 0.905, 0.955, 1.0)
"""Cumulative probability of files 0 to 8 within a class."""

ONE_REQUEST_SHARE = 0.3
LONG_SESSION = (5, 15)
"""A session has one request with that probability, else uniformly many from 5 to 15."""

DIRECTORY_BYTES = sum(map(sum, CLASS_SIZES))
MEAN_REQUESTS = ONE_REQUEST_SHARE + (1 - ONE_REQUEST_SHARE) * sum(LONG_SESSION) / 2

_LARGEST_SET_BYTES = 1 << 30
"""It lies in memory twice, as documents and in the server's cache. Whether there is room is asked when it is placed."""


def _file_name(directory: int, kind: int, number: int) -> str:
    return f"dir{directory:05d}/class{kind}_{number}"


def mean_body_bytes() -> float:
    """Mean size of a reply's body over classes and files, in bytes (about 14.74 kB)."""
    shares = [high - low for low, high in itertools.pairwise((0.0, *FILE_CUMULATIVE))]
    return sum(
        share * sum(part * size for part, size in zip(shares, sizes, strict=True))
        for share, sizes in zip(CLASS_SHARES, CLASS_SIZES, strict=True)
    )


class SpecWeb99(Workload):
    """SPECweb99-like static requests in sessions.

    ``directories`` sizes the file set, 5.1 MB each (57 is SPECweb99's size for 50 connections; all of it must fit the
    server's cache); ``sessions_per_client`` are drawn once per run and replayed in a circle.
    """

    directories: int = Field(default=8, ge=1, le=_LARGEST_SET_BYTES // DIRECTORY_BYTES)
    sessions_per_client: int = Field(default=2_000, ge=1, le=1_000_000)

    @property
    def name(self) -> str:
        """``specweb99`` with the number of directories."""
        return f"specweb99, {self.directories} directories"

    @property
    def requests_per_connection(self) -> float:
        """7.3."""
        return MEAN_REQUESTS

    def documents(self) -> Mapping[str, bytes]:
        """36 files a directory; each begins with its own name, so that a wrong file is seen."""
        files = {}
        for directory in range(self.directories):
            for kind, sizes in enumerate(CLASS_SIZES):
                for number, size in enumerate(sizes):
                    name = _file_name(directory, kind, number)
                    pattern = f"{name}\n".encode()
                    files[name] = (pattern * (size // len(pattern) + 1))[:size]
        return files

    def sessions(self, client: int, seed: int) -> tuple[Session, ...]:
        """The sessions of one client: the same for the same seed, byte for byte."""
        draw = random.Random(f"specweb99 {seed} {client}")
        zipf = list(itertools.accumulate(1 / (rank + 1) for rank in range(self.directories)))
        classes = list(itertools.accumulate(CLASS_SHARES))

        def uri() -> str:
            directory = bisect.bisect(zipf, draw.random() * zipf[-1])
            kind = min(bisect.bisect(classes, draw.random()), len(classes) - 1)
            number = min(bisect.bisect(FILE_CUMULATIVE, draw.random()), len(FILE_CUMULATIVE) - 1)
            return "/" + _file_name(min(directory, self.directories - 1), kind, number)

        def session() -> Session:
            length = 1 if draw.random() < ONE_REQUEST_SHARE else draw.randint(*LONG_SESSION)
            return tuple(Burst(requests=(Request(uri=uri()),)) for _ in range(length))

        return tuple(session() for _ in range(self.sessions_per_client))

    def client_files(self, client: int, clients: int, seed: int) -> Mapping[str, bytes]:
        """The client's own sessions."""
        return trace_file(self.sessions(client, seed))

    def client_flags(self, folder: str) -> Sequence[str]:
        """Replay the trace."""
        return trace_flags(folder)
