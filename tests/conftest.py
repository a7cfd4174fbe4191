"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

import platformdirs
import pytest

from routing.tokens import VOCABULARIES
from tests.host import ERAS, Era


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> Era:
    return cast("Era", request.param)


@pytest.fixture(scope="session")
def vocabularies() -> Path:
    """The folder with the published vocabularies; a test that needs it is skipped where it is empty."""
    home = os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman", appauthor=False)
    folder = Path(home) / "vocabularies"
    missing = [name for name, row in VOCABULARIES.items() if not (folder / row.file_name).is_file()]
    if missing:
        pytest.skip(f"no vocabulary of {', '.join(missing)} in the home folder; `python server.py pull` fetches it")
    return folder
