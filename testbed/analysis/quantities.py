"""Reads a claim's quantity from the record of a point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.analysis.shares import shares_of
from testbed.model.claim import Quantity
from testbed.model.record import Record


def value_of(record: Record, quantity: Quantity) -> float | None:
    """The quantity at this point, or None where the point does not have it: no replies, no counters, no profile."""
    if quantity.field is not None:
        return _number(_reached(record, quantity.field))
    if quantity.shares:
        if not record.server.get("profile"):
            return None
        shares = shares_of(record)
        return None if not shares else sum(shares.get(call, 0.0) for call in quantity.shares)
    counted = [_in_window(record, path) for path in quantity.counts]
    divisor = _in_window(record, quantity.per or "")
    if None in counted or not divisor:
        return None
    return sum(count for count in counted if count is not None) / divisor


def field_of(record: Record, path: str) -> Any:
    """A field of a record by its dotted path, or None."""
    return _reached(record, path)


def _in_window(record: Record, path: str) -> float | None:
    """How far a counter of the server went from the window's begin to its end."""
    before, after = (_counter(record.raw.get(edge) or {}, path) for edge in ("server_before", "server_after"))
    return None if before is None or after is None else after - before


def _counter(line: Mapping[str, Any], path: str) -> float | None:
    if path.startswith("syscalls.") and "syscalls" in line:
        return float(_reached(line, path) or 0)  # a call that was never made is not listed
    return _number(_reached(line, path))


def _reached(value: Any, path: str) -> Any:
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else getattr(value, part, None)
    return value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
