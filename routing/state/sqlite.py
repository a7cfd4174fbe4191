"""The store in one SQLite file.

    SqliteStore           the rooms over one file, opened and closed together
      sql_*.py            the rooms that are the same in every database
      sqlite_memories.py  what callers want to find again, with its words and vectors
      database.py         the file: one writer thread, a few readers, migrations; knows nothing of what is kept
      migrations.py       the tables of all rooms

A new room is a file beside these, a step in `migrations`, an attribute here and, where it forgets, a line in `_keep_house`.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from routing.state import Embedder
from routing.state.database import Database, SqliteTables, in_one_go
from routing.state.migrations import MIGRATIONS
from routing.state.sql_answers import SqlAnswers
from routing.state.sql_budgets import SqlBudgets
from routing.state.sql_jobs import SqlJobs
from routing.state.sql_ledger import SqlLedger
from routing.state.sql_reports import SqlFeedback, SqlReports, sum_up
from routing.state.sql_sessions import SqlSessions
from routing.state.sqlite_memories import SqliteMemories


class SqliteStore:
    """The `routing.state.Store` in the file at ``path``; it is opened with ``async with`` or `open`.

    A session is forgotten ``session_ttl_seconds`` after its last message, and keeps ``session_max_messages`` of them. Without
    ``embedder``, memories are found by word only. Routes are kept for ``ledger_days``, for good where it is ``None``; the
    sums of them always are.
    """

    def __init__(
        self,
        path: Path,
        *,
        wall_clock: Callable[[], float] = time.time,
        session_ttl_seconds: int = 86_400,
        session_max_messages: int = 50,
        embedder: Embedder | None = None,
        ledger_days: int | None = None,
    ) -> None:
        self.place = str(path)
        self._database = Database(
            path,
            migrations=MIGRATIONS,
            wall_clock=wall_clock,
            housekeeping=self._keep_house,
            unhurried=partial(in_one_go, sum_up),
        )
        tables = SqliteTables(self._database)
        self.reports = SqlReports(database=tables, wall_clock=wall_clock, ledger_days=ledger_days, late_sums=True)
        self.feedback = SqlFeedback(database=tables, wall_clock=wall_clock, late_sums=True)
        self.sessions = SqlSessions(
            database=tables,
            wall_clock=wall_clock,
            ttl_seconds=session_ttl_seconds,
            max_messages=session_max_messages,
        )
        self.ledger = SqlLedger(database=tables, sessions=self.sessions)
        self.budgets = SqlBudgets(database=tables, wall_clock=wall_clock)
        self.jobs = SqlJobs(database=tables, ledger=self.ledger, wall_clock=wall_clock, ttl_seconds=session_ttl_seconds)
        self.answers = SqlAnswers(database=tables, wall_clock=wall_clock)
        self.memories = SqliteMemories(database=self._database, path=path, wall_clock=wall_clock, embedder=embedder)

    async def open(self) -> None:
        """Make the file where there is none, and bring it up to date.

        Raises:
            SettingsError: the folder or the file cannot be used; nothing in it has been changed.

        """
        await self._database.open()
        self.memories.open()

    async def aclose(self) -> None:
        await self.memories.aclose()
        await self.jobs.aclose()
        await self.budgets.aclose()
        await self._database.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _keep_house(self, connection: apsw.Connection) -> None:
        in_one_go(self.sessions.remove_expired, connection)
        self.memories.remove_expired(connection)
        for room in (self.reports, self.budgets, self.jobs, self.answers):
            in_one_go(room.remove_expired, connection)
