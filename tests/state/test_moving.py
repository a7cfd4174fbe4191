"""A store moved from a file into PostgreSQL and back: everything arrives, or nothing does."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from routing.errors import SettingsError
from routing.state import Allowance, BatchItem, BatchPlan, NewMemory, Reservation, Store, Turn, moving
from routing.state.moving import move
from routing.types import Finding, Message, Progress, ToolUse, VerificationStep
from tests.builders import analysis
from tests.state.memory_fakes import WordEmbedder
from tests.state.postgres_server import database_of, needs_postgres
from tests.state.stores import store_at
from tests.state.test_reports import attempt, chosen, route, shadow

pytestmark = [pytest.mark.anyio, needs_postgres]

ME = "alice \ud800"
NOW = 86_400_000.0
PLAN = BatchPlan(prompts=("one", "two\x00"))
BUDGET = Allowance(period="month", cap_microusd=10**6, subject=ME)
STEP = VerificationStep(
    kind="answer", model_id="acme/large", findings=(Finding(check="tests", passed=True, detail=""),), cost_microusd=1
)


@asynccontextmanager
async def opened(place: str) -> AsyncGenerator[Store]:
    async with store_at(place, wall_clock=lambda: NOW, embedder=WordEmbedder(dimensions=64)) as store:
        yield store


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "_AT_ONCE", 10)


async def told(_: Progress) -> None:
    """Nobody watches."""


async def fill(store: Store) -> dict[str, Any]:
    session_id = await store.sessions.start(ME, [Message(role="user", content="hi \ud800")])
    turn = Turn(messages=(Message(role="assistant", content="hello"),), begins=False, answered_by="acme/large")
    for number in range(33):  # some pages, and a part of one
        one = route(f"rte_{number}", caller=ME, session_id=session_id, started_at=NOW - number, verification=(STEP,))
        await store.ledger.record(replace(one, prompt="a\x00b" if number == 7 else None), turn if not number else None)
    await store.ledger.record(
        route("rte_bare", caller=ME, analysis=None, selection=None, attempts=(attempt(), attempt()))
    )
    await store.ledger.record_tool(ME, ToolUse(name="web_search", is_error=True, latency_ms=1, cost_microusd=5), NOW)
    await store.ledger.record_shadow(shadow(caller=ME, route_id="rte_1"))
    await store.feedback.record(ME, "rte_2", 0.25, "so \x00 so")
    reservation = await store.budgets.reserve([BUDGET], most=50, least=50)
    assert isinstance(reservation, Reservation)
    await store.jobs.finish("rte_3", ME, record=route("rte_3", caller=ME, text="kept"), error=None)
    batch_id = await store.jobs.open_batch(ME, PLAN)
    await store.jobs.finish_item(batch_id, BatchItem(position=1, route_id="rte_4", text="\ud800"))
    await store.memories.store(ME, [NewMemory(text=f"tea {n}", key=f"{n}", metadata={"n": n}) for n in range(30)])
    await store.memories.store("bob", [NewMemory(text="名前 Käse", ttl_seconds=60)])
    return {"session": session_id, "batch": batch_id}


async def everything(store: Store, names: dict[str, Any]) -> list[object]:
    return [
        await store.ledger.recent(ME, 2_000),
        await store.ledger.totals(ME),
        await store.reports.usage(ME, since=None, span=86_400),
        await store.reports.usage(ME, since=0, span=3_600),
        await store.reports.export(ME, since=None, routes=3_000),
        await store.feedback.experience(ME, half_life_seconds=86_400.0, since=0.0),
        await store.sessions.history(names["session"], ME),
        await store.budgets.standings([BUDGET]),
        await store.jobs.find("rte_3", ME),
        await store.jobs.batch(names["batch"], ME),
        await store.memories.list(ME, limit=100),
        await store.memories.list("bob"),
        [hit.memory for hit in (await store.memories.search(ME, "tea 7", mode="word")).hits],
        [hit.memory.text for hit in (await store.memories.search("bob", "kase")).hits],
        (await store.memories.search(ME, "tea 7", mode="meaning", limit=1)).hits[0].memory.text,
    ]


async def test_what_is_moved_into_postgresql_and_back_is_all_there(tmp_path: Path) -> None:
    first, second, third = str(tmp_path / "a.db"), database_of(tmp_path), str(tmp_path / "c.db")
    async with opened(first) as store:
        names = await fill(store)
        before = await everything(store, names)

    there = await move(first, second, told)
    async with opened(second) as store:
        assert await everything(store, names) == before
    back = await move(second, third, told)
    async with opened(third) as store:
        assert await everything(store, names) == before

    assert there == back
    assert (there["routes"], there["attempts"], there["memories"]) == (34, 35, 31)


async def test_a_moved_store_goes_on_counting(tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.db"), database_of(tmp_path)
    async with opened(first) as store:
        await fill(store)
    await move(first, second, told)
    await move(second, str(tmp_path / "b.db"), told)

    for place in (first, second, str(tmp_path / "b.db")):
        async with opened(place) as store:
            was = (await store.reports.usage(ME, since=None, span=86_400)).policies[0].routes
            await store.ledger.record(
                route("rte_new", caller=ME, started_at=2 * NOW, analysis=analysis(), selection=chosen("a"))
            )
            assert (await store.ledger.recent(ME, 1))[0].route_id == "rte_new"
            assert (await store.reports.usage(ME, since=None, span=86_400)).policies[0].routes == was + 1
            assert (await store.budgets.standings([BUDGET]))[0].reserved_microusd == 50
            [stored] = await store.memories.store(ME, [NewMemory(text="tea 7")])
            assert stored.duplicates


async def test_a_place_with_something_in_it_is_refused(tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.db"), database_of(tmp_path)
    for place in (first, second):
        async with opened(place) as store:
            await store.sessions.start(ME)

    with pytest.raises(SettingsError, match="is not empty: there are sessions"):
        await move(first, second, told)
    with pytest.raises(SettingsError, match="is not empty: there are sessions"):
        await move(second, first, told)


async def test_what_arrives_otherwise_is_noticed_and_nothing_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = str(tmp_path / "a.db"), database_of(tmp_path)
    async with opened(first) as store:
        await store.sessions.start(ME, [Message(role="user", content="hi")])
        await store.sessions.start(ME)

    write = moving._write_postgres  # pyright: ignore[reportPrivateUsage] - the fault is put in here

    async def wrong(connection: Any, table: Any, rows: Any) -> None:
        await write(connection, table, [{**row, "used_at": 0.0} if table.name == "sessions" else row for row in rows])

    with monkeypatch.context() as patch:
        patch.setattr(moving, "_write_postgres", wrong)
        with pytest.raises(SettingsError, match="holds other sessions than"):
            await move(first, second, told)

    assert (await move(first, second, told))["sessions"] == 2


async def test_there_is_nothing_to_move_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no store in"):
        await move(str(tmp_path / "none.db"), database_of(tmp_path), told)


async def test_no_table_and_no_column_is_left_behind(tmp_path: Path) -> None:
    async with opened(str(tmp_path / "a.db")):
        pass
    connection = apsw.Connection(str(tmp_path / "a.db"))
    made_anew = {"memory_words", "memory_vectors", "memory_callers", "summed"}
    kept: dict[str, set[str]] = {}
    for (table,) in connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ):
        if not any(table == name or table.startswith("memory_words_") for name in made_anew):
            columns = connection.execute(f"PRAGMA table_info({table})")  # leaves out what is generated and virtual
            kept[table] = {row[1] for row in columns}
    connection.close()

    moved = {table.name: set(table.columns) for table in moving._TABLES}  # pyright: ignore[reportPrivateUsage] - as above
    moved["memories"] -= {"embedder", "vector"}
    assert moved == kept
