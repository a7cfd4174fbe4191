from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dispatch.limits import Bucket, Gate
from routing.errors import RateLimited
from routing.types import Headroom
from tests.builders import target
from tests.fakes import Clock

pytestmark = pytest.mark.anyio


class Nap:
    """A sleep that moves the clock instead of waiting."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds


def gate(clock: Clock, **limits: float | None) -> tuple[Gate, Nap]:
    nap = Nap(clock)
    return Gate(clock=clock, sleep=nap, **limits), nap  # type: ignore[arg-type] # the fields' own types


async def enter(one: Gate, tokens: int = 10) -> None:
    async with one.entered(target(), tokens):
        pass


@given(st.integers(1, 1_000), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 60)), max_size=30))
def test_no_more_flows_out_of_a_bucket_than_was_in_it_and_flowed_in(
    per_minute: int, takes: list[tuple[int, int]]
) -> None:
    clock = Clock()
    begun = clock.now
    bucket = Bucket(per_minute=per_minute, clock=clock)
    taken = 0.0
    for amount, pause in takes:
        clock.now += pause
        clock.now += bucket.take(amount)
        taken += min(amount, per_minute)
        assert taken <= per_minute * (1 + (clock.now - begun) / 60) + 1e-6


async def test_requests_over_the_limit_wait_until_it_flows_in() -> None:
    clock = Clock()
    one, nap = gate(clock, requests_per_minute=2)
    for _ in range(3):
        await enter(one)
    assert nap.slept == [pytest.approx(30)]


async def test_tokens_over_the_limit_wait_too() -> None:
    one, nap = gate(Clock(), tokens_per_minute=600)
    await enter(one, 600)
    await enter(one, 100)
    assert nap.slept == [pytest.approx(10)]


async def test_a_wait_that_would_be_too_long_is_turned_away_with_a_hint_and_costs_nothing() -> None:
    clock = Clock()
    one, nap = gate(clock, requests_per_minute=1, longest_wait_seconds=5)
    await enter(one)
    with pytest.raises(RateLimited) as turned_away:
        await enter(one)
    assert turned_away.value.retry_after == pytest.approx(60)

    clock.now += 60
    await enter(one)
    assert not nap.slept


async def test_a_retry_after_of_the_provider_holds_everybody_back() -> None:
    one, nap = gate(Clock())
    one.blocked(7)
    await enter(one)
    assert nap.slept == [7]


async def test_when_the_provider_says_that_nothing_is_left_calls_wait_until_it_is_renewed() -> None:
    one, nap = gate(Clock())
    one.learn(Headroom(requests_left=0, renewed_in_seconds=3))
    await enter(one)
    one.learn(Headroom(requests_left=5, renewed_in_seconds=50))
    await enter(one)
    assert nap.slept == [3]


async def test_only_so_many_are_under_way_at_once_and_only_so_many_wait() -> None:
    one, _ = gate(Clock(), most_at_once=2, most_waiting=1)
    inside = 0
    most = 0
    turned_away = 0
    leave = anyio.Event()

    async def caller() -> None:
        nonlocal inside, most, turned_away
        try:
            async with one.entered(target(), 1):
                inside += 1
                most = max(most, inside)
                await leave.wait()
                inside -= 1
        except RateLimited:
            turned_away += 1

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        leave.set()

    assert most == 2
    assert turned_away == 2


async def test_a_call_that_is_cancelled_while_it_waits_for_the_limit_uses_none_of_it() -> None:
    clock = Clock()

    async def endless(_: float) -> None:
        await anyio.sleep_forever()

    one = Gate(requests_per_minute=1, longest_wait_seconds=90, clock=clock, sleep=endless)
    await enter(one)
    for _ in range(5):
        with anyio.move_on_after(0):
            await enter(one)

    clock.now += 60
    await enter(one)


async def test_a_call_that_is_cancelled_while_it_waits_gives_its_place_back() -> None:
    one, _ = gate(Clock(), most_at_once=1, most_waiting=1)
    async with one.entered(target(), 1):
        for _ in range(3):
            with anyio.move_on_after(0):
                await enter(one)
    await enter(one)
