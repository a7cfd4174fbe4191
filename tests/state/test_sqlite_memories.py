"""What memories in SQLite promise beyond the contract: about the file's bytes, other processes, and what a search reads."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

from routing.state import NewMemory
from routing.state import sqlite_memories as page
from routing.state.sqlite import SqliteStore
from tests.state.memory_fakes import WordEmbedder

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
ME = "alice"
SECRET = "zanzibar"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "pointsman.db"


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def memories_of(count: int, **more: Any) -> list[NewMemory]:
    return [NewMemory(text=f"{SECRET}{n} between us", metadata={"m": f"{SECRET}{n}"}, **more) for n in range(count)]


def embedder() -> WordEmbedder:
    return WordEmbedder(dimensions=256)  # a vector lies on one page, so that its bytes can be looked for


async def vector_of(text: str) -> bytes:
    vectors = await embedder().embed([text], purpose="query")
    return vectors.tobytes()


# Deleting


@pytest.mark.parametrize("way", ["ids", "key", "metadata", "everything", "changed", "many"])
async def test_nothing_of_a_deleted_memory_is_left_in_the_file_or_its_log(
    path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "many":
        monkeypatch.setattr(page, "_DELETED_ONE_BY_ONE", 20)
    async with SqliteStore(path, embedder=embedder()) as store:
        await store.memories.store(ME, [NewMemory(text=f"kept {n} and of use") for n in range(40)])
        stored = await store.memories.store(ME, memories_of(40))
        await store.memories.store(ME, [NewMemory(text=f"{SECRET} keyed", key="k")])
        vectors = [await vector_of(f"{SECRET}{n} between us") for n in range(40)] + [await vector_of(f"{SECRET} keyed")]
        assert all(vector in bytes_of(path.parent) for vector in vectors)

        match way:
            case "ids":
                await store.memories.delete(ME, memory_ids=[row.memory_id for row in stored])
                await store.memories.delete(ME, key="k")
            case "key":
                await store.memories.delete(ME, memory_ids=[row.memory_id for row in stored])
                await store.memories.delete(ME, key="k")
            case "metadata":
                for number in range(40):
                    await store.memories.delete(ME, metadata={"m": f"{SECRET}{number}"})
                await store.memories.delete(ME, key="k")
            case "changed":
                await store.memories.store(ME, [NewMemory(text="nothing to see", key="k")])
                await store.memories.delete(ME, memory_ids=[row.memory_id for row in stored])
            case _:
                await store.memories.delete(ME, everything=True)

        left = bytes_of(path.parent)
        assert SECRET.encode() not in left
        assert not [vector for vector in vectors if vector in left]
        if way not in ("everything", "many"):
            assert len((await store.memories.search(ME, "of use", mode="word", limit=50)).hits) == 40


async def test_nothing_of_an_expired_memory_is_left_when_the_store_is_closed(path: Path) -> None:
    now = 0.0
    async with SqliteStore(path, embedder=embedder(), wall_clock=lambda: now) as store:
        await store.memories.store(ME, memories_of(30, ttl_seconds=60))
        now = 60.0
        assert await store.memories.sweep() == 30

    left = bytes_of(path.parent)
    assert SECRET.encode() not in left
    assert await vector_of(f"{SECRET}3 between us") not in left


async def test_housekeeping_removes_expired_memories(path: Path) -> None:
    now = 0.0
    async with SqliteStore(path, wall_clock=lambda: now) as store:
        await store.memories.store(ME, memories_of(1, ttl_seconds=60))
        now = 10_000.0
        await store.sessions.start(ME)  # any write will do
    connection = apsw.Connection(str(path))

    assert list(connection.execute("SELECT count(*) FROM memories")) == [(0,)]
    connection.close()


# Other processes


async def test_what_another_process_stores_changes_and_deletes_is_seen_at_once(path: Path) -> None:
    async with SqliteStore(path, embedder=embedder()) as one, SqliteStore(path, embedder=embedder()) as other:

        async def nearest(query: str) -> list[str]:
            found = await one.memories.search(ME, query, mode="meaning")
            return [hit.memory.text for hit in found.hits]

        assert await nearest("tea") == []
        await other.memories.store(ME, [NewMemory(text="tea", key="k"), NewMemory(text="car")])
        assert await nearest("tea") == ["tea", "car"]
        await other.memories.store(ME, [NewMemory(text="boat", key="k")])
        assert await nearest("boat") == ["boat", "car"]
        await other.memories.delete(ME, key="k")
        assert await nearest("boat") == ["car"]
        assert [len(matrix) for matrix in one.memories._matrices.values()] == [1]  # pyright: ignore[reportPrivateUsage] - what no caller sees


async def test_a_process_keeps_the_matrices_of_a_few_callers_only(path: Path) -> None:
    async with SqliteStore(path, embedder=embedder()) as store:
        for number in range(20):
            await store.memories.store(f"caller {number}", [NewMemory(text=f"tea {number}")])
        held = list(store.memories._matrices)  # pyright: ignore[reportPrivateUsage] - what no caller sees
        found = await store.memories.search("caller 0", "tea", mode="meaning")

    assert held == [f"caller {number}" for number in range(12, 20)]
    assert [hit.memory.text for hit in found.hits] == ["tea 0"]


CHILD = """
import asyncio, sys
from pathlib import Path
from routing.state import NewMemory
from routing.state.sqlite import SqliteStore

async def main(path):
    async with SqliteStore(Path(path)) as store:
        for number in range(100_000):
            [stored] = await store.memories.store("alice", [NewMemory(text=f"fact {number}", key=f"{number}")])
            print(number, stored.memory_id, flush=True)

asyncio.run(main(sys.argv[1]))
"""


def killed_after(path: Path, acknowledged: int) -> dict[str, str]:
    """The ids by key that a storing process printed before it was killed, at least so many."""
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += process.stdout.readlines()
    return dict(line.split() for line in lines if line.endswith("\n"))


@pytest.mark.parametrize("acknowledged", [1, 20, 150])
async def test_what_was_acknowledged_survives_a_killed_process(path: Path, acknowledged: int) -> None:
    printed = killed_after(path, acknowledged)

    async with SqliteStore(path) as store:
        kept = {memory.key: memory for memory in (await store.memories.list(ME, limit=100_000)).memories}
        assert len(printed) >= acknowledged
        assert {key: kept[key].memory_id for key in printed} == printed
        for key in printed:
            hits = (await store.memories.search(ME, f"fact {key}", limit=1)).hits
            assert [hit.memory.text for hit in hits] == [f"fact {key}"]


# What is read


@pytest.mark.parametrize(
    ("sql", "bindings", "plan"),
    [
        (
            page._SELECT_NEW_VECTORS,  # pyright: ignore[reportPrivateUsage] - its plan is looked at, as below
            {"caller": "a", "embedder": "e", "change": 1},
            ["SEARCH memory_vectors USING INDEX memory_vectors_by_caller (caller=? AND embedder=? AND change>?)"],
        ),
        (
            page._SELECT_LIVE,  # pyright: ignore[reportPrivateUsage]
            {"caller": "a", "embedder": "e"},
            ["SEARCH memory_vectors USING INDEX memory_vectors_by_caller (caller=? AND embedder=?)"],
        ),
        (
            page._COUNT_MEMORIES,  # pyright: ignore[reportPrivateUsage]
            {"caller": "a"},
            ["SEARCH memories USING COVERING INDEX memories_by_caller (caller=?)"],
        ),
    ],
)
async def test_a_search_reads_what_is_new_and_of_the_caller_and_nothing_else(
    path: Path, sql: str, bindings: Mapping[str, Any], plan: list[str]
) -> None:
    async with SqliteStore(path):
        connection = apsw.Connection(str(path))
        steps = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
        connection.close()

    assert steps == plan


async def test_finding_what_has_no_vector_scans_no_table(path: Path) -> None:
    async with SqliteStore(path):
        connection = apsw.Connection(str(path))
        statements = (
            (page._SELECT_PENDING, {"embedder": "e", "most": 1}),  # pyright: ignore[reportPrivateUsage]
            (page._COUNT_PENDING, {"caller": "a", "embedder": "e"}),  # pyright: ignore[reportPrivateUsage]
        )
        plans = [
            [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)]
            for sql, bindings in statements
        ]
        connection.close()

    read = [step for steps in plans for step in steps if " memory_vectors" in step]
    assert len(read) == 6
    assert all(step.startswith("SEARCH") and "embedder" in step for step in read)
