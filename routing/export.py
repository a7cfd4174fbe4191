"""The ledger for spreadsheets and programs: every upstream call with the task it belongs to, one a line.

Money is in micro-dollars, a time in ISO 8601 (UTC). A task without a call is one line whose ``position`` is empty.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, fields
from datetime import UTC, datetime

from routing.state import LedgerLine, Reports

COLUMNS = tuple(part.name for part in fields(LedgerLine))
_TIMES = ("started_at", "attempt_started_at")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def csv_rows(reports: Reports, caller: str, since: float | None) -> AsyncIterator[str]:
    """The lines as CSV, the names of the columns first."""
    yield _csv([COLUMNS])
    async for line in _lines(reports, caller, since):
        yield _csv([[_cell(value) for value in line.values()]])


async def json_rows(reports: Reports, caller: str, since: float | None) -> AsyncIterator[str]:
    """The lines as JSON objects."""
    async for line in _lines(reports, caller, since):
        yield json.dumps(line) + "\n"


async def _lines(reports: Reports, caller: str, since: float | None) -> AsyncIterator[dict[str, object]]:
    after: int | None = 0
    while after is not None:
        page = await reports.export(caller, since=since, after=after)
        for line in page.lines:
            row: dict[str, object] = asdict(line)
            yield {**row, **{name: _spoken_time(row[name]) for name in _TIMES}}
        after = page.after


def _spoken_time(seconds: object) -> str | None:
    if not isinstance(seconds, int | float):
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _cell(value: object) -> object:
    """Text as text: a spreadsheet would run what begins like a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _csv(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
