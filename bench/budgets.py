"""What a budget costs a call, and what a killed process leaves behind.

    python bench/budgets.py [--calls 2000] [--kills 200] [--json]

Prints, in milliseconds at the median: a write to the ledger alone, which waits for its commit; the same with a reservation in
three budgets before it and its settlement; how long the caller waits for the reservation, whose flush runs beside the call.
Then kills a process under load, again and again, and counts the acknowledged rows that are missing and the reservations that
outlive their lease: both must be 0. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.state import LEASE_SECONDS, Allowance, Reservation, new_handle  # noqa: E402
from routing.state.sqlite import SqliteStore  # noqa: E402
from routing.types import Attempt, RouteRecord, Usage  # noqa: E402

PLENTY = 10**12
COST = 7
BUDGETS = (
    Allowance(period="hour", cap_microusd=PLENTY),
    Allowance(period="month", cap_microusd=PLENTY),
    Allowance(period="session", cap_microusd=PLENTY, subject="ses_bench"),
)


def route(route_id: str) -> RouteRecord:
    """A route of one attempt."""
    attempt = Attempt(
        model_id="acme/m",
        provider="acme",
        outcome="answered",
        started_at=1.0,
        latency_ms=1,
        usage=Usage(input_tokens=1, output_tokens=1),
        cost_microusd=COST,
    )
    return RouteRecord(
        route_id=route_id,
        caller="local",
        session_id="",
        started_at=1.0,
        latency_ms=1,
        outcome="completed",
        prompt_sha256="",
        attempts=(attempt,),
        cost_microusd=COST,
    )


async def reserved(store: SqliteStore) -> Reservation:
    """Money set aside in three budgets."""
    answer = await store.budgets.reserve(BUDGETS, most=50, least=50)
    assert isinstance(answer, Reservation)
    return answer


async def plain_call(store: SqliteStore) -> None:
    """What a call writes without a budget."""
    await store.ledger.record(route(new_handle("rte")))


async def budgeted_call(store: SqliteStore) -> None:
    """What a call writes with one."""
    reservation = await reserved(store)
    store.budgets.settle(reservation, COST)
    await plain_call(store)


async def median_ms(call: Callable[[SqliteStore], Awaitable[None]], store: SqliteStore, calls: int) -> float:
    """The median time of a call, one after another."""
    times: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        await call(store)
        times.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(times), 3)


async def reservation_ms(store: SqliteStore, calls: int) -> float:
    """The median wait for a reservation while nothing else is written, as it is in a call."""
    times: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        reservation = await reserved(store)
        times.append(1000 * (time.perf_counter() - started))
        store.budgets.settle(reservation, COST)
        await plain_call(store)
    return round(statistics.median(times), 3)


async def overhead(calls: int) -> dict[str, float]:
    """The figures of the docstring's first half."""
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore(Path(folder) / "store.db") as store:
            for call in (plain_call, budgeted_call):
                await median_ms(call, store, 50)
            return {
                "ledger_ms": await median_ms(plain_call, store, calls),
                "ledger_with_budgets_ms": await median_ms(budgeted_call, store, calls),
                "reservation_ms": await reservation_ms(store, calls),
            }


async def victim(path: Path, life: str) -> None:
    """Pay and book without end, and tell of every row that was acknowledged."""
    async with SqliteStore(path) as store, anyio.create_task_group() as group:

        async def pay(worker: int) -> None:
            number = 0
            while True:
                reservation = await reserved(store)
                store.budgets.settle(reservation, COST)
                number += 1
                name = f"rte_{life}_{worker}_{number}"
                await store.ledger.record(route(name))
                print(name, flush=True)

        for worker in range(8):
            group.start_soon(pay, worker)


def killed(path: Path, life: int) -> set[str]:
    """What a process was told to be on the disk before it was killed."""
    command = [sys.executable, __file__, "--victim", str(path), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        names = [process.stdout.readline() for _ in range(1 + life * 7 % 40)]
        os.kill(process.pid, signal.SIGKILL)
        names += process.stdout.read().splitlines(keepends=True)
    return {name.strip() for name in names if name.endswith("\n")}


async def crashes(kills: int) -> dict[str, int]:
    """The figures of the docstring's second half."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        acknowledged: set[str] = set()
        for life in range(kills):
            acknowledged |= killed(path, life)
        later = time.time() + LEASE_SECONDS
        async with SqliteStore(path, wall_clock=lambda: later) as store:
            left_behind = await store.budgets.sweep()
            [standing] = await store.budgets.standings(BUDGETS[2:])
            page = await store.ledger.recent("local", 10**6)
    booked = {row.route_id for row in page}
    return {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "acknowledged_and_lost": len(acknowledged - booked),
        "freed_by_the_sweeper": left_behind,
        "still_reserved_microusd": standing.reserved_microusd,
        "spent_but_not_in_the_ledger": standing.spent_microusd // COST - len(booked),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--victim", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.victim:
        anyio.run(victim, Path(options.victim[0]), options.victim[1])
    figures = {**anyio.run(overhead, options.calls), **anyio.run(crashes, options.kills)}
    if options.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:>34}  {figure}")
