"""The store in one SQLite file, by way of apsw (docs/adr/0003-apsw.md says why not the standard library's).

    SqliteStore         the interface: each method names its SQL function, and whether it reads or writes
      Database          the file: one writer thread fed by a queue, a few readers; knows nothing of what is kept
      _insert_route …   SQL functions of one connection, run inside a transaction that `Database` opened

Durability: WAL with ``synchronous=FULL``. The writer takes what is queued into one transaction, each write in a savepoint of
its own, and answers after COMMIT; so a write that returned survives ``kill -9`` and a power cut, and many callers
share one flush. Other processes may use the same file. It must not lie on a network file system, where SQLite's locks cannot be
relied on (https://sqlite.org/wal.html); that is not probed for.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
import anyio.to_thread
import apsw

from routing.errors import SettingsError, UnknownHandle
from routing.state import NO_SUCH_ROUTE, NO_SUCH_SESSION, LedgerTotals, first_kept, new_handle
from routing.state.migrations import MIGRATIONS
from routing.types import Attempt, Image, Message, ModelSelection, Rejection, RouteRecord, TaskAnalysis, ToolCall, Usage

T = TypeVar("T")
Row = dict[str, Any]
Job = Callable[[apsw.Connection], T]
"""Work on a connection that is inside a transaction. It runs in another thread, and may raise to undo its own writes."""

APPLICATION_ID = int.from_bytes(b"Pnts")
"""Marks the file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for another process: shorter than the recorder waits for its write, so that the reason is told."""

HOUSEKEEPING_SECONDS = 600
_MOST_WRITES_PER_COMMIT = 256
_READERS = 4
_SECONDS_BETWEEN_TRIES = 0.02

_ADVICE: Mapping[type[apsw.Error], str] = {
    apsw.NotADBError: "is not a SQLite database. Move it aside, and a new one is made at the next start.",
    apsw.CorruptError: "is damaged. Move it aside together with its -wal and -shm files; a new one is made at the next start.",
    apsw.BusyError: "is held by another process. End what holds it, or try again.",
    apsw.FullError: "cannot grow: its disk is full. Make room, and try again.",
    apsw.ReadOnlyError: "cannot be written. Make it and its folder writable, or name another folder with POINTSMAN_HOME.",
    apsw.CantOpenError: "cannot be opened. Make it readable and writable, or name another folder with POINTSMAN_HOME.",
    apsw.IOError: "cannot be read or written: its disk fails, or is gone. Name another folder with POINTSMAN_HOME.",
}

_log = logging.getLogger(__name__)


class SqliteStore:
    """The `routing.state.Store` in the file at ``path``; it is opened with ``async with`` or `open`.

    A session is forgotten ``session_ttl_seconds`` after its last message, and keeps ``session_max_messages`` of them.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        session_ttl_seconds: int = 86_400,
        session_max_messages: int = 50,
    ) -> None:
        self._wall_clock = wall_clock
        self._session_ttl_seconds = session_ttl_seconds
        self._session_max_messages = session_max_messages
        self._database = Database(path, wall_clock=wall_clock, housekeeping=self._housekeeping)

    async def open(self) -> None:
        """Make the file where there is none, and bring it up to date.

        Raises:
            SettingsError: the folder or the file cannot be used; nothing in it has been changed.

        """
        await self._database.open()

    async def aclose(self) -> None:
        await self._database.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def record(self, route: RouteRecord) -> None:
        await self._database.write(partial(_insert_route, route=route))

    async def route(self, route_id: str, caller: str) -> RouteRecord:
        return await self._database.read(partial(_select_route, route_id=route_id, caller=caller))

    async def recent(self, caller: str, limit: int) -> tuple[RouteRecord, ...]:
        return await self._database.read(partial(_select_recent, caller=caller, limit=limit))

    async def totals(self, caller: str, since: float | None = None) -> LedgerTotals:
        return await self._database.read(partial(_select_totals, caller=caller, since=since))

    async def start(self, caller: str) -> str:
        session_id = new_handle("ses")
        await self._database.write(
            partial(_insert_session, session_id=session_id, caller=caller, now=self._wall_clock())
        )
        return session_id

    async def history(self, session_id: str, caller: str) -> tuple[Message, ...]:
        return await self._database.read(partial(_select_messages, session=self._named(session_id, caller)))

    async def append(self, session_id: str, caller: str, messages: Sequence[Message]) -> None:
        session = self._named(session_id, caller)
        job = partial(_append, session=session, messages=tuple(messages), most=self._session_max_messages)
        await self._database.write(job)

    async def latest(self, caller: str) -> str | None:
        return await self._database.read(partial(_select_latest, caller=caller, used_after=self._used_after()))

    async def delete(self, session_id: str, caller: str) -> None:
        await self._database.write(partial(_delete_session, session=self._named(session_id, caller)))

    async def sweep(self) -> int:
        return await self._database.write(self._housekeeping)

    def _housekeeping(self, connection: apsw.Connection) -> int:
        return _delete_expired(connection, self._used_after())

    def _named(self, session_id: str, caller: str) -> _NamedSession:
        now = self._wall_clock()
        return _NamedSession(session_id=session_id, caller=caller, now=now, used_after=now - self._session_ttl_seconds)

    def _used_after(self) -> float:
        return self._wall_clock() - self._session_ttl_seconds


# ── The file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True, kw_only=True)
class _Write(Generic[T]):
    """A write that waits in the queue, and the caller who waits for it."""

    job: Job[T]
    done: asyncio.Future[T]
    settle: Callable[[], None] = field(init=False)

    def run(self, connection: apsw.Connection) -> None:
        """Do the work in a savepoint; its failure is its own.

        Raises:
            Exception: SQLite has undone the whole transaction (the disk is full, or fails), so no write of it holds.

        """
        connection.execute("SAVEPOINT job")
        try:
            value = self.job(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            self.fail(error)
        else:
            self.settle = partial(self.done.set_result, value)
        connection.execute("RELEASE job")

    def fail(self, error: Exception) -> None:
        """Take note that nothing was written."""
        self.settle = partial(self.done.set_exception, error)

    def answer(self) -> None:
        """Wake the caller, who may be cancelled by now, or gone with their event loop."""
        with suppress(RuntimeError):
            self.done.get_loop().call_soon_threadsafe(lambda: None if self.done.done() else self.settle())


class Database:
    """One SQLite file: writes in the order they were asked for, reads beside them, each in a transaction of its own.

    ``housekeeping`` is run with a write at most every `HOUSEKEEPING_SECONDS` of ``wall_clock``, the first one included.
    """

    def __init__(self, path: Path, *, wall_clock: Callable[[], float], housekeeping: Job[object]) -> None:
        self._path = path
        self._wall_clock = wall_clock
        self._housekeeping = housekeeping
        self._housekeeping_due = -math.inf
        self._queue: SimpleQueue[_Write[Any] | None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._readers: list[apsw.Connection] = []
        self._reading = anyio.CapacityLimiter(_READERS)

    async def open(self) -> None:
        """Make or open the file, bring its tables up to date, and start the writer.

        Raises:
            SettingsError: the folder or the file cannot be used.

        """
        with _explaining(self._path):
            connection = await anyio.to_thread.run_sync(_open_database, self._path)
        # A daemon, so that a program which forgets to close still ends; nothing acknowledged is lost by that.
        self._writer = threading.Thread(target=self._serve, args=(connection,), name="sqlite-writer", daemon=True)
        self._writer.start()

    async def aclose(self) -> None:
        """Write what is queued, then close."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        while self._readers:
            self._readers.pop().close()  # before the writer, which as the last one to leave folds the -wal file in
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.join)

    async def write(self, job: Job[T]) -> T:
        """Run ``job`` in the writer and return its result once it is on the disk. Cancelling does not take it back.

        Raises:
            SettingsError: the file cannot be written.

        """
        self._must_be_open()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Write(job=job, done=done))
        with _explaining(self._path):
            return await done

    async def read(self, job: Job[T]) -> T:
        """Run ``job`` in a worker thread on what was committed when it began.

        Raises:
            SettingsError: the file cannot be read.

        """
        self._must_be_open()
        with _explaining(self._path):
            return await anyio.to_thread.run_sync(self._run_read, job, limiter=self._reading)

    def _must_be_open(self) -> None:
        if self._writer is None:
            raise RuntimeError("the store is not open")

    def _run_read(self, job: Job[T]) -> T:
        with self._reader() as connection, _transaction(connection, "BEGIN"):
            return job(connection)

    @contextmanager
    def _reader(self) -> Generator[apsw.Connection]:
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = _connect(self._path)
            connection.pragma("query_only", True)  # noqa: FBT003 - a pragma's value has no name
        try:
            yield connection
        finally:
            self._readers.append(connection)

    def _serve(self, connection: apsw.Connection) -> None:
        while batch := self._next_batch():
            self._commit(connection, batch)
            for write in batch:
                write.answer()
            self._keep_house(connection)
        connection.close()

    def _next_batch(self) -> list[_Write[Any]]:
        """Wait for a write, and take what is queued behind it; nothing when it is time to close."""
        batch: list[_Write[Any]] = []
        while not batch or (len(batch) < _MOST_WRITES_PER_COMMIT and not self._queue.empty()):
            write = self._queue.get()
            if write is None:
                if batch:
                    self._queue.put(None)  # close after this batch
                break
            batch.append(write)
        return batch

    def _commit(self, connection: apsw.Connection, batch: Sequence[_Write[Any]]) -> None:
        try:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                for write in batch:
                    write.run(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, each of these callers waits for an answer
            for write in batch:
                write.fail(error)

    def _keep_house(self, connection: apsw.Connection) -> None:
        if self._wall_clock() < self._housekeeping_due:
            return
        self._housekeeping_due = self._wall_clock() + HOUSEKEEPING_SECONDS
        try:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                self._housekeeping(connection)
        except Exception:  # noqa: BLE001 - nobody waits for it, and it is tried again
            _log.exception("housekeeping in %s failed", self._path)


@contextmanager
def _transaction(connection: apsw.Connection, begin: str) -> Generator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk or a failing one has already ended it
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _explaining(path: Path) -> Generator[None]:
    """Say what to do about a file that cannot be used; an error in our own SQL passes as it is."""
    try:
        yield
    except tuple(_ADVICE) as error:
        advice = next(advice for kind, advice in _ADVICE.items() if isinstance(error, kind))
        raise SettingsError(f"{path} {advice}") from error


def _open_database(path: Path) -> apsw.Connection:
    _make_file(path)
    connection = _connect(path)
    try:
        _refuse_what_is_not_ours(connection, path)
        _use_wal(connection)
        with _transaction(connection, "BEGIN IMMEDIATE"):
            _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_file(path: Path) -> None:
    """Make folder and file readable by their owner alone; SQLite gives the -wal and -shm files the mode of the file.

    An existing file is not even opened: closing it would drop the locks of every connection of this process
    (https://sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not path.parent.is_dir():
            raise _unusable(path, "it is not a folder") from None
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"the folder {path.parent} cannot hold {path.name}: {problem}. Make it a writable folder, or name another with "
        "POINTSMAN_HOME."
    )


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("foreign_keys", True)  # noqa: FBT003 - a pragma's value has no name
    connection.pragma("synchronous", "FULL")
    connection.pragma("secure_delete", True)  # noqa: FBT003 - as above; what is forgotten is overwritten
    return connection


def _refuse_what_is_not_ours(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") == APPLICATION_ID:
        return
    if _rows(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
        raise SettingsError(
            f"{path} is another program's database. Move it aside, or name another with POINTSMAN_HOME."
        )


def _use_wal(connection: apsw.Connection) -> None:
    """Switch to WAL. Where another process makes the same file at the same time, SQLite fails here without waiting."""
    last_try = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.pragma("journal_mode", "WAL")
        except apsw.BusyError:
            if time.monotonic() > last_try:
                raise
            time.sleep(_SECONDS_BETWEEN_TRIES)
        else:
            return


def _migrate(connection: apsw.Connection, path: Path) -> None:
    version: int = connection.pragma("user_version")
    if version > len(MIGRATIONS):
        raise SettingsError(
            f"{path} was written by a newer release: its tables have version {version}, and this release knows "
            f"{len(MIGRATIONS)}. Install the newer release, or name another folder with POINTSMAN_HOME."
        )
    if version < len(MIGRATIONS):
        connection.execute(";".join(MIGRATIONS[version:]))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(MIGRATIONS))


def _rows(connection: apsw.Connection, sql: str, bindings: Mapping[str, Any] | None = None) -> list[Row]:
    """The rows by column name, all of them: a half-read cursor would keep the transaction open."""
    cursor = connection.execute(sql, bindings)
    return [dict(zip((name for name, _ in cursor.get_description()), row, strict=True)) for row in cursor]


# ── Text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
#
# SQLite stores UTF-8, which has no lone surrogates, and its functions stop at NUL. JSON can escape both, so documents are
# JSON and plain text is the inside of a JSON string, which for text without quotes and backslashes is the text itself.


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text if _is_utf8(text) else json.dumps(value, allow_nan=False, separators=(",", ":"))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stored(value: object) -> Any:
    return _json(value)[1:-1] if isinstance(value, str) else value


def _read(value: Any) -> Any:
    return json.loads(f'"{value}"') if isinstance(value, str) else value


# ── The ledger ────────────────────────────────────────────────────────────────────────────────────────────────────────

_INSERT_ROUTE = """
INSERT INTO routes (route_id, caller, session_id, started_at, latency_ms, outcome, prompt_sha256, model_used, finish_reason,
  cost_microusd, baseline_model, baseline_cost_microusd, error, usage, notices, analysis, selection)
VALUES (:route_id, :caller, :session_id, :started_at, :latency_ms, :outcome, :prompt_sha256, :model_used, :finish_reason,
  :cost_microusd, :baseline_model, :baseline_cost_microusd, :error, :usage, :notices, :analysis, :selection)
"""

_INSERT_ATTEMPT = """
INSERT INTO attempts (route_id, position, model_id, provider, outcome, started_at, latency_ms, first_token_ms, finish_reason,
  error, cost_microusd, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated)
VALUES (:route_id, :position, :model_id, :provider, :outcome, :started_at, :latency_ms, :first_token_ms, :finish_reason,
  :error, :cost_microusd, :input_tokens, :output_tokens, :cache_read_tokens, :cache_write_tokens, :reasoning_tokens,
  :estimated)
"""

_ROUTE_COLUMNS = """
SELECT route_id, caller, session_id, started_at, latency_ms, outcome, prompt_sha256, model_used, finish_reason,
  cost_microusd, baseline_model, baseline_cost_microusd, error, usage, notices, analysis, selection
FROM routes
"""

_SELECT_ROUTE = f"{_ROUTE_COLUMNS} WHERE route_id = :route_id AND caller = :caller"
_SELECT_RECENT = f"{_ROUTE_COLUMNS} WHERE caller = :caller ORDER BY started_at DESC, id DESC LIMIT :limit"

_SELECT_ATTEMPTS = """
SELECT model_id, provider, outcome, started_at, latency_ms, first_token_ms, finish_reason, error, cost_microusd,
  input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, estimated
FROM attempts WHERE route_id = :route_id ORDER BY position
"""

_SUM_ROUTES = """
SELECT count(*) AS routes, coalesce(sum(baseline_cost_microusd), 0) AS baseline_microusd
FROM routes WHERE caller = :caller AND started_at >= :since
"""

_SUM_ATTEMPTS = """
SELECT count(*) AS attempts,
  coalesce(sum(attempts.input_tokens), 0) AS input_tokens,
  coalesce(sum(attempts.output_tokens), 0) AS output_tokens,
  coalesce(sum(attempts.cost_microusd), 0) AS cost_microusd,
  count(*) - count(attempts.cost_microusd) AS unpriced_attempts
FROM routes JOIN attempts USING (route_id) WHERE routes.caller = :caller AND routes.started_at >= :since
"""

_DOCUMENTS = ("usage", "notices", "analysis", "selection")
_USAGE_COLUMNS = tuple(part.name for part in fields(Usage))


def _insert_route(connection: apsw.Connection, *, route: RouteRecord) -> None:
    row = asdict(replace(route, text=""))
    documents = {name: None if row[name] is None else _json(row[name]) for name in _DOCUMENTS}
    connection.execute(_INSERT_ROUTE, {**_scalars(row), **documents})
    attempts = enumerate(row["attempts"])
    connection.executemany(
        _INSERT_ATTEMPT,
        [
            _scalars({**attempt, **attempt["usage"], "route_id": route.route_id, "position": position})
            for position, attempt in attempts
        ],
    )


def _scalars(row: Mapping[str, object]) -> Row:
    return {name: _stored(value) for name, value in row.items() if not isinstance(value, (dict, tuple))}


def _select_route(connection: apsw.Connection, *, route_id: str, caller: str) -> RouteRecord:
    rows = _rows(connection, _SELECT_ROUTE, {"route_id": _stored(route_id), "caller": _stored(caller)})
    if not rows:
        raise UnknownHandle(NO_SUCH_ROUTE)
    return _route_of(connection, rows[0])


def _select_recent(connection: apsw.Connection, *, caller: str, limit: int) -> tuple[RouteRecord, ...]:
    rows = _rows(connection, _SELECT_RECENT, {"caller": _stored(caller), "limit": limit})
    return tuple(_route_of(connection, row) for row in rows)


def _select_totals(connection: apsw.Connection, *, caller: str, since: float | None) -> LedgerTotals:
    bindings = {"caller": _stored(caller), "since": -math.inf if since is None else since}
    [routes] = _rows(connection, _SUM_ROUTES, bindings)
    [attempts] = _rows(connection, _SUM_ATTEMPTS, bindings)
    return LedgerTotals(**routes, **attempts)


def _route_of(connection: apsw.Connection, row: Row) -> RouteRecord:
    attempts = _rows(connection, _SELECT_ATTEMPTS, {"route_id": row["route_id"]})
    documents: Row = {name: None if row[name] is None else json.loads(row[name]) for name in _DOCUMENTS}
    scalars = {name: _read(value) for name, value in row.items() if name not in _DOCUMENTS}
    return RouteRecord(
        **scalars,
        attempts=tuple(_attempt_of(attempt) for attempt in attempts),
        usage=Usage(**documents["usage"]),
        notices=tuple(documents["notices"]),
        analysis=TaskAnalysis(**documents["analysis"]) if documents["analysis"] else None,
        selection=_selection_of(documents["selection"]) if documents["selection"] else None,
    )


def _attempt_of(row: Row) -> Attempt:
    usage = {name: row.pop(name) for name in _USAGE_COLUMNS}
    usage["estimated"] = bool(usage["estimated"])
    return Attempt(**{name: _read(value) for name, value in row.items()}, usage=Usage(**usage))


def _selection_of(document: Row) -> ModelSelection:
    sequences: Row = {
        "fallback_models": tuple(document["fallback_models"]),
        "rejections": tuple(Rejection(**rejection) for rejection in document["rejections"]),
        "notices": tuple(document["notices"]),
    }
    return ModelSelection(**{**document, **sequences})


# ── Sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_INSERT_SESSION = "INSERT INTO sessions (session_id, caller, used_at) VALUES (:session_id, :caller, :now)"

_FIND_SESSION = """
SELECT 1 FROM sessions WHERE session_id = :session_id AND caller = :caller AND used_at > :used_after
"""

_TOUCH_SESSION = "UPDATE sessions SET used_at = :now WHERE session_id = :session_id"
_DELETE_SESSION = "DELETE FROM sessions WHERE session_id = :session_id"
_DELETE_EXPIRED = "DELETE FROM sessions WHERE used_at <= :used_after"

_SELECT_LATEST = """
SELECT session_id FROM sessions WHERE caller = :caller AND used_at > :used_after ORDER BY used_at DESC, id DESC LIMIT 1
"""

_SELECT_MESSAGES = "SELECT message FROM messages WHERE session_id = :session_id ORDER BY position"
_SELECT_ROLES = "SELECT role FROM messages WHERE session_id = :session_id ORDER BY position"

_INSERT_MESSAGE = """
INSERT INTO messages (session_id, position, message)
VALUES (:session_id, (SELECT coalesce(max(position), 0) + 1 FROM messages WHERE session_id = :session_id), :message)
"""

_DELETE_OLDEST = """
DELETE FROM messages WHERE session_id = :session_id AND position IN
  (SELECT position FROM messages WHERE session_id = :session_id ORDER BY position LIMIT :count)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedSession:
    """A session as a caller names it, and when: it is live if it was used after ``used_after``."""

    session_id: str
    caller: str
    now: float
    used_after: float

    def found_in(self, connection: apsw.Connection) -> Row:
        """The session's row key, once it is certain that the caller has such a session.

        Raises:
            UnknownHandle: they do not, or it has expired.

        """
        key = {"session_id": _stored(self.session_id)}
        if not _rows(connection, _FIND_SESSION, {**key, "caller": _stored(self.caller), "used_after": self.used_after}):
            raise UnknownHandle(NO_SUCH_SESSION)
        return key


def _insert_session(connection: apsw.Connection, *, session_id: str, caller: str, now: float) -> None:
    connection.execute(_INSERT_SESSION, {"session_id": session_id, "caller": _stored(caller), "now": now})


def _select_messages(connection: apsw.Connection, *, session: _NamedSession) -> tuple[Message, ...]:
    rows = _rows(connection, _SELECT_MESSAGES, session.found_in(connection))
    return tuple(_message_of(json.loads(row["message"])) for row in rows)


def _append(connection: apsw.Connection, *, session: _NamedSession, messages: Sequence[Message], most: int) -> None:
    key = session.found_in(connection)
    connection.execute(_TOUCH_SESSION, {**key, "now": session.now})
    connection.executemany(_INSERT_MESSAGE, [{**key, "message": _document_of(message)} for message in messages])
    roles = [row["role"] for row in _rows(connection, _SELECT_ROLES, key)]
    connection.execute(_DELETE_OLDEST, {**key, "count": first_kept(roles, most)})


def _select_latest(connection: apsw.Connection, *, caller: str, used_after: float) -> str | None:
    rows = _rows(connection, _SELECT_LATEST, {"caller": _stored(caller), "used_after": used_after})
    return rows[0]["session_id"] if rows else None


def _delete_session(connection: apsw.Connection, *, session: _NamedSession) -> None:
    connection.execute(_DELETE_SESSION, session.found_in(connection))


def _delete_expired(connection: apsw.Connection, used_after: float) -> int:
    connection.execute(_DELETE_EXPIRED, {"used_after": used_after})
    return connection.changes()


def _document_of(message: Message) -> str:
    images = [{"media_type": image.media_type, "data": b64encode(image.data).decode()} for image in message.images]
    return _json({**asdict(replace(message, images=(), native=None)), "images": images})


def _message_of(document: Row) -> Message:
    sequences: Row = {
        "tool_calls": tuple(ToolCall(**call) for call in document["tool_calls"]),
        "images": tuple(
            Image(media_type=image["media_type"], data=b64decode(image["data"])) for image in document["images"]
        ),
    }
    return Message(**{**document, **sequences})
