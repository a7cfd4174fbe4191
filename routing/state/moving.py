"""All that a store keeps, moved into another: from a file into PostgreSQL, and back.

Row by row, in the order of the keys, in one transaction: the target has everything or nothing. What was written is read again
and compared with what was read, by number and by digest. Sums are moved as they are, since they reach further back than the
routes that they are of; so the triggers that keep them are off meanwhile. The servers that use either side must be stopped.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio

from routing.errors import SettingsError
from routing.state.sql_ledger import documents_of
from routing.state.tables import Connection, Row, insert_into
from routing.types import OnProgress, Progress

_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table by the columns that both sides have. ``found`` is what to select from where it is not the table itself."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    found: Mapping[str, str] | None = None

    def source(self, side: Side) -> str:
        return self.found[side.kind] if self.found else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A store that is moved from or to, in a transaction."""

    kind: str
    place: str
    connection: Connection
    write: Callable[[Connection, _Table, Sequence[Row]], Any]


def _table(name: str, key: str, others: str, *, found: Mapping[str, str] | None = None) -> _Table:
    return _Table(name=name, key=tuple(key.split()), columns=(*key.split(), *others.split()), found=found)


_USAGE = "input_tokens output_tokens cache_read_tokens cache_write_tokens reasoning_tokens"
_TABLES: tuple[_Table, ...] = (
    _table(
        "routes",
        "id",
        "route_id caller session_id started_at latency_ms outcome prompt_sha256 model_used finish_reason cost_microusd "
        "baseline_model baseline_cost_microusd error usage notices tools tools_microusd analysis selection verification "
        "parent_id cached prompt pattern",
    ),
    _table(
        "attempts",
        "route_id position",
        "model_id provider outcome started_at latency_ms first_token_ms finish_reason error cost_microusd "
        f"{_USAGE} estimated",
    ),
    _table("tool_calls", "id", "caller name started_at latency_ms is_error cost_microusd"),
    _table(
        "shadows",
        "route_id",
        f"caller model_id provider category started_at latency_ms outcome agreement cost_microusd {_USAGE} estimated",
    ),
    _table("feedback", "route_id", "caller started_at model_id category score note given_at complexity"),
    _table(
        "usage_routes",
        "span caller start model_id category",
        "routes completed failed cancelled fallbacks tools_microusd baseline_microusd saved_microusd losing lost_microusd "
        "uncompared task_tokens",
    ),
    _table(
        "usage_attempts",
        "span caller start model_id provider category",
        f"attempts answered failed cancelled unpriced cost_microusd {_USAGE} answer_tokens",
    ),
    _table("usage_latencies", "span caller start measure subject latency_ms", "times"),
    _table("usage_policies", "span caller start policy", "routes"),
    _table("usage_checks", "span caller start model_id category complexity", "checked failed tested"),
    _table("sessions", "id", "session_id caller used_at answered_by"),
    _table("messages", "session_id position", "message"),
    _table("budgets", "period subject start", "spent_microusd reserved_microusd touched_at"),
    _table("reservations", "reservation_id period subject", "start microusd leased_until"),
    _table("answers", "route_id", "caller status content error leased_until expires_at"),
    _table("batches", "batch_id", "caller plan leased_until expires_at"),
    _table("batch_items", "batch_id position", "item"),
    _table("answers_cache", "id", "caller digest context model_id text usage vector kept_at expires_at size"),
    _table(
        "memories",
        "id",
        "memory_id caller key text metadata source created_at updated_at expires_at embedder vector",
        found={
            "sqlite": "(SELECT memories.*, embedder, vector FROM memories LEFT JOIN memory_vectors USING (id)) AS memories",
            "postgres": "memories",
        },
    ),
)
"""Whom others refer to first."""

_BOOLEANS = frozenset({"estimated", "is_error"})


async def move(source: str, target: str, on_progress: OnProgress) -> dict[str, int]:
    """Move everything from one place to another, empty one, and return how many rows each table had.

    A place is the path of a SQLite file, or the address of a PostgreSQL database.

    Raises:
        SettingsError: one of them cannot be used, or there is something in the target already.

    """
    async with opened(source, to_write=False) as old, opened(target, to_write=True) as new:
        for table in _TABLES:
            if await _count(new, table):
                raise SettingsError(f"{new.place} is not empty: there are {table.name} in it. Name an empty one.")
        return {table.name: await _move(table, old, new, on_progress) for table in _TABLES}


def opened(place: str, *, to_write: bool) -> AbstractAsyncContextManager[Side]:
    """A store in a transaction of its own, its tables up to date; committed at the end where it is written."""
    if place.startswith(("postgresql://", "postgres://")):
        return _opened_postgres(place, to_write=to_write)
    return _opened_sqlite(Path(place), to_write=to_write)


async def _move(table: _Table, old: Side, new: Side, on_progress: OnProgress) -> int:
    total = await _count(old, table)
    read, written = sha256(), sha256()
    done = 0
    async for rows in _pages(old, table, read):
        await new.write(new.connection, table, rows)
        done += len(rows)
        await on_progress(Progress(message=f"{table.name}: {done:,} of {total:,}", done=done, total=total))
    kept = sum([len(rows) async for rows in _pages(new, table, written)])
    if (kept, written.digest()) != (total, read.digest()):
        raise SettingsError(
            f"{new.place} holds other {table.name} than {old.place}: {kept:,} of {total:,}. Nothing was moved; "
            "try again while no server uses either."
        )
    return total


async def _count(side: Side, table: _Table) -> int:
    [row] = await side.connection.select(f"SELECT count(*) AS rows FROM {table.name}")  # noqa: S608 - our own tables, as below
    return int(row["rows"])


async def _pages(side: Side, table: _Table, digest: Any) -> AsyncGenerator[list[Row]]:
    """The rows in the order of their key, and what they are for the ``digest``."""
    key, last = ", ".join(table.key), ", ".join(f":{name}" for name in table.key)
    columns = ", ".join(table.columns)
    page, order = f"SELECT {columns} FROM {table.source(side)}", f"ORDER BY {key} LIMIT {_AT_ONCE}"  # noqa: S608
    rows = await side.connection.select(f"{page} {order}")
    while rows:
        last_key = {name: rows[-1][name] for name in table.key}
        rows = [_same(row) for row in rows]
        digest.update(json.dumps([list(row.values()) for row in rows], default=_hexadecimal).encode())
        yield rows
        rows = await side.connection.select(f"{page} WHERE ({key}) > ({last}) {order}", last_key)


def _same(row: Row) -> Row:
    """A row in the form that both sides have in common: flags as bool, vectors as the bytes of float32."""
    values: Row = {name: bool(value) if name in _BOOLEANS else value for name, value in row.items()}
    vector = values.get("vector")
    if isinstance(vector, str):
        values["vector"] = array("f", json.loads(vector)).tobytes()
    return values


def _hexadecimal(value: bytes) -> str:
    return value.hex()


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _opened_sqlite(path: Path, *, to_write: bool) -> AsyncGenerator[Side]:
    import apsw  # noqa: PLC0415 - only one side may be SQLite's

    from routing.state.database import NeverWaiting  # noqa: PLC0415 - as above
    from routing.state.migrations import LAST_SUMMED  # noqa: PLC0415 - as above
    from routing.state.sql_reports import sum_up  # noqa: PLC0415 - as above
    from routing.state.sqlite import SqliteStore  # noqa: PLC0415 - as above

    if not to_write and not await anyio.Path(path).is_file():
        raise SettingsError(f"there is no store in {path}.")
    async with SqliteStore(path):
        pass  # its tables are up to date now
    file = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        with file:
            connection = NeverWaiting(file)
            await sum_up(connection)
            triggers = await connection.select(_TRIGGERS) if to_write else []
            for trigger in triggers:
                await connection.execute(f"DROP TRIGGER {trigger['name']}")
            yield Side(kind="sqlite", place=str(path), connection=connection, write=_write_sqlite)
            if to_write:
                await connection.execute(LAST_SUMMED)
            for trigger in triggers:
                await connection.execute(trigger["sql"])
    finally:
        file.close()


_TRIGGERS = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"


async def _write_sqlite(connection: Connection, table: _Table, rows: Sequence[Row]) -> None:
    if table.name != "memories":
        await connection.executemany(insert_into(table.name, table.columns), rows)
        return
    from routing.state.columns import restored  # noqa: PLC0415 - memories come last
    from routing.state.words import indexed  # noqa: PLC0415 - as above

    own = tuple(name for name in table.columns if name not in {"embedder", "vector"})
    await connection.executemany(insert_into("memories", own), rows)
    words = [{"id": row["id"], "words": indexed(restored(row["text"]))} for row in rows]
    await connection.executemany("INSERT INTO memory_words (rowid, words) VALUES (:id, :words)", words)
    await connection.executemany(insert_into("memory_vectors", ("id", "caller", "embedder", "vector")), rows)


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def _opened_postgres(url: str, *, to_write: bool) -> AsyncGenerator[Side]:
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - only one side may be PostgreSQL's
    from routing.state.postgres_database import Transaction, connected  # noqa: PLC0415 - as above

    store = PostgresStore(url)
    async with store:
        pass  # it can be used, and its tables are up to date
    async with connected(url) as server, server.transaction():
        connection = Transaction(server)
        if not to_write:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for table in _SUMMED if to_write else ():
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield Side(kind="postgres", place=store.database.place, connection=connection, write=_write_postgres)
        for table in _SUMMED if to_write else ():
            await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        for table in _NUMBERED if to_write else ():
            await connection.execute(_GO_ON_COUNTING.format(table=table))


_SUMMED = ("routes", "attempts", "reservations")
_NUMBERED = ("routes", "tool_calls", "sessions", "memories")
_GO_ON_COUNTING = """
SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)
"""


async def _write_postgres(connection: Connection, table: _Table, rows: Sequence[Row]) -> None:
    if table.name == "memories":
        from routing.state.postgres_memories import insert_moved  # noqa: PLC0415 - memories come last

        await insert_moved(connection, rows)
        return
    if table.name == "routes":
        from routing.state.postgres_migrations import told_of  # noqa: PLC0415 - only where psycopg is installed

        rows = [{**row, **told_of(documents_of(row))} for row in rows]
    await connection.executemany(insert_into(table.name, tuple(rows[0])), rows)
