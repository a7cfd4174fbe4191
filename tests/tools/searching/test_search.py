from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import ToolFailed
from routing.settings import load_settings
from tests.fakes import Clock
from tests.tools.searching.dialects import BRAVE, CANARY, TAVILY, Server
from tools.searching import EngineFailed, Found, Freshness, SearchResults, WebSearch, engines_of
from tools.searching.search import Cache

pytestmark = pytest.mark.anyio
PAGE = Found(title="Points", url="https://rail.example/", snippet="They guide trains.")


def answer(engine: str = "a", *pages: Found, notices: tuple[str, ...] = ()) -> SearchResults:
    return SearchResults(query="q", engine=engine, results=pages, cost_microusd=5_000, notices=notices)


@dataclass(slots=True)
class FakeEngine:
    """Answers or fails as it was told to; with a ``gate`` not before it is opened."""

    name: str
    outcome: SearchResults | EngineFailed
    gate: anyio.Event | None = None
    asked: list[tuple[str, int, Freshness | None]] = field(default_factory=list[tuple[str, int, Freshness | None]])
    closed: bool = False

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        self.asked.append((query, count, freshness))
        if self.gate:
            await self.gate.wait()
        if isinstance(self.outcome, EngineFailed):
            raise self.outcome
        return replace(self.outcome, query=query, engine=self.name)

    async def aclose(self) -> None:
        self.closed = True


def fails(name: str, *, retryable: bool = False, rest_seconds: float = 0.0) -> FakeEngine:
    return FakeEngine(name, EngineFailed(f"{name} is broken", retryable=retryable, rest_seconds=rest_seconds))


def answers(name: str, *pages: Found) -> FakeEngine:
    return FakeEngine(name, answer(name, *pages))


async def refusal(search: WebSearch, query: str = "q", count: int = 5) -> ToolFailed:
    with pytest.raises(ToolFailed) as caught:
        await search.search(query, count=count)
    return caught.value


async def test_the_first_engine_answers_and_no_other_is_asked() -> None:
    first, second = answers("a", PAGE), answers("b")

    found = await WebSearch([first, second]).search("railway  points ", count=3, freshness="week")

    assert found == replace(answer("a", PAGE), query="railway points")
    assert first.asked == [("railway points", 3, "week")]
    assert second.asked == []


async def test_an_empty_answer_is_an_answer() -> None:
    second = answers("b", PAGE)

    found = await WebSearch([answers("a"), second]).search("qzxv", count=3)

    assert (found.engine, found.results, second.asked) == ("a", (), [])


@given(st.lists(st.booleans(), min_size=1, max_size=5))
def test_the_first_engine_that_works_answers_and_those_before_it_are_named(working: list[bool]) -> None:
    engines = [answers(f"e{i}") if works else fails(f"e{i}") for i, works in enumerate(working)]
    first = working.index(True) if True in working else None

    async def run() -> None:
        search = WebSearch(engines)
        if first is None:
            assert all(
                f"{engine.name}: {engine.name} is broken" in str(refused)
                for refused in [await refusal(search)]
                for engine in engines
            )
            return
        found = await search.search("q", count=1)
        assert found.engine == f"e{first}"
        assert found.notices == tuple(f"e{i}: e{i} is broken" for i in range(first))
        assert [len(engine.asked) for engine in engines] == [1] * (first + 1) + [0] * (len(engines) - first - 1)

    anyio.run(run)


@pytest.mark.parametrize(
    ("retryable", "worth"), [((False, False), False), ((True, False), True), ((False, True), True)]
)
async def test_when_all_fail_each_is_named_and_a_retry_helps_if_it_may_help_one(
    retryable: tuple[bool, bool], *, worth: bool
) -> None:
    refused = await refusal(WebSearch([fails("a", retryable=retryable[0]), fails("b", retryable=retryable[1])]))

    assert str(refused) == "no search engine answered. a: a is broken; b: b is broken."
    assert refused.retryable is worth


async def test_with_no_engine_the_variables_and_the_extra_are_named() -> None:
    refused = await refusal(WebSearch([]))

    for name in ("BRAVE_API_KEY", "TAVILY_API_KEY", "EXA_API_KEY", "SEARXNG_URL", "pointsman[duckduckgo]"):
        assert name in str(refused)
    assert not refused.retryable


@pytest.mark.parametrize(("query", "count"), [("", 5), (" \n", 5), ("q", 0), ("q", 21)])
async def test_an_empty_query_and_a_count_out_of_bounds_are_not_asked(query: str, count: int) -> None:
    engine = answers("a")

    assert not (await refusal(WebSearch([engine]), query, count)).retryable
    assert engine.asked == []


async def test_an_engine_that_wants_fewer_requests_is_not_asked_until_it_has_rested() -> None:
    clock = Clock()
    limited, other = fails("a", retryable=True, rest_seconds=30), answers("b", PAGE)
    search = WebSearch([limited, other], clock=clock)

    await search.search("one", count=1)
    clock.now += 29.5
    second = await search.search("two", count=1)
    assert len(limited.asked) == 1
    assert second.notices == ("a: its rate limit was reached, it is asked again in 1 s",)

    clock.now += 0.5
    await search.search("three", count=1)
    assert len(limited.asked) == 2


async def test_a_failure_without_a_limit_is_no_reason_to_rest() -> None:
    broken = fails("a", retryable=True)
    search = WebSearch([broken, answers("b")])

    await search.search("one", count=1)
    await search.search("two", count=1)

    assert len(broken.asked) == 2


async def test_when_every_engine_rests_a_retry_helps() -> None:
    search = WebSearch([fails("a", retryable=True, rest_seconds=30)], clock=Clock())
    await refusal(search)

    refused = await refusal(search)

    assert refused.retryable
    assert "asked again in 30 s" in str(refused)


async def test_the_same_question_is_answered_from_the_cache_for_nothing_until_it_is_too_old() -> None:
    clock, engine = Clock(), answers("a", PAGE)
    search = WebSearch([engine], clock=clock)
    first = await search.search("railway points", count=3)

    clock.now += 899
    second = await search.search(" railway\npoints", count=3)
    assert second == replace(first, cost_microusd=0, notices=("found 899 s ago, from the cache",))
    assert len(engine.asked) == 1

    clock.now += 1
    assert (await search.search("railway points", count=3)).cost_microusd == 5_000
    assert len(engine.asked) == 2


async def test_another_count_or_freshness_is_another_question() -> None:
    engine = answers("a")
    search = WebSearch([engine])

    await search.search("q", count=3)
    await search.search("q", count=4)
    await search.search("q", count=3, freshness="day")

    assert len(engine.asked) == 3


async def test_failures_are_not_cached() -> None:
    engine = fails("a")
    search = WebSearch([engine])
    await refusal(search)

    await refusal(search)

    assert len(engine.asked) == 2


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 10)), max_size=40))
def test_the_cache_is_bounded_and_never_gives_what_is_too_old(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    cache = Cache(clock=clock, ttl_seconds=15, most=3)
    put_at: dict[str, float] = {}
    for query, seconds in steps:
        clock.now += seconds
        kept = cache.get((query, 1, None))
        assert kept is None or clock.now - put_at[query] < 15
        if kept is None:
            cache.put((query, 1, None), answer())
            put_at[query] = clock.now
        assert cache.get((query, 1, None)) is not None
        assert len(cache) <= 3


async def test_the_oldest_answer_goes_first() -> None:
    cache = Cache(clock=Clock(), most=2)
    for query in "abc":
        cache.put((query, 1, None), answer())

    assert [cache.get((query, 1, None)) is not None for query in "abc"] == [False, True, True]


async def test_an_answer_that_was_renewed_is_not_the_oldest() -> None:
    cache = Cache(clock=Clock(), most=2)
    for query in "abac":
        cache.put((query, 1, None), answer())

    assert [cache.get((query, 1, None)) is not None for query in "abc"] == [True, False, True]


async def shared(search: WebSearch, gate: anyio.Event, callers: int = 3) -> Sequence[SearchResults | ToolFailed]:
    outcomes: list[SearchResults | ToolFailed] = []

    async def call() -> None:
        try:
            outcomes.append(await search.search("q", count=1))
        except ToolFailed as failed:
            outcomes.append(failed)

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    return outcomes


async def test_the_same_question_asked_at_once_is_one_call_and_paid_once() -> None:
    gate = anyio.Event()
    engine = FakeEngine("a", answer("a", PAGE), gate=gate)

    outcomes = await shared(WebSearch([engine]), gate)

    assert len(engine.asked) == 1
    assert sorted(found.cost_microusd for found in outcomes if isinstance(found, SearchResults)) == [0, 0, 5_000]


async def test_everybody_who_shares_a_call_learns_that_it_failed() -> None:
    gate = anyio.Event()
    engine = FakeEngine("a", EngineFailed("no", retryable=True), gate=gate)

    outcomes = await shared(WebSearch([engine]), gate)

    assert len(engine.asked) == 1
    assert [isinstance(failed, ToolFailed) and failed.retryable for failed in outcomes] == [True] * 3


async def test_when_the_one_who_asked_gives_up_another_asks() -> None:
    gate = anyio.Event()
    engine = FakeEngine("a", answer("a", PAGE), gate=gate)
    search = WebSearch([engine])
    found: list[SearchResults] = []

    async def wait_for_it() -> None:
        found.append(await search.search("q", count=1))

    async with anyio.create_task_group() as group:
        leader = anyio.CancelScope()

        async def lead() -> None:
            with leader:
                await search.search("q", count=1)

        group.start_soon(lead)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(wait_for_it)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()
        await anyio.wait_all_tasks_blocked()
        gate.set()

    assert len(engine.asked) == 2
    assert found[0].results == (PAGE,)


async def test_all_engines_together_have_a_time_limit() -> None:
    slow, next_one = FakeEngine("slow", answer(), gate=anyio.Event()), answers("b")

    refused = await refusal(WebSearch([fails("a"), slow, next_one], longest_seconds=0.01))

    assert refused.retryable
    assert "a: a is broken; slow: the 0 s for a whole search were over" in str(refused)
    assert next_one.asked == []


async def test_closing_closes_every_engine() -> None:
    engines = [answers("a"), answers("b")]

    await WebSearch(engines).aclose()

    assert all(engine.closed for engine in engines)


async def test_over_the_real_engines_a_failure_falls_to_the_next_and_the_keys_stand_nowhere(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def web(request: httpx.Request) -> httpx.Response:
        if request.url.host == "api.search.brave.com":
            return httpx.Response(401, text=f"no such key: {CANARY}")
        return httpx.Response(200, json=TAVILY.full)

    settings = load_settings({"BRAVE_API_KEY": CANARY, "TAVILY_API_KEY": CANARY}, Path("/nowhere"))
    search = WebSearch(engines_of(settings, transport=Server(web).transport))
    with caplog.at_level("DEBUG"):
        found = await search.search("railway points", count=5)
    await search.aclose()

    assert found.engine == "tavily"
    assert found.results == TAVILY.expected
    assert found.notices == ("brave: it did not accept the key in BRAVE_API_KEY (401)",)
    assert CANARY not in repr(found) + caplog.text


async def test_over_the_real_engines_a_rate_limit_lets_one_rest() -> None:
    clock, server = Clock(), Server(lambda _: httpx.Response(429, headers={"retry-after": "5"}))
    settings = load_settings({"BRAVE_API_KEY": CANARY, "POINTSMAN_SEARCH_ORDER": "brave"}, Path("/nowhere"))
    search = WebSearch(engines_of(settings, transport=server.transport), clock=clock)

    assert (await refusal(search)).retryable
    assert "asked again in 5 s" in str(await refusal(search))
    assert len(server.requests) == 1

    clock.now += 5
    server.answer = lambda _: httpx.Response(200, json=BRAVE.full)
    assert (await search.search("q", count=5)).engine == "brave"
