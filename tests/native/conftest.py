"""What the native tests share."""

from pathlib import Path

import pytest

from tests.native import http_peer


@pytest.fixture(scope="session")
def docroot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the HTTP cases ask for."""
    return http_peer.write_docroot(tmp_path_factory.mktemp("docroot"))
