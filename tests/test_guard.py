"""The guard on the ledger: over the real store, asked as a route asks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from routing.catalog import CatalogSource
from routing.guard import EVIDENCE_SECONDS, VERDICT_LASTS_SECONDS, LedgerGuard, decided
from routing.state import Reports, new_handle
from routing.state.sqlite import SqliteStore
from routing.types import ModelSelection, RouteRecord
from tests.builders import analysis, catalog, usage
from tests.fakes import Clock
from tests.state.test_reports import attempt
from tests.test_replay import MODELS
from tests.test_router import FixedCatalog

pytestmark = pytest.mark.anyio
CALLER = "alice"
DAY = 86_400


@dataclass(slots=True)
class Counted:
    """Counts how often it is asked, and fails where it is told to."""

    inner: Reports
    asked: int = 0
    broken: bool = False

    async def decisions(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self.broken:
            raise OSError("disk full")
        return await self.inner.decisions(*args, **kwargs)


@dataclass(slots=True, kw_only=True)
class Watched:
    store: SqliteStore
    guard: LedgerGuard
    reports: Counted
    clock: Clock

    async def answer(self, times: int, *, model_id: str, score: float | None, ago: float = 0.0) -> None:
        """Routes that learned selection gave to a model, and what their caller thought of them."""
        for _ in range(times):
            one = routed(model_id, at=self.clock.now - ago)
            await self.store.ledger.record(one)
            if score is not None:
                await self.store.feedback.record(CALLER, one.route_id, score)


def routed(model_id: str, *, at: float) -> RouteRecord:
    selection = ModelSelection(
        primary_model=model_id,
        provider="acme",
        fallback_models=(),
        estimated_cost_microusd=None,
        reasoning="",
        policy="matrix" if model_id == "acme/dear" else "learned",
        reference_model="acme/dear",
        forecasts={"acme/dear": 0.9, "acme/cheap": 0.89},
    )
    return RouteRecord(
        route_id=new_handle("rte"),
        caller=CALLER,
        session_id="ses_1",
        started_at=at,
        latency_ms=1,
        outcome="completed",
        prompt_sha256="00" * 32,
        analysis=analysis(),
        selection=selection,
        model_used=model_id,
        attempts=(attempt(model_id=model_id, usage=usage(100, 20)),),
        cost_microusd=2_000 if model_id == "acme/dear" else 140,
    )


@asynccontextmanager
async def watched(folder: Path) -> AsyncGenerator[Watched]:
    clock = Clock(now=1_000.0 * DAY)
    source = cast("CatalogSource", FixedCatalog(catalog(*MODELS.values())))
    async with SqliteStore(folder / "state.db", wall_clock=clock) as store:
        reports = Counted(store.reports)
        guard = LedgerGuard(cast("Reports", reports), source, max_loss=0.02, clock=clock)
        yield Watched(store=store, guard=guard, reports=reports, clock=clock)


async def test_learned_selection_whose_answers_are_scored_badly_gives_way_to_the_matrix(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        await it.answer(80, model_id="acme/cheap", score=0.1)
        await it.answer(40, model_id="acme/dear", score=0.95)
        verdict = await it.guard.verdict(CALLER)

    assert verdict is not None
    assert (verdict.outcome, verdict.chosen) == ("fixed", "matrix")


async def test_routes_without_a_score_or_of_long_ago_or_of_others_are_no_evidence(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        await it.answer(99, model_id="acme/cheap", score=0.1)
        await it.answer(5, model_id="acme/cheap", score=None)
        await it.answer(5, model_id="acme/cheap", score=0.1, ago=EVIDENCE_SECONDS + 1)

        assert await it.guard.verdict(CALLER) is None
        assert await it.guard.verdict("mallory") is None


async def test_a_verdict_holds_for_an_hour(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        assert await it.guard.verdict(CALLER) is None
        await it.answer(100, model_id="acme/cheap", score=1.0)
        it.clock.now += VERDICT_LASTS_SECONDS - 1
        assert await it.guard.verdict(CALLER) is None
        assert it.reports.asked == 1
        it.clock.now += 1
        assert await it.guard.verdict(CALLER) is not None
        assert it.reports.asked == 2


async def test_routes_that_ask_at_once_have_it_worked_out_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(it.guard.verdict, CALLER)
        assert it.reports.asked == 1


async def test_a_store_that_fails_fails_no_route_and_the_last_verdict_holds(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        await it.answer(100, model_id="acme/cheap", score=1.0)
        before = await it.guard.verdict(CALLER)
        it.clock.now += VERDICT_LASTS_SECONDS
        it.reports.broken = True

        assert before is not None
        assert await it.guard.verdict(CALLER) == before
        assert await it.guard.verdict("mallory") is None


async def test_all_pages_of_the_ledger_are_read(tmp_path: Path) -> None:
    async with watched(tmp_path) as it:
        await it.answer(3, model_id="acme/cheap", score=None)

        class InPages:
            async def decisions(self, caller: str, *, since: float | None, after: int | None, scored: bool) -> Any:
                return await it.store.reports.decisions(caller, since=since, after=after, routes=1, scored=scored)

        rows = [row async for row in decided(cast("Reports", InPages()), CALLER, None)]

    assert len({row.route_id for row in rows}) == 3
