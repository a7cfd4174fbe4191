"""What every place promises where processes meet: a new one adds its line to PLACES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest

from routing.dispatch.sharing import Hint
from tests.dispatch.exchanges import PLACES, Open
from tests.fakes import Clock
from tests.servers import redis_url

__all__ = ["redis_url"]

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest, clock: Clock) -> AsyncIterator[Open]:
    async with PLACES[request.param](request, clock) as opened:
        yield opened


async def first(hints: AsyncIterator[Hint]) -> Hint:
    with anyio.fail_after(5):
        return await anext(aiter(hints))


async def test_what_one_process_takes_the_others_cannot_have(place: Open, clock: Clock) -> None:
    one, other = place("a"), place("b")
    assert await one.take("acme", (30.0, 0.0), patience=30) == 0
    assert await other.take("acme", (30.0, 0.0), patience=30) == 0
    assert await one.take("acme", (30.0, 0.0), patience=30) == pytest.approx(30)
    assert await other.take("zeta", (30.0, 0.0), patience=30) == 0

    clock.now += 45
    assert await other.take("acme", (30.0, 0.0), patience=30) == pytest.approx(15)


async def test_the_scarcer_of_requests_and_tokens_says_how_long_to_wait(place: Open) -> None:
    one = place("a")
    await one.take("acme", (1.0, 55.0), patience=30)
    assert await one.take("acme", (1.0, 20.0), patience=30) == pytest.approx(15)


async def test_what_would_take_longer_than_the_patience_takes_nothing(place: Open, clock: Clock) -> None:
    one, other = place("a"), place("b")
    await one.take("acme", (60.0, 0.0), patience=5)
    assert await other.take("acme", (60.0, 0.0), patience=5) == pytest.approx(60)

    clock.now += 60
    assert await one.take("acme", (60.0, 0.0), patience=5) == 0


async def test_what_is_given_back_can_be_taken_again(place: Open) -> None:
    one = place("a")
    await one.take("acme", (60.0, 60.0), patience=5)
    await one.give_back("acme", (60.0, 60.0))
    assert await place("b").take("acme", (60.0, 60.0), patience=5) == 0


async def test_takes_side_by_side_are_each_counted(place: Open) -> None:
    waits = await asyncio.gather(*(place("ab"[at % 2]).take("acme", (10.0, 0.0), patience=600) for at in range(20)))
    assert sorted(round(wait) for wait in waits) == [0] * 6 + [10 * at for at in range(1, 15)]


async def test_a_hint_reaches_the_others_and_not_its_sender(place: Open) -> None:
    async with aclosing(place("a").hints()) as mine, aclosing(place("b").hints()) as theirs:
        own, heard = asyncio.create_task(first(mine)), asyncio.create_task(first(theirs))
        await place("c").post(Hint(kind="blocked", name="nobody", seconds=0))  # whoever listens by now hears this
        while not own.done() or not heard.done():
            await place("c").post(Hint(kind="blocked", name="nobody", seconds=0))
            await anyio.lowlevel.checkpoint()
        own, heard = asyncio.create_task(_named(mine, "gpt")), asyncio.create_task(_named(theirs, "gpt"))
        await place("a").post(Hint(kind="opened", name="gpt", seconds=15, rest=15))
        with anyio.fail_after(1):
            assert await heard == Hint(kind="opened", name="gpt", seconds=15, rest=15)
        await place("c").post(Hint(kind="closed", name="gpt"))
        with anyio.fail_after(1):
            assert (await own).kind == "closed"


async def _named(hints: AsyncIterator[Hint], name: str) -> Hint:
    while (hint := await anext(hints)).name != name:
        pass
    return hint


async def test_who_comes_later_hears_what_still_holds(place: Open, clock: Clock) -> None:
    await place("a").post(Hint(kind="opened", name="short", seconds=5, rest=5))
    await place("a").post(Hint(kind="opened", name="closed", seconds=60, rest=60))
    await place("a").post(Hint(kind="closed", name="closed"))
    await place("a").post(Hint(kind="opened", name="long", seconds=60, rest=30))
    clock.now += 20
    async with aclosing(place("b").hints()) as hints:
        hint = await first(hints)
    assert replace(hint, seconds=round(hint.seconds)) == Hint(kind="opened", name="long", seconds=40, rest=30)


async def test_one_process_has_the_probe_until_it_says_what_came_of_it_or_its_time_is_over(
    place: Open, clock: Clock
) -> None:
    one, other = place("a"), place("b")
    assert await one.probe("gpt", 30)
    assert not await other.probe("gpt", 30)
    assert await other.probe("claude", 30)

    await one.post(Hint(kind="released", name="gpt"))
    assert await other.probe("gpt", 30)
    await other.post(Hint(kind="opened", name="gpt", seconds=1, rest=1))
    assert await one.probe("gpt", 30)
    clock.now += 31
    assert await other.probe("gpt", 30)


async def test_processes_are_counted_while_they_give_signs_of_life(place: Open, clock: Clock) -> None:
    assert await place("a").attend() == 1
    assert await place("b").attend() == 2
    assert await place("a").attend() == 2
    clock.now += 20
    assert await place("a").attend() == 1
