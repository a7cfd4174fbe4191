"""What processes share while they can reach each other, and how each goes on alone. The place is a fake, the rest is real."""

# pyright: reportPrivateUsage=false
# What a process has heard, and how it divides a limit, shows in nothing else before a call is made.

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dispatch import sharing as page
from routing.dispatch.breaker import Breaker, Breakers, NotAsked
from routing.dispatch.limits import Gate
from routing.dispatch.sharing import Sharing
from routing.errors import AllModelsFailed, ProviderUnavailable, RateLimited
from tests.builders import catalog, target
from tests.dispatch.exchanges import Place
from tests.dispatch.test_engine import DOWN, FIRST, SECOND, Stand, stand
from tests.fakes import Clock, reply

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(page, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(page, "_CONNECTING_SECONDS", 0.02)
    monkeypatch.setattr(page, "_SECONDS_BETWEEN_TRIES", 0.01)
    return Place(now=clock)


@asynccontextmanager
async def process(place: Place, clock: Clock) -> AsyncGenerator[Sharing]:
    async with Sharing(place.connect, where="the place", clock=clock) as one:
        await eventually(lambda: one.is_connected or place.state != "up")
        yield one


async def eventually(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110 - what happens in other tasks of this process sets no event
            await anyio.sleep(0.002)


async def enter(gate: Gate, times: int = 1) -> None:
    for _ in range(times):
        async with gate.entered(target(), 10):
            pass


def limited(sharing: Sharing, clock: Clock, per_minute: int) -> Gate:
    return sharing.shared_gate("acme", Gate(requests_per_minute=per_minute, longest_wait_seconds=0, clock=clock))


async def admitted(gate: Gate, attempts: int) -> int:
    """How many of so many calls get through at once."""
    through = 0
    for _ in range(attempts):
        try:
            await enter(gate)
            through += 1
        except RateLimited:
            pass
    return through


async def test_the_limit_of_a_minute_is_that_of_all_processes(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        gates = [limited(sharing, clock, 10) for sharing in (one, other)]
        assert await admitted(gates[0], 7) == 7
        assert await admitted(gates[1], 7) == 3
        clock.now += 6
        assert await admitted(gates[1], 7) == 1


@pytest.mark.parametrize("fault", ["hangs", "refuses"])
async def test_alone_each_process_keeps_to_its_share_and_to_what_it_has_used_of_it(
    place: Place, clock: Clock, fault: str
) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        await eventually(lambda: len(place.processes) == 2)
        one._count(2)  # at the next sign of life, five seconds later
        other._count(2)
        gates = [limited(sharing, clock, 10) for sharing in (one, other)]
        assert await admitted(gates[0], 3) == 3
        place.state = fault
        assert await admitted(gates[0], 9) == 2
        assert await admitted(gates[1], 9) == 5
        assert not one.is_connected


async def test_the_log_says_once_that_the_place_is_lost_and_once_that_it_is_back(
    place: Place, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with process(place, clock) as one:
        gate = limited(one, clock, 1_000)
        assert not caplog.messages
        place.state = "hangs"
        await enter(gate, 30)
        assert len(caplog.messages) == 1
        assert "the place cannot be reached (TimeoutError)" in caplog.messages[0]
        place.state = "up"
        await eventually(lambda: one.is_connected)
        await enter(gate)
    assert caplog.messages[1:] == ["limits and breakers are shared again by the place"]


async def test_only_the_first_calls_wait_for_a_place_that_hangs(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one:
        gate = limited(one, clock, 100_000)
        await enter(gate)
        place.state = "hangs"
        with anyio.fail_after(1):
            await enter(gate, 200)  # 200 waits would be 4 seconds


async def test_a_place_that_is_away_at_the_start_is_joined_when_it_comes(place: Place, clock: Clock) -> None:
    place.state = "refuses"
    async with process(place, clock) as one:
        gate = limited(one, clock, 10)
        assert await admitted(gate, 20) == 10
        place.state = "up"
        await eventually(lambda: one.is_connected)
        assert await admitted(gate, 20) == 10


async def test_what_the_provider_says_to_one_holds_all_back(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        early = limited(other, clock, 1_000)
        await eventually(lambda: len(place.ears) == 2)
        limited(one, clock, 1_000).blocked(20)
        await eventually(lambda: early._blocked_until > clock.now)
        assert await admitted(early, 1) == 0
    async with process(place, clock) as late:
        await eventually(lambda: bool(late._held))
        assert await admitted(limited(late, clock, 1_000), 1) == 0


def breakers(sharing: Sharing, clock: Clock) -> Breakers:
    return Breakers(lambda: Breaker(clock=clock, failures_to_open=2, rest_seconds=10), board=sharing)


async def trip(breaker: Breaker) -> None:
    for _ in range(2):
        async with breaker.trial() as trial:
            breaker.failed(trial, DOWN)


async def test_a_breaker_that_opens_or_closes_in_one_process_does_so_in_all(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        mine, theirs, unlike = (
            breakers(one, clock).of("m", "k"),
            breakers(other, clock).of("m", "k"),
            breakers(other, clock),
        )
        await eventually(lambda: len(place.ears) == 2)
        await trip(mine)
        await eventually(lambda: not theirs.allows)
        assert unlike.of("m", "another key").state == "closed"

        clock.now += 10
        assert theirs.state == "half_open"
        async with theirs.trial() as trial:
            theirs.succeeded(trial)
        await eventually(lambda: mine.state == "closed")


async def test_a_process_that_comes_later_knows_whose_breaker_is_open(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one:
        await trip(breakers(one, clock).of("m"))
        await eventually(lambda: bool(place.held))
        clock.now += 4
        async with process(place, clock) as late:
            await eventually(lambda: bool(late._held))
            found = breakers(late, clock).of("m")
            assert found.rests_for == pytest.approx(6)
            clock.now += 6
            assert found.state == "half_open"


async def test_the_probe_of_a_half_open_breaker_is_one_for_all(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        mine, theirs = breakers(one, clock).of("m"), breakers(other, clock).of("m")
        await eventually(lambda: len(place.ears) == 2)
        await trip(mine)
        await eventually(lambda: theirs.state == "open")
        clock.now += 10
        async with mine.trial():
            assert theirs.allows
            with pytest.raises(NotAsked):
                await theirs.trial().__aenter__()

        await eventually(lambda: not place.probes)
        async with theirs.trial() as trial:
            theirs.failed(trial, DOWN)
        await eventually(lambda: mine.rests_for == 20)


async def test_what_was_found_out_alone_is_told_when_the_place_is_back(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        mine, theirs = breakers(one, clock).of("m"), breakers(other, clock).of("m")
        place.state = "refuses"
        await enter(limited(one, clock, 100))
        await enter(limited(other, clock, 100))
        await trip(mine)
        assert theirs.state == "closed"
        place.state = "up"
        await eventually(lambda: theirs.state == "open")


def sharing_stand(sharing: Sharing, clock: Clock, **plays: list[object]) -> Stand:
    it = stand(**plays)
    it.clock = clock
    it.engine = replace(
        it.engine, clock=clock, breakers=Breakers(lambda: Breaker(clock=clock), board=sharing), sharing=sharing
    )
    return it


async def test_an_engine_leaves_a_model_alone_that_another_process_found_down(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        there = sharing_stand(other, clock, first=[reply()] * 9)
        here = sharing_stand(one, clock, first=[DOWN] * 9, second=[reply()] * 9)
        await eventually(lambda: len(place.ears) == 2)
        await here.ask()
        await here.ask()
        await eventually(lambda: there.engine.breaker_state(FIRST, catalog(FIRST, SECOND)) == "open")
        await there.ask()
        assert there.asked == ["zeta/second"]


async def test_while_one_process_probes_the_others_go_to_the_fallback(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one, process(place, clock) as other:
        here, there = (sharing_stand(each, clock, first=[reply()] * 9) for each in (one, other))
        for it in (here, there):
            it.engine.breakers.of("acme/first", catalog(FIRST, SECOND).access["acme"]).heard_open(10, 10)
        clock.now += 10
        place.probes = dict.fromkeys(one._breakers, clock.now + 30)
        await there.ask()
        assert there.asked == ["zeta/second"]
        place.probes = {}
        await here.ask()
        assert here.asked == ["acme/first"]


async def test_a_single_model_is_asked_although_another_process_probes_it(place: Place, clock: Clock) -> None:
    async with process(place, clock) as one:
        it = sharing_stand(one, clock, first=[ProviderUnavailable("down", provider="acme", model_id="acme/first")] * 9)
        it.models = (FIRST,)
        it.engine.breakers.of("acme/first", catalog(FIRST).access["acme"]).heard_open(10, 10)
        clock.now += 10
        place.probes = dict.fromkeys(one._breakers, clock.now + 30)
        with pytest.raises(AllModelsFailed):
            await it.ask()
        assert it.asked == ["acme/first"]


@given(st.integers(1, 500), st.integers(1, 20))
def test_the_shares_of_all_processes_never_exceed_the_limit_but_for_one_call_each(limit: int, processes: int) -> None:
    gate = Gate(requests_per_minute=limit)
    flow = page.SharedFlow(Sharing(Place(now=Clock()).connect, where=""), "acme", gate)
    flow.local.divide_by(processes)
    [(bucket, _, _)] = flow.local._buckets
    assert bucket.per_minute * processes <= max(limit, processes)
