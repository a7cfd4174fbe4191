"""What the database promises of its one writer and its readers, whatever is kept in it."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import apsw
import pytest

from routing.errors import SettingsError
from routing.state.database import Database, Job

pytestmark = pytest.mark.anyio

NOTES = "CREATE TABLE notes (name TEXT NOT NULL, body TEXT NOT NULL) STRICT"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


def nothing(_: object) -> None:
    """Nothing is to be done."""


def database_at(path: Path, housekeeping: Job[object] = nothing, unhurried: Job[object] = nothing) -> Database:
    return Database(path, migrations=(NOTES,), wall_clock=lambda: 0.0, housekeeping=housekeeping, unhurried=unhurried)


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = database_at(path)
    await opened.open()
    yield opened
    await opened.aclose()


def rows(connection: apsw.Connection, sql: str, bindings: tuple[str, ...] = ()) -> list[Any]:
    return [*connection.execute(sql, bindings)]


async def queued_together(database: Database, jobs: dict[str, Callable[[apsw.Connection], Any]]) -> dict[str, Any]:
    """Results, or errors, of jobs that wait in the queue together while the writer is held up."""
    outcomes: dict[str, Any] = {}
    go = threading.Event()

    def hold(_: apsw.Connection) -> bool:
        return go.wait(10)

    async def run(name: str, job: Callable[[apsw.Connection], Any]) -> None:
        try:
            outcomes[name] = await database.write(job)
        except Exception as error:  # noqa: BLE001 - the outcome is what the test is about
            outcomes[name] = error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "hold", hold)
        for name, job in jobs.items():
            tasks.start_soon(run, name, job)
        await anyio.lowlevel.checkpoint()
        go.set()
    assert outcomes.pop("hold")
    return outcomes


def write_note(name: str, size: int = 0) -> Callable[[apsw.Connection], Any]:
    sql = "INSERT INTO notes VALUES (?, ?)"
    return lambda connection: rows(connection, sql, (name, "x" * size))


def fail_after(job: Callable[[apsw.Connection], Any]) -> Callable[[apsw.Connection], Any]:
    def failing(connection: apsw.Connection) -> None:
        job(connection)
        raise ValueError("too bad")

    return failing


async def notes_in(database: Database) -> list[str]:
    sql = "SELECT name FROM notes ORDER BY name"
    return [name for (name,) in await database.read(lambda connection: rows(connection, sql))]


async def test_writes_that_wait_together_share_a_commit(database: Database) -> None:
    commits: list[str] = []

    def note() -> bool:
        commits.append("commit")
        return False

    def count(connection: apsw.Connection) -> None:
        connection.set_commit_hook(note)

    await database.write(count)
    commits.clear()
    await queued_together(database, {str(number): write_note(str(number)) for number in range(9)})

    assert len(commits) <= 2  # the one that held up the writer, and one for all the others
    assert len(await notes_in(database)) == 9


async def test_a_write_that_fails_loses_nothing_but_itself(database: Database) -> None:
    outcomes = await queued_together(
        database, {"a": write_note("a"), "b": fail_after(write_note("b")), "c": write_note("c")}
    )

    assert outcomes["a"] == outcomes["c"] == []
    assert isinstance(outcomes["b"], ValueError)
    assert await notes_in(database) == ["a", "c"]


async def test_a_full_disk_is_told_to_every_caller_whose_write_it_undid(database: Database) -> None:
    await database.write(lambda connection: connection.pragma("max_page_count", connection.pragma("page_count") + 8))

    outcomes = await queued_together(
        database, {"a": write_note("a"), "b": write_note("b", size=1_000_000), "c": write_note("c")}
    )

    for name, outcome in outcomes.items():
        assert isinstance(outcome, SettingsError), name
        assert "its disk is full. Make room" in str(outcome)
    assert await notes_in(database) == []
    await database.write(write_note("d"))
    assert await notes_in(database) == ["d"]


async def test_writes_that_wait_together_for_another_process_wait_once(path: Path, database: Database) -> None:
    waits: list[int] = []
    begun, go = threading.Event(), threading.Event()
    told: list[str] = []

    def busy(count: int) -> bool:
        waits.append(count)
        begun.set()
        go.wait(10)
        return False

    async def write(name: str) -> None:
        with pytest.raises(SettingsError, match="held by another process"):
            await database.write(write_note(name))
        told.append(name)

    await database.write(lambda connection: connection.set_busy_handler(busy))
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, "first")
        assert await anyio.to_thread.run_sync(begun.wait, 10)
        tasks.start_soon(write, "second")
        tasks.start_soon(write, "third")
        await anyio.lowlevel.checkpoint()
        go.set()
    other.close()

    assert sorted(told) == ["first", "second", "third"]
    assert len(waits) == 2  # of the first one, and of the two together


async def test_a_write_is_acknowledged_after_its_commit_and_not_before(database: Database) -> None:
    refuses: list[bool] = []
    await database.write(lambda connection: connection.set_commit_hook(lambda: bool(refuses)))
    refuses.append(True)

    with pytest.raises(apsw.ConstraintError):
        await database.write(write_note("a"))

    assert await notes_in(database) == []


async def test_a_durable_write_waits_for_the_disk_and_another_only_for_its_commit(
    path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered: list[str] = []
    flushed: list[str] = []
    go = threading.Event()

    def to_disk(file: int) -> None:
        assert go.wait(10)
        os.fsync(file)
        flushed.extend(answered)

    async def write(name: str, *, durable: bool) -> None:
        await database.write(write_note(name), durable=durable)
        answered.append(name)

    monkeypatch.setattr("routing.state.database._to_disk", to_disk)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(write, "durable", durable=True))
        await write("quick", durable=False)
        other = apsw.Connection(str(path))
        assert {name for (name,) in rows(other, "SELECT name FROM notes")} == {
            "durable",
            "quick",
        }  # killed, it is there
        other.close()
        go.set()

    assert answered == ["quick", "durable"]
    assert flushed[0] == "quick"


async def test_what_nobody_waits_for_goes_to_the_disk_together_with_what_somebody_does(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[int] = []

    def to_disk(file: int) -> None:
        os.fsync(file)
        flushes.append(file)

    monkeypatch.setattr("routing.state.database._to_disk", to_disk)
    monkeypatch.setattr("routing.state.database._LONGEST_UNFLUSHED_SECONDS", 600.0)
    for number in range(9):
        await database.write(write_note(str(number)), durable=False)
    assert not flushes

    await database.write(write_note("durable"))

    assert len(flushes) == 1


async def test_what_nobody_waits_for_goes_to_the_disk_on_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = threading.Event()

    def to_disk(_: int) -> None:
        flushed.set()

    monkeypatch.setattr("routing.state.database._to_disk", to_disk)
    await database.write(write_note("a"), durable=False)

    assert await anyio.to_thread.run_sync(flushed.wait, 10)


async def test_a_disk_that_takes_nothing_is_told_to_those_who_wait_for_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def to_disk(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("routing.state.database._to_disk", to_disk)
        with pytest.raises(SettingsError, match="its disk fails, or is gone"):
            await database.write(write_note("a"))
    await database.write(write_note("b"))

    assert "could not be put on the disk" in caplog.text


@pytest.mark.parametrize(
    ("sooner", "value"),
    [("_PAGES_IN_THE_LOG", 20), ("_MOST_PUT_OFF", 1), ("_PAUSE_SECONDS", 0.0)],
    ids=["long log", "many writes", "nothing comes"],
)
async def test_what_can_wait_is_done_in_a_pause_or_after_much_was_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, sooner: str, value: float
) -> None:
    done = threading.Event()
    monkeypatch.setattr("routing.state.database._PAUSE_SECONDS", 600)
    monkeypatch.setattr(f"routing.state.database.{sooner}", value)
    database = database_at(path, unhurried=lambda _: done.set())
    await database.open()
    await database.write(write_note("a", size=200_000))

    assert await anyio.to_thread.run_sync(done.wait, 10)
    await database.write(write_note("b"))  # and it goes on
    await database.aclose()


async def test_housekeeping_that_fails_is_logged_and_stops_no_write(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def nonsense(connection: apsw.Connection) -> list[Any]:
        return rows(connection, "nonsense")

    database = database_at(path, housekeeping=nonsense)
    await database.open()
    await database.write(write_note("a"))
    await database.write(write_note("b"))

    assert await notes_in(database) == ["a", "b"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    await database.aclose()


async def test_a_read_sees_one_moment(path: Path, database: Database) -> None:
    sql = "SELECT name FROM notes"

    def look_twice(connection: apsw.Connection) -> tuple[list[Any], list[Any]]:
        before = rows(connection, sql)
        other = apsw.Connection(str(path))
        write_note("a")(other)
        other.close()
        return before, rows(connection, sql)

    assert await database.read(look_twice) == ([], [])
    assert await notes_in(database) == ["a"]


async def test_reads_go_on_while_the_writer_is_at_work(database: Database) -> None:
    await database.write(write_note("a"))
    begun, go = threading.Event(), threading.Event()

    def slow(connection: apsw.Connection) -> bool:
        write_note("b")(connection)
        begun.set()
        return go.wait(10)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, slow)
        await anyio.to_thread.run_sync(begun.wait, 10)
        assert await notes_in(database) == ["a"]
        go.set()

    assert await notes_in(database) == ["a", "b"]
