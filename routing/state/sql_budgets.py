"""Budgets in SQL: each method names its job, which runs inside a transaction that `Tables` opened.

A reservation is one transaction: what is left is read and taken under a lock on its budgets, so that neither tasks nor
processes can overshoot a cap. Its flush is not waited for: it runs beside the call that is paid from it, and what a
crash could lose of it is a lease that nobody holds any more. Settling is posted: it is written before the next write, which is
the ledger's row of the same route, is acknowledged.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial

from routing.state import LEASE_SECONDS, Allowance, BudgetPeriod, Reservation, Standing
from routing.state.columns import stored
from routing.state.handles import new_handle
from routing.state.leases import Leases
from routing.state.tables import Connection, Row, Tables

_HOUR = 3_600
_DECEMBER = 12
_KEPT_SECONDS = 62 * 86_400
"""How long a budget is kept after it was last booked on: longer than a month, and than any session that is talked in."""


class SqlBudgets:
    """The `routing.state.Budgets` in ``database``."""

    def __init__(self, *, database: Tables, wall_clock: Callable[[], float]) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._leases = Leases(self._renew)

    async def reserve(self, allowances: Sequence[Allowance], *, most: int, least: int) -> Reservation | Standing:
        job = partial(
            _reserve,
            reservation_id=new_handle("rsv"),
            allowances=tuple(allowances),
            most=most,
            least=least,
            clock=self._wall_clock,
        )
        answer = await self._database.write(job, durable=False)
        if isinstance(answer, Reservation):  # a caller cancelled before this holds nothing: the lease frees it
            self._leases.hold(answer.reservation_id)
        return answer

    def settle(self, reservation: Reservation, microusd: int) -> None:
        if self._leases.let_go(reservation.reservation_id):
            self._database.post(
                partial(_settle, reservation=reservation, microusd=microusd, now=self._wall_clock()),
                what="a call's cost could not be booked on its budget",
            )

    async def standings(self, allowances: Sequence[Allowance]) -> tuple[Standing, ...]:
        job = partial(_standings, allowances=tuple(allowances), now=self._wall_clock())
        return await self._database.read(job)

    async def sweep(self) -> int:
        return await self._database.write(partial(_release_expired, now=self._wall_clock()))

    async def renew(self) -> None:
        """Prolong the leases of what this process has reserved; done by itself three times in `LEASE_SECONDS`."""
        await self._leases.renew()

    async def aclose(self) -> None:
        """Leave the leases to run out; what calls still hold is freed then."""
        await self._leases.aclose()

    async def remove_expired(self, connection: Connection) -> None:
        """Free what dead processes hold, and forget budgets that are long past, as part of the store's housekeeping."""
        now = self._wall_clock()
        await _release_expired(connection, now=now)
        await connection.run(_DELETE_PAST, {"before": now - _KEPT_SECONDS})

    async def _renew(self, reservation_ids: Collection[str]) -> None:
        job = partial(_prolong, reservation_ids=reservation_ids, until=self._wall_clock() + LEASE_SECONDS)
        await self._database.write(job)


def period_of(period: BudgetPeriod, now: float) -> tuple[int, int | None]:
    """When the hour or month (UTC) of ``now`` began and when it ends; a session's is 0 and never."""
    match period:
        case "session":
            return 0, None
        case "hour":
            start = int(now) // _HOUR * _HOUR
            return start, start + _HOUR
        case "month":
            year, month, *_ = time.gmtime(now)
            following = (year + 1, 1) if month == _DECEMBER else (year, month + 1)
            return _first_of(year, month), _first_of(*following)


def _first_of(year: int, month: int) -> int:
    return calendar.timegm((year, month, 1, 0, 0, 0))


_ACCOUNT = "period = :period AND subject = :subject AND start = :start"

_SELECT_BUDGET = f"SELECT spent_microusd, reserved_microusd FROM budgets WHERE {_ACCOUNT}"  # noqa: S608 - our own words, as below

_INSERT_BUDGET = """
INSERT INTO budgets (period, subject, start, spent_microusd, touched_at)
VALUES (:period, :subject, :start, :spent_microusd, :touched_at) ON CONFLICT DO NOTHING
"""

# What was spent before there was a budget, by the sums that the reports are made of and the routes that are not in them yet:
# the subject's, or every caller's.
_WHOSE = "(:subject = '' OR caller = :subject)"
_NOT_SUMMED = "id > (SELECT up_to FROM summed) AND routes.started_at >= :start AND " + _WHOSE  # noqa: S608
_SUM_LEDGER = f"""
SELECT (SELECT coalesce(sum(cost_microusd), 0) FROM usage_attempts WHERE span = :span AND start >= :start AND {_WHOSE})
  + (SELECT coalesce(sum(tools_microusd), 0) FROM usage_routes WHERE span = :span AND start >= :start AND {_WHOSE})
  + (SELECT coalesce(sum(attempts.cost_microusd), 0) FROM routes JOIN attempts USING (route_id) WHERE {_NOT_SUMMED})
  + (SELECT coalesce(sum(tools_microusd), 0) FROM routes WHERE {_NOT_SUMMED})
  + (SELECT coalesce(sum(cost_microusd), 0) FROM tool_calls WHERE started_at >= :start AND {_WHOSE})
  + (SELECT coalesce(sum(cost_microusd), 0) FROM shadows WHERE started_at >= :start AND {_WHOSE}) AS spent_microusd
"""  # noqa: S608 - our own words

_INSERT_RESERVATION = """
INSERT INTO reservations (reservation_id, period, subject, start, microusd, leased_until)
VALUES (:reservation_id, :period, :subject, :start, :microusd, :leased_until)
"""

_BOOK = f"UPDATE budgets SET spent_microusd = spent_microusd + :microusd, touched_at = :now WHERE {_ACCOUNT}"  # noqa: S608
_DELETE_RESERVATION = "DELETE FROM reservations WHERE reservation_id = :reservation_id"
_SELECT_EXPIRED = "SELECT reservation_id, period, subject, start FROM reservations WHERE leased_until <= :now"
_DELETE_EXPIRED = (
    f"DELETE FROM reservations WHERE reservation_id = :reservation_id AND {_ACCOUNT} AND leased_until <= :now"  # noqa: S608
)

_PROLONG = "UPDATE reservations SET leased_until = :until WHERE reservation_id = :reservation_id"

_DELETE_PAST = "DELETE FROM budgets WHERE reserved_microusd = 0 AND touched_at < :before"


async def _reserve(
    connection: Connection,
    *,
    reservation_id: str,
    allowances: Sequence[Allowance],
    most: int,
    least: int,
    clock: Callable[[], float],
) -> Reservation | Standing:
    now = clock()  # here, in the queue: a wait before this must not shorten the lease
    own = [_lock_of(_key_of(allowance, period_of(allowance.period, now)[0])) for allowance in allowances]
    await _release_expired(connection, now=now, own=own)
    standings = await _standings(connection, allowances=allowances, now=now)
    tightest = min(standings, key=lambda standing: standing.left_microusd)
    granted = min(most, tightest.left_microusd)
    if granted < least:
        return tightest
    for standing in standings:
        account = _account(standing)
        budget = {**account, "spent_microusd": standing.spent_microusd, "touched_at": now}
        await connection.run(_INSERT_BUDGET, budget)
        lease = {"reservation_id": reservation_id, "microusd": granted, "leased_until": now + LEASE_SECONDS}
        await connection.run(_INSERT_RESERVATION, {**account, **lease})
    return Reservation(reservation_id=reservation_id, microusd=granted, standings=standings)


async def _settle(connection: Connection, *, reservation: Reservation, microusd: int, now: float) -> None:
    """Book the cost, also where the lease had run out: the money is spent."""
    await connection.lock([_lock_of(_account(standing)) for standing in reservation.standings])
    await connection.run(_DELETE_RESERVATION, {"reservation_id": reservation.reservation_id})
    for standing in reservation.standings:
        await connection.run(_BOOK, {**_account(standing), "microusd": microusd, "now": now})


async def _release_expired(connection: Connection, *, now: float, own: Sequence[str] = ()) -> int:
    """Free what dead processes hold, under one lock with the budgets that are the caller's ``own`` concern."""
    expired = await connection.select(_SELECT_EXPIRED, {"now": now})
    await connection.lock([*own, *map(_lock_of, expired)])
    for row in expired:
        await connection.run(_DELETE_EXPIRED, {**row, "now": now})
    return len({row["reservation_id"] for row in expired})


async def _prolong(connection: Connection, *, reservation_ids: Collection[str], until: float) -> None:
    rows = [{"reservation_id": reservation_id, "until": until} for reservation_id in sorted(reservation_ids)]
    await connection.executemany(_PROLONG, rows)


async def _standings(connection: Connection, *, allowances: Sequence[Allowance], now: float) -> tuple[Standing, ...]:
    return tuple([await _standing(connection, allowance, now) for allowance in allowances])


async def _standing(connection: Connection, allowance: Allowance, now: float) -> Standing:
    start, resets_at = period_of(allowance.period, now)
    rows = await connection.select(_SELECT_BUDGET, _key_of(allowance, start))
    rows = rows or [await _unbudgeted(connection, allowance, start)]
    return Standing(allowance=allowance, start=start, resets_at=resets_at, **rows[0])


async def _unbudgeted(connection: Connection, allowance: Allowance, start: int) -> Row:
    """A budget that nothing was reserved of yet."""
    if allowance.period == "session":
        return {"spent_microusd": 0, "reserved_microusd": 0}
    span = _HOUR if allowance.period == "hour" else 24 * _HOUR
    bindings = {"span": span, "start": start, "subject": stored(allowance.subject)}
    [row] = await connection.select(_SUM_LEDGER, bindings)
    return {**row, "reserved_microusd": 0}


def _account(standing: Standing) -> Row:
    return _key_of(standing.allowance, standing.start)


def _key_of(allowance: Allowance, start: int) -> Row:
    return {"period": allowance.period, "subject": stored(allowance.subject), "start": start}


def _lock_of(account: Row) -> str:
    return f"budget {account['period']} {account['start']} {account['subject']}"
