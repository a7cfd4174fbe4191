"""Shadow mode: the real pipeline and store, a fake provider at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from routing.budgets import Wallet
from routing.errors import ProviderUnavailable
from routing.selector import Selector
from routing.shadow import Shadows, is_drawn
from routing.state import ShadowSums
from routing.types import (
    NO_USAGE,
    Answer,
    Constraints,
    Conversation,
    ModelSelection,
    RouteRecord,
    Task,
    TaskAnalysis,
    ToolUse,
)
from tests.builders import model, request
from tests.fakes import FakeProvider, reply
from tests.test_router import CHEAP, DEAR, OTHER, TO_EMBED, VECTORS, House, house

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSelector(Selector):
    """Chooses as it does, and writes down that the matrix would have taken the dear one, and what it expects of each."""

    def select(self, *args: Any, **kwargs: Any) -> ModelSelection:
        chosen = Selector.select(self, *args, **kwargs)
        return replace(
            chosen,
            policy="learned",
            reference_model="acme/dear",
            forecasts={"acme/dear": 0.8, "acme/cheap": 0.7, "zeta/other": 0.9},
        )


@dataclass(slots=True, kw_only=True)
class Shadowed:
    house: House
    shadows: Shadows

    async def ask(self, prompt: str = "What is the capital of France?", **changes: Any) -> RouteRecord:
        record = await self.house.ask(prompt, **changes)
        await self.shadows.settled()
        return record

    @property
    def asked(self) -> list[str]:
        return [model_id for model_id, _ in self.house.provider.requests]

    async def sums(self) -> tuple[ShadowSums, ...]:
        return (await self.house.store.reports.usage("local", since=None, span=86_400)).shadows


@asynccontextmanager
async def shadowed(
    tmp_path: Path,
    provider: FakeProvider | None = None,
    *,
    share: float = 1.0,
    model_id: str | None = "zeta/other",
    caps: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncGenerator[Shadowed]:
    async with house(tmp_path, provider, **options) as it:
        wallet = Wallet(store=it.store.budgets, **(caps or {}))
        shadows = Shadows(it.router.dispatcher, wallet, it.store.ledger, share=share, model_id=model_id)
        it.router = replace(it.router, shadows=shadows, wallet=wallet, selector=LearnedSelector(confidence_threshold=0))
        try:
            yield Shadowed(house=it, shadows=shadows)
        finally:
            await shadows.aclose()


async def test_a_second_model_gets_the_same_task_and_its_answer_is_never_shown(tmp_path: Path) -> None:
    provider = FakeProvider({"zeta/other": reply("I think it is Lyon", input_tokens=30, output_tokens=7)})
    async with shadowed(tmp_path, provider) as it:
        record = await it.ask()
        [sums] = await it.sums()
        booked = await it.house.booked()

    (first, shown), (second, shadow) = provider.requests
    assert (first, second) == ("acme/cheap", "zeta/other")
    assert shadow == replace(shown, tools=())
    assert (record.text, record.model_used, len(record.attempts)) == ("Paris.", "acme/cheap", 1)
    assert not any("zeta" in notice for notice in record.notices)
    assert booked == replace(record, text="")
    assert (sums.model_id, sums.provider, sums.category) == ("zeta/other", "zeta", "qa_retrieval")
    assert (sums.shadows, sums.answered, sums.compared, sums.agreement) == (1, 1, 1, 0.0)
    assert sums.cost_microusd == 30 * 2 + 7 * 4


async def test_a_shadow_is_spent_money_but_no_part_of_the_routes_bill(tmp_path: Path) -> None:
    async with shadowed(tmp_path, caps={"month_microusd": 1_000_000}) as it:
        record = await it.ask()
        totals = await it.house.store.ledger.totals("local")
        [standing] = await it.house.router.wallet.standings("local", None)

    assert record.cost_microusd == 20 * 1 + 5 * 2
    assert totals.cost_microusd == standing.spent_microusd == 30 + (20 * 2 + 5 * 4)
    assert standing.reserved_microusd == 0


async def test_the_caller_does_not_wait_for_a_shadow_and_shutting_down_ends_and_books_it(tmp_path: Path) -> None:
    provider = FakeProvider({"zeta/other": None})
    async with shadowed(tmp_path, provider) as it:
        with anyio.fail_after(5):
            record = await it.house.ask()
        while len(provider.requests) < 2:
            await anyio.lowlevel.checkpoint()
        await it.shadows.aclose()
        [sums] = await it.sums()

    assert record.text == "Paris."
    assert provider.cancelled == 1
    assert (sums.shadows, sums.answered, sums.failed, sums.compared) == (1, 0, 0, 0)


async def test_no_more_than_two_are_under_way(tmp_path: Path) -> None:
    provider = FakeProvider({"zeta/other": None})
    async with shadowed(tmp_path, provider) as it:
        for _ in range(4):
            await it.house.ask()
        while len(provider.requests) < 6:
            await anyio.lowlevel.checkpoint()
        assert it.asked.count("zeta/other") == 2


async def test_a_shadow_that_fails_is_tried_once_and_harms_nobody(tmp_path: Path) -> None:
    down = ProviderUnavailable("busy", provider="zeta", model_id="zeta/other")
    async with shadowed(tmp_path, FakeProvider({"zeta/other": down})) as it:
        record = await it.ask()
        [sums] = await it.sums()

    assert record.outcome == "completed"
    assert it.asked.count("zeta/other") == 1
    assert (sums.shadows, sums.failed, sums.compared) == (1, 1, 0)


async def test_a_broken_store_harms_no_route(tmp_path: Path) -> None:
    async with shadowed(tmp_path) as it:

        class Broken:
            async def record_shadow(self, _: object) -> None:
                raise OSError("disk full")

        it.shadows._ledger = Broken()  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        assert (await it.ask()).text == "Paris."


@pytest.mark.parametrize(
    ("named", "scripts", "expected"),
    [
        (None, {}, "acme/dear"),  # the reference, as the cheap one was chosen
        (None, {"acme/cheap": ProviderUnavailable("x", provider="acme", model_id="acme/cheap")}, "acme/dear"),
        ("acme/cheap", {}, None),  # it answered itself
        ("acme/dear", {}, "acme/dear"),
        ("gone/model", {}, None),
    ],
)
async def test_who_is_asked(tmp_path: Path, named: str | None, scripts: dict[str, Any], expected: str | None) -> None:
    async with shadowed(tmp_path, FakeProvider(scripts), model_id=named) as it:
        await it.ask()

    answered = "zeta/other" if scripts else "acme/cheap"
    assert it.asked[it.asked.index(answered) + 1 :] == ([expected] if expected else [])


async def test_where_the_reference_answered_it_is_the_best_forecast_among_the_others(tmp_path: Path) -> None:
    async with shadowed(tmp_path, model_id=None, models=(DEAR, CHEAP, OTHER)) as it:
        await it.ask()

    assert it.asked == ["acme/dear", "zeta/other"]


@pytest.mark.parametrize(
    "constraints",
    [
        Constraints(denied_providers=frozenset({"zeta"})),
        Constraints(allowed_providers=frozenset({"acme"})),
        Constraints(force_model="acme/cheap"),
        Constraints(max_cost_microusd=700),
        Constraints(min_quality=60.0),
    ],
)
async def test_a_shadow_never_goes_where_the_task_might_not(tmp_path: Path, constraints: Constraints) -> None:
    strong, weak = ({"quality_index": quality} for quality in (70.0, 50.0))
    async with shadowed(tmp_path, models=(CHEAP.model_copy(update=strong), OTHER.model_copy(update=weak))) as it:
        await it.ask(constraints=constraints)

    assert it.asked == ["acme/cheap"]


async def test_a_route_and_its_shadow_together_stay_below_the_callers_limit(tmp_path: Path) -> None:
    twin = model("zeta/other", provider="zeta", prices={"input": 1, "output": 2})
    long = FakeProvider({"acme/cheap": reply(output_tokens=200)})
    async with shadowed(tmp_path, long, models=(CHEAP, twin)) as it:
        await it.ask(constraints=Constraints(max_cost_microusd=600))  # each may need 556, and 420 is the bill

    assert it.asked == ["acme/cheap"]


async def test_a_task_that_must_stay_on_open_weights_has_no_closed_shadow(tmp_path: Path) -> None:
    own = CHEAP.model_copy(update={"self_hosted": True})
    async with shadowed(tmp_path, models=(own, OTHER)) as it:
        await it.ask(constraints=Constraints(self_hosted_only=True))

    assert it.asked == ["acme/cheap"]


async def test_sensitive_tasks_have_no_shadow(tmp_path: Path) -> None:
    async with shadowed(tmp_path) as it:
        inner = it.house.router.analyzer

        class Sensitive:
            notices = inner.notices

            async def analyze(self, task: Any) -> TaskAnalysis:
                return replace(await inner.analyze(task), sensitive=True)

        it.house.router = replace(it.house.router, analyzer=Sensitive())
        await it.ask()

    assert it.asked == ["acme/cheap"]


@pytest.mark.parametrize("with_tools", [True, False])
async def test_an_answer_that_tools_took_part_in_has_no_shadow_to_be_compared_with(
    tmp_path: Path, *, with_tools: bool
) -> None:
    async with shadowed(tmp_path) as it:
        task = Task(prompt="What is the capital of France?")
        decision = await it.house.router.decide(task)
        async with it.house.router.recorder.recording(task) as route:
            route.analysis, route.selection = decision.analysis, decision.selection
            route.conversation = Conversation(answer=Answer(model_id="acme/cheap", response=reply(), usage=NO_USAGE))
            if with_tools:
                route.book_tool(ToolUse(name="web_search", is_error=False, latency_ms=1))
            it.shadows.consider(route, task, request(task.prompt), decision.catalog)
            await it.shadows.settled()

    assert it.asked == ([] if with_tools else ["zeta/other"])


async def test_tasks_for_vectors_have_no_shadow(tmp_path: Path) -> None:
    async with shadowed(tmp_path, models=(CHEAP, VECTORS, OTHER)) as it:
        await it.ask(TO_EMBED)

    assert it.asked == ["acme/vectors"]


async def test_a_shadow_that_does_not_fit_a_budget_is_skipped(tmp_path: Path) -> None:
    dear = model("zeta/other", provider="zeta", prices={"input": 2, "output": 10_000})
    async with shadowed(tmp_path, models=(CHEAP, dear), caps={"month_microusd": 1_000_000}) as it:
        await it.ask()
        [standing] = await it.house.router.wallet.standings("local", None)

    assert it.asked == ["acme/cheap"]
    assert (standing.spent_microusd, standing.reserved_microusd) == (30, 0)


async def test_where_little_is_left_of_a_budget_nothing_is_spent_on_shadows(tmp_path: Path) -> None:
    async with shadowed(tmp_path, caps={"month_microusd": 10_000}) as it:
        await it.house.router.wallet.standings("local", None)
        reservation = await it.house.store.budgets.reserve(
            it.house.router.wallet.allowances("local", None), most=8_200, least=8_200
        )
        await it.ask()

    assert reservation
    assert it.asked == ["acme/cheap"]


async def test_without_a_share_there_are_no_shadows(tmp_path: Path) -> None:
    async with shadowed(tmp_path, share=0.0) as it:
        await it.ask()

    assert it.asked == ["acme/cheap"]


def test_which_routes_have_one_follows_from_their_ids_and_makes_up_the_share() -> None:
    ids = [f"rte_{number}" for number in range(10_000)]
    drawn = [route_id for route_id in ids if is_drawn(route_id, 0.2)]

    assert len(drawn) == pytest.approx(2_000, rel=0.1)
    assert all(is_drawn(route_id, 0.5) for route_id in drawn)
    assert not any(is_drawn(route_id, 0.0) for route_id in ids)
    assert all(is_drawn(route_id, 1.0) for route_id in ids)
