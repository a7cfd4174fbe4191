"""What a room asks of a database, so that it is written once for SQLite and for PostgreSQL.

    Tables       runs each `Job` inside a transaction of its own, to read or to write
    Connection   what a job has of it: statements, with ``:name`` where a value belongs

A job is a coroutine function. In SQLite, whose calls do not wait for anything but the disk, it runs to its end in one go in the
writer's thread; in PostgreSQL it waits for each answer on the event loop. It may run a second time after the database has
undone the first, so it changes nothing but tables, and it awaits nothing but its connection.

The SQL is what both dialects have in common: ``FILTER`` for counting, ``CASE`` for the greater of two, explicit conflict
targets, names for subqueries, `CAST(floor(x) AS BIGINT)` for whole seconds. JSON is taken apart in Python, because documents
may hold what PostgreSQL's JSON functions refuse (`columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]

HOUSEKEEPING_SECONDS = 600
"""How often a store forgets what has expired, at most."""


class Connection(Protocol):
    """A connection that is inside a transaction."""

    async def select(self, sql: str, bindings: Mapping[str, Any] | None = None) -> list[Row]:
        """All that a statement finds, by column name."""
        ...

    async def execute(self, sql: str, bindings: Mapping[str, Any] | None = None) -> int:
        """Run a statement, and return how many rows it wrote or deleted."""
        ...

    async def run(self, sql: str, bindings: Mapping[str, Any] | None = None) -> None:
        """Run a statement without waiting for it: what goes wrong is raised by a later call, at the latest by the last."""
        ...

    async def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement for each of the rows."""
        ...

    async def lock(self, names: Sequence[str]) -> None:
        """Keep out, until the transaction ends, others who lock one of these names: what is read now is still so then."""
        ...

    async def tried(self, job: Job[object], *, what: str) -> bool:
        """Do ``job``; where it fails, only its own writes are undone, and that is logged as ``what``."""
        ...


Job: TypeAlias = Callable[[Connection], Coroutine[Any, Any, T]]
"""Work on a connection that is inside a transaction. It may raise to undo its own writes."""


class Tables(Protocol):
    """A database, as a room sees it."""

    async def write(self, job: Job[T], *, durable: bool = True) -> T:
        """Run ``job`` and return its result once it is on the disk. Cancelling does not take it back.

        Writes that this process posted, or cancelled waiting for, are done before it. Without ``durable``, return as soon as
        others can see it: a crash of the database's machine may undo it.

        Raises:
            SettingsError: the database cannot be written.

        """
        ...

    def post(self, job: Job[object], *, what: str) -> None:
        """Have ``job`` done before any later write of this process returns. A failure is logged as ``what``."""
        ...

    async def read(self, job: Job[T]) -> T:
        """Run ``job`` on what was committed when it began.

        Raises:
            SettingsError: the database cannot be read.

        """
        ...


@cache
def insert_into(table: str, columns: tuple[str, ...]) -> str:
    """The statement that inserts a row of these columns."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"  # noqa: S608 - our own words
