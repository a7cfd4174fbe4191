"""The store in one SQLite file.

    SqliteStore           the rooms over one file, opened and closed together
      sqlite_ledger.py    the book of routes       each room: its methods, its SQL, and how its values become rows
      sqlite_reports.py   sums of the ledger, and what callers thought of their answers
      sqlite_sessions.py  the conversations
      sqlite_memories.py  what callers want to find again, with its words and vectors
      sqlite_budgets.py   what was spent of each budget, and what is reserved; leases.py: until when that counts
      sqlite_jobs.py      answers that outlive their call, and batches
      sqlite_answers.py   answers that may be given again
      database.py         the file: one writer thread, a few readers, migrations; knows nothing of what is kept
      migrations.py       the tables of all rooms

A new room is a file beside these, a step in `migrations`, an attribute here and, where it forgets, a line in `_keep_house`.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from routing.state import Embedder
from routing.state.database import Database
from routing.state.migrations import MIGRATIONS
from routing.state.sqlite_answers import SqliteAnswers
from routing.state.sqlite_budgets import SqliteBudgets
from routing.state.sqlite_jobs import SqliteJobs
from routing.state.sqlite_ledger import SqliteLedger
from routing.state.sqlite_memories import SqliteMemories
from routing.state.sqlite_reports import SqliteFeedback, SqliteReports, sum_up
from routing.state.sqlite_sessions import SqliteSessions


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
        self._database = Database(
            path, migrations=MIGRATIONS, wall_clock=wall_clock, housekeeping=self._keep_house, unhurried=sum_up
        )
        self.reports = SqliteReports(database=self._database, wall_clock=wall_clock, ledger_days=ledger_days)
        self.feedback = SqliteFeedback(database=self._database, wall_clock=wall_clock)
        self.sessions = SqliteSessions(
            database=self._database,
            wall_clock=wall_clock,
            ttl_seconds=session_ttl_seconds,
            max_messages=session_max_messages,
        )
        self.ledger = SqliteLedger(database=self._database, sessions=self.sessions)
        self.budgets = SqliteBudgets(database=self._database, wall_clock=wall_clock)
        self.jobs = SqliteJobs(
            database=self._database, ledger=self.ledger, wall_clock=wall_clock, ttl_seconds=session_ttl_seconds
        )
        self.answers = SqliteAnswers(database=self._database, wall_clock=wall_clock)
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
        self.sessions.remove_expired(connection)
        self.memories.remove_expired(connection)
        self.reports.remove_expired(connection)
        self.budgets.remove_expired(connection)
        self.jobs.remove_expired(connection)
        self.answers.remove_expired(connection)
