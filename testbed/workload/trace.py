"""Sessions as httperf's ``--wsesslog`` has them: read, written, and given to the clients as a workload.

The form (httperf(1), ``--wsesslog``): a blank line ends a session; an unindented URI starts a burst; indented URIs
belong to the same burst; after a URI may stand ``think=SECONDS`` (after the burst), ``method=NAME`` and
``contents='…'``; ``#`` starts a comment.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from testbed.errors import InputError
from testbed.model.value import Value
from testbed.model.workload import Workload

_METHODS = ("GET", "HEAD")
"""What the µserver answers; another method in a trace would measure its 501 page."""

_TRACE_FILE = "sessions.wsesslog"


class Request(Value):
    """One request: a URI path and its method."""

    uri: str
    method: str = "GET"


class Burst(Value):
    """Requests sent back to back, then ``think_s`` seconds of silence."""

    requests: tuple[Request, ...] = Field(min_length=1)
    think_s: float = 0.0


Session = tuple[Burst, ...]
"""One connection."""


def format_trace(sessions: Iterable[Session]) -> str:
    """The text of a trace: what ``parse_trace`` reads back as the same sessions."""
    lines: list[str] = []
    for session in sessions:
        for burst in session:
            for index, request in enumerate(burst.requests):
                options = [f"method={request.method}"] if request.method != "GET" else []
                if index == 0 and burst.think_s:
                    options.append(f"think={burst.think_s:g}")
                lines.append(" ".join([("\t" if index else "") + request.uri, *options]))
        lines.append("")
    return "\n".join(lines) + "\n" if lines else ""


def parse_trace(text: str, where: str) -> tuple[Session, ...]:
    """The sessions of a trace. Raises InputError with the line of the first problem and what is allowed."""
    sessions: list[Session] = []
    bursts: list[Burst] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.lstrip().startswith("#"):
            continue
        if not line.strip():
            if bursts:
                sessions.append(tuple(bursts))
                bursts = []
            continue
        request, think_s = _parse_line(line, f"{where}:{number}")
        if not line[0].isspace():
            bursts.append(Burst(requests=(request,), think_s=think_s))
        elif not bursts:
            raise InputError(
                f"{where}:{number}", "an indented URI continues a burst, but none has begun in this session"
            )
        else:
            last = bursts[-1]
            bursts[-1] = Burst(requests=(*last.requests, request), think_s=max(last.think_s, think_s))
    if not sessions:
        raise InputError(where, "holds no session")
    return tuple(sessions)


def _parse_line(line: str, where: str) -> tuple[Request, float]:
    try:
        uri, *options = shlex.split(line)
    except ValueError as error:
        raise InputError(where, f"cannot be read: {error}") from None
    if not uri.startswith("/"):
        raise InputError(where, f"{uri!r} is no URI path: it must start with '/'")
    method, think_s = "GET", 0.0
    for option in options:
        key, _, value = option.partition("=")
        if key == "method":
            if value not in _METHODS:
                raise InputError(where, f"method {value!r} is not one of {', '.join(_METHODS)}")
            method = value
        elif key == "think":
            think_s = _think(value, where)
        elif key == "contents":
            raise InputError(where, "contents= sends a body, and the servers here take none")
        else:
            raise InputError(where, f"unknown option {option!r}: one of think=, method=, contents=")
    return Request(uri=uri, method=method), think_s


def _think(value: str, where: str) -> float:
    try:
        think_s = float(value)
    except ValueError:
        think_s = -1.0
    if not 0 <= think_s <= 86_400:
        raise InputError(where, f"think={value} is not allowed: seconds from 0 to 86400")
    return think_s


class Trace(Workload):
    """Sessions from a wsesslog file, replayed in order and from the start again; every client begins at another one.

    ``path`` is the trace on this machine; ``folder`` holds the files that the server is to serve.
    """

    path: Path
    folder: Path

    @property
    def name(self) -> str:
        """The file's name."""
        return f"trace {self.path.name}"

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Read from the file. Raises InputError."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(str(self.path), f"cannot be read: {error}") from None
        return parse_trace(text, str(self.path))

    def documents(self) -> Mapping[str, bytes]:
        """Every file below the folder."""
        if not self.folder.is_dir():
            raise InputError(str(self.folder), "no such folder")
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}

    def client_files(self, client: int, clients: int, seed: int) -> Mapping[str, bytes]:
        """The same sessions for each client, rotated."""
        sessions = self.sessions
        first = len(sessions) * client // clients
        return {_TRACE_FILE: format_trace(sessions[first:] + sessions[:first]).encode()}

    def client_flags(self, folder: str) -> Sequence[str]:
        """Replay the trace."""
        return trace_flags(folder)

    @property
    def requests_per_connection(self) -> float:
        """Mean over the sessions."""
        return mean_requests(self.sessions)


def trace_flags(folder: str) -> Sequence[str]:
    """Flags that make loadgen replay the trace in ``folder``."""
    return ("--sessions", f"{folder}/{_TRACE_FILE}")


def trace_file(sessions: Iterable[Session]) -> Mapping[str, bytes]:
    """The file that ``trace_flags`` names."""
    return {_TRACE_FILE: format_trace(sessions).encode()}


def mean_requests(sessions: Sequence[Session]) -> float:
    """Mean number of requests in a session."""
    return sum(len(burst.requests) for session in sessions for burst in session) / len(sessions)
