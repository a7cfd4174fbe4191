"""Answers and batches in SQL: each method names its job, which runs inside a transaction that `Tables` opened.

Of an answer this keeps what the ledger does not: text, pictures, vectors. Everything expires with the sessions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from routing.errors import UnknownHandle
from routing.pricing import with_steps
from routing.state import (
    LEASE_SECONDS,
    NO_SUCH_ANSWER,
    NO_SUCH_BATCH,
    BatchItem,
    BatchPlan,
    KeptAnswer,
    KeptBatch,
    Ledger,
)
from routing.state.columns import json_text, restored, stored
from routing.state.handles import new_handle
from routing.state.leases import Leases
from routing.state.tables import Connection, Row, Tables
from routing.types import Embeddings, Image, PatternStep, RouteRecord, Similarity, Usage

_DIED = "the server that worked on it ended before it was answered. Ask again to get an answer."


class SqlJobs:
    """The `routing.state.Jobs` in ``database``; the rest of an answer is in ``ledger``."""

    def __init__(self, *, database: Tables, ledger: Ledger, wall_clock: Callable[[], float], ttl_seconds: int) -> None:
        self._database = database
        self._ledger = ledger
        self._wall_clock = wall_clock
        self._ttl_seconds = ttl_seconds
        self._leases = Leases(self._renew)

    async def begin(self, route_id: str, caller: str) -> None:
        row = {"route_id": stored(route_id), "caller": stored(caller), "status": "running", **self._times()}
        self._leases.hold(route_id)
        await self._database.write(partial(_execute, sql=_INSERT_ANSWER, row={**row, "content": None, "error": None}))

    async def finish(self, route_id: str, caller: str, *, record: RouteRecord | None, error: str | None) -> None:
        self._leases.let_go(route_id)
        row = {
            "route_id": stored(route_id),
            "caller": stored(caller),
            "status": "failed" if record is None else "completed",
            "content": None if record is None else json_text(_content_of(record)),
            "error": None if error is None else stored(error),
            **self._times(),
        }
        await self._database.write(partial(_execute, sql=_REPLACE_ANSWER, row=row))

    async def find(self, route_id: str, caller: str) -> KeptAnswer:
        bindings = {"route_id": stored(route_id), "caller": stored(caller), "now": self._wall_clock()}
        row = await self._database.read(
            partial(_select_one, sql=_SELECT_ANSWER, bindings=bindings, missing=NO_SUCH_ANSWER)
        )
        if row["status"] == "completed":
            record = await self._ledger.route(route_id, caller)
            return KeptAnswer(status="completed", record=_with_content(record, json.loads(row["content"])))
        if row["status"] == "running" and row["leased_until"] > bindings["now"]:
            return KeptAnswer(status="running")
        return KeptAnswer(status="failed", error=restored(row["error"]) or _DIED)

    async def recent(self, caller: str, limit: int) -> tuple[str, ...]:
        bindings = {"caller": stored(caller), "now": self._wall_clock(), "limit": limit}
        return await self._database.read(partial(_select_recent, bindings=bindings))

    async def open_batch(self, caller: str, plan: BatchPlan) -> str:
        batch_id = new_handle("bat")
        row = {"batch_id": batch_id, "caller": stored(caller), "plan": json_text(plan)}
        expiry = {"leased_until": 0.0, "expires_at": self._wall_clock() + self._ttl_seconds}
        await self._database.write(partial(_execute, sql=_INSERT_BATCH, row={**row, **expiry}))
        return batch_id

    async def batch(self, batch_id: str, caller: str) -> KeptBatch:
        bindings = {"batch_id": stored(batch_id), "caller": stored(caller), "now": self._wall_clock()}
        return await self._database.read(partial(_select_batch, bindings=bindings))

    async def take_batch(self, batch_id: str) -> bool:
        bindings = {"batch_id": stored(batch_id), "now": self._wall_clock(), **self._times()}
        taken = await self._database.write(partial(_take_batch, bindings=bindings))
        if taken:
            self._leases.hold(batch_id)
        return taken

    async def finish_item(self, batch_id: str, item: BatchItem) -> None:
        row = {"batch_id": stored(batch_id), "position": item.position, "item": json_text(item)}
        await self._database.write(partial(_execute, sql=_REPLACE_ITEM, row=row))

    async def leave_batch(self, batch_id: str) -> None:
        if self._leases.let_go(batch_id):
            await self._database.write(partial(_execute, sql=_LEAVE_BATCH, row={"batch_id": stored(batch_id)}))

    async def renew(self) -> None:
        """Prolong the leases of what this process works on; done by itself three times in `LEASE_SECONDS`."""
        await self._leases.renew()

    async def aclose(self) -> None:
        """Leave the leases to run out."""
        await self._leases.aclose()

    async def remove_expired(self, connection: Connection) -> None:
        """Forget what has been kept long enough, as part of the store's housekeeping."""
        for sql in _DELETE_EXPIRED:
            await connection.run(sql, {"now": self._wall_clock()})

    def _times(self) -> dict[str, float]:
        now = self._wall_clock()
        return {"leased_until": now + LEASE_SECONDS, "expires_at": now + self._ttl_seconds}

    async def _renew(self, names: Collection[str]) -> None:
        rows = [{"name": stored(name), **self._times()} for name in sorted(names)]
        await self._database.write(partial(_prolong, rows=rows))


_INSERT_ANSWER = """
INSERT INTO answers (route_id, caller, status, content, error, leased_until, expires_at)
VALUES (:route_id, :caller, :status, :content, :error, :leased_until, :expires_at) ON CONFLICT DO NOTHING
"""

_REPLACE_ANSWER = _INSERT_ANSWER.replace(
    "ON CONFLICT DO NOTHING",
    "ON CONFLICT (route_id) DO UPDATE SET status = :status, content = :content, error = :error, expires_at = :expires_at "
    "WHERE answers.caller = :caller",
)

_SELECT_ANSWER = """
SELECT status, content, error, leased_until FROM answers
WHERE route_id = :route_id AND caller = :caller AND expires_at > :now
"""

_SELECT_RECENT = """
SELECT route_id FROM answers WHERE caller = :caller AND expires_at > :now ORDER BY expires_at DESC, route_id LIMIT :limit
"""

_INSERT_BATCH = """
INSERT INTO batches (batch_id, caller, plan, leased_until, expires_at)
VALUES (:batch_id, :caller, :plan, :leased_until, :expires_at)
"""

_SELECT_BATCH = """
SELECT plan, leased_until FROM batches WHERE batch_id = :batch_id AND caller = :caller AND expires_at > :now
"""

_TAKE_BATCH = """
UPDATE batches SET leased_until = :leased_until, expires_at = :expires_at
WHERE batch_id = :batch_id AND leased_until <= :now
"""

_LEAVE_BATCH = "UPDATE batches SET leased_until = 0 WHERE batch_id = :batch_id"
_SELECT_ITEMS = "SELECT item FROM batch_items WHERE batch_id = :batch_id"
_REPLACE_ITEM = """
INSERT INTO batch_items (batch_id, position, item) VALUES (:batch_id, :position, :item)
ON CONFLICT (batch_id, position) DO UPDATE SET item = excluded.item
"""

_PROLONG = tuple(
    f"UPDATE {table} SET leased_until = :leased_until, expires_at = :expires_at "  # noqa: S608 - our own words
    f"WHERE {name} = :name"
    for table, name in (("answers", "route_id"), ("batches", "batch_id"))
)
_DELETE_EXPIRED = ("DELETE FROM answers WHERE expires_at <= :now", "DELETE FROM batches WHERE expires_at <= :now")


async def _execute(connection: Connection, *, sql: str, row: Row) -> None:
    await connection.run(sql, row)


async def _prolong(connection: Connection, *, rows: Sequence[Row]) -> None:
    for sql in _PROLONG:
        await connection.executemany(sql, rows)


async def _select_recent(connection: Connection, *, bindings: Row) -> tuple[str, ...]:
    return tuple(row["route_id"] for row in await connection.select(_SELECT_RECENT, bindings))


async def _select_one(connection: Connection, *, sql: str, bindings: Row, missing: str) -> Row:
    rows = await connection.select(sql, bindings)
    if not rows:
        raise UnknownHandle(missing)
    return rows[0]


async def _take_batch(connection: Connection, *, bindings: Row) -> bool:
    return await connection.execute(_TAKE_BATCH, bindings) > 0


async def _select_batch(connection: Connection, *, bindings: Row) -> KeptBatch:
    row = await _select_one(connection, sql=_SELECT_BATCH, bindings=bindings, missing=NO_SUCH_BATCH)
    plan: dict[str, Any] = json.loads(row["plan"])
    plan["prompts"] = tuple(plan["prompts"])
    items = [BatchItem(**json.loads(found["item"])) for found in await connection.select(_SELECT_ITEMS, bindings)]
    return KeptBatch(
        plan=BatchPlan(**plan),
        items={item.position: item for item in items},
        running=row["leased_until"] > bindings["now"],
    )


def _content_of(record: RouteRecord) -> Row:
    """What the ledger does not keep of a route."""
    return {
        "text": record.text,
        "images": [[image.media_type, base64.b64encode(image.data).decode("ascii")] for image in record.images],
        "embeddings": asdict(record.embeddings) if record.embeddings else None,
        "steps": [asdict(step) for step in record.steps],
    }


def _with_content(record: RouteRecord, content: Row) -> RouteRecord:
    images: Sequence[tuple[str, str]] = content["images"]
    steps: Sequence[Row] = content.get("steps", ())  # what was written before there were any has none
    whole = replace(
        record,
        text=content["text"],
        images=tuple(Image(media_type=kind, data=base64.b64decode(data)) for kind, data in images),
        embeddings=_embeddings_of(content["embeddings"]) if content["embeddings"] else None,
    )
    return with_steps(whole, tuple(map(_step_of, steps))) if steps else whole


def _step_of(document: Row) -> PatternStep:
    usage: Row = {"usage": Usage(**document["usage"])}
    return PatternStep(**{**document, **usage})


def _embeddings_of(document: dict[str, Any]) -> Embeddings:
    return Embeddings(
        form=document["form"],
        texts=tuple(document["texts"]),
        vectors=tuple(tuple(vector) for vector in document["vectors"]),
        similarities=tuple(Similarity(**row) for row in document["similarities"]),
    )
