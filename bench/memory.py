"""Long-term memory at its largest: storing, searching, restarting, and being killed, with the real embedder.

    python bench/memory.py [--memories 100000] [--searches 200] [--kills 20] [--json]

The weights must be in the home folder (`python server.py pull`). To fill the store takes minutes per 100,000; it is filled with
vectors drawn at random, all but the 1,000 whose storing is measured. Beside the search stand its two parts that no code of
ours can make faster: embedding the query, and one product of a matrix of that size. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Literal

import anyio
import numpy as np
import platformdirs
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.embedded.embedder import DIMENSIONS, LocalEmbedder  # noqa: E402 - the path comes first
from routing.state import NewMemory  # noqa: E402
from routing.state.sqlite import SqliteStore  # noqa: E402

CALLER = "local"
SUBJECTS = ("The user", "The team", "Our customer", "The project", "Ada", "The server")
VERBS = ("prefers", "dislikes", "asked for", "depends on", "was told about", "postponed", "pays for", "tests")
THINGS = (
    "green tea",
    "dark mode",
    "weekly reports",
    "PostgreSQL",
    "the Lisbon office",
    "type hints",
    "shorter meetings",
)
CHILD = """
import asyncio, sys
from pathlib import Path
from routing.state import NewMemory
from routing.state.sqlite import SqliteStore

async def main(path):
    async with SqliteStore(Path(path)) as store:
        for number in range(1000):
            await store.memories.store("local", [NewMemory(text=f"fact {number}", key=str(number))])
            print(number, flush=True)

asyncio.run(main(sys.argv[1]))
"""


class RandomEmbedder:
    """Fills a store in minutes: vectors of the real one's name and size, and of no meaning."""

    dimensions = DIMENSIONS

    def __init__(self, name: str) -> None:
        self.name = name
        self._random = np.random.default_rng(0)

    def available(self) -> bool:
        """It always is."""
        return True

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> NDArray[np.float32]:  # noqa: ARG002 - all alike
        """Draw a vector for each text."""
        vectors = self._random.standard_normal((len(texts), DIMENSIONS), np.float32)
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / lengths


def memory(number: int) -> NewMemory:
    """A sentence of about 20 tokens."""
    choose = random.Random(number).choice  # noqa: S311 - sentences, not secrets
    what = f"{choose(SUBJECTS)} {choose(VERBS)} {choose(THINGS)}"
    text = f"{what} since week {number % 53} because of {choose(THINGS)} (note {number})"
    return NewMemory(text=text, metadata={"week": number % 53})


async def milliseconds(call: Awaitable[object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    await call
    return 1000 * (time.perf_counter() - started)


async def measure(folder: Path, embedder: LocalEmbedder, count: int, searches: int) -> dict[str, Any]:
    """Fill a store, then store, search and restart."""
    path = folder / "pointsman.db"
    async with SqliteStore(path, embedder=RandomEmbedder(embedder.name)) as store:
        for start in range(0, count - 1_000, 1_000):
            some = [memory(start + number) for number in range(min(1_000, count - 1_000 - start))]
            await store.memories.store(CALLER, some)
    await embedder.embed(["warm"], purpose="query")
    async with SqliteStore(path, embedder=embedder) as store:
        last = [memory(count + number) for number in range(1_000)]
        storing = await milliseconds(store.memories.store(CALLER, last))
    async with SqliteStore(path, embedder=embedder) as store:
        restart = await milliseconds(store.memories.search(CALLER, "what is postponed?"))
        times: list[float] = []
        embedding: list[float] = []
        for number in range(searches):
            query = f"{memory(7 * number).text.split(' since')[0]}, why?"
            times.append(await milliseconds(store.memories.search(CALLER, query)))
            embedding.append(await milliseconds(embedder.embed([query], purpose="query")))
    return {
        "memories": count,
        "store_1000_ms": round(storing),
        "restart_to_first_answer_ms": round(restart),
        "search_p50_ms": round(statistics.median(times), 1),
        "search_p99_ms": round(statistics.quantiles(times, n=100)[98], 1),
        "of_which_embedding_p50_ms": round(statistics.median(embedding), 1),
        "bare_product_p50_ms": round(product_ms(count), 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "file_mb": path.stat().st_size // 1_000_000,
    }


def product_ms(count: int) -> float:
    """The median time of one product of a matrix of that many vectors."""
    matrix = np.random.default_rng(0).standard_normal((count, DIMENSIONS), np.float32)
    times: list[float] = []
    for _ in range(20):
        started = time.perf_counter()
        _ = matrix @ matrix[0]
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


async def lost_when_killed(folder: Path, kills: int) -> int:
    """Kill a process at some point of 1,000 writes, so many times; how many acknowledged ones are gone."""
    lost = 0
    for run in range(kills):
        path = folder / f"killed{run}.db"
        after = random.Random(run).randrange(1, 900)  # noqa: S311 - a place, not a secret
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(after)]
            process.kill()
            lines += process.stdout.readlines()
        acknowledged = {line.decode().strip() for line in lines if line.endswith(b"\n")}
        async with SqliteStore(path) as store:
            kept = {row.key for row in (await store.memories.list(CALLER, limit=1_000)).memories}
        lost += len(acknowledged - kept)
    return lost


async def everything(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one run."""
    home = Path(os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman", appauthor=False))
    embedder = LocalEmbedder(home / "models")
    with tempfile.TemporaryDirectory() as name:
        figures = await measure(Path(name), embedder, options.memories, options.searches)
        lost = await lost_when_killed(Path(name), options.kills)
    return {**figures, "kills": options.kills, "lost_when_killed": lost}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", type=int, default=100_000)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = anyio.run(everything, options)
    if options.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:>28}  {figure}")


if __name__ == "__main__":
    main()
