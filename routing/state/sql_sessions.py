"""Sessions in SQL: each method names its job, which runs inside a transaction that `Tables` opened."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

from routing.errors import UnknownHandle
from routing.state import NO_SUCH_SESSION, Turn, first_kept, new_handle
from routing.state.columns import json_text, restored, stored
from routing.state.tables import Connection, Job, Row, Tables
from routing.types import Image, Message, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSessions:
    """The `routing.state.Sessions` in ``database``.

    A session is forgotten ``ttl_seconds`` after its last message, and keeps ``max_messages`` of them.
    """

    database: Tables
    wall_clock: Callable[[], float]
    ttl_seconds: int
    max_messages: int

    async def start(self, caller: str, messages: Sequence[Message] = (), *, session_id: str | None = None) -> str:
        session = self._named(session_id or new_handle("ses"), caller)
        job = partial(_insert_session, session=session, messages=tuple(messages), most=self.max_messages)
        await self.database.write(job)
        return session.session_id

    def joined(self, session_id: str, caller: str, turn: Turn) -> Job[None]:
        """The `Job` that adds a turn, for the ledger's write of its route."""
        add = _insert_session if turn.begins else _append
        job = partial(add, session=self._named(session_id, caller), messages=turn.messages, most=self.max_messages)
        return partial(job, answered_by=turn.answered_by)

    async def history(self, session_id: str, caller: str) -> tuple[Message, ...]:
        return await self.database.read(partial(_select_messages, session=self._named(session_id, caller)))

    async def answered_by(self, session_id: str, caller: str, *, within_seconds: float) -> str | None:
        session = self._named(session_id, caller)
        return await self.database.read(
            partial(_select_model, session=session, used_after=session.now - within_seconds)
        )

    async def append(self, session_id: str, caller: str, messages: Sequence[Message]) -> None:
        session = self._named(session_id, caller)
        job = partial(_append, session=session, messages=tuple(messages), most=self.max_messages)
        await self.database.write(job)

    async def latest(self, caller: str) -> str | None:
        return next(iter(await self.recent(caller, 1)), None)

    async def recent(self, caller: str, limit: int) -> tuple[str, ...]:
        bindings = {"caller": stored(caller), "used_after": self._used_after(), "limit": limit}
        return await self.database.read(partial(_select_recent, bindings=bindings))

    async def delete(self, session_id: str, caller: str) -> None:
        await self.database.write(partial(_delete_session, session=self._named(session_id, caller)))

    async def sweep(self) -> int:
        return await self.database.write(self.remove_expired)

    async def remove_expired(self, connection: Connection) -> int:
        """The `Job` of `sweep`, for the store's housekeeping."""
        return await _delete_expired(connection, self._used_after())

    def _named(self, session_id: str, caller: str) -> _NamedSession:
        now = self.wall_clock()
        return _NamedSession(session_id=session_id, caller=caller, now=now, used_after=now - self.ttl_seconds)

    def _used_after(self) -> float:
        return self.wall_clock() - self.ttl_seconds


_INSERT_SESSION = """
INSERT INTO sessions (session_id, caller, used_at, answered_by) VALUES (:session_id, :caller, :now, :answered_by)
"""

_FIND_SESSION = """
SELECT 1 FROM sessions WHERE session_id = :session_id AND caller = :caller AND used_at > :used_after
"""

_TOUCH_SESSION = "UPDATE sessions SET used_at = :now, answered_by = :answered_by WHERE session_id = :session_id"
_SELECT_MODEL = "SELECT answered_by FROM sessions WHERE session_id = :session_id AND used_at >= :used_after"
_DELETE_SESSION = "DELETE FROM sessions WHERE session_id = :session_id"
_DELETE_EXPIRED = "DELETE FROM sessions WHERE used_at <= :used_after"

_SELECT_RECENT = """
SELECT session_id FROM sessions WHERE caller = :caller AND used_at > :used_after ORDER BY used_at DESC, id DESC LIMIT :limit
"""

_SELECT_MESSAGES = "SELECT message FROM messages WHERE session_id = :session_id ORDER BY position"
_SELECT_ROLES = "SELECT position, role FROM messages WHERE session_id = :session_id ORDER BY position"

_INSERT_MESSAGE = "INSERT INTO messages (session_id, position, message) VALUES (:session_id, :position, :message)"

_DELETE_OLDEST = """
DELETE FROM messages WHERE session_id = :session_id AND position IN
  (SELECT position FROM messages WHERE session_id = :session_id ORDER BY position LIMIT :count)
"""


_KEPT_AS_THEY_ARE = tuple(part.name for part in fields(Message) if part.name not in {"images", "native"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedSession:
    """A session as a caller names it, and when: it is live if it was used after ``used_after``."""

    session_id: str
    caller: str
    now: float
    used_after: float

    async def found_in(self, connection: Connection) -> Row:
        """The session's row key, once it is certain that the caller has such a session.

        Raises:
            UnknownHandle: they do not, or it has expired.

        """
        key = {"session_id": stored(self.session_id)}
        wanted = {**key, "caller": stored(self.caller), "used_after": self.used_after}
        if not await connection.select(_FIND_SESSION, wanted):
            raise UnknownHandle(NO_SUCH_SESSION)
        return key


async def _insert_session(
    connection: Connection,
    *,
    session: _NamedSession,
    messages: Sequence[Message],
    most: int,
    answered_by: str | None = None,
) -> None:
    named = {"session_id": session.session_id, "caller": stored(session.caller), "now": session.now}
    await connection.run(_INSERT_SESSION, {**named, "answered_by": stored(answered_by)})
    kept = messages[first_kept([message.role for message in messages], most) :]
    await connection.executemany(_INSERT_MESSAGE, _rows_of(kept, {"session_id": session.session_id}, after=0))


async def _select_messages(connection: Connection, *, session: _NamedSession) -> tuple[Message, ...]:
    rows = await connection.select(_SELECT_MESSAGES, await session.found_in(connection))
    return tuple(_message_of(json.loads(row["message"])) for row in rows)


async def _select_model(connection: Connection, *, session: _NamedSession, used_after: float) -> str | None:
    rows = await connection.select(_SELECT_MODEL, {**await session.found_in(connection), "used_after": used_after})
    return restored(rows[0]["answered_by"]) if rows else None


async def _append(
    connection: Connection,
    *,
    session: _NamedSession,
    messages: Sequence[Message],
    most: int,
    answered_by: str | None = None,
) -> None:
    await connection.lock(
        [f"session {stored(session.session_id)}"]
    )  # positions are counted up, and the oldest counted out
    key = await session.found_in(connection)
    await connection.run(_TOUCH_SESSION, {**key, "now": session.now, "answered_by": stored(answered_by)})
    said = await connection.select(_SELECT_ROLES, key)
    last = said[-1]["position"] if said else 0
    await connection.executemany(_INSERT_MESSAGE, _rows_of(messages, key, after=last))
    if count := first_kept([*(row["role"] for row in said), *(message.role for message in messages)], most):
        await connection.run(_DELETE_OLDEST, {**key, "count": count})


async def _select_recent(connection: Connection, *, bindings: Row) -> tuple[str, ...]:
    return tuple(row["session_id"] for row in await connection.select(_SELECT_RECENT, bindings))


async def _delete_session(connection: Connection, *, session: _NamedSession) -> None:
    await connection.run(_DELETE_SESSION, await session.found_in(connection))


async def _delete_expired(connection: Connection, used_after: float) -> int:
    return await connection.execute(_DELETE_EXPIRED, {"used_after": used_after})


def _rows_of(messages: Sequence[Message], key: Row, *, after: int) -> list[Row]:
    """The messages' rows, at the positions that follow one."""
    return [
        {**key, "position": position, "message": _document_of(message)}
        for position, message in enumerate(messages, start=after + 1)
    ]


def _document_of(message: Message) -> str:
    kept = {name: getattr(message, name) for name in _KEPT_AS_THEY_ARE}
    images = [{"media_type": image.media_type, "data": b64encode(image.data).decode()} for image in message.images]
    return json_text({**kept, "images": images})


def _message_of(document: Row) -> Message:
    sequences: Row = {
        "tool_calls": tuple(ToolCall(**call) for call in document["tool_calls"]),
        "images": tuple(
            Image(media_type=image["media_type"], data=b64decode(image["data"])) for image in document["images"]
        ),
    }
    return Message(**{**document, **sequences})
