"""What a busy machine is allowed to spoil, and what it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.integration.attempts import CannotTell, holds

WRONG, RIGHT, UNTOLD = "off by 3ms", None, CannotTell("the machine was busy")


def measurements(*found: str | CannotTell | None) -> Callable[[], str | None]:
    left: Iterator[str | CannotTell | None] = iter(found)

    def complaint() -> str | None:
        outcome = next(left)
        if isinstance(outcome, CannotTell):
            raise outcome
        return outcome

    return complaint


@pytest.mark.parametrize(
    "found",
    [
        (RIGHT,),
        (UNTOLD, UNTOLD, RIGHT),
        (WRONG, RIGHT, RIGHT),
        (WRONG, RIGHT, UNTOLD, RIGHT),
        (WRONG, RIGHT, WRONG, RIGHT, RIGHT),
    ],
)
def test_holds(found: tuple[str | CannotTell | None, ...]) -> None:
    holds(measurements(*found))


@pytest.mark.parametrize(
    "found", [(WRONG,) * 5, (WRONG, RIGHT, WRONG, RIGHT, WRONG), (WRONG, UNTOLD, WRONG, WRONG, UNTOLD, WRONG, WRONG)]
)
def test_fails(found: tuple[str | CannotTell | None, ...]) -> None:
    with pytest.raises(AssertionError, match=r"\d of 5: off by 3ms"):
        holds(measurements(*found))


def test_a_machine_that_cannot_tell_three_times_skips_with_all_that_was_found() -> None:
    with pytest.raises(pytest.skip.Exception, match="off by 3ms; the machine was busy"):
        holds(measurements(WRONG, UNTOLD, UNTOLD, UNTOLD))
