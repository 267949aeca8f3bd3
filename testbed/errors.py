"""Every error that the testbed raises on purpose, as one tree.

TestbedError
├── UsageError          the user wrote something that cannot be: exit 2
│   └── InputError      … in a file or a field that can be named
├── EnvironmentLack     the machine lacks something, with what to do about it: exit 3
└── RunError            the run itself failed: exit 1
    ├── PointsFailed    … at some points: the others are on the disk
    ├── RuntimeFault    the container engine or the kernel refused or failed
    └── ProgramError    a program in a node failed
"""

from __future__ import annotations

from pathlib import Path


class TestbedError(Exception):
    """Base of all. Its text is one line for the user; ``exit_code`` is what the command line returns."""

    __test__ = False  # the name begins like a test class's: pytest must not collect it
    exit_code = 1


class UsageError(TestbedError):
    """The user asked for something that cannot be done as written."""

    exit_code = 2


class InputError(UsageError):
    """A bad value, with its place: ``where`` is a file and a path of fields in it."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class EnvironmentLack(TestbedError):
    """The machine lacks something. ``fix`` is one line that says how to get it."""

    exit_code = 3

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(f"{what}; to fix it: {fix}")
        self.what = what
        self.fix = fix


class RunError(TestbedError):
    """The run could not be finished."""


class PointsFailed(RunError):
    """Some points could not be measured, even when tried again. ``folder`` is the run with all the others."""

    def __init__(self, what: str, folder: Path) -> None:
        super().__init__(what)
        self.folder = folder


class RuntimeFault(RunError):
    """The container engine or the kernel refused an operation or failed in it."""


class ProgramError(RunError):
    """A program inside a node ended when it should not have, or said something that it should not."""
