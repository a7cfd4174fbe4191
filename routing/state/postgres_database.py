"""A PostgreSQL database, by way of psycopg 3 (https://www.psycopg.org/psycopg3/docs/). It knows nothing of what is kept.

    PostgresDatabase   a pool of connections; each `Job` runs inside a transaction of its own
    ServerClock        the time by the database's clock, which is one for all processes

Durability: a write is answered after COMMIT, so it survives ``kill -9`` of us and of the server. A write whose caller was
cancelled goes on, as one that was posted does, and later writes of this process wait for it.

A transaction that PostgreSQL undid for the sake of another (deadlock, serialization) is run again, and so is one whose
connection broke before its COMMIT was sent. Where it broke after that, nobody knows whether it holds, and the caller is told.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cache
from typing import Any, LiteralString, TypeAlias, TypeVar

import anyio
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from routing.errors import SettingsError
from routing.state.tables import HOUSEKEEPING_SECONDS, Connection, Job, Row

T = TypeVar("T")
Server: TypeAlias = psycopg.AsyncConnection[Row]

SCHEMA: LiteralString = "pointsman"
"""Our tables are in a schema of their own, so that the database may be another program's too."""

OLDEST_SERVER = 15
CONNECTIONS = 8
"""How many a process opens at most; PostgreSQL takes 100 of all processes where nobody has told it otherwise."""

PATIENCE_SECONDS = 10.0
"""How long a read, a write or a new connection may take: shorter than callers wait, so that the reason is told."""

_MOST_TRIES = 5
_CLOCK_SECONDS = 60.0

_Begin: TypeAlias = tuple[LiteralString, ...]
_WRITE: _Begin = ("BEGIN",)
_WRITE_SOON: _Begin = ("BEGIN", "SET LOCAL synchronous_commit = off")
_READ: _Begin = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",)

_TRY_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
_BROKEN = (psycopg.OperationalError, psycopg.InterfaceError)

_log = logging.getLogger(__name__)


class ServerClock:
    """Seconds since the epoch by the server's clock: this process's, put right by what the server said last."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._asked_at = -math.inf

    def __call__(self) -> float:
        return time.time() + self._ahead

    def is_due(self) -> bool:
        """Whether the server should be asked again."""
        return time.monotonic() - self._asked_at > _CLOCK_SECONDS

    async def ask(self, server: Server) -> None:
        """Hear the time, which was the server's half-way between question and answer."""
        asked = time.time()
        [row] = await (await server.execute("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")).fetchall()
        self._ahead = float(row["now"]) - (asked + time.time()) / 2
        self._asked_at = time.monotonic()


class PostgresDatabase:
    """The database at ``url``: the `routing.state.tables.Tables` of its rooms.

    ``prepare`` is run on a connection that is in no transaction before anything else. ``housekeeping`` is run after a write at
    most every `HOUSEKEEPING_SECONDS` of ``wall_clock``, the first one included, by one process at a time. ``clock`` is put
    right now and then.
    """

    def __init__(
        self,
        url: str,
        *,
        prepare: Callable[[Server], Coroutine[Any, Any, None]],
        wall_clock: Callable[[], float],
        clock: ServerClock,
        housekeeping: Job[object],
    ) -> None:
        self._url = url
        self._clock = clock
        self._prepare = prepare
        self._wall_clock = wall_clock
        self._housekeeping = housekeeping
        self._housekeeping_due = -math.inf
        self._pool: AsyncConnectionPool[Server] | None = None
        self._is_open = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._first: set[asyncio.Task[Any]] = set()
        """Writes that nobody waits for: those after them do."""

    @property
    def place(self) -> str:
        """Where it is, without who may enter: host, port and name."""
        return place_of(self._url)

    async def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            SettingsError: the address is none, nobody answers there, or the database cannot be used.

        """
        _check_address(self._url)
        with _explaining(self._url):
            async with connected(self._url) as server:
                await self._prepare(server)
            pool = AsyncConnectionPool(
                self._url,
                connection_class=psycopg.AsyncConnection[Row],
                kwargs=dict(_CONNECTION),
                configure=_make_ours,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=PATIENCE_SECONDS,
                reconnect_timeout=PATIENCE_SECONDS,
                open=False,
                name="pointsman",
            )
            await pool.open()
        self._pool, self._is_open = pool, True

    async def aclose(self) -> None:
        """Write what was asked for, then close."""
        self._is_open = False
        with anyio.CancelScope(shield=True):
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=PATIENCE_SECONDS)
            pool, self._pool = self._pool, None
            if pool is not None:
                await pool.close()

    async def write(self, job: Job[T], *, durable: bool = True) -> T:
        """As `routing.state.tables.Tables.write` says."""
        work = self._begin(self._write(job, begin=_WRITE if durable else _WRITE_SOON, after=frozenset(self._first)))
        try:
            return await self._answer_of(work)
        except asyncio.CancelledError:
            self._go_on_with(work, "a write that its caller did not wait for")
            raise

    def post(self, job: Job[object], *, what: str) -> None:
        """As `routing.state.tables.Tables.post` says. It has all the time that a server needs to come back."""
        self._go_on_with(self._begin(self._write(job, begin=_WRITE, after=frozenset())), what)

    async def read(self, job: Job[T]) -> T:
        """As `routing.state.tables.Tables.read` says."""
        work = self._begin(self._run(job, begin=_READ))
        try:
            return await self._answer_of(work)
        except asyncio.CancelledError:
            work.cancel()
            raise

    async def _answer_of(self, work: asyncio.Task[T]) -> T:
        """Its result; the caller's patience ends with `PATIENCE_SECONDS`, also where calling off takes longer."""
        with _explaining(self._url):
            done, _ = await asyncio.wait({work}, timeout=PATIENCE_SECONDS)
            if not done:
                work.cancel()
                raise TimeoutError
            return work.result()

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        if not self._is_open:
            work.close()
            raise RuntimeError("the store is not open")
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _go_on_with(self, work: asyncio.Task[Any], what: str) -> None:
        def look_at(done: asyncio.Task[Any]) -> None:
            self._first.discard(done)
            if not done.cancelled() and (error := done.exception()):
                _log.error("%s: %s", what, error)

        self._first.add(work)
        work.add_done_callback(look_at)

    async def _write(self, job: Job[T], *, begin: _Begin, after: frozenset[asyncio.Task[Any]]) -> T:
        if after:
            await asyncio.wait(after)
        value = await self._run(job, begin=begin)
        self._keep_house()
        return value

    def _keep_house(self) -> None:
        if not self._is_open or self._wall_clock() < self._housekeeping_due:
            return
        self._housekeeping_due = self._wall_clock() + HOUSEKEEPING_SECONDS
        self._go_on_with(self._begin(self._run(_alone(self._housekeeping), begin=_WRITE)), "housekeeping failed")

    async def _run(self, job: Job[T], *, begin: _Begin) -> T:
        """Run ``job`` in a transaction, again where the database undid it or the connection broke before its end."""
        for _ in range(_MOST_TRIES - 1):
            attempt = _Attempt(begin, self._clock)
            try:
                async with self._opened.connection() as server:
                    return await attempt.run(server, job)
            except _TRY_AGAIN:
                continue
            except _BROKEN:
                if attempt.is_ending or not attempt.is_broken:
                    raise
                await self._opened.check()  # where one connection is gone, others are
        async with self._opened.connection() as server:
            return await _Attempt(begin, self._clock).run(server, job)

    @property
    def _opened(self) -> AsyncConnectionPool[Server]:
        if self._pool is None:
            raise RuntimeError("the store is not open")
        return self._pool


class _Attempt:
    """One try at a transaction, and how far it came."""

    def __init__(self, begin: _Begin, clock: ServerClock) -> None:
        self._begin = begin
        self._clock = clock
        self.is_ending = False
        self.is_broken = False

    async def run(self, server: Server, job: Job[T]) -> T:
        try:
            async with server.pipeline() as pipeline:
                for statement in self._begin:
                    await server.execute(statement)
                await pipeline.sync()  # the connection is alive: what breaks it from here on is not its age
                value = await job(Transaction(server, pipeline))
                self.is_ending = self._begin != _READ
                end = await server.execute("COMMIT")
            _see_that_it_holds(end)
            if self._clock.is_due():
                with suppress(psycopg.Error):
                    await self._clock.ask(server)
        except BaseException:
            self.is_broken = server.broken
            with suppress(psycopg.Error):
                if server.info.transaction_status is not TransactionStatus.IDLE:
                    await server.rollback()
            raise
        return value


def _see_that_it_holds(end: psycopg.AsyncCursor[Row]) -> None:
    if end.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("the transaction had failed, and was undone")


class Transaction:
    """The `routing.state.tables.Connection` of a connection to the server, in pipeline mode where there is a ``pipeline``.

    Then what is run without asking for an answer goes to the server together with what is asked next, or with the end: most
    transactions are two or three round trips, and hold their locks little longer than the server takes.
    """

    def __init__(self, server: Server, pipeline: psycopg.AsyncPipeline | None = None) -> None:
        self.server = server
        self._pipeline = pipeline

    async def select(self, sql: str, bindings: Mapping[str, Any] | None = None) -> list[Row]:
        return await (await self.server.execute(_in_psycopg(sql), bindings or {})).fetchall()

    async def execute(self, sql: str, bindings: Mapping[str, Any] | None = None) -> int:
        cursor = await self.server.execute(_in_psycopg(sql), bindings or {})
        await self._answers()
        return cursor.rowcount

    async def run(self, sql: str, bindings: Mapping[str, Any] | None = None) -> None:
        await self.server.execute(_in_psycopg(sql), bindings or {})

    async def _answers(self) -> None:
        if self._pipeline is not None:
            await self._pipeline.sync()

    async def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            async with self.server.cursor() as cursor:
                await cursor.executemany(_in_psycopg(sql), rows)

    async def lock(self, names: Sequence[str]) -> None:
        """Advisory locks, in one order for everybody; two names that share a number only wait for each other."""
        await self.server.execute(_LOCK, {"names": list(names)})

    async def tried(self, job: Job[object], *, what: str) -> bool:
        await self._answers()  # what fails of the writes before it is not its failure
        try:
            async with self.server.transaction():  # a savepoint, as it is inside a transaction
                await job(self)
        except Exception as error:
            if self.server.broken or isinstance(error, _TRY_AGAIN):
                raise
            _log.exception(what)
            return False
        return True


_LOCK = """
SELECT pg_advisory_xact_lock(number) FROM (
  SELECT DISTINCT hashtextextended(name, 0) AS number FROM unnest(%(names)s::text[]) AS name ORDER BY number
) AS numbers
"""


def _alone(housekeeping: Job[object]) -> Job[object]:
    """Leave it to another process where one is at it."""

    async def job(connection: Connection) -> object:
        [row] = await connection.select(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('housekeeping', 0)) AS alone"
        )
        return await housekeeping(connection) if row["alone"] else None

    return job


@cache
def _in_psycopg(sql: str) -> bytes:
    """``:name`` as psycopg writes it. ``::type`` stays."""
    return re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", sql.replace("%", "%%")).encode()


class _Number(Loader):
    """A numeric, which is what a sum of integers is: an int, or a float where it has a fraction."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


_CONNECTION: Mapping[str, Any] = {
    "autocommit": True,  # transactions are begun and ended here
    "row_factory": dict_row,
    "application_name": "pointsman",
    "connect_timeout": 5,
}


async def _make_ours(server: Server) -> None:
    server.adapters.register_loader("numeric", _Number)
    await server.execute(_USE_SCHEMA)


_USE_SCHEMA: LiteralString = f"SET search_path = {SCHEMA}, public"  # pgvector may lie in either


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[Server]:
    """A connection of one's own, in no transaction. Raises what psycopg raises."""
    server: Server = await psycopg.AsyncConnection[Row].connect(url, **_CONNECTION)
    try:
        await _make_ours(server)
        yield server
    finally:
        await server.close()


def _check_address(url: str) -> None:
    try:
        conninfo_to_dict(url)
    except psycopg.Error:
        raise SettingsError(
            "POINTSMAN_DATABASE_URL is no address of a database: it is postgresql://user:password@host:5432/name, where "
            "what is neither letter nor digit is written as %xx."
        ) from None  # psycopg repeats what it cannot read, which may be the password


def place_of(url: str) -> str:
    """Host, port and name of a database, and nothing else of its address."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return "the database of POINTSMAN_DATABASE_URL"
    port = parts.get("port")
    return f"postgresql://{parts.get('host') or 'localhost'}{f':{port}' if port else ''}/{parts.get('dbname') or ''}"


@contextmanager
def _explaining(url: str) -> Generator[None]:
    """Say what to do about a database that cannot be used; an error in our own SQL passes as it is."""
    try:
        yield
    except (TimeoutError, PoolTimeout) as error:
        raise SettingsError(
            f"{place_of(url)} did not answer within {PATIENCE_SECONDS:.0f} s. See that it runs and is not overloaded."
        ) from error
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise SettingsError(f"{place_of(url)} may not be written: {_told(error, url)}") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolClosed) as error:
        raise SettingsError(f"{place_of(url)} cannot be used: {_told(error, url)}") from error


def _told(error: Exception, url: str) -> str:
    """What the server or the driver says, in one line, without the password."""
    with suppress(psycopg.Error):
        secret = str(conninfo_to_dict(url).get("password") or "")
        lines = [line.strip() for line in str(error).replace(secret or "\0", "***").splitlines()]
        return "; ".join(line for line in lines if line)
    return type(error).__name__
