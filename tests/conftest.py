"""Fixtures that every room shares."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import cast

import platformdirs
import pytest

from routing.tokens import VOCABULARIES
from tests.host import ERAS, Era
from tests.upstream import Upstream


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=ERAS)
def era(request: pytest.FixtureRequest) -> Era:
    return cast("Era", request.param)


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine on which OpenAI is configured, at a loopback upstream, and nothing else."""
    variables = {
        "POINTSMAN_HOME": str(tmp_path / "home"),
        "POINTSMAN_DISCOVER": "false",
        "POINTSMAN_LOCAL_MODEL": "off",
        "OPENAI_API_KEY": "sk-canary",
        "OPENAI_BASE_URL": upstream.url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture(scope="session")
def vocabularies() -> Path:
    """The folder with the published vocabularies; a test that needs it is skipped where it is empty."""
    home = os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman", appauthor=False)
    folder = Path(home) / "vocabularies"
    missing = [name for name, row in VOCABULARIES.items() if not (folder / row.file_name).is_file()]
    if missing:
        pytest.skip(f"no vocabulary of {', '.join(missing)} in the home folder; `python server.py pull` fetches it")
    return folder
