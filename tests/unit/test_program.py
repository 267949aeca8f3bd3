"""Programs of ours in a node: what they said stands in their faults, and their ends hide no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from testbed.engine.lab import Lab
from testbed.engine.program import Program
from testbed.errors import ProgramError
from testbed.runtime.fake import Call
from tests.unit.scripted_world import World


class Complaining(World):
    """Its clients write their first word on stderr and end."""

    def _client(self, call: Call) -> Iterator[str]:
        call.stderr = f"{call.command[1]}\n" if len(call.command) > 1 else ""
        call.status = 1
        yield '{"type": "interval"}'


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Complaining().lab() as lab:
        yield lab


class Stubborn(Program):
    """It outlives its kill."""

    def __exit__(self, *error: Any) -> None:
        with mock.patch.object(self._process, "wait", side_effect=ProgramError("it still runs after 5 s")):
            super().__exit__(*error)


def test_a_program_that_outlives_its_kill_does_not_hide_what_came_first(lab: Lab) -> None:
    with pytest.raises(KeyboardInterrupt), Stubborn.launch(lab, "client1", ["loadgen"]):
        raise KeyboardInterrupt
    with pytest.raises(ProgramError, match="still runs after 5 s"), Stubborn.launch(lab, "client2", ["loadgen"]):
        pass


def test_a_fault_quotes_the_program_itself_and_none_that_ran_there_before(lab: Lab) -> None:
    for words, quoted in ((["early"], r" \(early\)"), (["late"], r" \(late\)"), ([], "")):
        program = Program.launch(lab, "client1", ["loadgen", *words])
        with pytest.raises(ProgramError, match=f"loadgen on client1 ended with status 1 before .*'ready'{quoted}$"):
            program.expect("ready", 1)
