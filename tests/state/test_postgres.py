"""What only the PostgreSQL store promises: other processes, lost connections, and servers that will not do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from routing.errors import SettingsError
from routing.state import NewMemory
from routing.state.tables import HOUSEKEEPING_SECONDS, Connection
from routing.types import Message
from tests.fakes import Clock
from tests.state.memory_fakes import WordEmbedder
from tests.state.postgres_server import database_of, empty_database, needs_postgres, server_url
from tests.state.stores import store_at
from tests.state.test_reports import route

if TYPE_CHECKING:
    from routing.state.postgres import PostgresStore

pytestmark = [pytest.mark.anyio, needs_postgres]

ROOT = Path(__file__).resolve().parent.parent.parent
ME = "alice"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[PostgresStore]:
    async with _store_at(database_of(tmp_path)) as opened:
        yield opened


def _store_at(url: str, **options: Any) -> PostgresStore:
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - only where psycopg is installed

    return PostgresStore(url, **options)


async def write(store: PostgresStore, sql: str) -> None:
    async def job(connection: Connection) -> None:
        await connection.execute(sql)

    await store.database.write(job)


async def read(store: PostgresStore, sql: str) -> list[dict[str, Any]]:
    async def job(connection: Connection) -> list[dict[str, Any]]:
        return await connection.select(sql)

    return await store.database.read(job)


# Other processes

OTHER = """
import asyncio, sys
from routing.state import NewMemory
from routing.types import Message
from tests.state.memory_fakes import WordEmbedder
from tests.state.stores import store_at

async def main(url, session_id):
    async with store_at(url, embedder=WordEmbedder(dimensions=64)) as store:
        said = await store.sessions.history(session_id, "alice")
        await store.sessions.append(session_id, "alice", [Message(role="assistant", content=said[0].content.upper())])
        await store.memories.store("alice", [NewMemory(text="the user likes green tea")])
        print((await store.memories.search("alice", "boat", limit=1)).hits[0].memory.text)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_session_is_continued_and_a_memory_found_by_another_process(tmp_path: Path) -> None:
    url = database_of(tmp_path)
    async with store_at(url, embedder=WordEmbedder(dimensions=64)) as store:
        session_id = await store.sessions.start(ME, [Message(role="user", content="hi")])
        await store.memories.store(ME, [NewMemory(text="the user owns a boat")])

        command = [sys.executable, "-c", OTHER, url, session_id]
        other = await anyio.run_process(command, cwd=ROOT, stderr=subprocess.PIPE)

        assert other.stdout.decode().strip() == "the user owns a boat"
        assert [said.content for said in await store.sessions.history(session_id, ME)] == ["hi", "HI"]
        for mode in ("word", "meaning"):
            found = await store.memories.search(ME, "green tea", mode=mode, limit=1)
            assert found.hits[0].memory.text == "the user likes green tea"


async def test_many_stores_that_open_an_empty_database_at_once_make_its_tables_once() -> None:
    url = empty_database()
    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(_open_and_close, url)

    async with _store_at(url) as store:
        assert await store.sessions.start(ME) == await store.sessions.latest(ME)


async def _open_and_close(url: str) -> None:
    async with _store_at(url):
        pass


async def test_one_process_keeps_house_for_all(tmp_path: Path) -> None:
    clock = Clock(0.0)
    url = database_of(tmp_path)
    async with _store_at(url, wall_clock=clock, session_ttl_seconds=60) as store:
        await store.sessions.start(ME)
        await write(store, "SELECT 1")  # the housekeeping that came with the last write is over before it
        for now, left in ((HOUSEKEEPING_SECONDS - 1.0, 1), (float(HOUSEKEEPING_SECONDS), 0)):
            clock.now = now
            await store.ledger.record(route(f"rte_{now}"))
            await write(store, "SELECT 1")
            assert await read(store, "SELECT count(*) AS left FROM sessions") == [{"left": left}]


# Connections that are lost


async def test_what_is_asked_after_the_server_dropped_every_connection_is_answered(store: PostgresStore) -> None:
    await store.sessions.start(ME)
    async with anyio.create_task_group() as tasks:  # so that several connections are open
        for number in range(6):
            tasks.start_soon(store.ledger.record, route(f"rte_{number}"))

    await _drop_connections(store)

    session_id = await store.sessions.start(ME)
    await _drop_connections(store)
    assert await store.sessions.latest(ME) == session_id


async def _drop_connections(store: PostgresStore) -> None:
    import psycopg  # noqa: PLC0415 - only where it is installed

    name = store.database.place.rpartition("/")[2]
    async with await psycopg.AsyncConnection.connect(server_url(), autocommit=True) as server:
        await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


async def test_a_write_that_the_server_undid_for_another_is_done_again(store: PostgresStore) -> None:
    import psycopg  # noqa: PLC0415 - only where it is installed

    tries: list[int] = []

    async def unlucky(connection: Connection) -> str:
        tries.append(len(tries))
        await connection.execute("INSERT INTO sessions (session_id, caller, used_at) VALUES ('ses_1', 'a', 1e12)")
        if len(tries) < 3:
            raise psycopg.errors.DeadlockDetected
        return "done"

    assert await store.database.write(unlucky) == "done"
    assert await read(store, "SELECT count(*) AS rows FROM sessions") == [{"rows": 1}]


# What cannot be used is named, and the password never is


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/x", r"^postgresql://127.0.0.1:1/x cannot be used: .*refused"),
        ("postgresql://me:hunter2%zz@h/x", "POINTSMAN_DATABASE_URL is no address"),
        ("postgresql://me:hunter2@h:port/x", "POINTSMAN_DATABASE_URL|cannot be used"),
    ],
)
async def test_a_server_that_does_not_answer_is_named_without_the_password(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as refused:
        await _store_at(url).open()

    assert "hunter2" not in str(refused.value)


async def test_a_database_that_is_not_there_is_named() -> None:
    url = empty_database().replace("/test_", "/none_")

    with pytest.raises(SettingsError, match=r"none_\d+ cannot be used: .*does not exist"):
        await _store_at(url).open()


async def test_a_database_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    async with _store_at(database_of(tmp_path)) as store:
        await write(store, "INSERT INTO migrations (version) VALUES (1000)")

    with pytest.raises(SettingsError, match="written by a newer release: its tables have version 1000"):
        await _store_at(database_of(tmp_path)).open()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OLDEST_SERVER", 99, "99 is the oldest that will do"),
        ("OLDEST_PGVECTOR", (99, 0), r"pgvector 0\.\d+\.\d+, and 0.8 is the oldest"),
        ("EXTENSION", "no_such_extension", "has no pgvector"),
    ],
)
async def test_a_server_without_what_is_needed_is_told_what_to_do(
    name: str, value: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"routing.state.postgres_migrations.{name}", value)

    with pytest.raises(SettingsError, match=told):
        await _store_at(empty_database()).open()


async def test_the_place_says_versions_and_not_who_may_enter(store: PostgresStore) -> None:
    assert "PostgreSQL" in store.place
    assert "pgvector" in store.place
    assert "@" not in store.place


async def test_the_clock_is_the_servers(store: PostgresStore) -> None:
    [row] = await read(store, "SELECT extract(epoch FROM clock_timestamp())::float8 AS now")
    await store.sessions.start(ME)
    [used] = await read(store, "SELECT used_at FROM sessions")

    assert used["used_at"] == pytest.approx(row["now"], abs=5)


# Many memories


async def test_a_caller_with_many_memories_finds_their_own_through_the_index(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("routing.state.postgres_memories.MOST_COMPARED", 5)
    async with _store_at(database_of(tmp_path), embedder=WordEmbedder(dimensions=1_000)) as indexed:
        theirs = [NewMemory(text=f"tea {number}") for number in range(200)]
        await indexed.memories.store("bob", theirs)
        await indexed.memories.store(ME, [NewMemory(text=f"car {number}") for number in range(20)])
        [again] = await indexed.memories.store(ME, [NewMemory(text="car 7")])
        found = await indexed.memories.search(ME, "tea 7", mode="meaning", limit=30)
        names = await read(indexed, "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'memories_near_%'")

    assert [round(like.similarity, 3) for like in again.duplicates] == [1.0]
    assert len(found.hits) == 21
    assert {hit.memory.text[:3] for hit in found.hits} == {"car"}
    assert len(names) == 1
