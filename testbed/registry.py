"""Backends that register themselves: one file each, found by name, nothing else edited."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Generic, TypeVar

from testbed.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of backend, filled by the modules of one package as they are imported.

    ``kind`` is how an error names an entry ("runtime"); ``package`` is where the modules are looked for.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str, entry: T) -> T:
        """Add an entry. Raises ValueError when the name is taken: two files may not claim one name."""
        if name in self._entries:
            raise ValueError(f"two {self.kind}s are named {name!r}")
        self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._entries)

    def get(self, name: str) -> T:
        """The entry of that name. Raises UsageError that lists what there is."""
        self._load()
        if name not in self._entries:
            raise UsageError(f"unknown {self.kind} {name!r}: one of {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        self._loaded = True
