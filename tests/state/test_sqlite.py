"""What the SQLite store promises beyond the contract: about its file, its writer, and other processes."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from routing.errors import SettingsError
from routing.state.migrations import MIGRATIONS
from routing.state.sql_ledger import _SELECT_HEALTH  # pyright: ignore[reportPrivateUsage] - its plan is looked at
from routing.state.sql_reports import _SCORED_STATEMENTS  # pyright: ignore[reportPrivateUsage] - as above
from routing.state.sqlite import SqliteStore
from routing.state.tables import HOUSEKEEPING_SECONDS
from routing.types import Message, ModelSelection, Rejection, RouteRecord, TaskAnalysis, ToolCall, Usage
from tests.builders import analysis

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
ME = "alice"


def route(route_id: str, **changes: Any) -> RouteRecord:
    facts: dict[str, Any] = {
        "route_id": route_id,
        "caller": ME,
        "session_id": "ses_1",
        "started_at": 1_000.0,
        "latency_ms": 12,
        "outcome": "completed",
        "prompt_sha256": "00" * 32,
    }
    return RouteRecord(**{**facts, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "pointsman.db"


def rows(connection: apsw.Connection, sql: str, bindings: tuple[str, ...] = ()) -> list[Any]:
    return [*connection.execute(sql, bindings)]


async def read(store: SqliteStore, job: Callable[[apsw.Connection], Any]) -> Any:
    return await store._database.read(job)  # pyright: ignore[reportPrivateUsage] - what no caller can see


async def write(store: SqliteStore, job: Callable[[apsw.Connection], Any]) -> Any:
    return await store._database.write(job)  # pyright: ignore[reportPrivateUsage] - what no caller can see


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def route_ids(path: Path) -> set[str]:
    connection = apsw.Connection(str(path))
    found = {route_id for (route_id,) in rows(connection, "SELECT route_id FROM routes")}
    connection.close()
    return found


# The file


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
async def test_only_its_owner_may_read_the_folder_and_its_files(path: Path) -> None:
    before = os.umask(0)
    try:
        async with SqliteStore(path) as store:
            await store.sessions.start(ME)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(["pointsman.db", "pointsman.db-wal", "pointsman.db-shm"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_closed_store_is_one_file(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.sessions.start(ME)
        await store.sessions.latest(ME)

    assert names_in(path.parent) == [path.name]


async def test_commits_leave_the_flush_to_its_thread_and_reads_cannot_write(path: Path) -> None:
    def settings(connection: apsw.Connection) -> dict[str, Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "query_only")
        return {name: connection.pragma(name) for name in names}

    normal = 1
    expected = {"journal_mode": "wal", "synchronous": normal, "foreign_keys": 1, "busy_timeout": 5_000}
    async with SqliteStore(path) as store:
        assert await write(store, settings) == {**expected, "query_only": 0}
        assert await read(store, settings) == {**expected, "query_only": 1}


@pytest.mark.parametrize("content", [b"hello", b"not a database" * 1_000], ids=["short", "long"])
async def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path, content: bytes) -> None:
    put(path, content)

    with pytest.raises(SettingsError, match=r"pointsman.db is not a SQLite database. Move it aside"):
        await SqliteStore(path).open()

    assert bytes_of(path) == content
    assert names_in(path.parent) == [path.name]


async def test_another_programs_database_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE notes (text)")
    other.close()
    content = bytes_of(path)

    with pytest.raises(SettingsError, match=r"pointsman.db is another program's database"):
        await SqliteStore(path).open()

    assert bytes_of(path) == content


async def test_a_damaged_database_is_named_and_left_alone(path: Path) -> None:
    async with SqliteStore(path) as store:
        for number in range(300):
            await store.ledger.record(route(f"rte_{number}", notices=("a notice to fill pages with " * 10,)))
    sound = bytes_of(path)
    content = sound[: 8 * 4096] + b"\xff" * (len(sound) - 8 * 4096)
    put(path, content)

    with pytest.raises(SettingsError, match=r"pointsman.db is damaged. Move it aside"):
        async with SqliteStore(path) as store:
            await store.ledger.recent(ME, 300)

    assert bytes_of(path) == content


async def test_a_database_of_a_newer_release_is_refused_and_left_alone(path: Path) -> None:
    async with SqliteStore(path):
        pass
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", len(MIGRATIONS) + 1)
    connection.close()
    content = bytes_of(path)

    with pytest.raises(SettingsError, match=r"pointsman.db was written by a newer release"):
        await SqliteStore(path).open()

    assert bytes_of(path) == content


async def test_a_folder_that_is_a_file_is_named_with_the_variable_to_change(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    for path in (file / "pointsman.db", file / "deeper" / "pointsman.db"):
        with pytest.raises(SettingsError, match=rf"{path.parent} cannot hold .* POINTSMAN_HOME"):
            await SqliteStore(path).open()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_may_not_be_written_is_named_with_the_variable_to_change(path: Path) -> None:
    path.parent.mkdir(mode=0o500)

    with pytest.raises(SettingsError, match=rf"{path.parent} cannot hold .* Permission denied.* POINTSMAN_HOME"):
        await SqliteStore(path).open()


async def test_a_folder_in_the_place_of_the_file_is_named(path: Path) -> None:
    put(path / "file", b"")

    with pytest.raises(SettingsError, match=r"pointsman.db cannot be opened.* POINTSMAN_HOME"):
        await SqliteStore(path).open()


# What is in it


async def test_neither_prompt_nor_answer_reach_the_ledger(path: Path) -> None:
    async with SqliteStore(path) as store:
        await store.ledger.record(route("rte_1", text="the answer itself", notices=("a notice",)))

    assert b"a notice" in bytes_of(path)
    assert b"the answer itself" not in bytes_of(path)


@pytest.mark.parametrize("way", ["delete", "sweep"])
async def test_what_is_forgotten_is_overwritten_on_the_disk(path: Path, way: str) -> None:
    now = 0.0
    async with SqliteStore(path, wall_clock=lambda: now, session_ttl_seconds=60) as store:
        session_id = await store.sessions.start(ME)
        await store.sessions.append(session_id, ME, [Message(role="user", content="between us")])
        if way == "delete":
            await store.sessions.delete(session_id, ME)
        else:
            now = 60.0
            await store.sessions.sweep()

    assert b"between us" not in bytes_of(path)


async def test_reports_find_what_was_decided_in_columns(path: Path) -> None:
    selection = ModelSelection(
        primary_model="acme/large", provider="acme", fallback_models=(), estimated_cost_microusd=None, reasoning=""
    )
    decided = "SELECT category, complexity, confidence, analyzer, primary_model FROM routes ORDER BY route_id"
    async with SqliteStore(path) as store:
        await store.ledger.record(route("rte_1", analysis=analysis(), selection=selection))
        await store.ledger.record(route("rte_2"))

        assert await read(store, lambda connection: rows(connection, decided)) == [
            ("qa_retrieval", 2, 0.95, "rules", "acme/large"),
            (None, None, None, None, None),
        ]


async def test_what_a_period_cost_is_found_without_a_scan(path: Path) -> None:
    plan = "EXPLAIN QUERY PLAN SELECT route_id FROM routes WHERE caller = 'a' AND started_at >= 1"
    async with SqliteStore(path) as store:
        [(*_, step)] = await read(store, lambda connection: rows(connection, plan))

    assert step.startswith("SEARCH routes ")
    assert " INDEX routes_by_time " in step


@pytest.mark.parametrize("statement", _SCORED_STATEMENTS, ids=["choices", "tokens"])
async def test_of_a_million_routes_only_those_with_feedback_are_read(path: Path, statement: str) -> None:
    asked_for = {"caller": ME, "since": 0, "after": 0, "routes": 9, "most": 9, "first": 1, "last": 9}
    plan = f"EXPLAIN QUERY PLAN {statement}"
    async with SqliteStore(path) as store:
        steps = [step for *_, step in await read(store, lambda connection: [*connection.execute(plan, asked_for)])]

    assert not [step for step in steps if step.startswith("SCAN routes")]
    assert any(step.startswith("SEARCH routes USING INDEX sqlite_autoindex_routes_1 (route_id=?") for step in steps)


async def test_health_reads_the_callers_recent_attempts_and_no_others(path: Path) -> None:
    plan = f"EXPLAIN QUERY PLAN {_SELECT_HEALTH}"
    asked_for = {"caller": ME, "since": 0.0}
    async with SqliteStore(path) as store:
        steps = [step for *_, step in await read(store, lambda connection: [*connection.execute(plan, asked_for)])]

    routes, attempts = (step for step in steps if step.startswith(("SCAN", "SEARCH")))
    assert routes == "SEARCH routes USING COVERING INDEX routes_by_time (caller=? AND started_at>?)"
    assert attempts == "SEARCH attempts USING PRIMARY KEY (route_id=?)"


# Rows as the first release wrote them. Never edit these: they are what users have on their disks.
FIRST_RELEASE = """
INSERT INTO routes (route_id, caller, session_id, started_at, latency_ms, outcome, prompt_sha256, model_used, finish_reason,
  cost_microusd, baseline_model, baseline_cost_microusd, error, usage, notices, analysis, selection)
VALUES ('rte_1', 'alice', 'ses_1', 1.5, 2, 'completed', 'ab', 'm/a', 'stop', 3, 'm/b', 4, 'it said \\"no\\"',
  '{"input_tokens":5,"output_tokens":6,"cache_read_tokens":1,"cache_write_tokens":2,"reasoning_tokens":3,"estimated":true}',
  '["n"]',
  '{"category":"embedding","complexity":1,"confidence":0.5,"estimated_input_tokens":7,"estimated_output_tokens":8,
    "input_tokens_exact":false,"language":"de"}',
  '{"primary_model":"m/a","provider":"p","fallback_models":["m/b"],"estimated_cost_microusd":null,"reasoning":"r",
    "rejections":[{"model_id":"m/c","reason":"too dear"}],"notices":["s"]}');
INSERT INTO attempts VALUES ('rte_1', 0, 'm/a', 'p', 'answered', 1.5, 2, 1, 'stop', NULL, 3, 5, 6, 1, 2, 3, 1);
INSERT INTO sessions (session_id, caller, used_at) VALUES ('ses_1', 'alice', 9);
INSERT INTO messages (session_id, position, message) VALUES
  ('ses_1', 1, '{"role":"user","content":"\\ud800","tool_calls":[],"tool_call_id":null,"images":[]}'),
  ('ses_1', 2, '{"role":"assistant","content":"","tool_calls":[{"id":"c","name":"f","arguments":"{}"}],"images":[]}');
"""


async def test_what_the_first_release_wrote_can_still_be_read(path: Path) -> None:
    path.parent.mkdir()
    old = apsw.Connection(str(path))
    old.execute(MIGRATIONS[0] + FIRST_RELEASE)
    old.pragma("user_version", 1)
    old.pragma("application_id", 0x506E7473)
    old.close()

    used = Usage(
        input_tokens=5,
        output_tokens=6,
        cache_read_tokens=1,
        cache_write_tokens=2,
        reasoning_tokens=3,
        estimated=True,
    )
    async with SqliteStore(path, wall_clock=lambda: 10.0) as store:
        record = await store.ledger.route("rte_1", ME)
        assert record.analysis == TaskAnalysis(
            category="embedding",
            complexity=1,
            confidence=0.5,
            estimated_input_tokens=7,
            estimated_output_tokens=8,
            input_tokens_exact=False,
            language="de",
        )
        assert record.selection == ModelSelection(
            primary_model="m/a",
            provider="p",
            fallback_models=("m/b",),
            estimated_cost_microusd=None,
            reasoning="r",
            rejections=(Rejection(model_id="m/c", reason="too dear"),),
            notices=("s",),
        )
        assert (record.error, record.notices, record.usage) == ('it said "no"', ("n",), used)
        assert record.tools == ()
        assert [(one.model_id, one.cost_microusd, one.usage) for one in record.attempts] == [("m/a", 3, used)]
        assert await store.sessions.history("ses_1", ME) == (
            Message(role="user", content="\ud800"),
            Message(role="assistant", content="", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),)),
        )


async def test_a_new_step_is_taken_once_and_keeps_the_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore(path) as store:
        await store.ledger.record(route("rte_1"))
    monkeypatch.setattr("routing.state.sqlite.MIGRATIONS", (*MIGRATIONS, "ALTER TABLE routes ADD COLUMN extra TEXT"))

    for _ in range(2):
        async with SqliteStore(path) as store:
            assert (await store.ledger.route("rte_1", ME)).route_id == "rte_1"
            assert await read(store, lambda connection: connection.pragma("user_version")) == len(MIGRATIONS) + 1


async def test_a_step_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SqliteStore(path) as store:
        await store.ledger.record(route("rte_1"))
    with monkeypatch.context() as patch:
        patch.setattr("routing.state.sqlite.MIGRATIONS", (*MIGRATIONS, "DELETE FROM routes; SELECT * FROM nowhere"))
        with pytest.raises(apsw.SQLError):
            await SqliteStore(path).open()

    async with SqliteStore(path) as store:
        assert (await store.ledger.route("rte_1", ME)).route_id == "rte_1"


# The writer


async def test_a_database_that_somebody_else_holds_is_told_and_then_written_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.state.database.BUSY_TIMEOUT_MS", 1)
    async with SqliteStore(path) as store:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SettingsError, match=r"pointsman.db is held by another process"):
            await store.sessions.start(ME)
        other.execute("ROLLBACK")
        other.close()

        assert await store.sessions.latest(ME) is None
        assert await store.sessions.start(ME) == await store.sessions.latest(ME)


async def test_the_writer_sweeps_now_and_then(path: Path) -> None:
    now = 0.0
    sql = "SELECT count(*) FROM sessions"

    async with SqliteStore(path, wall_clock=lambda: now, session_ttl_seconds=60) as store:

        async def sessions_after_a_write() -> Any:
            await store.ledger.record(route(f"rte_{now}"))
            await write(store, lambda _: None)  # begins when the housekeeping after the last write is over
            [(count,)] = await read(store, lambda connection: rows(connection, sql))
            return count

        await store.sessions.start(ME)
        assert await sessions_after_a_write() == 1
        now = HOUSEKEEPING_SECONDS - 1.0
        assert await sessions_after_a_write() == 1
        now = float(HOUSEKEEPING_SECONDS)
        assert await sessions_after_a_write() == 0


# Other processes

CHILD = """
import asyncio, sys
from pathlib import Path
from routing.state.sqlite import SqliteStore
from routing.types import Message, RouteRecord

async def write(store, name, count):
    session_id = await store.sessions.start("alice")
    for number in range(count):
        route_id = f"rte_{name}_{number}"
        await store.sessions.append(session_id, "alice", [Message(role="user", content=route_id)])
        await store.ledger.record(RouteRecord(route_id=route_id, caller="alice", session_id=session_id, started_at=1.0,
            latency_ms=1, outcome="completed", prompt_sha256=""))
        print(route_id, flush=True)

async def main(path, name, count):
    async with SqliteStore(Path(path)) as store:
        await asyncio.gather(*(write(store, f"{name}_{part}", count) for part in range(4)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def child(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    """A process that records 4 × ``count`` routes, and prints the id of each when it is acknowledged."""
    command = [sys.executable, "-c", CHILD, str(path), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("acknowledged", [1, 3, 10, 30, 100])
async def test_what_was_acknowledged_survives_a_killed_process(path: Path, acknowledged: int) -> None:
    with child(path, "a", 100_000) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += process.stdout.readlines()
    printed = {line.strip() for line in lines if line.endswith("\n")}

    async with SqliteStore(path) as store:
        recorded = {record.route_id: record for record in await store.ledger.recent(ME, 1_000_000)}
        assert len(printed) >= acknowledged
        assert printed <= recorded.keys()
        for route_id in printed:
            said = await store.sessions.history(recorded[route_id].session_id, ME)
            assert len(said) >= min(50, 1 + int(route_id.rpartition("_")[2]))


async def test_a_file_that_another_process_is_making_too_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(path, b"")
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")

    def let_go(_: float) -> None:
        other.execute("ROLLBACK")

    monkeypatch.setattr("routing.state.database.time.sleep", let_go)

    async with SqliteStore(path) as store:
        assert await store.sessions.latest(ME) is None
    other.close()


async def test_two_processes_write_to_one_file_at_once(path: Path) -> None:
    processes = [child(path, name, 50) for name in "ab"]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")

    assert route_ids(path) == {f"rte_{name}_{part}_{n}" for name in "ab" for part in range(4) for n in range(50)}
