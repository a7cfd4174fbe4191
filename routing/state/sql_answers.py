"""Answers that may be given again, in SQL: each method names its job, which runs inside a transaction that `Tables` opened.

What is asked is not kept, only a digest of it and, for a search by meaning, its vector. Losing the newest rows costs no more
than the calls, so no write waits for the disk.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from routing.state import AnswerKey, AnswerToKeep, SpareAnswer
from routing.state.columns import json_text, restored, stored
from routing.state.tables import Connection, Row, Tables
from routing.types import Usage

MOST_COMPARED = 2_000
"""Answers of one context whose questions are compared by meaning, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlAnswers:
    """The `routing.state.Answers` in ``database``."""

    database: Tables
    wall_clock: Callable[[], float]

    async def keep(self, key: AnswerKey, answer: AnswerToKeep) -> None:
        now = self.wall_clock()
        row = {
            **_named(key),
            "model_id": answer.model_id,
            "text": stored(answer.text),
            "usage": json_text(answer.usage),
            "vector": array("f", answer.vector).tobytes() if answer.vector else None,
            "kept_at": now,
            "expires_at": now + answer.ttl_seconds,
            "size": len(answer.text.encode("utf-8", "surrogatepass")) + 4 * len(answer.vector),
        }
        job = partial(_insert, row=row, bounds={"rows": answer.most_rows, "bytes": answer.most_bytes})
        await self.database.write(job, durable=False)

    async def find(self, key: AnswerKey) -> SpareAnswer | None:
        bindings = {**_named(key), "now": self.wall_clock()}
        return await self.database.read(partial(_select_same, bindings=bindings))

    async def alike(self, key: AnswerKey, vector: Sequence[float], *, least: float) -> SpareAnswer | None:
        bindings = {**_named(key), "now": self.wall_clock(), "most": MOST_COMPARED}
        return await self.database.read(partial(_select_alike, bindings=bindings, vector=vector, least=least))

    async def remove_expired(self, connection: Connection) -> None:
        """Forget what has been kept long enough, as part of the store's housekeeping."""
        await connection.run("DELETE FROM answers_cache WHERE expires_at <= :now", {"now": self.wall_clock()})


_INSERT = """
INSERT INTO answers_cache (caller, digest, context, model_id, text, usage, vector, kept_at, expires_at, size)
VALUES (:caller, :digest, :context, :model_id, :text, :usage, :vector, :kept_at, :expires_at, :size)
ON CONFLICT (caller, digest) DO UPDATE SET context = excluded.context, model_id = excluded.model_id, text = excluded.text,
  usage = excluded.usage, vector = excluded.vector, kept_at = excluded.kept_at, expires_at = excluded.expires_at,
  size = excluded.size
"""

_DELETE_BEYOND = """
DELETE FROM answers_cache WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS together
    FROM answers_cache WHERE caller = :caller WINDOW newest AS (ORDER BY kept_at DESC, id DESC)
  ) AS placed WHERE place > :rows OR together > :bytes
)
"""

_SELECT_SAME = """
SELECT model_id, text, usage FROM answers_cache WHERE caller = :caller AND digest = :digest AND expires_at > :now
"""

_SELECT_VECTORS = """
SELECT id, vector FROM answers_cache
WHERE caller = :caller AND context = :context AND vector IS NOT NULL AND expires_at > :now
ORDER BY kept_at DESC, id DESC LIMIT :most
"""

_SELECT_ONE = "SELECT model_id, text, usage FROM answers_cache WHERE id = :id"


def _named(key: AnswerKey) -> Row:
    return {"caller": stored(key.caller), "digest": key.digest, "context": key.context}


async def _insert(connection: Connection, *, row: Row, bounds: Row) -> None:
    await connection.run(_INSERT, row)
    await connection.run(_DELETE_BEYOND, {"caller": row["caller"], **bounds})


async def _select_same(connection: Connection, *, bindings: Row) -> SpareAnswer | None:
    return next(map(_answer_of, await connection.select(_SELECT_SAME, bindings)), None)


async def _select_alike(
    connection: Connection, *, bindings: Row, vector: Sequence[float], least: float
) -> SpareAnswer | None:
    """The answer whose question is the most alike, the newest of equals; vectors of other lengths are another embedder's."""
    import numpy as np  # noqa: PLC0415 - whoever compares by meaning has loaded it for the embedder

    asked = np.asarray(vector, np.float32)
    found = await connection.select(_SELECT_VECTORS, bindings)
    rows = [row for row in found if len(row["vector"]) == asked.nbytes]
    if not rows:
        return None
    likeness = np.frombuffer(b"".join(row["vector"] for row in rows), np.float32).reshape(len(rows), -1) @ asked
    nearest = int(np.argmax(likeness))
    if likeness[nearest] < least:
        return None
    return next(map(_answer_of, await connection.select(_SELECT_ONE, {"id": rows[nearest]["id"]})), None)


def _answer_of(row: Row) -> SpareAnswer:
    return SpareAnswer(model_id=row["model_id"], text=restored(row["text"]), usage=Usage(**json.loads(row["usage"])))
