"""The tools as models in the loop have them, on services with fakes at their edges."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from mcp import Client
from mcp.server import MCPServer

from routing.errors import ToolFailed
from routing.state.sqlite import SqliteStore
from routing.types import Image
from tools import all_tools, loop_tools
from tools.base import Services
from tools.readiness import can_run_code, can_search, findings
from tools.sandbox import Outcome, Verdict
from tools.searching import Found, SearchResults, WebSearch
from tools.toolbox import ServerToolbox

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\nrest"


class Engine:
    """Finds one page at half a cent."""

    name = "acme"

    async def search(self, query: str, count: int, freshness: object) -> SearchResults:
        found = Found(title="Points", url="https://site.example/", snippet="How they are set.", age=None, source=None)
        return SearchResults(query=query, engine=self.name, results=(found,), cost_microusd=5_000, notices=())

    async def aclose(self) -> None: ...


class Guest:
    """A sandbox that draws a figure, or is not there."""

    def __init__(self, problem: str | None = None) -> None:
        self.problem = problem

    async def available(self) -> Verdict:
        return Verdict(backend="test", problem=self.problem)

    async def verdicts(self) -> tuple[Verdict, ...]:
        return (await self.available(),)

    async def run(self, code: str, *, caller: str, session_id: str | None, timeout_seconds: float) -> Outcome:
        if self.problem:
            raise ToolFailed(self.problem)
        return Outcome(stdout="drawn\n", stderr="", value=None, exit_reason="finished", duration_ms=1, figures=(PNG,))


@asynccontextmanager
async def toolbox(
    tmp_path: Path, *engines: Engine, guest: Guest | None = None
) -> AsyncGenerator[tuple[ServerToolbox, Services]]:
    async with SqliteStore(tmp_path / "state.db") as store:
        parts: Any = SimpleNamespace(
            search=WebSearch(cast("Any", engines)), sandbox=guest or Guest(), store=store, fetcher=None
        )
        services = cast("Services", parts)
        box = ServerToolbox(loop_tools(all_tools()), able={"web_search": can_search, "execute_python": can_run_code})
        box.serve(services)
        await box.look()
        yield box, services


async def test_a_toolbox_offers_what_this_server_can_run(tmp_path: Path) -> None:
    everything = [
        "web_search",
        "fetch_url",
        "execute_python",
        "validate_python_syntax",
        "memory_store",
        "memory_search",
    ]
    async with toolbox(tmp_path, Engine()) as (box, _):
        assert list(box.specs) == everything
        assert box.specs["web_search"].input_schema["required"] == ["query"]
    async with toolbox(tmp_path, guest=Guest("no sandbox holds")) as (box, _):
        assert list(box.specs) == [name for name in everything if name not in {"web_search", "execute_python"}]


async def test_before_there_are_services_nothing_is_offered_or_run() -> None:
    box = ServerToolbox(loop_tools(all_tools()), able={})
    await box.look()

    assert not box.specs
    assert (await box.run("web_search", {"query": "x"}, caller="me")).is_error


async def test_what_a_tool_says_comes_in_its_envelope_with_what_it_cost(tmp_path: Path) -> None:
    async with toolbox(tmp_path, Engine()) as (box, services):
        outcome = await box.run("web_search", {"query": "points"}, caller="me")
        booked = await services.store.ledger.totals("local")

    assert "https://site.example/" in outcome.text
    assert "untrusted" in outcome.text
    assert outcome.cost_microusd == 5_000
    assert booked.cost_microusd == 0  # it is on its route's bill


async def test_a_hosts_own_search_is_booked(tmp_path: Path) -> None:
    async with toolbox(tmp_path, Engine()) as (_, services):

        @asynccontextmanager
        async def lifespan(_: MCPServer[Services]) -> AsyncGenerator[Services]:
            yield services

        async with Client(MCPServer[Services]("t", tools=list(loop_tools(all_tools())), lifespan=lifespan)) as host:
            await host.call_tool("web_search", {"query": "points"})
        booked = await services.store.ledger.totals("local")

    assert booked.cost_microusd == 5_000


async def test_figures_go_to_the_caller_and_the_model_is_told_of_them(tmp_path: Path) -> None:
    async with toolbox(tmp_path) as (box, _):
        outcome = await box.run("execute_python", {"code": "plot()"}, caller="me")

    assert outcome.images == (Image(media_type="image/png", data=PNG),)
    assert "drawn" in outcome.text
    assert "1 figures were made" in outcome.text


async def test_what_goes_wrong_is_told_to_the_model(tmp_path: Path) -> None:
    async with toolbox(tmp_path, guest=Guest("the sandbox is gone")) as (box, _):
        failed = await box.run("execute_python", {"code": "1"}, caller="me")
        wrong = await box.run("execute_python", {"cod": "1"}, caller="me")
        unknown = await box.run("rm", {}, caller="me")

    assert failed.is_error
    assert "the sandbox is gone" in failed.text
    assert wrong.is_error
    assert "did you mean 'code'?" in wrong.text
    assert unknown.is_error


async def test_doctor_names_engines_and_sandboxes_and_what_is_missing(tmp_path: Path) -> None:
    async with toolbox(tmp_path, Engine()) as (_, services):
        told = {row.subject: (row.state, row.detail) for row in await findings(services)}
    async with toolbox(tmp_path, guest=Guest("no namespaces")) as (_, services):
        missing = {row.subject: (row.state, row.detail) for row in await findings(services)}

    assert told == {"web_search": ("ok", "acme"), "execute_python": ("ok", "test: it was tried, and holds")}
    assert missing["execute_python"] == ("note", "not test: no namespaces")
    assert "BRAVE_API_KEY" in missing["web_search"][1]
