"""The contract of a kind of figure: one file each in this package, registered by name, drawn from a saved run alone."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from testbed.registry import Registry
from testbed.store.reading import Run

Painter = Callable[[Run], Figure]
"""Draws one run. Deterministic: the same run gives the same figure, byte for byte."""

FIGURES: Registry[Painter] = Registry("kind of figure", "testbed.figures")
