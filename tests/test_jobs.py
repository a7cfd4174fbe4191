"""Work that outlives its call: real router and store, a fake provider that answers when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from routing.batches import BatchRunner, BatchState, prompts_of
from routing.errors import AllModelsFailed, InvalidTask, ProviderUnavailable, ToolFailed, UnknownHandle
from routing.jobs import Failed, JobRunner, Running, unheard
from routing.state import LEASE_SECONDS, BatchPlan
from routing.state.sqlite import SqliteStore
from routing.types import (
    Image,
    ModelRequest,
    ModelResponse,
    OnText,
    Progress,
    RouteRecord,
    Target,
    Task,
)
from tests.builders import model
from tests.fakes import Clock, FakeProvider, Heard, reply
from tests.test_router import House, house

pytestmark = pytest.mark.anyio

CHEAP = model("acme/cheap")
TASK = Task(prompt="What is the capital of France?")
DOWN = ProviderUnavailable("busy", provider="acme", model_id="acme/cheap")


@dataclass(slots=True)
class Held(FakeProvider):
    """Answers, or fails where the prompt says so, once it is let go; counts how many calls are under way."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0
    aborted: int = 0

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        prompt = request.messages[-1].content
        self.requests.append((target.model_id, request))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go.wait()
            await anyio.lowlevel.checkpoint()
        except BaseException:
            self.aborted += 1
            raise
        finally:
            self.at_once -= 1
        if "fail" in prompt:
            raise DOWN
        return reply(f"re: {prompt}")

    @property
    def asked(self) -> list[str]:
        return [request.messages[-1].content for _, request in self.requests]


@dataclass(slots=True)
class Desk:
    it: House
    provider: Held
    jobs: JobRunner
    batches: BatchRunner

    async def until(self, condition: Callable[[], bool]) -> None:
        with anyio.fail_after(5):
            while not condition():
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def desk(tmp_path: Path, *, concurrency: int = 2) -> AsyncGenerator[Desk]:
    provider = Held()
    async with house(tmp_path, provider, (CHEAP,)) as it:
        jobs = JobRunner(it.router, it.store.jobs)
        batches = BatchRunner(it.router, it.store.jobs, it.store.ledger, concurrency=concurrency)
        try:
            yield Desk(it, provider, jobs, batches)
        finally:
            provider.go.set()
            await jobs.aclose()
            await batches.aclose()


async def begun(one: Desk, task: Task = TASK, *, detach: bool = False) -> str:
    """A route that outlived its call."""
    outcome = await one.jobs.route(task, unheard, deadline_seconds=0.01, detach=detach)
    assert isinstance(outcome, Running)
    return outcome.route_id


async def test_an_answer_in_time_comes_with_the_call_and_is_not_kept(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        one.provider.go.set()
        record = await one.jobs.route(TASK, unheard, deadline_seconds=50)
        assert isinstance(record, RouteRecord)
        with pytest.raises(UnknownHandle):
            await one.jobs.answer(record.route_id, "local", wait_seconds=0)

    assert record.text == "re: What is the capital of France?"


async def test_a_task_slower_than_its_deadline_is_running_and_its_answer_can_be_waited_for(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        started = anyio.current_time()
        route_id = await begun(one)
        took = anyio.current_time() - started
        still = await one.jobs.answer(route_id, "local", wait_seconds=0)
        asyncio.get_running_loop().call_soon(one.provider.go.set)
        record = await one.jobs.answer(route_id, "local", wait_seconds=30)
        again = await one.jobs.answer(route_id, "local", wait_seconds=0)

    assert took < 1
    assert still == Running(route_id=route_id)
    assert isinstance(record, RouteRecord)
    assert (record.route_id, record.text) == (route_id, "re: What is the capital of France?")
    assert again == record


async def test_a_finished_answer_survives_a_restart_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        route_id = await begun(one)
        one.provider.go.set()
        record = await one.jobs.answer(route_id, "local", wait_seconds=5)
        assert isinstance(record, RouteRecord)
        drawn = replace(record, images=(Image(media_type="image/png", data=b"\x89"),), text="\ud800 odd")
        await one.jobs.keep(drawn)
    async with house(tmp_path, Held(), (CHEAP,)) as after:
        kept = await JobRunner(after.router, after.store.jobs).answer(route_id, "local", wait_seconds=0)

    assert kept == drawn


async def test_a_job_that_died_with_its_process_says_so_once_its_lease_is_over(tmp_path: Path) -> None:
    clock = Clock()
    async with SqliteStore(tmp_path / "state.db", wall_clock=clock) as doomed:
        await doomed.jobs.begin("rte_x", "local")
        clock.now += LEASE_SECONDS - 1
        await doomed.jobs.renew()
    async with SqliteStore(tmp_path / "state.db", wall_clock=clock) as after:
        clock.now += LEASE_SECONDS - 1
        alive = await after.jobs.find("rte_x", "local")
        clock.now += 1
        dead = await after.jobs.find("rte_x", "local")

    assert alive.status == "running"
    assert dead.status == "failed"
    assert "ended before it was answered" in (dead.error or "")


async def test_what_fails_after_its_call_is_told_with_its_reason(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        route_id = await begun(one, Task(prompt="fail"))
        one.provider.go.set()
        outcome = await one.jobs.answer(route_id, "local", wait_seconds=5)
        with pytest.raises(AllModelsFailed):
            await one.jobs.route(Task(prompt="fail"), unheard, deadline_seconds=50)

    assert isinstance(outcome, Failed)
    assert outcome.error.startswith("AllModelsFailed: ")
    assert "busy" in outcome.error


@pytest.mark.parametrize("detach", [False, True])
async def test_a_caller_who_goes_away_ends_the_work_unless_it_is_detached(tmp_path: Path, detach: bool) -> None:  # noqa: FBT001
    async with desk(tmp_path) as one:

        async def call() -> None:
            await one.jobs.route(TASK, unheard, deadline_seconds=50, detach=detach)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await one.until(lambda: bool(one.provider.requests))
            group.cancel_scope.cancel()
        aborted = one.provider.aborted
        one.provider.go.set()
        await one.jobs.aclose()
        record = await one.it.booked()
        kept = await one.jobs.answer(record.route_id, "local", wait_seconds=0) if detach else None

    assert aborted == (0 if detach else 1)
    assert record.outcome == ("completed" if detach else "cancelled")
    assert not detach or isinstance(kept, RouteRecord)


async def test_one_caller_has_so_many_tasks_under_way_and_another_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.jobs.MOST_UNDER_WAY", 2)
    async with desk(tmp_path) as one:
        for _ in range(2):
            await begun(one, detach=True)
        with pytest.raises(ToolFailed, match="2 of your tasks are under way") as refused:
            await begun(one, detach=True)
        other = await begun(one, replace(TASK, caller="bob"))

    assert refused.value.retryable
    assert other


async def test_an_answer_belongs_to_the_caller_who_asked_for_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        route_id = await begun(one)
        for name, caller in ((route_id, "mallory"), ("rte_never", "local")):
            with pytest.raises(UnknownHandle, match="no answer of that id"):
                await one.jobs.answer(name, caller, wait_seconds=0)


async def test_an_answer_that_another_process_works_on_is_waited_for(tmp_path: Path) -> None:
    async with desk(tmp_path) as one, SqliteStore(tmp_path / "state.db") as other:
        route_id = await begun(one)
        elsewhere = JobRunner(one.it.router, other.jobs)
        running = await elsewhere.answer(route_id, "local", wait_seconds=0)
        asyncio.get_running_loop().call_soon(one.provider.go.set)
        record = await elsewhere.answer(route_id, "local", wait_seconds=30)

    assert isinstance(running, Running)
    assert isinstance(record, RouteRecord)


async def test_a_listener_that_breaks_does_not_end_the_work(tmp_path: Path) -> None:
    heard: list[Progress] = []

    async def broken(progress: Progress) -> None:
        heard.append(progress)
        raise anyio.BrokenResourceError

    async with desk(tmp_path) as one:
        one.provider.go.set()
        record = await one.jobs.route(TASK, broken, deadline_seconds=50)

    assert isinstance(record, RouteRecord)
    assert len(heard) == 1


async def test_when_the_server_ends_what_is_not_detached_is_stopped_and_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        route_id = await begun(one)
        await one.jobs.aclose()
        outcome = await one.jobs.answer(route_id, "local", wait_seconds=0)

    assert one.provider.aborted == 1
    assert isinstance(outcome, Failed)
    assert "the server was stopped" in outcome.error


async def test_answers_are_forgotten_with_the_sessions(tmp_path: Path) -> None:
    clock = Clock()
    async with SqliteStore(tmp_path / "state.db", wall_clock=clock, session_ttl_seconds=100) as store:
        await store.jobs.finish("rte_x", "local", record=None, error="no")
        batch_id = await store.jobs.open_batch("local", BatchPlan(prompts=("a",)))
        clock.now += 100
        with pytest.raises(UnknownHandle):
            await store.jobs.find("rte_x", "local")
        with pytest.raises(UnknownHandle):
            await store.jobs.batch(batch_id, "local")


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("template", "items", "prompts"),
    [
        ("Say {item}.", ["a", "b"], ("Say a.", "Say b.")),
        ("{who}: {what} {other}", [{"who": "x", "what": 1}], ("x: 1 {other}",)),
        ('Fill {"k": {item}}', ["{item}"], ('Fill {"k": {item}}',)),
    ],
)
def test_a_template_is_filled_with_each_item(template: str, items: list[Any], prompts: tuple[str, ...]) -> None:
    assert prompts_of(None, template, items) == prompts


@pytest.mark.parametrize(
    ("prompts", "template", "items", "said"),
    [
        (None, None, None, "give prompts, or template and items"),
        (["a"], "{item}", ["b"], "give prompts, or template and items"),
        (None, "{item}", None, "give prompts, or template and items"),
        (("a",) * 501, None, None, "a batch has 1 to 500 tasks"),
        (["a", " "], None, None, "prompt 1 is empty"),
        (None, "no place", ["a"], "has no {item}"),
        (None, "{item}", [3], "item 0 is neither text nor an object"),
    ],
)
def test_a_batch_that_cannot_be_one_is_refused(
    prompts: list[str] | None, template: str | None, items: list[object] | None, said: str
) -> None:
    with pytest.raises(InvalidTask, match=said):
        prompts_of(prompts, template, items)


async def ran(one: Desk, *prompts: str, batch_id: str = "", seconds: float = 30, heard: Any = unheard) -> BatchState:
    batch_id = batch_id or await one.batches.open("local", BatchPlan(prompts=prompts))
    return await one.batches.run("local", batch_id, heard, deadline_seconds=seconds)


async def test_a_batch_runs_a_few_tasks_at_once_and_returns_each_answer_with_one_total(tmp_path: Path) -> None:
    heard = Heard()
    async with desk(tmp_path, concurrency=3) as one:
        early = await ran(one, *(f"task {number}" for number in range(8)), heard=heard, seconds=0.01)
        await one.until(lambda: one.provider.at_once == 3)
        one.provider.go.set()
        state = await ran(one, batch_id=early.batch_id)
        totals = await one.it.store.ledger.totals("local")

    assert [item.text for item in state.items] == [f"re: task {number}" for number in range(8)]
    assert one.provider.most_at_once == 3
    assert not state.running
    assert state.cost_microusd == totals.cost_microusd == 8 * 30
    assert [(report.done, report.total) for report in heard.reports] == [(done, 8) for done in range(1, 9)]


async def test_a_task_that_fails_is_told_beside_the_others_and_only_it_is_paid_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        one.provider.go.set()
        state = await ran(one, "one", "fail", "three")
        again = await ran(one, batch_id=state.batch_id)

    assert [item.error is None for item in state.items] == [True, False, True]
    assert "busy" in (state.items[1].error or "")
    assert (state.failed, state.total) == (1, 3)
    assert one.provider.asked == ["one", "fail", "three", "fail"]
    assert [item.text for item in again.items] == ["re: one", "", "re: three"]


async def test_a_batch_that_was_interrupted_is_resumed_without_paying_again_for_what_is_done(tmp_path: Path) -> None:
    async with desk(tmp_path, concurrency=1) as one:
        batch_id = await one.batches.open("local", BatchPlan(prompts=("one", "two")))
        one.provider.go.set()

        async def stop(progress: Progress) -> None:
            one.provider.go.clear()

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: ran(one, batch_id=batch_id, heard=stop))
            await one.until(lambda: one.provider.asked == ["one", "two"])
            group.cancel_scope.cancel()
        kept = await one.it.store.jobs.batch(batch_id, "local")
        assert (list(kept.items), kept.running) == ([0], False)
        one.provider.go.set()
        state = await ran(one, batch_id=batch_id)

    assert one.provider.asked == ["one", "two", "two"]
    assert [item.text for item in state.items] == ["re: one", "re: two"]


async def test_a_batch_goes_on_after_its_deadline_and_is_waited_for_by_its_id(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        early = await ran(one, "one", "two", seconds=0.01)
        one.provider.go.set()
        late = await ran(one, batch_id=early.batch_id)

    assert (early.running, early.items) == (True, ())
    assert (late.running, len(late.items)) == (False, 2)
    assert sorted(one.provider.asked) == ["one", "two"]


async def test_a_batch_that_another_process_has_under_way_is_not_begun_twice(tmp_path: Path) -> None:
    async with desk(tmp_path) as one, SqliteStore(tmp_path / "state.db") as other:
        early = await ran(one, "one", seconds=0.01)
        elsewhere = BatchRunner(one.it.router, other.jobs, other.ledger)
        seen = await elsewhere.run("local", early.batch_id, unheard, deadline_seconds=5)
        asked = list(one.provider.asked)

    assert seen.running
    assert asked == ["one"]


async def test_a_batch_belongs_to_the_caller_who_opened_it(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        batch_id = await one.batches.open("local", BatchPlan(prompts=("one",)))
        with pytest.raises(UnknownHandle, match="no batch of that id"):
            await one.batches.run("mallory", batch_id, unheard, deadline_seconds=1)


async def test_a_long_answer_of_a_batch_can_be_read_to_its_end(tmp_path: Path) -> None:
    prompt = "x" * 6_000
    async with desk(tmp_path) as one:
        one.provider.go.set()
        state = await ran(one, prompt, "short")
        record = await one.jobs.answer(state.items[0].route_id, "local", wait_seconds=0)
        with pytest.raises(UnknownHandle):
            await one.jobs.answer(state.items[1].route_id, "local", wait_seconds=0)

    assert isinstance(record, RouteRecord)
    assert record.text == f"re: {prompt}"
