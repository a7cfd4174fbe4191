"""An `Exchange` on PostgreSQL (https://www.postgresql.org/docs/current/sql-notify.html), with psycopg.

    shared_flows        when the two flows of a provider are full again
    shared_hints        what holds of a breaker or provider, until when; and whose probe is under way
    shared_processes    who was seen when

They lie beside the store's tables, and are unlogged: what is in them is not worth a write-ahead, and may be lost with the
server. One connection asks, another listens. A flow is one number (the "theoretical arrival time" of GCRA): taking moves it on,
time catches up with it.
"""

# ruff: noqa: S608 - statements are put together of our own words alone; LiteralString holds them to that

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, LiteralString

import anyio.to_thread

from routing.dispatch.sharing import SEEN_LATELY_SECONDS, Exchange, Hint

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_CHANNEL = "pointsman_hints"
_CONNECT_SECONDS = 2
_LOCK = 7_260_433_981
"""Two processes that start at once would both make the tables, and one would fail."""

_TABLES: LiteralString = """
CREATE UNLOGGED TABLE IF NOT EXISTS pointsman.shared_flows (name text PRIMARY KEY, full_at float8[] NOT NULL);
CREATE UNLOGGED TABLE IF NOT EXISTS pointsman.shared_hints (
  kind text, name text, until float8 NOT NULL, rest float8 NOT NULL, PRIMARY KEY (kind, name));
CREATE UNLOGGED TABLE IF NOT EXISTS pointsman.shared_processes (process text PRIMARY KEY, seen_at float8 NOT NULL);
"""

_NOW: LiteralString = "coalesce(%(now)s::float8, extract(epoch FROM clock_timestamp())::float8)"

_MOVED: LiteralString = f"""
SELECT greatest(full_at, {_NOW}) + step AS moved FROM unnest(flow.full_at, %(steps)s::float8[]) AS of (full_at, step)
"""
_WAIT: LiteralString = f"greatest(0, (SELECT max(moved) FROM ({_MOVED}) AS moves) - {_NOW} - 60)"

_TAKE: LiteralString = f"""
INSERT INTO pointsman.shared_flows AS flow (name, full_at)
VALUES (%(name)s, ARRAY(SELECT {_NOW} + step FROM unnest(%(steps)s::float8[]) AS step))
ON CONFLICT (name) DO UPDATE SET full_at = ARRAY({_MOVED}) WHERE {_WAIT} <= %(patience)s
RETURNING greatest(0, (SELECT max(moved) FROM unnest(full_at) AS moved) - {_NOW} - 60) AS wait
"""
_LOOK: LiteralString = f"SELECT {_WAIT} AS wait FROM pointsman.shared_flows AS flow WHERE name = %(name)s"

_GIVE_BACK: LiteralString = """
UPDATE pointsman.shared_flows AS flow
SET full_at = ARRAY(SELECT at - step FROM unnest(flow.full_at, %(steps)s::float8[]) AS of (at, step)) WHERE name = %(name)s
"""

_HOLD: LiteralString = f"""
INSERT INTO pointsman.shared_hints (kind, name, until, rest) VALUES (%(kind)s, %(name)s, {_NOW} + %(seconds)s, %(rest)s)
ON CONFLICT (kind, name) DO UPDATE SET until = excluded.until, rest = excluded.rest
"""
_END: LiteralString = "DELETE FROM pointsman.shared_hints WHERE name = %(name)s AND kind = ANY(%(kinds)s)"
_NOTIFY: LiteralString = f"SELECT pg_notify('{_CHANNEL}', %(payload)s)"

_PROBE: LiteralString = f"""
INSERT INTO pointsman.shared_hints AS hint (kind, name, until, rest) VALUES ('probe', %(name)s, {_NOW} + %(seconds)s, 0)
ON CONFLICT (kind, name) DO UPDATE SET until = excluded.until WHERE hint.until <= {_NOW}
RETURNING name
"""
_HELD: LiteralString = f"""
SELECT kind, name, until - {_NOW} AS seconds, rest FROM pointsman.shared_hints WHERE kind <> 'probe' AND until > {_NOW}
"""

_ATTEND: LiteralString = f"""
INSERT INTO pointsman.shared_processes (process, seen_at) VALUES (%(process)s, {_NOW})
ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at
"""
_LEAVE: LiteralString = f"DELETE FROM pointsman.shared_processes WHERE seen_at < {_NOW} - %(lately)s"
_COUNT: LiteralString = "SELECT count(*) AS processes FROM pointsman.shared_processes"


class PostgresExchange:
    """The exchange in a database. ``now``, in seconds, takes the place of the server's time."""

    def __init__(
        self,
        asking: AsyncConnection[dict[str, Any]],
        listening: AsyncConnection[dict[str, Any]],
        process: str,
        *,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._asking = asking
        self._listening = listening
        self._process = process
        self._now = now

    async def take(self, name: str, seconds: tuple[float, float], *, patience: float) -> float:
        values = {"name": name, "steps": list(seconds), "patience": patience}
        row = await self._row(_TAKE, values) or await self._row(_LOOK, values)
        return float(row["wait"]) if row else 0.0

    async def give_back(self, name: str, seconds: tuple[float, float]) -> None:
        await self._row(_GIVE_BACK, {"name": name, "steps": list(seconds)})

    async def post(self, hint: Hint) -> None:
        payload = json.dumps({"process": self._process, "hint": asdict(hint)})
        ended = {"opened": ["probe"], "closed": ["opened", "probe"], "released": ["probe"], "blocked": []}[hint.kind]
        async with self._asking.transaction():
            await self._row(_END, {"name": hint.name, "kinds": ended})
            if hint.seconds > 0:
                await self._row(_HOLD, asdict(hint))
            await self._row(_NOTIFY, {"payload": payload})

    async def probe(self, name: str, seconds: float) -> bool:
        return await self._row(_PROBE, {"name": name, "seconds": seconds}) is not None

    async def hints(self) -> AsyncGenerator[Hint]:
        await self._listening.execute(f"LISTEN {_CHANNEL}")
        held = await self._listening.execute(_HELD, {"now": self._time()})
        async for row in held:
            yield Hint(**row)
        async for notice in self._listening.notifies():
            said = json.loads(notice.payload)
            if said["process"] != self._process:
                yield Hint(**said["hint"])

    async def attend(self) -> int:
        values = {"process": self._process, "lately": SEEN_LATELY_SECONDS}
        async with self._asking.transaction():
            await self._row(_LEAVE, values)
            await self._row(_ATTEND, values)
            row = await self._row(_COUNT, values)
        return int(row["processes"]) if row else 1

    def _time(self) -> float | None:
        return None if self._now is None else self._now()

    async def _row(self, statement: LiteralString, values: Mapping[str, object]) -> dict[str, Any] | None:
        """Run a statement, and give its first row, where it has any."""
        cursor = await self._asking.execute(statement, {**values, "now": self._time()})
        return await cursor.fetchone() if cursor.description else None


def connect_postgres(url: str) -> Callable[[str], Any]:
    """What opens an exchange in the database of a ``postgresql://`` address."""

    @asynccontextmanager
    async def connect(process: str) -> AsyncGenerator[Exchange]:
        await anyio.to_thread.run_sync(importlib.import_module, "psycopg.rows")  # takes a quarter of a second
        asking, listening = await open_connection(url), None
        try:
            await make_tables(asking)
            listening = await open_connection(url)
            yield PostgresExchange(asking, listening, process)
        finally:
            await asking.close()
            if listening is not None:
                await listening.close()

    return connect


async def make_tables(connection: AsyncConnection[dict[str, Any]]) -> None:
    """Make what is not there yet, in the schema that the store has made."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        await connection.execute(_TABLES)


async def open_connection(url: str) -> AsyncConnection[dict[str, Any]]:
    """A connection each of whose statements is a transaction of its own."""
    from psycopg import AsyncConnection  # noqa: PLC0415 - only who has a PostgreSQL has it
    from psycopg.rows import dict_row  # noqa: PLC0415

    return await AsyncConnection[dict[str, Any]].connect(
        url, autocommit=True, row_factory=dict_row, connect_timeout=_CONNECT_SECONDS
    )
