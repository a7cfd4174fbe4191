"""The report and feedback tools as a host sees them, over the real store."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextResourceContents

import composition
from routing.learning.policy import Verdict
from routing.settings import Settings, load_settings
from routing.state import ShadowAnswer
from routing.tokens import TokenCounter
from routing.types import LOCAL_CALLER, NO_USAGE, RouteRecord, ToolUse
from tests.dashboard.hundred_tasks import CALLER, DEAR, LARGE, SMALL, hundred_tasks
from tests.host import Era, data_of, text_of
from tools import dashboard, report
from tools.base import Services

pytestmark = pytest.mark.anyio
MOST_LISTING_TOKENS = 250


class SettingsWithHost(Settings):
    host_model: str | None = None


@dataclass
class Connected:
    host: Client
    services: Services

    async def record(self, routes: Sequence[RouteRecord]) -> None:
        for route in routes:
            await self.services.store.ledger.record(route)

    async def report(self, **arguments: Any) -> dict[str, Any]:
        return data_of(await self.host.call_tool("usage_report", arguments))

    async def rate(self, route_id: str, score: float | str, **more: Any) -> CallToolResult:
        return await self.host.call_tool("record_feedback", {"route_id": route_id, "score": score, **more})


@asynccontextmanager
async def connected(home: Path, era: Era = "auto", *, host_model: str | None = None) -> AsyncGenerator[Connected]:
    """A server with the tools of this page and the dashboard, over real services."""
    read = load_settings({"POINTSMAN_LOCAL_MODEL": "off", "POINTSMAN_DISCOVER": "false"}, home)
    settings = SettingsWithHost(**read.model_dump(exclude={"host_model"}), host_model=host_model)
    async with composition.composed(settings) as services:

        @asynccontextmanager
        async def lifespan(_: MCPServer[Services]) -> AsyncGenerator[Services]:
            yield services

        mcp = MCPServer[Services](
            "report", tools=cast("list[Tool]", report.tools()), lifespan=lifespan, extensions=[dashboard.apps()]
        )
        async with Client(mcp, mode=era) as host:
            yield Connected(host=host, services=services)


async def test_the_figures_of_a_hundred_tasks_are_those_worked_out_by_hand(tmp_path: Path, era: Era) -> None:
    async with connected(tmp_path, era) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        data = await server_.report(period="all", by="model")

    totals = data["totals"]
    # 60 × 1,400 + 20 × 10,000 + 8 × (1,000 + 3,600) + 5 × (2,800 + 6,400 + 5,000) + 3 × 2,000 + 2 × 2,400 + 2 × 42,000
    #  = 84,000  + 200,000      + 36,800              + 71,000                      + 6,000     + 4,800     + 84,000
    assert totals["cost_usd"] == 0.486600
    # 60 × 30,000 + 20 × 82,500 + 8 × 30,000 + 5 × 52,500 + 2 × 31,500
    #  = 1,800,000 + 1,650,000  + 240,000    + 262,500    + 63,000
    assert totals["baseline_usd"] == 4.015500
    # 4,015,500 − 486,600
    assert totals["saved_usd"] == 3.528900
    # 3 failed lose 2,000 each, 2 cancelled 2,400, 2 dear ones 42,000 − 31,500 = 10,500: 6,000 + 4,800 + 21,000
    assert (totals["losing_tasks"], totals["lost_usd"]) == (7, 0.031800)
    assert totals["tools_usd"] == 0.025  # 5 × 5,000
    # 60 + 20 + 8 × 2 + 5 × 2 + 3 × 2 + 2 + 2; failed are 8 + 3 × 2 of the 116 − 2 that were not cancelled
    assert (totals["tasks"], totals["calls"], totals["failed_calls"]) == (100, 116, 14)
    assert totals["error_rate"] == round(14 / 114, 4)
    assert (totals["completed"], totals["failed"], totals["cancelled"]) == (95, 3, 2)
    assert totals["fallback_rate"] == round(8 / 95, 4)
    # 60 × 1,000 + 20 × 3,000 + 8 × 2,000 + 5 × 3,000 + 3 × 2,000 + 2 × 1,000 + 2 × 100
    assert totals["input_tokens"] == 159_200
    # 60 × 200 + 20 × 500 + 8 × 200 + 5 × 400 + 2 × 50 + 2 × 400
    assert totals["output_tokens"] == 26_500
    assert totals["uncompared_tasks"] == totals["unpriced_calls"] == 0

    by_model = {row["name"]: row for row in data["groups"]["model"]}
    # the small model: 60 × 1,400, 8 × 1,000 for the large one's answers, 6 × 1,000 for none
    assert by_model[SMALL]["cost_usd"] == 0.098
    assert by_model[SMALL]["saved_usd"] == 1.716  # 60 × (30,000 − 1,400)
    # 20 × 10,000 + 8 × 3,600 + 5 × (2,800 + 6,400 + 5,000) + 2 × 2,400
    assert by_model[LARGE]["cost_usd"] == 0.3046
    assert by_model[DEAR]["saved_usd"] == -0.021
    assert sum(row["cost_usd"] for row in by_model.values()) == pytest.approx(0.4866, abs=1e-9)


async def test_the_report_is_told_to_the_model_in_a_few_lines(tmp_path: Path, era: Era) -> None:
    async with connected(tmp_path, era) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        await server_.services.store.ledger.record_tool(
            CALLER, ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=5_000), time.time()
        )
        result = await server_.host.call_tool("usage_report", {"period": "all", "by": "tier"})

    lines = text_of(result).splitlines()
    assert lines[0].startswith("Since the first task: 100 tasks, 95 answered, 3 failed, 2 cancelled; 116 calls, 12.3%")
    assert "Spent $0.4866; the baseline would have cost $4.02: $3.53 saved, net of retries" in lines[1]
    assert "7 of the tasks lost money, $0.0318 in all." in lines[1]
    assert "Tools that you called yourself cost $0.0050 besides." in lines[1]
    assert any(line.startswith("- tier 1: 2 tasks, $0.0840, $0.0210 lost") for line in lines)
    assert len(lines) < 10


async def test_each_breakdown_adds_up_to_the_totals(tmp_path: Path) -> None:
    async with connected(tmp_path) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        data = await server_.report(period="all", by="all")

    assert set(data["groups"]) == {"model", "provider", "tier", "category"}
    for rows in data["groups"].values():
        for figure in ("tasks", "calls", "cost_usd", "saved_usd", "input_tokens", "losing_tasks"):
            assert sum(row[figure] for row in rows) == pytest.approx(data["totals"][figure], abs=1e-9), figure
    assert {row["name"] for row in data["groups"]["tier"]} == {"1", "2", "4", None}
    assert [row["name"] for row in data["groups"]["provider"]] == ["google", "openai", "anthropic", None]


@pytest.mark.parametrize(("period", "tasks"), [("hour", 2), ("day", 4), ("week", 5), ("month", 6), ("all", 7)])
async def test_a_period_covers_what_it_says(tmp_path: Path, period: str, tasks: int) -> None:
    now = time.time()
    hours = (0, 0.9, 3, 22, 5 * 24, 28 * 24, 400 * 24)
    [sample] = [route for route in hundred_tasks(now) if route.route_id == "rte_000"]
    async with connected(tmp_path) as server_:
        await server_.record([replace(sample, route_id=f"rte_{ago}", started_at=now - ago * 3600) for ago in hours])
        data = await server_.report(period=period)

    assert data["totals"]["tasks"] == tasks
    assert sum(point["tasks"] for point in data["over_time"]) == tasks
    assert len(data["recent"]) == 5


async def test_an_empty_ledger_says_what_to_do(tmp_path: Path, era: Era) -> None:
    async with connected(tmp_path, era) as server_:
        result = await server_.host.call_tool("usage_report", {})

    assert "no task was delegated. route_and_answer delegates one." in text_of(result)
    assert data_of(result)["totals"]["tasks"] == 0
    assert data_of(result)["budgets"] == {"hourly": None, "monthly": None}
    assert data_of(result)["whole_loop"] is None


async def test_feedback_counts_for_the_model_and_the_last_one_holds(tmp_path: Path, era: Era) -> None:
    async with connected(tmp_path, era) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        first = data_of(await server_.rate("rte_000", "bad", note="missed the point"))
        second = data_of(await server_.rate("rte_000", 0.8))
        await server_.rate("rte_001", "good")
        await server_.rate("rte_061", 0.5)
        data = await server_.report(period="all", by="model")

    assert (first["score"], first["replaced"]) == (0.0, None)
    assert (second["score"], second["replaced"]) == (0.8, 0.0)
    by_model = {row["name"]: row for row in data["groups"]["model"]}
    assert (by_model[SMALL]["scored"], by_model[SMALL]["mean_score"], by_model[SMALL]["low_share"]) == (2, 0.9, 0.0)
    assert (by_model[LARGE]["scored"], by_model[LARGE]["low_share"]) == (1, 1.0)
    assert data["totals"]["mean_score"] == round((0.8 + 1 + 0.5) / 3, 4)
    scores = {row["route_id"]: row["score"] for row in data["recent"]}
    assert all(score is None or 0 <= score <= 1 for score in scores.values())


async def test_only_the_callers_own_route_can_be_rated(tmp_path: Path) -> None:
    foreign = replace(next(hundred_tasks(time.time())), route_id="rte_foreign", caller="mallory")
    async with connected(tmp_path) as server_:
        await server_.record([foreign])
        refused = await server_.rate("rte_foreign", 1)
        unknown = await server_.rate("rte_nowhere", 1)

    assert refused.is_error
    assert text_of(refused) == text_of(unknown)
    assert "there is no route of that id" in text_of(refused)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"route_id": "rte_000", "score": 1.5}, "score: Input should be less than or equal to 1"),
        ({"route_id": "rte_000", "score": "NaN"}, "score"),
        ({"route_id": "rte_000", "score": "great"}, "score"),
        ({"route_id": "rte_000", "score": 1, "note": "x" * 2_001}, "2,000 are the most"),
        ({"route_id": "rte_000", "score": 1, "comment": "x"}, "unknown argument 'comment'"),
    ],
)
async def test_feedback_that_is_none_is_refused(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    async with connected(tmp_path) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        result = await server_.host.call_tool("record_feedback", arguments)
        data = await server_.report(period="all")

    assert result.is_error
    assert said in text_of(result)
    assert data["totals"]["scored"] == 0


async def test_what_the_host_spends_on_delegating_is_taken_off_in_a_second_figure(tmp_path: Path) -> None:
    async with connected(tmp_path, host_model="openai/gpt-4.1") as server_:
        await server_.record(list(hundred_tasks(time.time())))
        result = await server_.host.call_tool("usage_report", {"period": "all"})

    loop = data_of(result)["whole_loop"]
    # of 100 tasks of 100 tokens; answers of 60 × 200 + 20 × 500 + 8 × 200 + 5 × 300 + 2 × 400 = 25,900 tokens; at $2 / $8
    answers_and_tasks = (25_900 * 2 + 10_000 * 8) / 1e6
    schemas = loop["host_usd"] - answers_and_tasks
    assert 2_000 * 100 * 2 / 1e6 < schemas < 6_000 * 100 * 2 / 1e6
    assert loop["saved_usd"] == pytest.approx(3.5289 - loop["host_usd"], abs=1e-9)
    assert "Delegating cost openai/gpt-4.1 about" in text_of(result)


async def test_recent_decisions_come_with_their_reasons(tmp_path: Path) -> None:
    routes = list(hundred_tasks(time.time()))
    async with connected(tmp_path) as server_:
        await server_.record(routes)
        recent = (await server_.report(period="all", by="all"))["recent"]

    assert [row["route_id"] for row in recent] == [route.route_id for route in reversed(routes[-20:])]
    assert all(row["reason"].startswith("cheapest that is good enough for") for row in recent)
    fallback = next(row for row in recent if row["fallback"])
    assert (fallback["model"], fallback["calls"], fallback["saved_usd"]) == (LARGE, 2, 0.0254)
    cancelled = next(row for row in recent if row["outcome"] == "cancelled")
    assert (cancelled["cost_usd"], cancelled["saved_usd"]) == (0.0024, -0.0024)


async def test_the_dashboard_is_an_app_that_the_report_names(tmp_path: Path, era: Era) -> None:
    async with connected(tmp_path, era) as server_:
        tools = {tool.name: tool for tool in (await server_.host.list_tools()).tools}
        uri = (tools["usage_report"].meta or {})["ui"]["resourceUri"]
        [page] = (await server_.host.read_resource(uri)).contents

    assert uri == report.DASHBOARD_URI == dashboard.URI
    assert isinstance(page, TextResourceContents)
    assert page.mime_type == "text/html;profile=mcp-app"
    assert page.text == dashboard.PAGE.read_text(encoding="utf-8")


async def test_both_tools_cost_a_host_no_more_than_250_tokens(vocabularies: Path) -> None:
    counter = TokenCounter(vocabularies)
    await counter.load()
    listed = await MCPServer("report", tools=cast("list[Tool]", report.tools())).list_tools()
    counts = [counter.count(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in listed]

    assert all(count.exact for count in counts)
    assert sum(count.tokens for count in counts) <= MOST_LISTING_TOKENS


async def test_the_dashboards_data_is_the_report_with_every_breakdown(tmp_path: Path) -> None:
    async with connected(tmp_path) as server_:
        await server_.record(list(hundred_tasks(time.time())))
        over_http = json.loads(await report.dashboard_data(server_.services, LOCAL_CALLER, "all"))
        by_tool = await server_.report(period="all", by="all")

    assert {**over_http, "until": ""} == {**by_tool, "until": ""}


# Who chose, the guard, and shadows


async def test_the_report_says_who_chose_what_the_guard_decided_and_what_shadows_brought(tmp_path: Path) -> None:
    verdict = Verdict(
        chosen="matrix",
        outcome="fixed",
        rival="matrix",
        gain=-0.30001,
        lowest=-0.4,
        highest=-0.2,
        reason="learned selection is measured worse",
    )

    class Guard:
        async def verdict(self, caller: str) -> Verdict:
            assert caller == CALLER
            return verdict

    async with connected(tmp_path) as server_:
        [first, *others] = list(hundred_tasks(time.time()))[:3]
        assert first.selection is not None
        await server_.record([replace(first, selection=replace(first.selection, policy="learned")), *others])
        await server_.services.store.ledger.record_shadow(shadow_of(first))
        quiet = await server_.host.call_tool("usage_report", {"period": "all"})
        object.__setattr__(server_.services, "guard", Guard())
        told = await server_.host.call_tool("usage_report", {"period": "all"})

    assert data_of(quiet)["guard"] is None
    assert "Guard" not in text_of(quiet)
    data, text = data_of(told), text_of(told)
    assert data["chosen_by"] == {"matrix": 2, "learned": 1}
    assert data["guard"]["gain"] == -0.3
    assert "Chosen by: matrix 2, learned 1." in text
    assert "Guard: learned selection is measured worse." in text
    totals = data["totals"]
    assert (totals["shadows"], totals["shadows_usd"], totals["shadow_agreement"]) == (1, 0.0005, 0.5)
    assert totals["cost_usd"] == pytest.approx(sum((one.cost_microusd or 0) for one in (first, *others)) / 1e6 + 0.0005)
    assert "1 had a shadow, for $0.000500: 1 answers, which agree with those shown by 50.0%." in text
    assert "net of retries, failures, tools and shadows" in text
    assert "as a shadow 50.0% alike of 1" in text


def shadow_of(route: RouteRecord) -> ShadowAnswer:
    return ShadowAnswer(
        route_id=route.route_id,
        caller=CALLER,
        model_id=LARGE,
        provider="acme",
        category="qa_retrieval",
        started_at=route.started_at,
        latency_ms=5,
        outcome="answered",
        usage=NO_USAGE,
        cost_microusd=500,
        agreement=0.5,
    )
