"""A SQLite file, by way of apsw (docs/adr/0003-apsw.md says why not the standard library's). It knows nothing of what is kept.

    Database            one writer thread fed by a queue, a few readers; each `Job` runs inside a transaction of its own
    SqliteTables        the same for the rooms that are written once for both databases (`tables`)
    select              what a statement finds, by column name

Durability: WAL. The writer takes what is queued into one transaction; where a write fails, they are done again, each in a
savepoint of its own. After COMMIT it survives ``kill -9``; then a thread beside the writer flushes the log to the disk, where
it survives a power cut. A durable write is answered after the flush, which many share, any other after COMMIT. The log (the
-wal file) is folded into the file when there is much of it, once nobody waits for that commit.
Other processes may use the same file. It must not lie on a network file system, where SQLite's locks cannot be relied on
(https://sqlite.org/wal.html); that is not probed for.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, cast

import anyio
import anyio.to_thread
import apsw

from routing.errors import SettingsError
from routing.state import tables
from routing.state.tables import HOUSEKEEPING_SECONDS, Row

T = TypeVar("T")
Job = Callable[[apsw.Connection], T]
"""Work on a connection that is inside a transaction. It runs in another thread, and may raise to undo its own writes."""

APPLICATION_ID = int.from_bytes(b"Pnts")
"""Marks the file as ours (https://sqlite.org/pragma.html#pragma_application_id)."""

BUSY_TIMEOUT_MS = 5_000
"""How long a writer waits for another process: shorter than the recorder waits for its write, so that the reason is told."""

_MOST_WRITES_PER_COMMIT = 256
_READERS = 4
_SECONDS_BETWEEN_TRIES = 0.02
_LONGEST_POSTED_SECONDS = 0.05
_LONGEST_UNFLUSHED_SECONDS = 0.05
_PAUSE_SECONDS = 0.2
_MOST_PUT_OFF = 500
"""Writes after which there is no more waiting for a pause."""

_PAGES_IN_THE_LOG = 4_000
"""16 MB, four times SQLite's own habit (https://sqlite.org/wal.html#ckpt): a write that comes while the log is folded in waits
some milliseconds for it, and a route writes about 15 pages, so that is one in 270."""

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


@dataclass(slots=True, kw_only=True)
class _Write(Generic[T]):
    """A write that waits in the queue, and the caller who waits for it."""

    job: Job[T]
    done: asyncio.Future[T]
    durable: bool = True
    settle: Callable[[], None] = field(init=False)

    def run(self, connection: apsw.Connection) -> None:
        """Do the work. Raises what the job raises."""
        self.settle = partial(self.done.set_result, self.job(connection))

    def run_apart(self, connection: apsw.Connection) -> None:
        """Do the work in a savepoint; its failure is its own.

        Raises:
            Exception: SQLite has undone the whole transaction (the disk is full, or fails), so no write of it holds.

        """
        connection.execute("SAVEPOINT job")
        try:
            self.run(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            self.fail(error)
        connection.execute("RELEASE job")

    def fail(self, error: Exception) -> None:
        """Take note that nothing was written."""
        self.settle = partial(self.done.set_exception, error)

    def answer(self) -> None:
        """Wake the caller, who may be cancelled by now, or gone with their event loop."""
        with suppress(RuntimeError):
            self.done.get_loop().call_soon_threadsafe(lambda: None if self.done.done() else self.settle())


class _Flusher:
    """Puts on the disk what was committed to the log (the -wal file of a database), and answers those who wait for that.

    SQLite's own way, ``synchronous=FULL``, would flush inside COMMIT and make everybody wait. To close the file takes no lock
    from SQLite: there are none on it (https://sqlite.org/walformat.html#locks).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(f"{path}-wal", os.O_RDWR)
        self._queue: SimpleQueue[Sequence[_Write[Any]] | None] = SimpleQueue()
        self._owes = False
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(target=self._serve, name="sqlite-flusher", daemon=True)
        self._thread.start()

    def take(self, waiting: Sequence[_Write[Any]]) -> None:
        """Flush, and answer these; where there are none, flush with what comes within `_LONGEST_UNFLUSHED_SECONDS`."""
        self._owes = True
        if waiting or time.monotonic() - self._asked_at >= _LONGEST_UNFLUSHED_SECONDS:
            self._ask(waiting)

    def pay(self) -> None:
        """Flush what nobody waits for."""
        if self._owes:
            self._ask(())

    def _ask(self, waiting: Sequence[_Write[Any]]) -> None:
        self._owes, self._asked_at = False, time.monotonic()
        self._queue.put(waiting)

    def close(self) -> None:
        """Flush what was taken, then end."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._file)

    def _serve(self) -> None:
        taken: list[Sequence[_Write[Any]] | None] = []
        while None not in taken:
            taken = [self._queue.get()]
            taken += [self._queue.get() for _ in range(self._queue.qsize())]
            self._flush([write for waiting in taken for write in waiting or ()])

    def _flush(self, waiting: Sequence[_Write[Any]]) -> None:
        try:
            _to_disk(self._file)
        except OSError as error:
            _log.error("the log of %s could not be put on the disk: %s", self._path, error)
            for write in waiting:
                write.fail(apsw.IOError(str(error)))
        for write in waiting:
            write.answer()


_to_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # only Linux has the first, which is enough


class Database:
    """One SQLite file: writes in the order they were asked for, reads beside them, each in a transaction of its own.

    ``migrations`` are numbered from 1: step n takes the tables from ``user_version`` n-1 to n. ``housekeeping`` is
    run with a write at most every `HOUSEKEEPING_SECONDS` of ``wall_clock``, the first one included; ``unhurried`` in each
    pause between writes, and where none comes after `_MOST_PUT_OFF` of them or when the log has grown long.
    """

    def __init__(
        self,
        path: Path,
        *,
        migrations: Sequence[str],
        wall_clock: Callable[[], float],
        housekeeping: Job[object],
        unhurried: Job[object],
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._wall_clock = wall_clock
        self._housekeeping = housekeeping
        self._housekeeping_due = -math.inf
        self._unhurried = unhurried
        self._put_off = 0
        self._queue: SimpleQueue[_Write[Any] | None] = SimpleQueue()
        self._posted: list[_Write[Any]] = []
        self._writer: threading.Thread | None = None
        self._readers: list[apsw.Connection] = []
        self._reading = anyio.CapacityLimiter(_READERS)

    async def open(self) -> None:
        """Make or open the file, bring its tables up to date, and start the writer.

        Raises:
            SettingsError: the folder or the file cannot be used.

        """
        with _explaining(self._path):
            connection = await anyio.to_thread.run_sync(_open_database, self._path, self._migrations)
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
        self._send_posted()
        self._queue.put(None)
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(writer.join)

    async def write(self, job: Job[T], *, durable: bool = True) -> T:
        """Run ``job`` in the writer and return its result once it is on the disk. Cancelling does not take it back.

        Without ``durable``, return once it is committed: it outlives this process, and `_LONGEST_UNFLUSHED_SECONDS` and a flush
        later the machine. A job may run twice, the second time after the first was undone.

        Raises:
            SettingsError: the file cannot be written.

        """
        self._must_be_open()
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._send_posted()
        self._queue.put(_Write(job=job, done=done, durable=durable))
        with _explaining(self._path):
            return await done

    def post(self, job: Job[object], *, what: str) -> None:
        """Have ``job`` done in one commit with the next write, or soon. A failure is logged as ``what``."""
        self._must_be_open()

        def look_at(done: asyncio.Future[object]) -> None:
            if not done.cancelled() and (error := done.exception()):
                _log.error("%s: %s", what, error)

        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()
        done.add_done_callback(look_at)
        if not self._posted:
            loop.call_later(_LONGEST_POSTED_SECONDS, self._send_posted)
        self._posted.append(_Write(job=job, done=done))

    def _send_posted(self) -> None:
        while self._posted:
            self._queue.put(self._posted.pop(0))

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
        log, flusher = _Log(connection), _Flusher(self._path)
        while batch := self._next_batch(connection, flusher):
            self._commit(connection, batch)
            for write in batch:
                if not write.durable:
                    write.answer()
            flusher.take([write for write in batch if write.durable])
            self._put_off += len(batch)
            if self._put_off >= _MOST_PUT_OFF or log.is_long:
                self._do_what_can_wait(connection)
            if log.is_long:
                log.fold_in()
            self._keep_house(connection)
        flusher.close()
        connection.close()

    def _next(self, connection: apsw.Connection, flusher: _Flusher) -> _Write[Any] | None:
        """Wait for a write; nothing when it is time to close. What can wait is done in a pause."""
        with suppress(Empty):
            return self._queue.get(timeout=_LONGEST_UNFLUSHED_SECONDS)
        flusher.pay()
        with suppress(Empty):
            return self._queue.get(timeout=_PAUSE_SECONDS)
        self._do_what_can_wait(connection)
        return self._queue.get()

    def _do_what_can_wait(self, connection: apsw.Connection) -> None:
        self._put_off = 0
        self._do(connection, self._unhurried, what="what can wait")

    def _next_batch(self, connection: apsw.Connection, flusher: _Flusher) -> list[_Write[Any]]:
        """Wait for a write, and take what is queued behind it; nothing when it is time to close."""
        batch: list[_Write[Any]] = []
        while not batch or (len(batch) < _MOST_WRITES_PER_COMMIT and not self._queue.empty()):
            write = self._queue.get() if batch else self._next(connection, flusher)
            if write is None:
                if batch:
                    self._queue.put(None)  # close after this batch
                break
            batch.append(write)
        return batch

    def _commit(self, connection: apsw.Connection, batch: Sequence[_Write[Any]]) -> None:
        """Commit the writes together. Where one fails, all are done again, in savepoints: those cost as much as the writes."""
        try:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                for write in batch:
                    write.run(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, each of these callers waits for an answer
            # Who has waited for the lock is not to wait for it twice.
            if len(batch) > 1 and not isinstance(error, apsw.BusyError):
                self._commit_apart(connection, batch)
                return
            for write in batch:
                write.fail(error)

    def _commit_apart(self, connection: apsw.Connection, batch: Sequence[_Write[Any]]) -> None:
        try:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                for write in batch:
                    write.run_apart(connection)
        except Exception as error:  # noqa: BLE001 - as above
            for write in batch:
                write.fail(error)

    def _keep_house(self, connection: apsw.Connection) -> None:
        if self._wall_clock() < self._housekeeping_due:
            return
        self._housekeeping_due = self._wall_clock() + HOUSEKEEPING_SECONDS
        self._do(connection, self._housekeeping, what="housekeeping")

    def _do(self, connection: apsw.Connection, job: Job[object], *, what: str) -> None:
        try:
            with _transaction(connection, "BEGIN IMMEDIATE"):
                job(connection)
        except Exception:  # noqa: BLE001 - nobody waits for it, and it is tried again
            _log.exception("%s in %s failed", what, self._path)


class _Log:
    """The -wal file, as far as one connection writes it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._pages = 0
        connection.set_wal_hook(self._grown)  # instead of the one that folds it in while a caller waits

    def _grown(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    @property
    def is_long(self) -> bool:
        """Whether it is time to `fold_in`."""
        return self._pages >= _PAGES_IN_THE_LOG

    def fold_in(self) -> None:
        """Copy its pages into the database, as far as no reader needs them where they are."""
        self._pages = 0
        with suppress(apsw.BusyError):  # another process is at it
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)


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


def _open_database(path: Path, migrations: Sequence[str]) -> apsw.Connection:
    _make_file(path)
    connection = _connect(path)
    try:
        _refuse_what_is_not_ours(connection, path)
        _use_wal(connection)
        with _transaction(connection, "BEGIN IMMEDIATE"):
            _migrate(connection, path, migrations)
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
    connection.pragma("synchronous", "NORMAL")  # COMMIT leaves it to the flusher
    connection.pragma("secure_delete", True)  # noqa: FBT003 - as above; what is forgotten is overwritten
    return connection


def _refuse_what_is_not_ours(connection: apsw.Connection, path: Path) -> None:
    if connection.pragma("application_id") == APPLICATION_ID:
        return
    if select(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
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


def _migrate(connection: apsw.Connection, path: Path, migrations: Sequence[str]) -> None:
    version: int = connection.pragma("user_version")
    if version > len(migrations):
        raise SettingsError(
            f"{path} was written by a newer release: its tables have version {version}, and this release knows "
            f"{len(migrations)}. Install the newer release, or name another folder with POINTSMAN_HOME."
        )
    if version < len(migrations):
        connection.execute(";".join(migrations[version:]))
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", len(migrations))


def tried(connection: apsw.Connection, job: Job[object], *, what: str) -> bool:
    """Do ``job`` inside a transaction whose other writes hold even where it fails; that is logged as ``what``.

    Raises:
        Exception: SQLite has undone the whole transaction.

    """
    connection.execute("SAVEPOINT tried")
    try:
        job(connection)
    except Exception:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO tried")
        connection.execute("RELEASE tried")
        _log.exception(what)
        return False
    connection.execute("RELEASE tried")
    return True


def select(connection: apsw.Connection, sql: str, bindings: Mapping[str, Any] | None = None) -> list[Row]:
    """The rows by column name, all of them: a half-read cursor would keep the transaction open."""
    cursor = connection.execute(sql, bindings)
    return [dict(zip((name for name, _ in cursor.get_description()), row, strict=True)) for row in cursor]


# ── Rooms that are written once for both databases ────────────────────────────────────────────────────────────────────


class SqliteTables:
    """The `routing.state.tables.Tables` of a `Database`: a job runs to its end in one go, in the thread of the connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, job: tables.Job[T], *, durable: bool = True) -> T:
        return await self._database.write(partial(in_one_go, job), durable=durable)

    def post(self, job: tables.Job[object], *, what: str) -> None:
        self._database.post(partial(in_one_go, job), what=what)

    async def read(self, job: tables.Job[T]) -> T:
        return await self._database.read(partial(in_one_go, job))


def in_one_go(job: tables.Job[T], connection: apsw.Connection) -> T:
    """Run a job whose connection never makes it wait."""
    work = job(NeverWaiting(connection))
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    raise RuntimeError("a job awaited something else than its connection")


class NeverWaiting:
    """The `routing.state.tables.Connection` of a connection to the file."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    async def select(self, sql: str, bindings: Mapping[str, Any] | None = None) -> list[Row]:
        return select(self._connection, sql, bindings)

    async def execute(self, sql: str, bindings: Mapping[str, Any] | None = None) -> int:
        self._connection.execute(sql, bindings)
        return self._connection.changes()

    async def run(self, sql: str, bindings: Mapping[str, Any] | None = None) -> None:
        self._connection.execute(sql, bindings)

    async def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        self._connection.executemany(sql, rows)

    async def lock(self, names: Sequence[str]) -> None:
        """SQLite has one writer at a time."""

    async def tried(self, job: tables.Job[object], *, what: str) -> bool:
        return tried(self._connection, partial(in_one_go, job), what=what)
