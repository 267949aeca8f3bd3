"""Anyone's server in a scripted world: its documents must fit, it must answer, and its end hides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from unittest import mock

import pytest

from testbed.engine.lab import Lab
from testbed.engine.under_test.image import ImageKind
from testbed.errors import ProgramError, UsageError
from testbed.model.scenario import Scenario
from testbed.model.server import ServerImage
from testbed.runtime.fake import Call, FakeProcess
from testbed.workload.specweb99 import SpecWeb99
from tests.unit.records import SCENARIO
from tests.unit.scripted_world import NO_ERRORS, WAITING, World

OWN = ServerImage(name="own", image="anyone/own:1", command=("serve",), ready_timeout_s=0.01)
OTHER_REASONS = {"status": 0, "not_http": 0}


class OwnWorld(World):
    """``answer``: what loadgen says when it asks whether the server is ready."""

    answer: dict[str, object]

    def _client(self, call: Call) -> Iterator[str]:
        yield json.dumps({"type": "ready"})
        yield json.dumps({"type": "summary", "completed": 0, "errors": NO_ERRORS} | self.answer)

    def _df(self, call: Call) -> Iterator[str]:
        assert call.node == "image-own"
        yield from super()._df(call)

    def lab(self, cpus: int = 2) -> Lab:
        lab = super().lab(cpus)
        lab.runtime.programs["serve"] = lambda call: iter([WAITING] * 1000)  # type: ignore[attr-defined]  # the fake's
        return lab


@pytest.fixture
def world() -> OwnWorld:
    return OwnWorld()


@pytest.fixture
def lab(world: OwnWorld) -> Iterator[Lab]:
    with world.lab() as lab:
        yield lab


def prepared(lab: Lab, **changes: object) -> Scenario:
    scenario = SCENARIO.model_copy(update={"servers": (OWN,), **changes})
    ImageKind().prepare(lab, scenario, (OWN,))
    return scenario


def test_documents_that_do_not_fit_are_refused_with_both_sizes(world: OwnWorld, lab: Lab) -> None:
    world.root_bytes = 4_096_000
    with pytest.raises(UsageError, match="files need 5 MB, and /srv of image-own holds 4 MB"):
        prepared(lab, workload=SpecWeb99(directories=1))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"errors": {**NO_ERRORS, "connrefused": 2}, "other_reasons": OTHER_REASONS}, "2 connrefused"),
        ({"errors": {**NO_ERRORS, "other": 1}, "other_reasons": {**OTHER_REASONS, "not_http": 1}}, "1 not_http"),
        (
            {"errors": {**NO_ERRORS, "other": 1}, "other_reasons": {**OTHER_REASONS, "status": 1}},
            "it answers, but with a status that is not 2xx",
        ),
    ],
)
def test_a_server_that_is_not_ready_says_what_came(
    world: OwnWorld, lab: Lab, answer: dict[str, object], said: str
) -> None:
    scenario = prepared(lab)
    world.answer = answer
    with (
        pytest.raises(ProgramError, match=rf"not ready within 0.01 s \(port 80, GET /: {said}\)"),
        ImageKind().start(lab, scenario, OWN),
    ):
        pass


def test_an_end_that_takes_long_does_not_hide_what_came_first(world: OwnWorld, lab: Lab) -> None:
    scenario = prepared(lab)
    world.answer = {"completed": 1}
    stubborn = mock.patch.object(FakeProcess, "wait", side_effect=ProgramError("it still runs after 5 s"))
    interrupted = ImageKind().start(lab, scenario, OWN)
    interrupted.__enter__()
    with stubborn:
        assert not interrupted.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None), "it goes on as it came"
    alone = ImageKind().start(lab, scenario, OWN)
    alone.__enter__()
    with stubborn, pytest.raises(ProgramError, match="still runs after 5 s"):
        alone.__exit__(None, None, None)
