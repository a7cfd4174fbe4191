"""The same operations on a file and on PostgreSQL give the same answers, whatever they are and in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from routing.errors import RoutingError
from routing.state import (
    LEASE_SECONDS,
    Allowance,
    BatchItem,
    BatchPlan,
    Memory,
    NewMemory,
    Reservation,
    Span,
    Standing,
    StoredMemory,
    Turn,
)
from routing.types import CheckName, Finding, Message, RouteRecord, ToolUse, VerificationStep
from tests.builders import analysis, usage
from tests.fakes import Clock
from tests.state.memory_fakes import WordEmbedder
from tests.state.postgres_server import needs_postgres
from tests.state.stores import place_of, store_at
from tests.state.test_reports import attempt, chosen, route, shadow

if TYPE_CHECKING:
    from tests.state.stores import AnyStore

NOON = 1_795_003_200.0 + 12 * 3_600
NAMES = ("ann", "bob \ud800\x00")
CALLERS = st.sampled_from(NAMES)
FEW = st.integers(0, 3)
MONEY = st.none() | st.integers(0, 10**6)
TEXTS = st.sampled_from(["tea", "green tea", "Käse", "寿司屋", "a\x00b \ud800", "red car tea tea", "user fact 7"])
QUERIES = st.sampled_from(["tea", "kase green", "寿司", "\ud800 b", "user car fact"])
BUDGETS = st.sampled_from(
    [
        (Allowance(period="hour", cap_microusd=100, subject="ann"),),
        (Allowance(period="hour", cap_microusd=100, subject="ann"), Allowance(period="month", cap_microusd=10**9)),
        (Allowance(period="session", cap_microusd=60, subject="ses \x00"),),
    ]
)


@st.composite
def routes(draw: st.DrawFn) -> RouteRecord:
    models = st.sampled_from(["acme/large", "acme/small", "odd/\ud800"])
    checks = st.sampled_from(["tests", "complete", "answered", "json"])
    return route(
        started_at=NOON - draw(st.floats(0, 3 * 86_400)),
        outcome=draw(st.sampled_from(["completed", "failed", "cancelled"])),
        model_used=draw(st.none() | models),
        analysis=draw(st.sampled_from([None, analysis(), analysis(category="complex_coding", complexity=4)])),
        selection=draw(st.sampled_from([None, chosen("acme/large"), chosen("odd/model", "why \x00")])),
        latency_ms=draw(st.integers(0, 10**6)),
        cost_microusd=draw(MONEY),
        baseline_cost_microusd=draw(MONEY),
        tools=(ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=draw(FEW)),) * draw(FEW),
        attempts=tuple(
            attempt(
                model_id=draw(models),
                outcome=draw(st.sampled_from(["answered", "failed", "cancelled"])),
                cost_microusd=draw(MONEY),
                latency_ms=draw(st.integers(0, 10**6)),
                first_token_ms=draw(st.none() | st.integers(0, 10**5)),
                usage=usage(draw(FEW), 5, reasoning_tokens=draw(FEW)),
            )
            for _ in range(draw(FEW))
        ),
        verification=tuple(
            VerificationStep(
                kind="answer",
                model_id=draw(
                    st.sampled_from(["acme/large", "odd/model"])
                ),  # SQLite reads it out of JSON: no lone surrogate
                findings=(Finding(check=_check(draw(checks)), passed=draw(st.booleans()), detail="\ud800"),),
                cost_microusd=draw(MONEY),
            )
            for _ in range(draw(FEW))
        ),
    )


def _check(name: str) -> CheckName:
    return name  # type: ignore[return-value]  # pyright: ignore[reportReturnType] - sampled from its values


class StoresAlike(RuleBasedStateMachine):
    """Two stores that are told the same. What they make up (handles) is called by the order in which they made it."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock(NOON)
        self.stores: list[AnyStore] = []
        for kind in ("sqlite", "postgres"):
            place = place_of(kind, Path(self.folder.name))
            embedder = WordEmbedder(dimensions=64)
            store = store_at(place, wall_clock=self.clock, embedder=embedder, session_max_messages=6)
            self.loop.run_until_complete(store.open())
            self.stores.append(store)
        self.routes: list[RouteRecord] = []
        self.sessions: list[str] = []
        self.batches: list[list[str]] = []
        self.memories: list[list[str]] = []
        self.held: list[list[Reservation]] = []

    def both(self, call: Callable[[AnyStore, int], Coroutine[Any, Any, Any]]) -> list[Any]:
        """What each of them answers, errors included."""
        return [self.loop.run_until_complete(_answer(call(store, at))) for at, store in enumerate(self.stores)]

    def alike(self, call: Callable[[AnyStore, int], Coroutine[Any, Any, Any]]) -> Any:
        one, other = self.both(call)
        assert one == other
        return one

    # Ledger, feedback, sessions

    @rule(one=routes(), caller=CALLERS, continues=st.booleans())
    def record(self, one: RouteRecord, caller: str, continues: bool) -> None:  # noqa: FBT001 - drawn by name
        number = len(self.routes)
        session_id = self.sessions[-1] if continues and self.sessions else f"ses_{number}"
        one = replace(one, route_id=f"rte_{number}", caller=caller, session_id=session_id)
        said = (Message(role="user", content=f"q\x00{number}"), Message(role="assistant", content="\ud800"))
        turn = Turn(messages=said, begins=session_id not in self.sessions, answered_by=one.model_used)
        self.alike(lambda store, _: store.ledger.record(one, turn))
        self.routes.append(one)
        self.sessions.append(session_id)

    @rule(caller=CALLERS, cost=st.integers(0, 999))
    def use_a_tool(self, caller: str, cost: int) -> None:
        use = ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=cost)
        self.alike(lambda store, _: store.ledger.record_tool(caller, use, self.clock.now))

    @rule(caller=CALLERS, cost=MONEY, agreement=st.none() | st.floats(0, 1))
    def shadow(self, caller: str, cost: int | None, agreement: float | None) -> None:
        one = shadow(caller=caller, started_at=self.clock.now, cost_microusd=cost, agreement=agreement)
        self.alike(lambda store, _: store.ledger.record_shadow(one))

    @rule(number=st.integers(0, 20), score=st.floats(0, 1), caller=CALLERS)
    def score(self, number: int, score: float, caller: str) -> None:
        self.alike(lambda store, _: store.feedback.record(caller, f"rte_{number}", score, "\x00"))

    @rule(caller=CALLERS, number=st.integers(0, 20))
    def talk(self, caller: str, number: int) -> None:
        more = [Message(role="user", content="more"), Message(role="assistant", content="\ud800")]
        self.alike(lambda store, _: store.sessions.append(f"ses_{number}", caller, more))
        self.alike(lambda store, _: store.sessions.history(f"ses_{number}", caller))
        self.alike(lambda store, _: store.sessions.answered_by(f"ses_{number}", caller, within_seconds=60.0))

    # Money

    @rule(allowances=BUDGETS, most=st.integers(1, 60), least=st.integers(1, 30))
    def reserve(self, allowances: tuple[Allowance, ...], most: int, least: int) -> None:
        answers = self.both(lambda store, _: store.budgets.reserve(allowances, most=max(most, least), least=least))
        if isinstance(answers[0], Standing):
            assert answers[0] == answers[1]
            return
        assert replace(answers[0], reservation_id="") == replace(answers[1], reservation_id="")
        self.held.append(answers)

    @rule(cost=st.integers(0, 80))
    def settle(self, cost: int) -> None:
        if self.held:
            held = self.held.pop()

            async def settle(store: AnyStore, at: int) -> int:
                store.budgets.settle(held[at], cost)
                return await store.budgets.sweep()

            self.alike(settle)

    @rule(seconds=st.sampled_from([1.0, LEASE_SECONDS, 3_600.0, 86_400.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.alike(lambda store, _: store.budgets.sweep())
        self.alike(lambda store, _: store.memories.sweep())

    # Work that outlives its call

    @rule(caller=CALLERS, number=st.integers(0, 20))
    def finish(self, caller: str, number: int) -> None:
        self.alike(lambda store, _: store.jobs.begin(f"rte_{number}", caller))
        self.alike(lambda store, _: store.jobs.find(f"rte_{number}", caller))
        self.alike(lambda store, _: store.jobs.finish(f"rte_{number}", caller, record=None, error="no \x00"))
        self.alike(lambda store, _: store.jobs.recent(caller, 3))

    @rule(caller=CALLERS, prompts=st.lists(TEXTS, min_size=1, max_size=3))
    def batch(self, caller: str, prompts: list[str]) -> None:
        self.batches.append(
            self.both(lambda store, _: store.jobs.open_batch(caller, BatchPlan(prompts=tuple(prompts))))
        )
        ids = self.batches[-1]
        self.alike(lambda store, at: store.jobs.take_batch(ids[at]))
        self.alike(lambda store, at: store.jobs.take_batch(ids[at]))
        item = BatchItem(position=0, route_id="rte_0", text="\ud800")
        self.alike(lambda store, at: store.jobs.finish_item(ids[at], item))
        self.alike(lambda store, at: store.jobs.leave_batch(ids[at]))
        self.alike(lambda store, at: store.jobs.batch(ids[at], caller))

    # Memories

    @rule(
        text=TEXTS,
        key=st.none() | st.sampled_from(["k", "\x00"]),
        n=FEW,
        ttl=st.none() | st.sampled_from([60.0, 7_200.0]),
    )
    def remember(self, text: str, key: str | None, n: int, ttl: float | None) -> None:
        new = NewMemory(text=text, key=key, metadata={"n": n, "of": text}, ttl_seconds=ttl)
        stored = self.both(lambda store, _: store.memories.store("ann", [new]))
        ids = [answer[0].memory_id for answer in stored]
        if ids not in self.memories:
            self.memories.append(ids)
        assert self.named(0, stored[0][0]) == self.named(1, stored[1][0])

    def named(self, at: int, stored: StoredMemory) -> tuple[object, ...]:
        likenesses = [(self.name(at, like.memory_id), round(like.similarity, 4)) for like in stored.duplicates]
        return self.name(at, stored.memory_id), stored.created, stored.embedded, likenesses

    def name(self, at: int, memory_id: str) -> int:
        return next(number for number, ids in enumerate(self.memories) if ids[at] == memory_id)

    @rule(query=QUERIES, mode=st.sampled_from(["hybrid", "meaning", "word"]), n=st.none() | FEW)
    def search(self, query: str, mode: Any, n: int | None) -> None:
        wanted = None if n is None else {"n": n}
        one, other = self.both(
            lambda store, _: store.memories.search("ann", query, mode=mode, metadata=wanted, limit=4)
        )
        assert (one.by_meaning, one.pending) == (other.by_meaning, other.pending)
        if mode == "word":  # float32 products differ in the last digit, which decides between equals
            assert [self.seen(0, hit.memory) for hit in one.hits] == [self.seen(1, hit.memory) for hit in other.hits]
        assert len(one.hits) == len(other.hits)

    def seen(self, at: int, memory: Memory) -> tuple[int, Memory]:
        return self.name(at, memory.memory_id), replace(memory, memory_id="")

    @rule(n=FEW)
    def forget(self, n: int) -> None:
        self.alike(lambda store, _: store.memories.delete("ann", metadata={"n": n}))

    @invariant()
    def they_tell_the_same(self) -> None:
        for caller in NAMES:
            self.tells_of(caller)
        pages = self.both(lambda store, _: store.memories.list("ann", limit=9))
        assert [self.seen(0, memory) for memory in pages[0].memories] == [
            self.seen(1, memory) for memory in pages[1].memories
        ]

    def tells_of(self, caller: str) -> None:
        self.alike(lambda store, _: store.ledger.recent(caller, 9))
        self.alike(lambda store, _: store.ledger.totals(caller, NOON - 86_400))
        self.alike(lambda store, _: store.sessions.recent(caller, 9))

    def reports_on(self, caller: str) -> None:
        self.alike(lambda store, _: _usage(store, caller, 3_600))
        self.alike(lambda store, _: _usage(store, caller, 86_400))
        self.alike(lambda store, _: store.reports.export(caller, since=None))
        self.alike(lambda store, _: store.reports.decisions(caller, since=None))
        self.alike(lambda store, _: _experience(store, caller))
        self.alike(lambda store, _: _health(store, caller))

    def teardown(self) -> None:
        for caller in NAMES:
            self.reports_on(caller)
        for store in self.stores:
            self.loop.run_until_complete(store.aclose())
        self.loop.close()
        self.folder.cleanup()


async def _answer(call: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await call
    except RoutingError as error:
        return type(error), str(error)


async def _usage(store: AnyStore, caller: str, span: Span) -> dict[str, object]:
    """The sums, each list in one order: they come in none. In which order a database adds fractions up is its own affair."""
    sums = await store.reports.usage(caller, since=None, span=span)
    shadows = [replace(row, agreement=round(row.agreement, 9)) for row in sums.shadows]
    sums = replace(sums, shadows=tuple(shadows))
    parts = {part.name: getattr(sums, part.name) for part in fields(sums)}
    return {name: sorted(map(repr, value)) if name not in _ONE_NUMBER else value for name, value in parts.items()}


_ONE_NUMBER = frozenset({"own_tools_microusd", "first_at"})


async def _experience(store: AnyStore, caller: str) -> object:
    found = await store.feedback.experience(caller, half_life_seconds=86_400.0, since=NOON - 86_400)
    scored = sorted((row.category, row.complexity, row.model_id) for row in found.scored)
    weights = sum(row.weight for row in found.scored), sum(row.good for row in found.scored)
    return scored, [round(weight, 9) for weight in weights], sorted(map(repr, found.runs))


async def _health(store: AnyStore, caller: str) -> object:
    return sorted(map(repr, await store.ledger.health(caller, 0.0)))


TestStoresAlike = needs_postgres(StoresAlike.TestCase)
TestStoresAlike.settings = settings(max_examples=6, stateful_step_count=20, deadline=None)
