"""What the native tests share."""

from pathlib import Path

import pytest

from tests.native import http_suite


@pytest.fixture(scope="session")
def docroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the HTTP cases ask for."""
    return http_suite.write_docroot(tmp_path_factory.mktemp("docroot"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "stress: the full-size stress, minutes long; only with `-m stress`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "stress" in str(config.getoption("-m")):
        return
    full_size = pytest.mark.skip(reason="full size only with `-m stress`")
    for item in items:
        if item.get_closest_marker("stress"):
            item.add_marker(full_size)
