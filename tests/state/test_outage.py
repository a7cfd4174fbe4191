"""A store that goes away under a router and comes back. The store is a real one behind a line that can be cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import pytest

from routing.answers import AnswerCache
from routing.budgets import Wallet
from routing.errors import DeadlineExceeded, StoreUnavailable, UnknownHandle
from routing.jobs import JobRunner, Running
from routing.state import Allowance, Experience, Reservation, Store, outage
from routing.state.outage import GuardedStore
from routing.state.sqlite import SqliteStore
from routing.types import Constraints, ModelRequest, ModelResponse, OnText, OutagePolicy, RouteRecord, Target, Task
from tests.builders import model
from tests.fakes import FakeProvider
from tests.test_router import House, house

pytestmark = pytest.mark.anyio

CHEAP = model("acme/cheap")
PATIENCE = 0.25
HOUR = Allowance(period="hour", cap_microusd=1_000_000, subject="local")
Fault = Literal["hangs", "refuses", "unheard"]
FAULTS: tuple[Fault, ...] = ("hangs", "refuses", "unheard")


@dataclass(slots=True)
class Line:
    """The line to a store. ``unheard``: what is asked is done, and its answer is lost; ``late``: it comes later."""

    state: Literal["up", "late"] | Fault = "up"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def through(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        if self.state == "refuses":
            raise ConnectionRefusedError("nobody is there")
        if self.state == "late":
            await self.go_on.wait()
            return await work()
        result = None if self.state == "hangs" else await work()
        if self.state != "up":
            await asyncio.Event().wait()
        return result


class Room:
    """A room at the other end of a line."""

    def __init__(self, room: object, line: Line) -> None:
        self._room, self._line = room, line

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._room, name)
        if name == "settle":
            return method

        async def asked(*args: Any, **kwargs: Any) -> Any:
            return await self._line.through(lambda: method(*args, **kwargs))

        return asked


class Remote:
    """A store at the other end of a line."""

    def __init__(self, store: SqliteStore, line: Line) -> None:
        for name in ("ledger", "reports", "feedback", "sessions", "memories", "budgets", "jobs", "answers"):
            setattr(self, name, Room(getattr(store, name), line))

    async def aclose(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Place:
    line: Line
    it: House
    guarded: GuardedStore
    jobs: JobRunner

    async def ask(self, **changes: Any) -> RouteRecord:
        return await self.it.ask(**changes)

    async def back(self) -> None:
        """Have the store back, and what was owed done."""
        self.line.state = "up"
        with anyio.fail_after(5):
            while not self.guarded.lifeline.is_up:  # noqa: ASYNC110 - it is seen by trying
                await anyio.sleep(0.002)

    async def spent(self) -> int:
        """By the budget, all of whose reservations are settled."""
        [standing] = await self.it.store.budgets.standings([HOUR])
        assert standing.reserved_microusd == 0
        return standing.spent_microusd


@asynccontextmanager
async def place(tmp_path: Path, policy: OutagePolicy, provider: FakeProvider | None = None) -> AsyncGenerator[Place]:
    line = Line()
    async with house(tmp_path, provider, (CHEAP,)) as it:
        guarded = GuardedStore(cast("Store", Remote(it.store, line)), policy)
        it.router = replace(
            it.router,
            sessions=guarded.sessions,
            recorder=replace(it.router.recorder, ledger=guarded.ledger),
            wallet=Wallet(store=guarded.budgets, hour_microusd=HOUR.cap_microusd),
            admit=guarded.admit,
        )
        yield Place(line=line, it=it, guarded=guarded, jobs=JobRunner(it.router, guarded.jobs))
        await guarded.aclose()


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", PATIENCE)
    monkeypatch.setattr(outage, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(outage, "_SECONDS_BETWEEN_TRIES", 0.01)
    monkeypatch.setattr(outage, "_CLOSING_SECONDS", PATIENCE)


async def test_a_store_that_answers_is_as_it_was(tmp_path: Path) -> None:
    async with place(tmp_path, "closed") as at:
        record = await at.ask()
        assert (await at.ask(session_id=record.session_id)).outcome == "completed"
        assert not record.notices
        assert await at.spent() == 2 * (record.cost_microusd or 0)
        with pytest.raises(UnknownHandle):
            await at.guarded.sessions.history("ses_nobody", "local")


@pytest.mark.parametrize("fault", FAULTS)
async def test_closed_refuses_a_task_before_it_costs_anything(tmp_path: Path, fault: Fault) -> None:
    async with place(tmp_path, "closed") as at:
        at.line.state = fault
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="nothing can be booked"):
                await at.ask()
        assert not at.it.provider.requests

        await at.back()
        assert (await at.ask()).outcome == "completed"
        assert len(await at.it.store.ledger.recent("local", 9)) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_open_answers_says_so_and_books_it_all_when_the_store_is_back(tmp_path: Path, fault: Fault) -> None:
    async with place(tmp_path, "open") as at:
        at.line.state = fault
        records = [await at.ask(), await at.ask()]
        assert all("no budget was checked" in record.notices[-1] for record in records)

        await at.back()
        kept = {route.route_id for route in await at.it.store.ledger.recent("local", 9)}
        assert kept == {record.route_id for record in records}
        assert await at.spent() == sum(record.cost_microusd or 0 for record in records) > 0
        follow_up = await at.ask(session_id=records[0].session_id)
        assert follow_up.outcome == "completed"


class Cuts(FakeProvider):
    """Cuts the line to the store while it answers."""

    line: Line
    fault: Fault

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        self.line.state = self.fault
        return await FakeProvider.send(self, request, target, on_text)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", ["closed", "open"])
async def test_an_answer_under_way_is_handed_over_and_booked_once(
    tmp_path: Path, policy: OutagePolicy, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Cuts()
    async with place(tmp_path, policy, provider) as at:
        provider.line, provider.fault = at.line, fault
        record = await at.ask()
        assert record.text == "Paris."
        assert "booked" in record.notices[-1]

        await at.back()
        assert [route.route_id for route in await at.it.store.ledger.recent("local", 9)] == [record.route_id]
        assert await at.spent() == record.cost_microusd
    assert not [row for row in caplog.records if row.levelno >= logging.ERROR]


async def test_a_conversation_that_cannot_be_read_is_refused_in_both(tmp_path: Path) -> None:
    async with place(tmp_path, "open") as at:
        record = await at.ask()
        at.line.state = "refuses"
        with pytest.raises(StoreUnavailable):
            await at.ask(session_id=record.session_id)


async def test_only_who_finds_out_waits_for_a_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 0.5)
    async with place(tmp_path, "open") as at:
        at.line.state = "hangs"
        with anyio.fail_after(10):  # 40 times its patience would be 20 seconds, for each of four questions
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(at.ask)
            for _ in range(20):
                await at.ask()


async def test_a_deadline_ends_the_wait_for_a_store_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PATIENCE_SECONDS", 1.0)
    async with place(tmp_path, "open") as at:
        at.line.state = "hangs"
        with pytest.raises(DeadlineExceeded):
            await at.ask(constraints=Constraints(deadline_seconds=0.02))
        assert not at.it.provider.requests


async def test_the_log_says_each_change_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="routing")
    async with place(tmp_path, "open") as at:
        at.line.state = "refuses"
        for _ in range(5):
            await at.ask()
        await at.back()
        await at.ask()
    assert len(caplog.messages) == 2
    assert "the store does not answer (ConnectionRefusedError" in caplog.messages[0]
    assert "the store answers again; 6 writes that waited for it are done" in caplog.messages[1]


async def test_what_outlives_its_call_is_found_while_the_store_is_away_and_after(tmp_path: Path) -> None:
    async with place(tmp_path, "open") as at:
        at.line.state = "hangs"
        running = await at.jobs.route(
            Task(prompt="What is the capital of France?"), at.it.heard, deadline_seconds=0, detach=True
        )
        assert isinstance(running, Running)
        with anyio.fail_after(5):
            answer = await at.jobs.answer(running.route_id, "local", wait_seconds=5)
        assert isinstance(answer, RouteRecord)
        with pytest.raises(StoreUnavailable):
            await at.jobs.answer(running.route_id, "mallory", wait_seconds=0)

        await at.back()
        assert (await at.it.store.jobs.find(running.route_id, "local")).status == "completed"


async def test_no_more_is_owed_than_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "MOST_OWED", 3)
    async with place(tmp_path, "open") as at:
        at.line.state = "refuses"
        await at.ask()
        await at.ask()
        with pytest.raises(StoreUnavailable, match="wait for it already"):
            await at.ask()
        assert len(at.it.provider.requests) == 2
        await at.back()
        assert (await at.ask()).outcome == "completed"


async def test_what_is_lost_at_the_end_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with place(tmp_path, "open") as at:
        at.line.state = "hangs"
        record = await at.ask()
    assert f"lost are what was spent by local, route {record.route_id}" in caplog.messages[-1]


async def test_a_write_that_the_store_refuses_keeps_back_no_other(tmp_path: Path) -> None:
    async with place(tmp_path, "open") as at:
        at.line.state = "refuses"

        async def wrong() -> None:
            raise ValueError("no such column")

        with pytest.raises(StoreUnavailable):
            await at.guarded.budgets.sweep()
        at.guarded.lifeline.owe("money", "a mistake", wrong)
        record = await at.ask()
        await at.back()
        assert (await at.it.booked()).route_id == record.route_id


async def test_what_the_choice_learns_from_is_done_without(tmp_path: Path) -> None:
    async with place(tmp_path, "open") as at:
        at.line.state = "refuses"
        assert await at.guarded.feedback.experience("local", half_life_seconds=1, since=0) == Experience()


async def test_answers_that_could_be_given_again_are_done_without(tmp_path: Path) -> None:
    async with place(tmp_path, "open") as at:
        cache = AnswerCache(store=at.guarded.answers, mode="exact")
        at.it.router = replace(at.it.router, answers=cache)
        at.line.state = "refuses"

        assert (await at.ask()).cached is None


async def test_a_reservation_from_before_the_outage_is_settled_after_it(tmp_path: Path) -> None:
    async with place(tmp_path, "closed") as at:
        held = await at.guarded.budgets.reserve([HOUR], most=500, least=500)
        assert isinstance(held, Reservation)
        at.line.state = "refuses"
        with pytest.raises(StoreUnavailable):
            await at.guarded.budgets.reserve([HOUR], most=1, least=1)
        at.guarded.budgets.settle(held, 300)
        await at.back()
        assert await at.spent() == 300


async def test_what_is_granted_to_nobody_is_freed(tmp_path: Path) -> None:
    async with place(tmp_path, "closed") as at:
        at.line.state = "late"
        with pytest.raises(StoreUnavailable):
            await at.guarded.budgets.reserve([HOUR], most=500, least=500)
        at.line.go_on.set()
        await at.back()
        await at.it.store.budgets.sweep()
        assert await at.spent() == 0
