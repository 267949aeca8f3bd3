"""``python -m tests.benchmark [NAME…]``: runs benchmarks (all by default) and prints every outcome at the end."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.benchmark
from testbed.engine.measured import cpu_seconds, sample_host
from testbed.errors import TestbedError
from tests.benchmark.outcome import Outcome

_NOT_BENCHMARKS = {"__main__", "in_group", "outcome", "world"}


def main(names: list[str]) -> int:
    """Run the named benchmarks. The exit status is 0 however the figures are; 2 for an unknown name."""
    every = sorted({module.name for module in pkgutil.iter_modules(tests.benchmark.__path__)} - _NOT_BENCHMARKS)
    unknown = [name for name in names if name not in every]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}: one of {', '.join(every)}", file=sys.stderr)
        return 2
    before = sample_host()
    outcomes: list[Outcome] = []
    for name in names or every:
        print(f"== {name}", flush=True)
        try:
            outcomes += importlib.import_module(f"tests.benchmark.{name}").main()
        except TestbedError as error:
            print(f"{name}: cannot be measured: {error}", flush=True)
    after = sample_host()
    cpus = tuple(before.cpus)
    steal = cpu_seconds(before, after, cpus, ("steal",)) / ((after.at_ns - before.at_ns) / 1e9 * len(cpus))
    print("== outcomes")
    for outcome in outcomes:
        print(outcome)
    print(f"steal while measuring: {steal:.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
