"""How far something is: a bar on a terminal, plain lines otherwise. All of it on stderr; results go to stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from testbed.engine.lab import Progress as Heard


@contextmanager
def steps(title: str, quiet: bool = False) -> Iterator[Heard]:
    """What a ``Lab`` tells its progress to. ``quiet`` says nothing (``--json``)."""
    if quiet:
        yield _say_nothing
    elif sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task(title, total=None)

            def show(what: str, done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, description=f"{title}: {what}")

            yield show
    else:
        yield _Lines(title)


def say(text: str) -> None:
    """One plain line on stderr."""
    print(text, file=sys.stderr, flush=True)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


def _say_nothing(what: str, done: int, total: int) -> None:
    """For ``--json``."""


class _Lines:
    """Plain lines, one a step; steps come from several threads."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lock = Lock()

    def __call__(self, what: str, done: int, total: int) -> None:
        with self._lock:
            say(f"{self._title}: {what} ({done}/{total})")
