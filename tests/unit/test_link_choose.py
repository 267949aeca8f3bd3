"""The choice of backends, and whether what is read back is what was declared, with backends of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from testbed.errors import EnvironmentLack, RuntimeFault, UsageError
from testbed.link import choose
from testbed.link.base import BACKENDS, Endpoint
from testbed.model.shape import Direction, LinkShape, Shape
from testbed.runtime.base import Completed, Process


class Nowhere:
    """A place that runs nothing."""

    def run(self, command: object, timeout_s: float = 30.0) -> Completed:
        raise AssertionError("nothing is to be run")

    def start(self, command: object) -> Process:
        raise AssertionError("nothing is to be started")


@dataclass
class Scripted:
    """A backend that remembers, and can be told to lack, to refuse and to lie."""

    name: str
    missing: str | None = None
    refused: str | None = None
    forgets: bool = False
    set: dict[Direction, Shape] = field(default_factory=dict)
    slot: str = "queue"
    up_on_arrival: bool = False

    @property
    def preference(self) -> int:
        return ("netem", "tbf", "userspace").index(self.name)

    def part(self, shape: Shape) -> Shape:
        return Shape(rate_bps=shape.rate_bps) if self.name == "tbf" else shape

    def lack(self, endpoint: Endpoint, direction: Direction) -> str | None:
        return self.missing

    def refuse(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> str | None:
        if self.name == "tbf" and shape != Shape(rate_bps=shape.rate_bps):
            return "all but a rate"
        return self.refused

    def apply(self, endpoint: Endpoint, direction: Direction, shape: Shape) -> None:
        self.set[direction] = Shape(delay_us=1) if self.forgets else shape

    def read_back(self, endpoint: Endpoint, direction: Direction) -> Shape | None:
        return self.set.get(direction)

    def remove(self, endpoint: Endpoint, direction: Direction) -> None:
        self.set.pop(direction, None)


END = Endpoint("node", "net0", "eth0", "10.0.0.1", Nowhere())
BOTH = Shape(delay_us=5_000, rate_bps=10**7)


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> dict[str, Scripted]:
    made = {name: Scripted(name) for name in ("netem", "tbf", "userspace")}
    monkeypatch.setattr(BACKENDS, "names", lambda: sorted(made))
    monkeypatch.setattr(BACKENDS, "get", made.__getitem__)
    return made


def test_netem_is_first_where_it_can(backends: dict[str, Scripted]) -> None:
    assert choose.choose(END, "down", BOTH).parts == (("netem", BOTH),)


def test_without_netem_the_rate_is_tbf_s_and_the_rest_userspace_s(backends: dict[str, Scripted]) -> None:
    backends["netem"].missing = "the kernel has no netem"
    choice = choose.choose(END, "down", BOTH)
    assert choice.parts == (("tbf", Shape(rate_bps=10**7)), ("userspace", Shape(delay_us=5_000)))
    assert choice.names == "tbf + userspace"
    assert "not netem: the kernel has no netem" in choice.reason


def test_what_netem_refuses_others_do(backends: dict[str, Scripted]) -> None:
    backends["netem"].refused = "correlation"
    assert choose.choose(END, "down", Shape(rate_bps=10**7)).names == "tbf"


def test_without_tbf_userspace_does_all(backends: dict[str, Scripted]) -> None:
    backends["netem"].missing = backends["tbf"].missing = "not root"
    assert choose.choose(END, "down", BOTH).parts == (("userspace", BOTH),)


def test_when_none_can_it_is_said_of_each(backends: dict[str, Scripted]) -> None:
    backends["netem"].missing, backends["userspace"].missing = "no netem", "no iptables"
    with pytest.raises(EnvironmentLack, match=r"do `delay 5ms` .*not netem: no netem; not userspace: no iptables"):
        choose.choose(END, "down", BOTH)


def test_the_reason_against_each_that_was_passed_over_is_told(backends: dict[str, Scripted]) -> None:
    backends["netem"].missing, backends["tbf"].refused = "no netem", "the qdisc pfifo 5: is somebody's"
    choice = choose.choose(END, "down", BOTH)
    assert choice.text == "userspace: not netem: no netem; not tbf: the qdisc pfifo 5: is somebody's"
    backends["userspace"].missing = "no iptables"
    with pytest.raises(EnvironmentLack, match=r"not netem: .*; not tbf: the qdisc .*; not userspace: no iptables"):
        choose.choose(END, "down", BOTH)


def test_the_new_shape_stands_before_the_old_one_goes(
    backends: dict[str, Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose.apply(END, LinkShape(down=BOTH), "userspace")
    beside: list[bool] = []

    def remove(endpoint: Endpoint, direction: Direction) -> None:
        beside.append("down" in backends["netem"].set)
        backends["userspace"].set.pop(direction, None)

    monkeypatch.setattr(backends["userspace"], "remove", remove)
    choose.apply(END, LinkShape(down=BOTH))
    assert beside[0]


def test_a_named_backend_does_all_or_refuses(backends: dict[str, Scripted]) -> None:
    with pytest.raises(UsageError, match="tbf cannot do this exactly: all but a rate"):
        choose.choose(END, "down", BOTH, "tbf")


def test_nothing_is_changed_when_one_direction_cannot_be_done(backends: dict[str, Scripted]) -> None:
    with pytest.raises(UsageError):
        choose.apply(END, LinkShape(down=Shape(rate_bps=10**7), up=BOTH), "tbf")
    assert backends["tbf"].set == {}


def test_what_another_backend_had_set_goes_away(backends: dict[str, Scripted]) -> None:
    choose.apply(END, LinkShape(down=BOTH), "userspace")
    choose.apply(END, LinkShape(down=BOTH))
    assert backends["userspace"].set == {}
    assert choose.read_back(END, "down") == BOTH
    choose.apply(END, LinkShape())
    assert all(backend.set == {} for backend in backends.values())


def test_a_shape_that_did_not_take_is_an_error(backends: dict[str, Scripted]) -> None:
    backends["netem"].forgets = True
    with pytest.raises(RuntimeFault, match="declared `delay 5ms, rate 10mbit`, read back `delay 1us`"):
        choose.apply(END, LinkShape(down=BOTH))


@pytest.mark.parametrize(
    ("declared", "found", "equal"),
    [
        (Shape(rate_bps=1_000_007), Shape(rate_bps=1_000_000), True),
        (Shape(rate_bps=1_000_008), Shape(rate_bps=1_000_000), False),
        (Shape(rate_bps=10**7, burst_bytes=10_000), Shape(rate_bps=10**7, burst_bytes=9_995), True),
        (Shape(rate_bps=10**7, burst_bytes=10_000), Shape(rate_bps=10**7, burst_bytes=5_000), False),
        (Shape(rate_bps=10**7, burst_bytes=10_000), Shape(rate_bps=10**7), False),
        (Shape(delay_us=5_000), Shape(), False),
    ],
)
def test_rates_are_whole_bytes_and_bursts_whole_ticks(declared: Shape, found: Shape, equal: bool) -> None:
    assert choose.same(declared, found) is equal


def test_differences_are_told_by_direction_with_both_shapes(backends: dict[str, Scripted]) -> None:
    wanted = LinkShape(down=BOTH, up=Shape(delay_us=2_000))
    choose.apply(END, wanted)
    assert choose.differences(END, wanted, "declared") == []
    backends["netem"].set["up"] = Shape(delay_us=3_000)
    del backends["netem"].set["down"]
    assert choose.differences(END, wanted, "the timeline left") == [
        f"link node net0 down is now `unshaped`, the timeline left `{BOTH.text()}`",
        "link node net0 up is now `delay 3ms`, the timeline left `delay 2ms`",
    ]


def test_a_direction_that_broke_does_not_hide_the_other(
    backends: dict[str, Scripted], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_back(endpoint: Endpoint, direction: Direction) -> Shape | None:
        if direction == "down":
            raise RuntimeFault("linkem is gone")
        return None

    monkeypatch.setattr(backends["userspace"], "read_back", read_back)
    assert choose.differences(END, LinkShape(down=BOTH, up=BOTH), "declared") == [
        "link node net0 down broke: linkem is gone",
        f"link node net0 up is now `unshaped`, declared `{BOTH.text()}`",
    ]
