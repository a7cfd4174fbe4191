"""A key goes to its provider and nowhere else: not into logs at DEBUG, errors, results or the ledger, whatever goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path

import pytest
from mcp import Client
from mcp_types import TextContent

import server
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
CANARY = "sk-canary-7f3a9c1e"
PROVIDERS = {
    "openai/gpt-4.1": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    "anthropic/claude-opus-5-5": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    "google/gemini-2.5-flash": ("GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
}


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(params=["openai", "anthropic", "google"])
def model(request: pytest.FixtureRequest, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model of each wire, its provider's key the canary and its address the loopback upstream."""
    name = next(model_id for model_id in PROVIDERS if model_id.startswith(request.param))
    key, address = PROVIDERS[name]
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("POINTSMAN_DISCOVER", "false")
    monkeypatch.setenv("POINTSMAN_MAX_RETRIES", "0")
    monkeypatch.setenv(key, CANARY)
    monkeypatch.setenv(address, upstream.url)
    return name


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503, 529])
async def test_the_key_stands_nowhere_whatever_the_provider_answers(
    model: str, upstream: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    upstream.status = status
    with caplog.at_level(logging.DEBUG):
        async with Client(server.mcp) as host:
            result = await host.call_tool("route_and_answer", {"prompt": "Hello", "force_model": model})
            listed = await host.call_tool("list_models", {})

    (received,) = upstream.requests
    assert any(CANARY in value for value in received.headers.values())
    assert CANARY not in received.path
    said = "".join(block.text for block in result.content if isinstance(block, TextContent))
    assert CANARY not in said + result.model_dump_json() + listed.model_dump_json()
    assert CANARY not in caplog.text
    kept = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert CANARY.encode() not in kept
