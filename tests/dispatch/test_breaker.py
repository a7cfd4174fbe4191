from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from routing.dispatch.breaker import Breaker, Breakers, NotAsked, Trial
from routing.errors import (
    AuthenticationFailed,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from tests.fakes import Clock

WHERE = {"provider": "acme", "model_id": "acme/large"}
DOWN = ProviderUnavailable("down", **WHERE)
T = TypeVar("T")
pytestmark = pytest.mark.anyio


def breaker(clock: Clock) -> Breaker:
    return Breaker(clock=clock, failures_to_open=3, rest_seconds=10, longest_rest_seconds=35)


async def call(one: Breaker, failure: ProviderError | None = None) -> None:
    async with one.trial() as trial:
        one.failed(trial, failure) if failure else one.succeeded(trial)


async def opened(clock: Clock) -> Breaker:
    one = breaker(clock)
    for _ in range(3):
        await call(one, DOWN)
    return one


async def test_failures_in_a_row_open_it_and_a_success_between_them_starts_the_count_anew() -> None:
    one = breaker(Clock())
    for failure in (DOWN, DOWN, None, DOWN, DOWN):
        await call(one, failure)
    assert one.allows

    await call(one, ProviderTimeout("slow", **WHERE))  # a time-out trips like a 5xx
    assert one.state == "open"
    assert not one.allows
    with pytest.raises(NotAsked):
        await call(one)


async def test_a_refusal_is_an_answer_and_does_not_trip_it() -> None:
    one = breaker(Clock())
    for failure in (
        ProviderRejected("400", **WHERE),
        AuthenticationFailed("401", **WHERE),
        RateLimited("429", provider="acme", model_id="acme/large"),
    ) * 3:
        await call(one, failure)
    assert one.state == "closed"


async def test_after_its_rest_one_probe_is_let_through_and_its_answer_closes_it() -> None:
    clock = Clock()
    one = await opened(clock)
    clock.now += 10
    assert one.state == "half_open"
    assert one.allows

    async with one.trial() as probe:
        assert not one.allows
        with pytest.raises(NotAsked):
            await call(one)
        one.succeeded(probe)
    assert one.state == "closed"


async def test_a_failed_probe_opens_it_again_for_twice_as_long_up_to_a_bound() -> None:
    clock = Clock()
    one = await opened(clock)
    told: list[tuple[str, float]] = []
    one.tell = lambda turn, seconds: told.append((turn, seconds))
    for rest in (10, 20, 35, 35):
        clock.now += rest - 1
        assert not one.allows
        clock.now += 1
        assert one.allows
        await call(one, DOWN)
    assert told == [("opened", 20), ("opened", 35), ("opened", 35), ("opened", 35)]


async def test_a_probe_that_is_cancelled_leaves_its_place_free() -> None:
    clock = Clock()
    one = await opened(clock)
    clock.now += 10
    async with one.trial():
        pass
    assert one.allows


async def test_calls_that_were_under_way_as_it_opened_neither_close_it_nor_prolong_its_rest() -> None:
    clock = Clock()
    one = breaker(clock)
    await call(one)
    one.longest_wait_seconds = 0
    async with one.trial() as late, one.trial() as later, one.trial() as latest, one.trial() as last:
        for _ in range(3):
            await call(one, DOWN)
        one.failed(late, DOWN)
        one.succeeded(later)
        assert (one.state, one.rests_for) == ("open", 10)

        clock.now += 10
        async with one.trial() as probe:
            one.failed(latest, DOWN)
            assert not one.allows
            one.failed(probe, DOWN)
        assert one.rests_for == 20

        one.heard_closed()
        await call(one, DOWN)
        await call(one, DOWN)
        one.failed(last, DOWN)
        assert one.state == "closed"


async def test_a_probe_counts_although_another_process_says_meanwhile_that_nobody_is_there() -> None:
    clock = Clock()
    one = await opened(clock)
    clock.now += 10
    async with one.trial() as probe:
        one.heard_open(5, 10)
        assert not one.allows
        one.succeeded(probe)
    assert one.state == "closed"


async def test_a_call_that_is_made_at_any_rate_closes_it_with_an_answer_and_changes_nothing_with_a_failure() -> None:
    one = await opened(Clock())
    async with one.trial(at_any_rate=True) as knock, one.trial(at_any_rate=True) as other:
        one.failed(knock, DOWN)
        assert one.rests_for == 10
        one.succeeded(other)
    assert one.state == "closed"


async def crowd(one: Breaker, calls: int, ends: anyio.Event, failure: ProviderError | None = None) -> list[str]:
    """Make so many calls at once, whose answers begin as ``ends`` is set; what became of them."""
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            async with one.trial() as trial:
                outcomes.append("asked")
                await ends.wait()
                if failure is None:
                    one.heard(trial)
                    await anyio.sleep_forever()
                else:
                    one.failed(trial, failure)
        except NotAsked:
            outcomes.append("not asked")

    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert outcomes == ["asked"] * 3
        ends.set()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    return outcomes


async def test_a_crowd_asks_a_dead_model_as_often_as_opens_its_breaker() -> None:
    one = breaker(Clock())
    assert await crowd(one, 20, anyio.Event(), DOWN) == ["asked"] * 3 + ["not asked"] * 17


async def test_a_crowd_is_let_through_at_the_first_sign_of_life() -> None:
    one = breaker(Clock())
    assert await crowd(one, 20, anyio.Event()) == ["asked"] * 20


async def test_a_call_that_ends_makes_room_for_one_that_waits() -> None:
    one = breaker(Clock())
    asked: list[bool] = []

    async def ask() -> None:
        async with one.trial():
            asked.append(True)

    async with one.trial(), one.trial(), anyio.create_task_group() as group:
        async with one.trial():
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert not asked
        await anyio.wait_all_tasks_blocked()
        assert asked


async def test_after_a_failure_no_more_calls_are_under_way_than_would_open_it() -> None:
    one = breaker(Clock())
    await call(one)
    await call(one, DOWN)
    async with one.trial():
        assert not one.is_crowded
        async with one.trial():
            assert one.is_crowded
        assert not one.is_crowded


async def test_who_waits_for_news_of_a_model_that_keeps_silent_asks_it_in_the_end() -> None:
    one = breaker(Clock())
    one.longest_wait_seconds = 0
    async with one.trial(), one.trial(), one.trial():
        await call(one)
    assert one.state == "closed"


async def test_every_key_has_a_breaker_of_its_own() -> None:
    breakers = Breakers(lambda: breaker(Clock()))
    for _ in range(3):
        await call(breakers.of("acme/large", "key one"), DOWN)
    assert not breakers.of("acme/large", "key one").allows
    assert breakers.of("acme/large", "key two").allows


def at_once(coroutine: Coroutine[object, object, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    result: T = end.value.value
    return result


class Machine(RuleBasedStateMachine):
    """However calls end, a breaker is never stuck and never lets two probes through."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.one = breaker(self.clock)
        self.under_way: list[tuple[Trial, AbstractAsyncContextManager[Trial]]] = []

    @precondition(lambda self: self.one.allows and not self.one.is_crowded)
    @rule()
    def begin(self) -> None:
        context = self.one.trial()
        self.under_way.append((at_once(context.__aenter__()), context))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 9), ending=st.sampled_from(["answered", "failed", "broken off", "cancelled"]))
    def end(self, which: int, ending: str) -> None:
        trial, context = self.under_way.pop(which % len(self.under_way))
        if ending == "broken off":
            self.one.heard(trial)
        match ending:
            case "answered":
                self.one.succeeded(trial)
            case "failed" | "broken off":
                self.one.failed(trial, DOWN)
            case _:
                pass
        at_once(context.__aexit__(None, None, None))

    @rule(seconds=st.integers(0, 40))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def one_probe_at_most(self) -> None:
        assert sum(trial.is_probe for trial, _ in self.under_way) <= 1

    @invariant()
    def never_stuck(self) -> None:
        if not self.under_way:
            before = self.clock.now
            self.clock.now += 35
            assert self.one.allows
            assert not self.one.is_crowded
            self.clock.now = before


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30)
