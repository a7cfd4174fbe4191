"""What every store promises, run on each of them: a new backend adds its line to STORES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.errors import UnknownHandle
from routing.state import (
    AnswerKey,
    AnswerToKeep,
    Decided,
    LedgerTotals,
    ModelHealth,
    ShadowAnswer,
    SpareAnswer,
    Store,
    Turn,
    first_kept,
    new_handle,
)
from routing.state.sqlite import SqliteStore
from routing.types import (
    Attempt,
    AttemptOutcome,
    Message,
    MessageRole,
    ModelSelection,
    RouteRecord,
    ToolCall,
    ToolUse,
)
from tests.builders import analysis, usage
from tests.state.postgres_server import database_of
from tests.state.stores import KINDS

pytestmark = pytest.mark.anyio

TTL_SECONDS = 3_600
MOST_MESSAGES = 6
MINE = "alice"
THEIRS = "mallory"

UNWELCOME_TEXTS = ["", "\x00", "a\x00b", "\ud800", "\udfff tail", 'it\'s "quoted" \\ud800', "名前 🚂", "line\nbreak"]


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


OpenStore = Callable[[Path, Clock], AbstractAsyncContextManager[Store]]


def sqlite(folder: Path, clock: Clock) -> AbstractAsyncContextManager[Store]:
    return SqliteStore(
        folder / "store.db", wall_clock=clock, session_ttl_seconds=TTL_SECONDS, session_max_messages=MOST_MESSAGES
    )


def postgres(folder: Path, clock: Clock) -> AbstractAsyncContextManager[Store]:
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - only where psycopg is installed

    return PostgresStore(
        database_of(folder), wall_clock=clock, session_ttl_seconds=TTL_SECONDS, session_max_messages=MOST_MESSAGES
    )


STORES: dict[str, OpenStore] = {"sqlite": sqlite, "postgres": postgres}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[], Any]:
    """Opens the same store again, as a restarted process would."""
    return partial(STORES[request.param], tmp_path, clock)


@pytest.fixture
async def store(reopen: Callable[[], AbstractAsyncContextManager[Store]]) -> AsyncIterator[Store]:
    async with reopen() as opened:
        yield opened


# One store serves all the examples of a property: each example uses handles and callers of its own.
shared_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40, deadline=None
)

LEAVES: dict[object, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(), max_size=20),  # lone surrogates and NUL included
    int: st.integers(min_value=0, max_value=2**40),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    object: st.builds(object),
    NoneType: st.none(),
}


def any_value_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type with every field filled, so that a field which is added later is covered too."""
    if hint in LEAVES:
        return LEAVES[hint]
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return st.builds(hint, **{field.name: any_value_of(hints[field.name]) for field in fields(hint)})
    match get_origin(hint), get_args(hint):
        case (origin, choices) if origin is Literal:
            return st.sampled_from(choices)
        case (origin, (item, _)) if origin is tuple:
            return st.lists(any_value_of(item), max_size=3).map(tuple)
        case (origin, options) if origin in (Union, UnionType):
            return st.one_of([any_value_of(option) for option in options])
        case (origin, (key, value)) if origin is Mapping:
            return st.dictionaries(any_value_of(key), any_value_of(value), max_size=3)
        case _:
            raise TypeError(f"LEAVES does not say how to make a {hint}, which a field now holds")


def route(route_id: str | None = None, **changes: Any) -> RouteRecord:
    facts: dict[str, Any] = {
        "route_id": route_id or new_handle("rte"),
        "caller": MINE,
        "session_id": "ses_1",
        "started_at": 1_000.0,
        "latency_ms": 12,
        "outcome": "completed",
        "prompt_sha256": "00" * 32,
    }
    return RouteRecord(**{**facts, **changes})


def attempt(**changes: Any) -> Attempt:
    facts: dict[str, Any] = {
        "model_id": "acme/large",
        "provider": "acme",
        "outcome": "answered",
        "started_at": 1_000.0,
        "latency_ms": 10,
        "usage": usage(100, 20),
        "cost_microusd": 7,
    }
    return Attempt(**{**facts, **changes})


def said(role: MessageRole, content: str = "", **changes: Any) -> Message:
    return Message(role=role, content=content, **changes)


def turn(number: int) -> list[Message]:
    return [said("user", f"question {number}"), said("assistant", f"answer {number}")]


# The ledger


@shared_store
@given(record=any_value_of(RouteRecord))
async def test_a_route_comes_back_as_it_was_recorded_but_for_its_text_and_its_steps(
    store: Store, record: RouteRecord
) -> None:
    record = replace(record, route_id=new_handle("rte") + record.route_id)

    await store.ledger.record(record)

    assert await store.ledger.route(record.route_id, record.caller) == replace(
        record, text="", images=(), embeddings=None, steps=()
    )


async def test_a_turn_goes_into_its_session_with_its_route_and_says_who_answered(store: Store) -> None:
    said = (Message(role="user", content="Hi."), Message(role="assistant", content="Hello."))
    first = route(session_id=new_handle("ses"))
    begun = await store.ledger.record(first, Turn(messages=said, begins=True, answered_by="acme/\ud800"))
    second = replace(first, route_id=new_handle("rte"))
    continued = await store.ledger.record(second, Turn(messages=said, begins=False, answered_by="acme/large"))

    assert begun
    assert continued
    assert await store.sessions.history(first.session_id, MINE) == (*said, *said)
    assert await store.sessions.answered_by(first.session_id, MINE, within_seconds=60) == "acme/large"
    with pytest.raises(UnknownHandle):
        await store.sessions.answered_by(first.session_id, THEIRS, within_seconds=60)


async def test_a_route_whose_session_is_gone_is_written_without_its_turn(store: Store) -> None:
    said = (Message(role="user", content="Hi."), Message(role="assistant", content="Hello."))
    record = route(session_id="ses_gone")

    assert not await store.ledger.record(record, Turn(messages=said, begins=False))

    assert await store.ledger.route(record.route_id, MINE) == record


async def test_who_answered_is_forgotten_after_a_while(store: Store, clock: Clock) -> None:
    session_id = new_handle("ses")
    await store.ledger.record(route(session_id=session_id), Turn(messages=(), begins=True, answered_by="acme/large"))
    clock.now += 61

    assert await store.sessions.answered_by(session_id, MINE, within_seconds=60) is None


async def test_a_route_survives_a_restart(reopen: Callable[[], AbstractAsyncContextManager[Store]]) -> None:
    record = route(analysis=analysis(), attempts=(attempt(),))
    async with reopen() as store:
        await store.ledger.record(record)

    async with reopen() as store:
        assert await store.ledger.route(record.route_id, MINE) == record


@pytest.mark.parametrize("owner", [THEIRS, "", MINE.upper()])
async def test_another_callers_route_answers_as_an_unknown_one(store: Store, owner: str) -> None:
    record = route()
    await store.ledger.record(record)

    with pytest.raises(UnknownHandle) as unknown:
        await store.ledger.route("rte_unknown", owner)
    with pytest.raises(UnknownHandle) as foreign:
        await store.ledger.route(record.route_id, owner)

    assert str(foreign.value) == str(unknown.value)


@pytest.mark.parametrize("text", UNWELCOME_TEXTS)
async def test_any_text_may_be_asked_for_as_a_handle(store: Store, text: str) -> None:
    with pytest.raises(UnknownHandle):
        await store.ledger.route(text, MINE)
    with pytest.raises(UnknownHandle):
        await store.sessions.history(text, MINE)


async def test_a_route_whose_attempts_cannot_be_kept_is_not_kept_either(store: Store) -> None:
    record = route(attempts=(attempt(), attempt(latency_ms=2**70)))

    with pytest.raises(Exception, match=r"."):
        await store.ledger.record(record)

    with pytest.raises(UnknownHandle):
        await store.ledger.route(record.route_id, MINE)
    assert (await store.ledger.totals(MINE)).attempts == 0


async def test_a_route_is_written_once(store: Store) -> None:
    record = route(attempts=(attempt(),))
    await store.ledger.record(record)

    with pytest.raises(Exception, match=r"."):
        await store.ledger.record(replace(record, caller=THEIRS))

    assert await store.ledger.route(record.route_id, MINE) == record


async def test_recent_routes_come_newest_first_and_are_the_callers_own(store: Store) -> None:
    for started_at in (30.0, 10.0, 20.0):
        await store.ledger.record(route(f"rte_{started_at:.0f}", started_at=started_at, attempts=(attempt(),)))
    await store.ledger.record(route("rte_foreign", started_at=40.0, caller=THEIRS))

    recent = await store.ledger.recent(MINE, 2)

    assert [record.route_id for record in recent] == ["rte_30", "rte_20"]
    assert recent[0].attempts == (attempt(),)


async def test_of_routes_that_started_together_the_one_recorded_last_is_the_newest(store: Store) -> None:
    for name in ("first", "second"):
        await store.ledger.record(route(name))

    assert [record.route_id for record in await store.ledger.recent(MINE, 9)] == ["second", "first"]


@shared_store
@given(records=st.lists(any_value_of(RouteRecord), max_size=5), oldest=st.none() | st.integers(0, 4))
async def test_totals_are_the_sums_over_all_attempts_of_the_callers_routes(
    store: Store, records: list[RouteRecord], oldest: int | None
) -> None:
    caller = new_handle("caller")
    records = [replace(record, route_id=new_handle("rte"), caller=caller) for record in records]
    for record in records:
        await store.ledger.record(record)
    since = None if oldest is None or oldest >= len(records) else records[oldest].started_at

    counted = [record for record in records if since is None or record.started_at >= since]
    attempts = [one for record in counted for one in record.attempts]
    assert await store.ledger.totals(caller, since) == LedgerTotals(
        routes=sum(record.pattern is None for record in counted),  # the steps of the others are routes of their own
        attempts=len(attempts),
        input_tokens=sum(one.usage.input_tokens for one in attempts),
        output_tokens=sum(one.usage.output_tokens for one in attempts),
        cost_microusd=sum(one.cost_microusd or 0 for one in attempts)
        + sum(use.cost_microusd for record in counted for use in record.tools),
        baseline_microusd=sum(record.baseline_cost_microusd or 0 for record in counted),
        unpriced_attempts=sum(one.cost_microusd is None for one in attempts),
    )


async def test_what_a_host_paid_for_a_tool_is_in_the_totals_of_its_time(store: Store) -> None:
    search = ToolUse(name="web_search", is_error=False, latency_ms=300, cost_microusd=5_000)
    await store.ledger.record_tool(MINE, search, 100.0)

    assert (await store.ledger.totals(MINE, 100.0)).cost_microusd == 5_000
    assert (await store.ledger.totals(MINE, 100.5)).cost_microusd == 0
    assert (await store.ledger.totals(THEIRS)).cost_microusd == 0


def shadow(**changes: Any) -> ShadowAnswer:
    facts: dict[str, Any] = {
        "route_id": new_handle("rte"),
        "caller": MINE,
        "model_id": "zeta/other",
        "provider": "zeta",
        "category": "qa_retrieval",
        "started_at": 100.0,
        "latency_ms": 12,
        "outcome": "answered",
        "usage": usage(100, 20),
        "cost_microusd": 7_000,
        "agreement": 0.5,
    }
    return ShadowAnswer(**{**facts, **changes})


async def test_what_a_shadow_cost_is_in_the_totals_of_its_time(store: Store) -> None:
    await store.ledger.record_shadow(shadow())
    await store.ledger.record_shadow(shadow(outcome="failed", cost_microusd=None, agreement=None))

    assert (await store.ledger.totals(MINE, 100.0)).cost_microusd == 7_000
    assert (await store.ledger.totals(MINE, 100.5)).cost_microusd == 0
    assert (await store.ledger.totals(THEIRS)).cost_microusd == 0


def decided_on(model_id: str, **changes: Any) -> ModelSelection:
    return ModelSelection(
        primary_model=model_id,
        provider="acme",
        fallback_models=(),
        estimated_cost_microusd=None,
        reasoning="",
        **changes,
    )


async def test_a_route_is_read_back_as_the_choice_it_was(store: Store) -> None:
    selection = decided_on(
        "acme/odd\ud800\\name",
        policy="explored",
        reference_model="acme/large",
        forecasts={"acme/large": 0.9, 'acme/"quoted"': 0.25},
        propensity=0.0125,
    )
    used = usage(100, 20, cache_read_tokens=30, reasoning_tokens=5), usage(7, 0, cache_write_tokens=7)
    done = route(
        started_at=100.0,
        analysis=analysis(category="deep_reasoning", complexity=4),
        selection=selection,
        model_used="acme/large",
        attempts=(
            attempt(model_id="acme/small", outcome="failed", usage=usage(9, 9)),
            *(attempt(model_id="acme/large", usage=one) for one in used),
        ),
        tools=(ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=5_000),),
        cost_microusd=9_000,
    )
    await store.ledger.record(done)
    await store.feedback.record(MINE, done.route_id, 0.75)

    [one] = (await store.reports.decisions(MINE, since=100.0)).decided

    assert one == Decided(
        route_id=done.route_id,
        started_at=100.0,
        category="deep_reasoning",
        complexity=4,
        policy="explored",
        chosen_model="acme/odd\ud800\\name",
        reference_model="acme/large",
        forecasts={"acme/large": 0.9, 'acme/"quoted"': 0.25},
        propensity=0.0125,
        model_used="acme/large",
        usages=used,
        tools_microusd=5_000,
        cost_microusd=9_000,
        score=0.75,
    )


async def test_choices_come_in_pages_and_only_those_with_feedback_where_asked(store: Store) -> None:
    done = [route(selection=decided_on("acme/large"), started_at=float(number)) for number in range(5)]
    others = (
        route(selection=decided_on("acme/large"), outcome="failed"),
        route(selection=None),
        route(selection=decided_on("acme/large"), caller=THEIRS),
    )
    for one in (*done, *others):
        await store.ledger.record(one)
    await store.feedback.record(MINE, done[3].route_id, 0.0)

    first = await store.reports.decisions(MINE, since=1.0, routes=3)
    second = await store.reports.decisions(MINE, since=1.0, after=first.after, routes=3)
    scored = await store.reports.decisions(MINE, since=None, scored=True)

    assert [one.route_id for page in (first, second) for one in page.decided] == [one.route_id for one in done[1:]]
    assert second.after is None
    assert [one.route_id for one in scored.decided] == [done[3].route_id]


async def test_of_many_routes_with_feedback_the_latest_are_told_and_what_they_took(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.state.sql_reports.MOST_SCORED", 2)
    taken = attempt(model_id="acme/large")
    routes = [
        route(selection=decided_on("acme/large"), model_used="acme/large", attempts=(taken,), started_at=float(number))
        for number in range(5)
    ]
    for one in routes:
        await store.ledger.record(one)
    for one in routes[:4]:
        await store.feedback.record(MINE, one.route_id, 1.0)

    scored = await store.reports.decisions(MINE, since=None, scored=True)

    assert [(one.route_id, one.usages) for one in scored.decided] == [
        (one.route_id, (taken.usage,)) for one in routes[2:4]
    ]


async def test_a_caller_without_routes_has_spent_nothing(store: Store) -> None:
    await store.ledger.record(route(attempts=(attempt(),), baseline_cost_microusd=9))

    assert await store.ledger.totals(THEIRS) == LedgerTotals(
        routes=0,
        attempts=0,
        input_tokens=0,
        output_tokens=0,
        cost_microusd=0,
        baseline_microusd=0,
        unpriced_attempts=0,
    )


async def test_health_tells_how_each_model_fared(store: Store) -> None:
    answered = [attempt(latency_ms=10 * n, first_token_ms=n, started_at=float(n)) for n in range(100, 0, -1)]
    late = attempt(outcome="failed", latency_ms=9_999, started_at=500.0, error="overloaded")
    early = attempt(outcome="failed", latency_ms=9_999, started_at=400.0, error="cut off")
    cancelled = attempt(outcome="cancelled", latency_ms=9_999, started_at=600.0, first_token_ms=9_999)
    other = attempt(model_id="acme/small", outcome="failed", started_at=7.0)
    await store.ledger.record(route(attempts=(*answered, late, other)))
    await store.ledger.record(route(attempts=(early, cancelled)))

    assert set(await store.ledger.health(MINE, since=0.0)) == {
        ModelHealth(
            model_id="acme/large",
            attempts=103,
            answered=100,
            failures=2,
            p50_latency_ms=500,
            p95_latency_ms=950,
            p50_first_token_ms=50,
            last_error="overloaded",
            last_attempt_at=600.0,
        ),
        ModelHealth(
            model_id="acme/small",
            attempts=1,
            answered=0,
            failures=1,
            p50_latency_ms=None,
            p95_latency_ms=None,
            p50_first_token_ms=None,
            last_error=None,
            last_attempt_at=7.0,
        ),
    }


async def test_health_is_of_the_callers_own_routes_since_the_time_asked_for(store: Store) -> None:
    for started_at in (10.0, 20.0, 30.0):
        await store.ledger.record(route(started_at=started_at, attempts=(attempt(),)))
    await store.ledger.record(route(started_at=30.0, caller=THEIRS, attempts=(attempt(),)))

    assert [one.attempts for one in await store.ledger.health(MINE, since=20.0)] == [2]
    assert await store.ledger.health(MINE, since=30.1) == ()


FEW = st.integers(0, 5)
SOME_ATTEMPTS = st.lists(
    st.builds(
        attempt,
        model_id=st.sampled_from(["acme/large", *UNWELCOME_TEXTS[:4]]),
        outcome=st.sampled_from(get_args(AttemptOutcome)),
        started_at=FEW.map(float),  # so that times tie
        latency_ms=FEW,
        first_token_ms=st.none() | FEW,
        error=st.none() | st.sampled_from(UNWELCOME_TEXTS),
    ),
    max_size=30,
)


def nearest_rank(percent: int, times: Sequence[int]) -> int | None:
    """The least of the times which at least ``percent`` of them do not exceed: the nearest rank, by counting."""
    enough = [one for one in times if 100 * sum(other <= one for other in times) >= percent * len(times)]
    return min(enough, default=None)


def expected_health(model_id: str, attempts: Sequence[Attempt]) -> ModelHealth:
    in_order = sorted(attempts, key=lambda one: one.started_at)
    answered = [one for one in in_order if one.outcome == "answered"]
    errors = [one.error for one in in_order if one.outcome == "failed"]
    latencies = [one.latency_ms for one in answered]
    first_tokens = [one.first_token_ms for one in answered if one.first_token_ms is not None]
    return ModelHealth(
        model_id=model_id,
        attempts=len(attempts),
        answered=len(answered),
        failures=len(errors),
        p50_latency_ms=nearest_rank(50, latencies),
        p95_latency_ms=nearest_rank(95, latencies),
        p50_first_token_ms=nearest_rank(50, first_tokens),
        last_error=errors[-1] if errors else None,
        last_attempt_at=in_order[-1].started_at,
    )


@shared_store
@given(routes=st.lists(SOME_ATTEMPTS, max_size=3))
async def test_health_sums_up_each_models_attempts_and_leaves_none_out(
    store: Store, routes: list[list[Attempt]]
) -> None:
    caller = new_handle("caller")
    for attempts in routes:
        await store.ledger.record(route(caller=caller, attempts=tuple(attempts)))
    tried = [one for attempts in routes for one in attempts]

    found = await store.ledger.health(caller, since=0.0)

    model_ids = {one.model_id for one in tried}
    assert len(found) == len(model_ids)
    assert set(found) == {
        expected_health(model_id, [one for one in tried if one.model_id == model_id]) for model_id in model_ids
    }


# Sessions


async def test_messages_come_back_in_the_order_they_were_said(store: Store) -> None:
    session_id = await store.sessions.start(MINE)
    for number in (1, 2):
        await store.sessions.append(session_id, MINE, turn(number))

    assert await store.sessions.history(session_id, MINE) == (*turn(1), *turn(2))


@shared_store
@given(messages=st.lists(any_value_of(Message), max_size=MOST_MESSAGES - 1))
async def test_any_message_comes_back_as_it_was_but_for_its_native_form(store: Store, messages: list[Message]) -> None:
    messages = [said("user"), *messages]
    session_id = await store.sessions.start(MINE)

    await store.sessions.append(session_id, MINE, messages)

    assert await store.sessions.history(session_id, MINE) == tuple(
        replace(message, native=None) for message in messages
    )


async def test_a_long_message_is_kept_whole(store: Store) -> None:
    long = said("user", "é" * 1_000_000)
    session_id = await store.sessions.start(MINE)

    await store.sessions.append(session_id, MINE, [long])

    assert await store.sessions.history(session_id, MINE) == (long,)


@pytest.mark.parametrize("caller", UNWELCOME_TEXTS)
async def test_any_text_may_be_a_callers_name_and_no_two_are_confused(store: Store, caller: str) -> None:
    others = [other for other in UNWELCOME_TEXTS if other != caller]
    session_id = await store.sessions.start(caller)

    assert await store.sessions.latest(caller) == session_id
    assert [await store.sessions.latest(other) for other in others] == [None] * len(others)


@pytest.mark.parametrize("verb", ["history", "append", "delete"])
async def test_unknown_expired_and_foreign_sessions_get_the_same_answer(store: Store, clock: Clock, verb: str) -> None:
    expired = await store.sessions.start(MINE)
    clock.now += TTL_SECONDS
    foreign = await store.sessions.start(THEIRS)
    answers: set[str] = set()

    for session_id in (expired, foreign, "ses_unknown"):
        more = ([said("user")],) if verb == "append" else ()
        with pytest.raises(UnknownHandle) as refused:
            await getattr(store.sessions, verb)(session_id, MINE, *more)
        answers.add(str(refused.value))

    assert len(answers) == 1
    assert "Leave session_id out" in answers.pop()
    assert await store.sessions.history(foreign, THEIRS) == ()


async def test_appending_prolongs_a_session_and_reading_does_not(store: Store, clock: Clock) -> None:
    session_id = await store.sessions.start(MINE)
    clock.now += TTL_SECONDS - 1
    await store.sessions.append(session_id, MINE, turn(1))
    clock.now += TTL_SECONDS - 1

    assert await store.sessions.history(session_id, MINE) == tuple(turn(1))
    clock.now += 1
    with pytest.raises(UnknownHandle):
        await store.sessions.history(session_id, MINE)


async def test_the_latest_session_is_the_one_used_last_and_still_live(store: Store, clock: Clock) -> None:
    assert await store.sessions.latest(MINE) is None
    first, second = await store.sessions.start(MINE), await store.sessions.start(MINE)
    await store.sessions.start(THEIRS)
    assert await store.sessions.latest(MINE) == second

    clock.now += 1
    await store.sessions.append(first, MINE, turn(1))
    assert await store.sessions.latest(MINE) == first

    clock.now += TTL_SECONDS
    assert await store.sessions.latest(MINE) is None


async def test_recent_sessions_are_the_callers_own_live_ones_the_one_used_last_first(
    store: Store, clock: Clock
) -> None:
    old = await store.sessions.start(MINE)
    clock.now += TTL_SECONDS - 1
    first, second = await store.sessions.start(MINE), await store.sessions.start(MINE)
    await store.sessions.start(THEIRS)
    assert await store.sessions.recent(MINE, 9) == (second, first, old)
    assert await store.sessions.recent(MINE, 1) == (second,)

    clock.now += 1
    assert await store.sessions.recent(MINE, 9) == (second, first)


async def test_recent_answers_are_the_callers_own_that_are_still_kept_the_newest_first(
    store: Store, clock: Clock
) -> None:
    for route_id, caller in (("rt_1", MINE), ("rt_2", THEIRS), ("rt_3", MINE)):
        clock.now += 1
        await store.jobs.finish(route_id, caller, record=None, error="it failed")
    assert await store.jobs.recent(MINE, 9) == ("rt_3", "rt_1")
    assert await store.jobs.recent(MINE, 1) == ("rt_3",)

    clock.now += TTL_SECONDS - 1
    assert await store.jobs.recent(MINE, 9) == ("rt_3",)


async def test_a_deleted_session_is_unknown(store: Store) -> None:
    session_id, other = await store.sessions.start(MINE), await store.sessions.start(MINE)
    await store.sessions.append(session_id, MINE, turn(1))

    await store.sessions.delete(session_id, MINE)

    with pytest.raises(UnknownHandle):
        await store.sessions.history(session_id, MINE)
    assert await store.sessions.history(other, MINE) == ()


async def test_a_sweep_removes_expired_sessions_and_no_others(store: Store, clock: Clock) -> None:
    old = await store.sessions.start(MINE)
    await store.sessions.append(old, MINE, turn(1))
    clock.now += TTL_SECONDS - 1
    fresh = await store.sessions.start(MINE)
    assert await store.sessions.sweep() == 0

    clock.now += 1
    assert await store.sessions.sweep() == 1
    assert await store.sessions.sweep() == 0
    assert await store.sessions.latest(MINE) == fresh


async def test_messages_that_cannot_be_kept_leave_the_session_as_it_was(store: Store) -> None:
    session_id = await store.sessions.start(MINE)
    impossible: Any = said("assistant", object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - the point

    with pytest.raises(TypeError):
        await store.sessions.append(session_id, MINE, [*turn(1), impossible])

    assert await store.sessions.history(session_id, MINE) == ()


# Trimming: conversations are well formed, as a host's are: user turns, each answered with or without tool calls


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    for turn_number, exchanges in enumerate(draw(st.lists(st.integers(0, 3), max_size=8))):
        messages.append(said("user", f"turn {turn_number}"))
        for exchange in range(exchanges):
            names = [f"call_{turn_number}_{exchange}_{index}" for index in range(draw(st.integers(1, 2)))]
            calls = tuple(ToolCall(id=name, name="search", arguments="{}") for name in names)
            messages.append(said("assistant", tool_calls=calls))
            messages += [said("tool", "found", tool_call_id=name) for name in names]
        messages.append(said("assistant", f"answer {turn_number}"))
    return messages


def orphans(messages: Sequence[Message]) -> list[Message]:
    """Tool results whose call is not there."""
    called = {call.id for message in messages for call in message.tool_calls}
    return [message for message in messages if message.role == "tool" and message.tool_call_id not in called]


@shared_store
@given(said_so_far=conversations(), cut=st.integers(0, 30))
async def test_trimming_keeps_the_newest_messages_and_no_result_without_its_call(
    store: Store, said_so_far: list[Message], cut: int
) -> None:
    session_id = await store.sessions.start(MINE)
    for part in (said_so_far[:cut], said_so_far[cut:]):
        await store.sessions.append(session_id, MINE, part)

    kept = await store.sessions.history(session_id, MINE)

    assert len(kept) <= MOST_MESSAGES
    assert list(kept) == said_so_far[len(said_so_far) - len(kept) :]
    assert not orphans(kept)


@given(conversation=conversations(), most=st.integers(1, 12))
def test_a_conversation_that_is_cut_opens_with_the_oldest_users_turn_that_fits(
    conversation: list[Message], most: int
) -> None:
    roles: list[MessageRole] = [message.role for message in conversation]

    first = first_kept(roles, most)

    if len(roles) <= most:
        assert first == 0
    else:
        assert roles[first:][:1] in (["user"], [])
        assert "user" not in roles[len(roles) - most : first]


async def test_a_conversation_grows_past_the_limit_by_losing_its_oldest_turn(store: Store) -> None:
    session_id = await store.sessions.start(MINE)
    for number in range(MOST_MESSAGES):
        await store.sessions.append(session_id, MINE, turn(number))

    assert await store.sessions.history(session_id, MINE) == (*turn(3), *turn(4), *turn(5))


@pytest.mark.parametrize(
    ("roles", "first"),
    [
        ([], 0),
        (["assistant", "tool", "assistant"], 0),  # nothing is over: nothing is cut, however it begins
        (["user", "assistant", "user", "assistant"], 2),
        (["user", "assistant", "tool", "assistant", "user"], 4),
        (["user", "assistant", "tool", "assistant"], 4),  # one turn longer than the limit goes as a whole
        (["tool", "tool", "assistant"], 2),  # whose calls went before
    ],
)
def test_a_cut_falls_on_a_users_turn(roles: list[MessageRole], first: int) -> None:
    assert first_kept(roles, 3) == first


# Concurrency


async def test_a_cancelled_caller_does_not_take_back_the_write(store: Store) -> None:
    record = route()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(store.ledger.record, record)
            await anyio.lowlevel.checkpoint()  # the write is asked for, and the caller waits
            scope.cancel()

    await store.sessions.start(MINE)  # writes keep their order: when this one is done, so is the one before

    assert await store.ledger.route(record.route_id, MINE) == record


async def test_many_callers_write_at_once_and_nothing_is_lost(store: Store) -> None:
    session_ids = [await store.sessions.start(MINE) for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for number, session_id in enumerate(session_ids):
            tasks.start_soon(store.sessions.append, session_id, MINE, turn(number))
            tasks.start_soon(store.ledger.record, route(f"rte_{number}", attempts=(attempt(),)))

    assert [await store.sessions.history(session_id, MINE) for session_id in session_ids] == [
        tuple(turn(n)) for n in range(20)
    ]
    assert (await store.ledger.totals(MINE)).attempts == 20


async def test_closing_writes_what_was_asked_for(reopen: Callable[[], AbstractAsyncContextManager[Store]]) -> None:
    records = [route(f"rte_{number}") for number in range(20)]
    async with anyio.create_task_group() as tasks, reopen() as store:
        for record in records:
            tasks.start_soon(store.ledger.record, record)
        await anyio.lowlevel.checkpoint()

    async with reopen() as store:
        assert len(await store.ledger.recent(MINE, 100)) == 20


async def test_a_closed_store_says_so_and_may_be_closed_again(store: Store) -> None:
    await store.aclose()
    await store.aclose()

    with pytest.raises(RuntimeError, match="not open"):
        await store.sessions.start(MINE)
    with pytest.raises(RuntimeError, match="not open"):
        await store.sessions.latest(MINE)


def test_handles_are_unlike_each_other_and_carry_128_bits() -> None:
    handles = {new_handle("ses") for _ in range(10_000)}

    assert len(handles) == 10_000
    assert all(handle.startswith("ses_") and len(handle) == 4 + 128 // 4 for handle in handles)
    assert len({handle[4:8] for handle in handles}) > 5_000  # no prefix in common


@pytest.mark.anyio
async def test_a_session_begins_with_its_first_messages(store: Store) -> None:
    turn = [Message(role="user", content="hi"), Message(role="assistant", content="hello")]

    session_id = await store.sessions.start("ada", turn)

    assert await store.sessions.history(session_id, "ada") == tuple(turn)
    assert await store.sessions.latest("ada") == session_id


# Answers that may be given again


def key(digest: str = "d1", *, context: str = "c1", caller: str = MINE) -> AnswerKey:
    return AnswerKey(caller=caller, digest=digest, context=context)


def spare(text: str = "Paris.", **changes: Any) -> AnswerToKeep:
    parts: dict[str, Any] = {"ttl_seconds": 60.0, "most_rows": 100, "most_bytes": 1_000_000, **changes}
    return AnswerToKeep(text=text, model_id="acme/one", usage=usage(20, 5, reasoning_tokens=2), **parts)


@pytest.mark.parametrize("text", UNWELCOME_TEXTS)
async def test_an_answer_is_found_as_it_was_kept_by_its_own_caller_alone(store: Store, text: str) -> None:
    await store.answers.keep(key(), spare(text))

    found = await store.answers.find(key())
    assert found == SpareAnswer(text=text, model_id="acme/one", usage=usage(20, 5, reasoning_tokens=2))
    assert await store.answers.find(key(caller=THEIRS)) is None
    assert await store.answers.find(key("d2")) is None


async def test_a_newer_answer_takes_the_place_of_the_older_one(store: Store) -> None:
    await store.answers.keep(key(), spare("old"))
    await store.answers.keep(key(), spare("new"))

    found = await store.answers.find(key())
    assert found is not None
    assert found.text == "new"


async def test_an_answer_expires(store: Store, clock: Clock) -> None:
    await store.answers.keep(key(), spare(vector=(1.0, 0.0)))

    clock.now += 59
    assert await store.answers.find(key()) is not None
    clock.now += 1
    assert await store.answers.find(key()) is None
    assert await store.answers.alike(key("d2"), (1.0, 0.0), least=0.5) is None


@pytest.mark.parametrize("bound", [{"most_rows": 2}, {"most_bytes": 2 * len("answer 0")}])
async def test_the_oldest_answers_make_room_and_another_callers_stay(
    store: Store, clock: Clock, bound: dict[str, Any]
) -> None:
    await store.answers.keep(key("d0", caller=THEIRS), spare())
    for number in range(4):
        clock.now += 1
        await store.answers.keep(key(f"d{number}"), spare(f"answer {number}", **bound))

    assert [await store.answers.find(key(f"d{number}")) is not None for number in range(4)] == [
        False,
        False,
        True,
        True,
    ]
    assert await store.answers.find(key("d0", caller=THEIRS)) is not None


async def test_an_answer_to_a_question_alike_is_the_nearest_of_its_context(store: Store) -> None:
    await store.answers.keep(key("d1"), spare("near", vector=(0.8, 0.6)))
    await store.answers.keep(key("d2"), spare("nearer", vector=(1.0, 0.0)))
    await store.answers.keep(key("d3", context="c2"), spare("elsewhere", vector=(0.96, 0.28)))
    await store.answers.keep(key("d4"), spare("without"))
    await store.answers.keep(key("d5"), spare("another embedder", vector=(1.0, 0.0, 0.0)))

    async def alike(vector: tuple[float, float], least: float, **changes: Any) -> str | None:
        found = await store.answers.alike(key("dx", **changes), vector, least=least)
        return found.text if found else None

    assert await alike((0.96, 0.28), 0.9) == "nearer"
    assert await alike((0.6, 0.8), 0.9) == "near"
    assert await alike((0.0, 1.0), 0.9) is None
    assert await alike((1.0, 0.0), 0.999) == "nearer"
    assert await alike((1.0, 0.0), 0.5, caller=THEIRS) is None
    assert await alike((1.0, 0.0), 0.5, context="c3") is None
