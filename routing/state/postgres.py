"""The store in a PostgreSQL database, which several processes and machines share.

    PostgresStore            the rooms over one database, opened and closed together
      sql_*.py               the rooms that are the same in every database
      postgres_memories.py   what callers want to find again, with its words and vectors
      postgres_database.py   a pool of connections, transactions, reconnecting; knows nothing of what is kept
      postgres_migrations.py the tables of all rooms, and on what servers they can be made

Times are by the server's clock, so that leases mean the same to everybody. Whoever may enter the database can read it all:
callers are kept apart by the rooms, which name the owner in every condition.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from routing.state import Embedder
from routing.state.postgres_database import PostgresDatabase, Server, ServerClock
from routing.state.postgres_memories import PostgresMemories
from routing.state.postgres_migrations import prepare, told_of, versions
from routing.state.sql_answers import SqlAnswers
from routing.state.sql_budgets import SqlBudgets
from routing.state.sql_jobs import SqlJobs
from routing.state.sql_ledger import SqlLedger
from routing.state.sql_reports import SqlFeedback, SqlReports
from routing.state.sql_sessions import SqlSessions
from routing.state.tables import Connection


class PostgresStore:
    """The `routing.state.Store` in the database at ``url``; otherwise as `routing.state.sqlite.SqliteStore`.

    ``wall_clock`` takes the place of the server's clock.
    """

    def __init__(
        self,
        url: str,
        *,
        wall_clock: Callable[[], float] | None = None,
        session_ttl_seconds: int = 86_400,
        session_max_messages: int = 50,
        embedder: Embedder | None = None,
        ledger_days: int | None = None,
    ) -> None:
        self._server_clock = ServerClock()
        self._versions = "not asked yet"
        clock = wall_clock or self._server_clock
        self.database = PostgresDatabase(
            url, prepare=self._prepare, wall_clock=clock, housekeeping=self._keep_house, clock=self._server_clock
        )
        self.reports = SqlReports(database=self.database, wall_clock=clock, ledger_days=ledger_days)
        self.feedback = SqlFeedback(database=self.database, wall_clock=clock)
        self.sessions = SqlSessions(
            database=self.database,
            wall_clock=clock,
            ttl_seconds=session_ttl_seconds,
            max_messages=session_max_messages,
        )
        self.ledger = SqlLedger(database=self.database, sessions=self.sessions, told=told_of)
        self.budgets = SqlBudgets(database=self.database, wall_clock=clock)
        self.jobs = SqlJobs(
            database=self.database, ledger=self.ledger, wall_clock=clock, ttl_seconds=session_ttl_seconds
        )
        self.answers = SqlAnswers(database=self.database, wall_clock=clock)
        self.memories = PostgresMemories(database=self.database, wall_clock=clock, embedder=embedder)

    @property
    def place(self) -> str:
        return f"{self.database.place}, {self._versions}"

    async def open(self) -> None:
        """Connect, and bring the tables up to date.

        Raises:
            SettingsError: the address is none, nobody answers there, or the database cannot be used.

        """
        await self.database.open()
        self.memories.open()

    async def aclose(self) -> None:
        await self.memories.aclose()
        await self.jobs.aclose()
        await self.budgets.aclose()
        await self.database.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _prepare(self, server: Server) -> None:
        await prepare(server)
        await self._server_clock.ask(server)
        self._versions = await versions(server)

    async def _keep_house(self, connection: Connection) -> None:
        for room in (self.sessions, self.memories, self.reports, self.budgets, self.jobs, self.answers):
            await room.remove_expired(connection)
