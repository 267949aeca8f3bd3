"""Unit tests say nothing about how fast the machine is: an example of Hypothesis may take its time. Their labs are not
those of this machine: several test runs at a time must not find each other's in use."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(scope="session", autouse=True)
def _own_labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTBED_STATE_DIR", str(tmp_path_factory.mktemp("labs", numbered=True)))
        yield
