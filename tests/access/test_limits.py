"""Each caller has a line of its own: so many calls run, so many wait, the rest are sent away with the time to come back."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from access.limits import Admission, Limits, TurnedAway

pytestmark = pytest.mark.anyio
TWO_AND_ONE = Limits(concurrency=2, queue=1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def hold(admission: Admission, caller: str, until: anyio.Event, limits: Limits, ran: list[str]) -> None:
    async with admission.turn(caller, limits):
        ran.append(caller)
        await until.wait()


async def test_calls_beyond_those_that_run_and_wait_are_sent_away_with_a_time() -> None:
    admission, until, ran = Admission(), anyio.Event(), list[str]()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(hold, admission, "ann", until, TWO_AND_ONE, ran)
        await anyio.wait_all_tasks_blocked()
        assert len(ran) == 2
        with pytest.raises(TurnedAway, match=r"2 of your calls run and 1 wait.*Try again in \d+ s"):
            async with admission.turn("ann", TWO_AND_ONE):
                raise AssertionError("was let in")
        until.set()
    assert len(ran) == 3


async def test_one_caller_that_is_full_takes_nothing_from_another() -> None:
    admission, until, ran = Admission(), anyio.Event(), list[str]()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(hold, admission, "ann", until, TWO_AND_ONE, ran)
        await anyio.wait_all_tasks_blocked()
        async with admission.turn("bob", TWO_AND_ONE):
            ran.append("bob")
        until.set()
    assert ran.count("bob") == 1


async def test_a_thousand_calls_that_come_before_any_runs_are_counted_too() -> None:
    admission, until, ran, refused = Admission(), anyio.Event(), list[str](), list[str]()

    async def call() -> None:
        try:
            await hold(admission, "ann", until, TWO_AND_ONE, ran)
        except TurnedAway as refusal:
            refused.append(refusal.spoken)

    async with anyio.create_task_group() as group:
        for _ in range(1_000):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert len(refused) == 997
        until.set()
    assert len(ran) == 3


async def test_nothing_is_kept_of_a_caller_whose_calls_are_over() -> None:
    admission = Admission()
    for number in range(100):
        async with admission.turn(f"caller {number}", TWO_AND_ONE):
            pass
    assert admission.callers == 0


async def test_calls_of_a_minute_are_counted_and_come_back_with_time() -> None:
    clock = Clock()
    admission, limits = Admission(clock), Limits(concurrency=5, queue=0, calls_per_minute=2)
    for _ in range(2):
        async with admission.turn("ann", limits):
            pass
    with pytest.raises(TurnedAway, match="Try again in 30 s"):
        async with admission.turn("ann", limits):
            raise AssertionError("was let in")

    clock.now += 30
    async with admission.turn("ann", limits):
        pass


async def test_a_call_that_is_cancelled_while_it_waits_leaves_its_place() -> None:
    admission, until, ran = Admission(), anyio.Event(), list[str]()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(hold, admission, "ann", until, TWO_AND_ONE, ran)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0):
            await hold(admission, "ann", until, TWO_AND_ONE, ran)
        assert "2 of your calls run and 0 wait" in admission.refusal("ann", TWO_AND_ONE).spoken
        until.set()
    assert len(ran) == 2
    assert admission.callers == 0


async def test_closing_waits_for_what_runs_and_admits_nothing_more() -> None:
    admission, until, ran, closed = Admission(), anyio.Event(), list[str](), anyio.Event()

    async def close() -> None:
        await admission.close()
        closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(hold, admission, "ann", until, TWO_AND_ONE, ran)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert not closed.is_set()
        with pytest.raises(TurnedAway, match="about to end"):
            async with admission.turn("bob", TWO_AND_ONE):
                raise AssertionError("was let in")
        until.set()
    assert closed.is_set()


@settings(deadline=None)  # it waits for an event loop, not for a clock
@given(
    concurrency=st.integers(1, 4),
    queue=st.integers(0, 4),
    steps=st.lists(st.one_of(st.sampled_from(["ann", "bob"]), st.integers(0, 10)), max_size=40),
)
def test_never_more_run_or_wait_than_may_and_none_is_sent_away_while_there_is_room(
    concurrency: int, queue: int, steps: list[str | int]
) -> None:
    """A name begins a call of that caller, a number ends one of those that run."""
    limits = Limits(concurrency=concurrency, queue=queue)

    async def play() -> None:
        admission, inside = Admission(), list[tuple[str, anyio.Event]]()
        running: dict[str, int] = {"ann": 0, "bob": 0}
        refused = dict(running)

        async def call(caller: str) -> None:
            until = anyio.Event()
            try:
                async with admission.turn(caller, limits):
                    running[caller] += 1
                    inside.append((caller, until))
                    await until.wait()
                    running[caller] -= 1
            except TurnedAway:
                refused[caller] += 1

        async with anyio.create_task_group() as group:
            begun: dict[str, int] = {"ann": 0, "bob": 0}
            for step in steps:
                if isinstance(step, str):
                    was_full = begun[step] == concurrency + queue
                    before = refused[step]
                    group.start_soon(call, step)
                    await anyio.wait_all_tasks_blocked()
                    assert (refused[step] > before) == was_full
                    begun[step] += not was_full
                elif inside:
                    caller, until = inside.pop(step % len(inside))
                    until.set()
                    begun[caller] -= 1
                    await anyio.wait_all_tasks_blocked()
                assert all(running[name] == min(begun[name], concurrency) for name in running)
            group.cancel_scope.cancel()

    anyio.run(play)
