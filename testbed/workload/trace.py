"""Sessions as httperf's ``--wsesslog`` has them: read, written, and given to the clients as a workload.

The form (httperf(1), ``--wsesslog``): a blank line ends a session; an unindented URI starts a burst; indented URIs
belong to the same burst; after a URI may stand ``think=SECONDS`` (after the burst; the last of a burst counts),
``method=NAME`` and ``contents='…'``; ``#`` starts a comment. loadgen reads the same
(``images/client/session_trace.c``): what one refuses the other does, in the same words (``tests/traces.py``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator

from testbed.errors import InputError
from testbed.model.value import Value
from testbed.model.workload import Workload

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_BLANKS = " \t"
_URI = re.compile(r"/[^\x00-\x20\x7f]*")
_SECONDS = re.compile(r"[0-9][0-9.eE+-]*")
_LONGEST_THINK_S = 86_400
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_WRITTEN = str.maketrans({"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", "'": r"\'"})

TRACE_FILE = "sessions.wsesslog"
"""The name of a client's trace among its files."""


class Request(Value):
    """One request: a URI path without blanks, its method, and the body that it sends, if any."""

    uri: str = Field(pattern=rf"^{_URI.pattern}$")
    method: str = Field(default="GET", pattern=f"^({'|'.join(_METHODS)})$")
    contents: str | None = None

    @field_validator("contents")
    @classmethod
    def _without_zero(cls, contents: str | None) -> str | None:
        if contents is not None and "\0" in contents:
            raise ValueError("a trace holds no zero byte")
        return contents


class Burst(Value):
    """Requests sent back to back, then ``think_s`` seconds of silence."""

    requests: tuple[Request, ...] = Field(min_length=1)
    think_s: float = Field(default=0.0, ge=0, le=_LONGEST_THINK_S)


Session = tuple[Burst, ...]
"""One connection."""


def format_trace(sessions: Iterable[Session]) -> str:
    """The text of a trace: what ``parse_trace`` reads back as the same sessions."""
    lines: list[str] = []
    for session in sessions:
        for burst in session:
            for index, request in enumerate(burst.requests):
                options = [f"method={request.method}"] if request.method != "GET" else []
                if request.contents is not None:
                    options.append(f"contents='{request.contents.translate(_WRITTEN)}'")
                if index == 0 and burst.think_s:
                    options.append(f"think={burst.think_s!r}")  # repr: all digits that make this number
                lines.append(" ".join([("\t" if index else "") + request.uri, *options]))
        lines.append("")
    return "\n".join(lines) + "\n" if lines else ""


def read_trace(path: Path) -> tuple[Session, ...]:
    """The sessions of a file. Raises InputError."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(str(path), f"cannot be read: {error}") from None
    return parse_trace(text, str(path))


def parse_trace(text: str, where: str) -> tuple[Session, ...]:
    """The sessions of a trace. Raises InputError with the line of the first problem and what is allowed."""
    sessions: list[Session] = []
    bursts: list[Burst] = []
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate([*(line.rstrip("\r") for line in lines), ""], 1):
        at = f"{where}:{number}"
        if "\0" in line:
            raise InputError(at, "a zero byte")
        if line.lstrip(_BLANKS).startswith("#"):
            continue
        if not line.strip(_BLANKS):
            if bursts:
                sessions.append(tuple(bursts))
                bursts = []
            continue
        request, think_s = _parse_line(line, at)
        if line[0] not in _BLANKS:
            bursts.append(Burst(requests=(request,), think_s=think_s or 0.0))
        elif not bursts:
            raise InputError(at, "an indented URI without a burst before it")
        else:
            last = bursts[-1]
            think_s = last.think_s if think_s is None else think_s
            bursts[-1] = Burst(requests=(*last.requests, request), think_s=think_s)
    if not sessions:
        raise InputError(f"{where}:{len(lines)}", "the trace ends without a session")
    return tuple(sessions)


def _parse_line(line: str, where: str) -> tuple[Request, float | None]:
    """The request, and the think time if one is given."""
    uri, *rest = re.split(f"[{_BLANKS}]", line.strip(_BLANKS), maxsplit=1)
    if not _URI.fullmatch(uri):
        raise InputError(where, f"'{uri}' is no URI: a path beginning with / is expected")
    method, contents, think_s = "GET", None, None
    for word in _words("".join(rest), where):
        key, equals, value = word.partition("=")
        if equals and key == "think":
            think_s = _think(value, where)
        elif equals and key == "method":
            if value not in _METHODS:
                raise InputError(where, f"method='{value}' is not one of: {' '.join(_METHODS)}")
            method = value
        elif equals and key == "contents":
            contents = value
        else:
            raise InputError(where, f"unknown option '{word}': allowed are think= method= contents=")
    return Request(uri=uri, method=method, contents=contents), think_s


def _words(text: str, where: str) -> Iterator[str]:
    """Words between blanks, without their quotes; inside quotes a backslash escapes."""
    word, quote, characters = "", "", iter(text.strip(_BLANKS) + " ")
    begun = False
    for character in characters:
        if quote and character == "\\":
            escaped = next(characters)
            if escaped not in _ESCAPES:
                raise InputError(where, f"unknown escape '\\{escaped}': allowed are \\n \\r \\t \\\\ \\' \\\"")
            word += _ESCAPES[escaped]
        elif character in "'\"" and quote in ("", character):
            quote, begun = "" if quote else character, True
        elif quote or character not in _BLANKS:
            word, begun = word + character, True
        elif begun:
            yield word
            word, begun = "", False
    if quote:
        raise InputError(where, "a quote that does not end on its line")


def _think(value: str, where: str) -> float:
    try:
        think_s = float(value) if _SECONDS.fullmatch(value) else -1.0
    except ValueError:
        think_s = -1.0
    if not 0 <= think_s <= _LONGEST_THINK_S:
        raise InputError(where, f"think='{value}' is not allowed: seconds from 0 to {_LONGEST_THINK_S}")
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

    @cached_property
    def sessions(self) -> tuple[Session, ...]:
        """Read from the file when they are first asked for, and never again: a run plays one trace. Raises
        InputError."""
        return read_trace(self.path)

    @cached_property
    def digest(self) -> str:
        """Of the sessions and of every file below the folder, names and contents. Raises InputError."""
        made = hashlib.sha256(format_trace(self.sessions).encode())
        for name, content in self.documents().items():
            made.update(f"{name}\0{len(content)}\0".encode() + content)
        return f"sha256:{made.hexdigest()}"

    @property
    def beyond_get(self) -> tuple[str, ...]:
        """Methods other than GET and HEAD, and ``contents=`` where a body is sent."""
        requests = [request for session in self.sessions for burst in session for request in burst.requests]
        methods = {request.method for request in requests} - {"GET", "HEAD"}
        bodies = {"contents="} if any(request.contents is not None for request in requests) else set()
        return (*sorted(methods), *bodies)

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
        return trace_file(sessions[first:] + sessions[:first])

    def client_flags(self, folder: str) -> Sequence[str]:
        """Replay the trace."""
        return trace_flags(folder)

    @property
    def requests_per_connection(self) -> float:
        """Mean over the sessions."""
        return mean_requests(self.sessions)


def trace_flags(folder: str) -> Sequence[str]:
    """Flags that make loadgen replay the trace in ``folder``."""
    return ("--sessions", f"{folder}/{TRACE_FILE}")


def trace_file(sessions: Iterable[Session]) -> Mapping[str, bytes]:
    """The file that ``trace_flags`` names."""
    return {TRACE_FILE: format_trace(sessions).encode()}


def mean_requests(sessions: Sequence[Session]) -> float:
    """Mean number of requests in a session."""
    return sum(len(burst.requests) for session in sessions for burst in session) / len(sessions)
