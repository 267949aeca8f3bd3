"""netem: the kernel's own emulator, set from outside the node through route netlink."""

from __future__ import annotations

import os
import platform

from testbed.errors import RuntimeFault, TestbedError
from testbed.link.base import BACKENDS, Endpoint
from testbed.link.netem_options import decode, encode
from testbed.link.qdisc import ROOT, Qdisc, Qdiscs
from testbed.link.root_qdisc import RootQdisc
from testbed.link.scratch import scratch_namespace
from testbed.model.shape import Direction, Distribution, Shape

_KIND = "netem"
_HANDLES: dict[Distribution, int] = {"uniform": 0x7B01_0000, "normal": 0x7B02_0000, "pareto": 0x7B03_0000}
"""netem does not report its table of jitter, so the handle says which one was given."""

_SEEDED = 0x0010_0000
"""Added to the handle where a seed was asked for: without one netem reports the seed it chose itself."""

_LIMITED = 0x0020_0000
"""Added where a limit was chosen: netem's own limit counts what travels too, and may be the same as without one."""

_SEED_SINCE = (6, 6)


class Netem(RootQdisc):
    """See the module's text."""

    name = _KIND
    preference = 1
    handles = frozenset(
        handle + seeded + limited
        for handle in _HANDLES.values()
        for seeded in (0, _SEEDED)
        for limited in (0, _LIMITED)
    )

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        """No way into the namespace, or no netem in the kernel."""
        return super().lack(endpoint, direction) or kernel_lack()

    def cannot(self, shape: Shape) -> str | None:
        """What netem does otherwise than declared."""
        if shape.correlation_percent:
            return "correlation (netem takes its draws modulo the jitter, which undoes it)"
        if shape.burst_bytes:
            return "burst (netem spaces every packet)"
        if shape.seed is not None and not _takes_seeds():
            return f"seed (netem has one since Linux 6.6, this is {platform.release()})"
        return None

    def handle(self, shape: Shape) -> int:
        """That of the distribution, and whether a seed and a limit were asked for."""
        seeded, limited = shape.seed is not None, shape.limit_pkts is not None
        return _HANDLES[shape.distribution] + seeded * _SEEDED + limited * _LIMITED

    def put(self, qdiscs: Qdiscs, index: int, shape: Shape) -> None:
        """One qdisc does it all."""
        qdiscs.put(index, ROOT, self.handle(shape), _KIND, encode(shape))

    def decode(self, root: Qdisc, others: list[Qdisc]) -> Shape:
        """What the kernel does not report is known by the handle."""
        plain = root.handle & ~(_SEEDED | _LIMITED)
        distribution = next(name for name, handle in _HANDLES.items() if handle == plain)
        seeded, limited = bool(root.handle & _SEEDED), bool(root.handle & _LIMITED)
        return decode(root.options, distribution, seeded=seeded, limited=limited)


def kernel_lack() -> str | None:
    """Why this kernel cannot run netem, or None; tried on a throw-away interface."""
    try:
        with scratch_namespace() as (namespace, index), Qdiscs(namespace) as qdiscs:
            qdiscs.put(index, ROOT, _HANDLES["uniform"], _KIND, encode(Shape(delay_us=1000)))
    except TestbedError as error:
        if "kind is unknown" in str(error):
            return "the kernel has no netem (Specified qdisc kind is unknown)"
        return f"the kernel's netem does not work here: {error}"
    return None


def _takes_seeds() -> bool:
    release = platform.release().split(".")
    try:
        return (int(release[0]), int(release[1])) >= _SEED_SINCE
    except (ValueError, IndexError):
        raise RuntimeFault(f"kernel release {platform.release()!r} of {os.uname().nodename} is not a version") from None


BACKENDS.register(_KIND, Netem())
