"""Budgets over the whole pipeline: real router, engine and store, a fake provider at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.budgets import (
    IMAGE_TOKENS,
    PaidToolbox,
    Purse,
    Wallet,
    most_input_tokens,
    quote_of,
    worst_microusd,
)
from routing.errors import AllModelsFailed, BudgetExceeded, ProviderRejected, ProviderUnavailable
from routing.estimate import estimates
from routing.pricing import cost_microusd
from routing.registry import Model, Prices
from routing.state import Allowance, Budgets, Reservation, Standing
from routing.tokens import TokenCounter
from routing.types import (
    LOCAL_CALLER,
    Attempt,
    Constraints,
    Image,
    ModelRequest,
    ModelResponse,
    OnText,
    Progress,
    Target,
    Task,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    Usage,
)
from tests.builders import catalog, model, request
from tests.fakes import FakeProvider, reply
from tests.test_router import FixedCatalog, House, house
from tools.searching import SearchResults, WebSearch
from tools.searching.paid import PaidSearch

DEAR = model("acme/dear", prices={"input": 10, "output": 50})
CHEAP = model("acme/cheap", prices={"input": 1, "output": 2})
FREE = model("home/free", provider="home", prices={"input": 0, "output": 0})
UNPRICED = model("acme/unpriced", prices={})
DOWN = ProviderUnavailable("busy", provider="acme", model_id="acme/cheap")
TASK = Task(prompt="What is the capital of France?")
COUNTER = TokenCounter(Path("/nowhere"))


@asynccontextmanager
async def budgeted(
    tmp_path: Path,
    provider: FakeProvider | None = None,
    models: tuple[Model, ...] = (CHEAP, DEAR),
    **caps: Any,
) -> AsyncGenerator[House]:
    async with house(tmp_path, provider, models) as it:
        it.router = replace(it.router, wallet=Wallet(store=it.store.budgets, **caps))
        yield it


async def figures(it: House, allowance: Allowance) -> tuple[int, int]:
    await it.store.budgets.sweep()
    [standing] = await it.store.budgets.standings([allowance])
    return standing.spent_microusd, standing.reserved_microusd


def hour(cap: int) -> Allowance:
    return Allowance(period="hour", cap_microusd=cap, subject=LOCAL_CALLER)


# ── The worst case ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("prices", "input_tokens", "output_tokens", "microusd"),
    [
        ({"input": 3, "output": 15}, 1_000, 200, 1_000 * 3 + 200 * 15),
        ({"input": 3, "output": 15, "cache_write": 3.75}, 1_000, 200, 3_750 + 200 * 15),
        ({"input": 3, "output": 15, "cache_write": 1, "cache_read": 0.3}, 1_000, 200, 1_000 * 3 + 200 * 15),
        (
            {
                "input": 1,
                "output": 5,
                "long_context": [{"above_input_tokens": 900, "input": 2, "output": 9}],
            },
            1_000,
            200,
            1_000 * 2 + 200 * 9,
        ),
        ({"input": 0, "output": 0}, 1_000, 200, 0),
        ({"input": 3}, 1_000, 200, None),
    ],
)
def test_the_worst_case_is_the_dearest_way_to_bill_so_many_tokens(
    prices: dict[str, Any], input_tokens: int, output_tokens: int, microusd: int | None
) -> None:
    assert worst_microusd(Prices.model_validate(prices), input_tokens, output_tokens) == microusd


price = st.decimals(min_value=0, max_value=100, places=3)


@given(
    row=st.fixed_dictionaries({"input": price, "output": price, "cache_read": price, "cache_write": price}),
    tokens=st.tuples(st.integers(0, 200_000), st.integers(0, 50_000)),
    billed=st.tuples(*[st.floats(0, 1)] * 4),
)
def test_no_bill_within_the_bounds_is_higher_than_the_worst_case(
    row: dict[str, Decimal], tokens: tuple[int, int], billed: tuple[float, float, float, float]
) -> None:
    row["cache_read"] = min(row["cache_read"], row["input"])  # what is read from a cache is never dearer
    prices = Prices.model_validate(row)
    input_tokens, output_tokens = int(tokens[0] * billed[0]), int(tokens[1] * billed[1])
    read = int(input_tokens * billed[2])
    written = int((input_tokens - read) * billed[3])
    usage = Usage(
        input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=read, cache_write_tokens=written
    )

    assert (cost_microusd(usage, prices) or 0) <= (worst_microusd(prices, *tokens) or 0)


@given(
    row=st.fixed_dictionaries({"input": price, "output": price.filter(bool)}),
    share=st.floats(0, 1),
    max_tokens=st.integers(1, 8_000),
)
def test_an_answer_that_was_bounded_to_the_money_there_is_costs_no_more(
    row: dict[str, Decimal], share: float, max_tokens: int
) -> None:
    dear = model("acme/m", prices=row)
    asked = request(max_output_tokens=max_tokens)
    quote = quote_of(dear, asked, COUNTER, expected_output=100)
    granted = quote.least + int((quote.most - quote.least) * share)

    tokens = quote.tokens_for(granted)

    worst = worst_microusd(dear.prices, most_input_tokens(asked, COUNTER, dear.tokenizer), tokens)
    assert worst is not None
    assert worst <= granted
    assert quote.tokens_for(quote.most) == quote.output_tokens


def test_a_picture_counts_more_than_any_vendor_bills_for_it() -> None:
    plain = request()
    shown = replace(plain, messages=(replace(plain.messages[0], images=(Image(media_type="image/png", data=b""),)),))
    assert most_input_tokens(shown, COUNTER, "llama") - most_input_tokens(plain, COUNTER, "llama") == IMAGE_TOKENS


# ── The pipeline ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_what_an_answer_costs_is_booked_on_every_budget_and_nothing_stays_set_aside(tmp_path: Path) -> None:
    async with budgeted(tmp_path, hour_microusd=100_000, month_microusd=200_000, session_microusd=50_000) as it:
        first = await it.ask()
        await it.ask(session_id=first.session_id)
        session = Allowance(period="session", cap_microusd=50_000, subject=first.session_id)
        booked = [await figures(it, one) for one in (hour(1), Allowance(period="month", cap_microusd=1), session)]

    assert first.cost_microusd == 30
    assert booked == [(60, 0)] * 3


@pytest.mark.anyio
async def test_a_call_that_might_not_fit_is_not_made_and_the_refusal_says_what_is_left_and_when_there_is_more(
    tmp_path: Path,
) -> None:
    async with budgeted(tmp_path, hour_microusd=100) as it:
        with pytest.raises(BudgetExceeded, match=r"\$0\.000100 of the hourly budget of \$0\.000100 is left") as refusal:
            await it.ask()
        record = await it.booked()

    assert it.provider.requests == []
    assert "POINTSMAN_HOURLY_BUDGET_USD" in str(refusal.value)
    assert refusal.value.left_microusd == 100
    assert refusal.value.resets_at is not None
    assert refusal.value.resets_at % 3_600 == 0
    assert record.outcome == "failed"
    assert record.cost_microusd == 0


@pytest.mark.anyio
async def test_where_only_a_shorter_answer_fits_the_answer_is_bounded_and_the_caller_is_told(tmp_path: Path) -> None:
    async with budgeted(tmp_path, models=(CHEAP,), hour_microusd=1_400) as it:
        record = await it.ask()

    [(_, sent)] = it.provider.requests
    assert 256 <= sent.max_output_tokens < 700
    assert any(f"limited to {sent.max_output_tokens:,} tokens" in notice for notice in record.notices)
    assert any("hourly budget of $0.0014" in notice for notice in record.notices)


@pytest.mark.anyio
async def test_a_model_that_does_not_fit_makes_room_for_a_candidate_that_does(tmp_path: Path) -> None:
    async with budgeted(tmp_path, models=(DEAR, CHEAP), hour_microusd=4_000) as it:
        record = await it.ask()

    assert record.selection is not None
    assert record.selection.primary_model == "acme/dear"
    assert record.model_used == "acme/cheap"
    assert [asked for asked, _ in it.provider.requests] == ["acme/cheap"]
    assert "acme/dear does not fit the budget; acme/cheap answered instead." in record.notices


@pytest.mark.anyio
async def test_a_refusal_after_failures_tells_of_both(tmp_path: Path) -> None:
    async with budgeted(tmp_path, FakeProvider({"acme/cheap": DOWN}), hour_microusd=4_000) as it:
        with pytest.raises(BudgetExceeded, match=r"acme/dear may need .* Before that, .*acme/cheap: busy"):
            await it.ask()


class NoBudgets:
    """A store of budgets that must not be asked to set anything aside."""

    async def standings(self, allowances: object) -> tuple[()]:
        return ()

    async def reserve(self, *_: object, **__: object) -> Any:
        raise AssertionError("a transaction for nothing")


@pytest.mark.anyio
async def test_what_costs_nothing_is_never_blocked_and_needs_no_transaction(tmp_path: Path) -> None:
    async with budgeted(tmp_path, models=(FREE,), hour_microusd=0) as it:
        wallet: Any = Wallet(store=NoBudgets(), hour_microusd=0)  # type: ignore[arg-type]  # half of one will do
        it.router = replace(it.router, wallet=wallet)
        record = await it.ask()

    assert record.model_used == "home/free"


@pytest.mark.anyio
async def test_a_model_of_unknown_price_is_refused_under_a_budget_and_allowed_without_one(tmp_path: Path) -> None:
    forced = Constraints(force_model="acme/unpriced")
    async with budgeted(tmp_path, models=(CHEAP, UNPRICED), hour_microusd=10**9) as it:
        with pytest.raises(BudgetExceeded, match="the price of acme/unpriced is unknown"):
            await it.ask(constraints=forced)
    async with house(tmp_path, models=(CHEAP, UNPRICED)) as without:
        assert (await without.ask(constraints=forced)).model_used == "acme/unpriced"


@pytest.mark.anyio
async def test_below_a_fifth_of_a_budget_cheaper_models_are_preferred_and_the_caller_is_told(tmp_path: Path) -> None:
    rows: Any = FixedCatalog(catalog(DEAR, CHEAP, matrix={"cost_optimized": "acme/cheap"}))
    async with budgeted(tmp_path, hour_microusd=1_000_000) as it:
        it.router = replace(it.router, catalog=rows)
        flush = await it.ask()
        await spend(it, 810_000, hour(1_000_000))
        short = await it.ask()
        looked = await it.router.decide(TASK)

    assert flush.model_used == "acme/dear"
    assert short.model_used == looked.selection.primary_model == "acme/cheap"
    assert any(notice.startswith("Cheaper models are preferred: $0.18") for notice in short.notices)
    assert not any("preferred" in notice for notice in flush.notices)


@pytest.mark.anyio
async def test_when_money_is_short_a_free_model_comes_last_among_the_candidates(tmp_path: Path) -> None:
    others = tuple(model(f"p{n}/m", provider=f"p{n}", tier=2) for n in range(5))
    weak = FREE.model_copy(update={"tier": 4})
    async with budgeted(tmp_path, models=(*others, weak), hour_microusd=100) as it:
        await spend(it, 100, hour(100))
        record = await it.ask(constraints=Constraints(cost_preference="best_quality"))

    assert record.model_used == "home/free"


async def spend(it: House, microusd: int, allowance: Allowance) -> None:
    reservation: Any = await it.store.budgets.reserve([allowance], most=microusd, least=microusd)
    it.store.budgets.settle(reservation, microusd)
    await it.store.budgets.sweep()


@pytest.mark.anyio
async def test_a_call_that_is_cancelled_gives_back_what_it_had_set_aside(tmp_path: Path) -> None:
    provider = FakeProvider({"acme/cheap": None})
    async with budgeted(tmp_path, provider, models=(CHEAP,), hour_microusd=100_000) as it:
        during = (0, 0)
        async with anyio.create_task_group() as group:
            group.start_soon(it.ask)
            with anyio.fail_after(5):
                while not it.heard.reports or "writing" not in it.heard.reports[-1].message:
                    await anyio.lowlevel.checkpoint()
            during = await figures(it, hour(1))
            group.cancel_scope.cancel()
        after = await figures(it, hour(1))
        totals = await it.store.ledger.totals("local")

    assert during[1] > 2_000
    assert after == (totals.cost_microusd, 0)


class Talkative(FakeProvider):
    """Writes 900 tokens, or as many as it may."""

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        await anyio.lowlevel.checkpoint()
        return reply(input_tokens=30, output_tokens=min(900, request.max_output_tokens))


@dataclass(slots=True)
class SlowBudgets:
    """The store's budgets, whose reservations are made and then wait until they are let go."""

    inner: Budgets
    waiting: anyio.Event = field(default_factory=anyio.Event)
    go: anyio.Event = field(default_factory=anyio.Event)

    async def reserve(self, allowances: Sequence[Allowance], *, most: int, least: int) -> Reservation | Standing:
        answer = await self.inner.reserve(allowances, most=most, least=least)
        self.waiting.set()
        await self.go.wait()
        return answer

    def settle(self, reservation: Reservation, microusd: int) -> None:
        self.inner.settle(reservation, microusd)

    async def standings(self, allowances: Sequence[Allowance]) -> tuple[Standing, ...]:
        return await self.inner.standings(allowances)

    async def sweep(self) -> int:
        return await self.inner.sweep()


@pytest.mark.anyio
async def test_who_is_cancelled_while_money_is_set_aside_calls_nobody_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with budgeted(tmp_path, Talkative(), models=(CHEAP,)) as it:
        slow = SlowBudgets(it.store.budgets)
        it.router = replace(it.router, wallet=Wallet(store=slow, hour_microusd=100_000))
        async with anyio.create_task_group() as group:
            group.start_soon(it.ask)
            await slow.waiting.wait()
            group.cancel_scope.cancel()
            slow.go.set()
        after = await figures(it, hour(1))

    assert after == (0, 0)


@pytest.mark.anyio
async def test_calls_at_once_never_spend_more_than_there_is_and_the_ledger_agrees_to_the_microdollar(
    tmp_path: Path,
) -> None:
    cap = 12_000
    answered: list[int] = []
    async with budgeted(tmp_path, Talkative(), models=(CHEAP,), hour_microusd=cap) as it:

        async def ask() -> None:
            try:
                answered.append((await it.ask()).cost_microusd or 0)
            except BudgetExceeded:
                answered.append(0)

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
        spent, reserved = await figures(it, hour(cap))
        totals = await it.store.ledger.totals("local")

    assert 0 < spent <= cap
    assert reserved == 0
    assert 0 in answered
    assert spent == sum(answered) == totals.cost_microusd


@dataclass(slots=True)
class Searching(FakeProvider):
    """Searches twice, then answers; or fails with ``error``, or hangs where it ``hangs``."""

    error: Exception | None = None
    hangs: bool = False
    rounds: int = 0
    hanging: anyio.Event = field(default_factory=anyio.Event)

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        self.requests.append((target.model_id, request))
        self.rounds += 1
        if self.rounds > 2:
            return await self._end(on_text)
        call = ToolCall(id=str(self.rounds), name="web_search", arguments="{}")
        return replace(reply("", 100, 100), finish_reason="tool_call", tool_calls=(call,))

    async def _end(self, on_text: OnText) -> ModelResponse:
        if self.error is not None:
            raise self.error
        if self.hangs:
            self.hanging.set()
            return await self._hang(on_text)
        return reply(input_tokens=100, output_tokens=100)


@dataclass(slots=True)
class Search:
    """A toolbox that searches for $0.005."""

    runs: int = 0
    specs: Mapping[str, ToolSpec] = field(
        default_factory=lambda: {
            "web_search": ToolSpec(name="web_search", description="", input_schema={"type": "object"})
        }
    )

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        self.runs += 1
        return ToolOutcome(text="found", cost_microusd=5_000)


@asynccontextmanager
async def searching(
    tmp_path: Path, provider: Searching | None = None, **caps: Any
) -> AsyncGenerator[tuple[House, Search]]:
    toolbox = Search()
    async with budgeted(tmp_path, provider or Searching(), (CHEAP,), tool_microusd={"web_search": 8_000}, **caps) as it:
        dispatcher = replace(it.router.dispatcher, tool_loop=replace(it.router.dispatcher.tool_loop, toolbox=toolbox))
        assembler = replace(it.router.assembler, toolbox=toolbox)
        it.router = replace(it.router, dispatcher=dispatcher, assembler=assembler)
        yield it, toolbox


@pytest.mark.anyio
async def test_each_tool_round_and_each_paid_search_is_paid_from_the_budget(tmp_path: Path) -> None:
    async with searching(tmp_path, hour_microusd=100_000) as (it, toolbox):
        record = await it.ask(tools=("web_search",))
        booked = await figures(it, hour(1))

    assert toolbox.runs == 2
    assert record.cost_microusd == 3 * (100 + 200) + 2 * 5_000
    assert booked == (record.cost_microusd, 0)


@pytest.mark.anyio
async def test_the_searches_of_a_failed_route_are_in_its_record_with_what_they_cost(tmp_path: Path) -> None:
    refused = ProviderRejected("no", provider="acme", model_id="acme/cheap")
    async with searching(tmp_path, Searching(error=refused), hour_microusd=100_000) as (it, _):
        with pytest.raises(AllModelsFailed):
            await it.ask(tools=("web_search",))
        record, booked = await it.booked(), await figures(it, hour(1))

    assert record.outcome == "failed"
    assert [(use.name, use.cost_microusd) for use in record.tools] == [("web_search", 5_000)] * 2
    assert record.cost_microusd == 2 * (100 + 200) + 2 * 5_000
    assert booked == (record.cost_microusd, 0)


@pytest.mark.anyio
async def test_the_searches_of_a_cancelled_route_are_in_its_record_with_what_they_cost(tmp_path: Path) -> None:
    provider = Searching(hangs=True)
    async with searching(tmp_path, provider, hour_microusd=100_000) as (it, _):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: it.ask(tools=("web_search",)))
            await provider.hanging.wait()
            group.cancel_scope.cancel()
        record, booked = await it.booked(), await figures(it, hour(1))

    assert record.outcome == "cancelled"
    assert [(use.name, use.cost_microusd) for use in record.tools] == [("web_search", 5_000)] * 2
    assert booked == (record.cost_microusd, 0)
    assert booked[0] >= 2 * (100 + 200) + 2 * 5_000


@pytest.mark.anyio
async def test_a_search_that_does_not_fit_is_not_made_and_the_model_is_told(tmp_path: Path) -> None:
    async with searching(tmp_path) as (it, toolbox):
        record = await it.ask(tools=("web_search",), constraints=Constraints(max_cost_microusd=13_000))

    told = [message for message in it.provider.requests[-1][1].messages if message.role == "tool"]
    assert toolbox.runs == 1
    assert told[0].content == "found"
    assert "web_search was not run: $0." in told[1].content
    assert "of max_cost_usd $0.0130 is left" in told[1].content
    assert record.cost_microusd == 3 * 300 + 5_000


@pytest.mark.anyio
async def test_max_cost_usd_bounds_all_rounds_of_a_call_together(tmp_path: Path) -> None:
    async with searching(tmp_path) as (it, _):
        with pytest.raises(BudgetExceeded, match="of max_cost_usd"):
            await it.ask(tools=("web_search",), constraints=Constraints(max_cost_microusd=900))
        record = await it.booked()

    assert 0 < (record.cost_microusd or 0) <= 900


@pytest.mark.anyio
async def test_a_failing_search_costs_what_it_said_and_frees_the_rest() -> None:
    purse = Purse(store=None, allowances=(), call_microusd=10_000, tool_microusd={"web_search": 8_000})

    class Broken(Search):
        async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        await PaidToolbox(inner=Broken(), purse=purse).run("web_search", {}, caller="me")
    assert (await PaidToolbox(inner=Search(), purse=purse).run("web_search", {}, caller="me")).text == "found"


@pytest.mark.anyio
async def test_without_a_budget_nothing_is_asked_of_the_store(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        wallet: Any = Wallet(store=NoBudgets())  # type: ignore[arg-type]  # half of one will do
        it.router = replace(it.router, wallet=wallet)
        assert (await it.ask()).outcome == "completed"


class Engine:
    """A search engine that takes $0.005."""

    name = "brave"

    async def search(self, query: str, count: int, freshness: object) -> SearchResults:
        return SearchResults(query=query, engine="brave", results=(), cost_microusd=5_000)

    async def aclose(self) -> None: ...


@pytest.mark.anyio
async def test_a_search_of_the_host_itself_is_paid_from_the_budgets_too(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        wallet = Wallet(store=it.store.budgets, hour_microusd=14_000, tool_microusd={"web_search": 8_000})
        search = PaidSearch(WebSearch([cast("Any", Engine())]), wallet)
        for query in ("one", "one", "two"):  # the second is in the cache, and costs nothing
            await search.search(query, count=1)
        booked = await figures(it, hour(1))
        with pytest.raises(BudgetExceeded, match=r"web_search may need \$0.0080"):
            await search.search("three", count=1)

    assert search.engines == ("brave",)
    assert booked == (10_000, 0)


@pytest.mark.anyio
async def test_an_estimate_tells_the_low_the_expected_and_the_worst_case(tmp_path: Path) -> None:
    cached = model("acme/cached", prices={"input": 10, "output": 20, "cache_read": 1, "cache_write": 12})
    async with house(tmp_path, models=(CHEAP, cached)) as it:
        given = await estimates(it.router, None, input_tokens=1_000, output_tokens=100, turns=2)
        counted = await estimates(it.router, TASK)

    rows = {row.model.model_id: (row.low_microusd, row.cost_microusd, row.worst_microusd) for row in given.rows}
    assert rows["acme/cached"] == (2 * (1_000 + 2_000), 2 * (10_000 + 2_000), 2 * (12_000 + 2_000))
    assert rows["acme/cheap"] == (2 * 1_200, 2 * 1_200, 2 * 1_200)
    for row in counted.rows:
        assert (row.low_microusd or 0) < (row.cost_microusd or 0) < (row.worst_microusd or 0)


@pytest.mark.anyio
async def test_reasoning_of_earlier_rounds_is_sent_again_and_set_aside_again() -> None:
    purse = Purse(store=None, allowances=(), call_microusd=10**9)
    first, _ = await purse.reserve_call(CHEAP, request(), COUNTER, expected_output=10)
    attempt = Attempt(
        model_id="acme/cheap",
        provider="acme",
        outcome="answered",
        started_at=0.0,
        latency_ms=1,
        usage=Usage(input_tokens=1, output_tokens=700, reasoning_tokens=600),
        cost_microusd=1_401,
    )
    purse.settle_call(first, attempt)
    second, _ = await purse.reserve_call(CHEAP, request(), COUNTER, expected_output=10)

    assert second.microusd - first.microusd == 600


async def unheard(_: Progress) -> None: ...


# ── Several callers ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.anyio
async def test_a_caller_that_has_spent_its_budget_takes_nothing_from_another(tmp_path: Path) -> None:
    async with budgeted(tmp_path, hour_microusd=10_000) as it:
        ann = replace(TASK, caller="ann")
        await it.router.route(ann, unheard)
        spent = (await it.router.wallet.standings("ann", None))[0].spent_microusd
        it.router = replace(it.router, wallet=replace(it.router.wallet, hour_microusd=spent))

        with pytest.raises(BudgetExceeded, match="of the hourly budget of"):
            await it.router.route(ann, unheard)
        assert (await it.router.wallet.standings("bob", None))[0].spent_microusd == 0


@pytest.mark.anyio
async def test_what_all_callers_may_spend_together_holds_for_each_and_is_named(tmp_path: Path) -> None:
    async with budgeted(tmp_path, hour_microusd=10_000_000, all_hour_microusd=10_000) as it:
        await it.router.route(replace(TASK, caller="ann"), unheard)
        [overall] = await it.router.wallet.overall()
        assert overall.spent_microusd > 0
        it.router = replace(it.router, wallet=replace(it.router.wallet, all_hour_microusd=overall.spent_microusd))

        with pytest.raises(BudgetExceeded, match="hourly budget of all callers") as refusal:
            await it.router.route(replace(TASK, caller="bob"), unheard)
    assert "POINTSMAN_ALL_CALLERS_HOURLY_BUDGET_USD" in str(refusal.value)
