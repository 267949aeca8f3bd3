"""Histograms as the programs write them (``docs/programs.md``): merged over clients, read as quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from testbed.model.value import Value

_EXACT = 2048
"""Values below it have a bucket each; above, a bucket is as wide as its power of two divided by 1024."""


class Histogram(Value):
    """Counts by bucket. ``buckets`` are (lowest value, count), ascending; values are in the programs' unit (ns)."""

    count: int = 0
    max: int = 0
    sum: int = 0
    buckets: tuple[tuple[int, int], ...] = ()

    @classmethod
    def merged(cls, parts: Iterable[Mapping[str, Any]]) -> Histogram:
        """One histogram of several, e.g. those of all clients. Raises InputError for what is no histogram."""
        histograms = [cls.checked("histogram", part) for part in parts]
        counts: dict[int, int] = {}
        for histogram in histograms:
            for low, count in histogram.buckets:
                counts[low] = counts.get(low, 0) + count
        return cls(
            count=sum(histogram.count for histogram in histograms),
            max=max((histogram.max for histogram in histograms), default=0),
            sum=sum(histogram.sum for histogram in histograms),
            buckets=tuple(sorted(counts.items())),
        )

    def quantile(self, quantile: float) -> float | None:
        """The middle of the bucket in which the quantile (0 … 1) falls, never above the maximum; None if empty."""
        if self.count == 0:
            return None
        rank = max(1, math.ceil(quantile * self.count))
        seen = 0
        for low, count in self.buckets:
            seen += count
            if seen >= rank:
                return min(low + bucket_width(low) // 2, self.max)
        return self.max


def bucket_width(low: int) -> int:
    """How many values share the bucket that begins at ``low``."""
    return 1 if low < _EXACT else int(2 ** (low.bit_length() - _EXACT.bit_length() + 1))
