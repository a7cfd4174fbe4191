"""A store that may go away and come back while tasks are under way.

    GuardedStore     any `Store`, whose rooms answer within `PATIENCE_SECONDS` or raise `StoreUnavailable`
      .admit         asked before a task is begun
    Lifeline         whether the store answers; looks every second while it does not, and pays then what is owed

While the store is away, ``closed`` refuses tasks before they cost anything, with an error that says to try again. ``open``
answers them unseen by any budget, and says so. Either way what was spent already is owed: it is kept in memory, and booked
when the store is back. Conversations cannot be read meanwhile, so one that is to be continued is refused in both.

A single operation that fails is enough to take the store for gone, and a second later it is tried again. The log says once that
it is away, and once that it is back. What is owed is lost with the process: `GuardedStore.aclose` tries once more, and says
what is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Literal, TypeVar, cast, get_args

from routing.errors import BookedLater, SettingsError, StoreUnavailable, UnknownHandle
from routing.patience import abandon, within
from routing.state import (
    Allowance,
    Answers,
    BatchItem,
    BatchPlan,
    Budgets,
    Experience,
    Feedback,
    Jobs,
    KeptAnswer,
    KeptBatch,
    Ledger,
    LedgerTotals,
    Memories,
    ModelHealth,
    Reports,
    Reservation,
    Sessions,
    ShadowAnswer,
    Standing,
    Store,
    Turn,
    new_handle,
)
from routing.types import OutagePolicy, RouteRecord, ToolUse

PATIENCE_SECONDS = 2.0
"""How long a route waits for one answer of the store."""

LONG_PATIENCE_SECONDS = 15.0
"""As long as a report, or a search that embeds its query, may take."""

FRESH_SECONDS = 1.0
"""An answer of the store that is not older than this proves that it is there."""

MOST_OWED = 10_000
"""Writes that are kept for later; no task is begun beyond them."""

_AT_ONCE = 8
_SECONDS_BETWEEN_TRIES = 1.0
_CLOSING_SECONDS = 15.0
_NO_CAP = 2**62
_AWAY = "The store does not answer, so nothing can be booked or looked up at the moment."
_LATER = "The store does not answer: this answer is booked, and added to its session, as soon as it does."
_UNCHECKED = "The store does not answer: no budget was checked, and this answer is booked as soon as it does."
_OUTAGES = (SettingsError, OSError)
"""What a store raises that cannot be reached or used; a time-out is an OSError. All else is an answer, or our own mistake."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Room = TypeVar("_Room")
Pay = Callable[[], Coroutine[Any, Any, object]]


Kind = Literal["money", "ledger", "work", "end"]
"""What is owed is written in this order: a new budget counts the ledger, and work ends after it began."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Owed:
    """A write that is to be done when the store is back; ``what`` names it in the log."""

    kind: Kind
    what: str
    pay: Pay


class Lifeline:
    """Whether the store answers. ``ping`` asks it for something that is cheap and proves that it takes writes."""

    def __init__(self, ping: Callable[[], Coroutine[Any, Any, object]], clock: Callable[[], float]) -> None:
        self._ping = ping
        self._clock = clock
        self._heard_at = clock()
        self._looking: asyncio.Task[None] | None = None
        self._owed: dict[Kind, dict[Owed, None]] = {kind: {} for kind in get_args(Kind)}

    @property
    def owed(self) -> Sequence[Owed]:
        """What is to be done when it is back."""
        return [owed for waiting in self._owed.values() for owed in waiting]

    @property
    def is_up(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._looking is None

    @property
    def is_full(self) -> bool:
        """Whether no more writes can wait for it."""
        return sum(map(len, self._owed.values())) >= MOST_OWED

    async def ask(self, work: Callable[[], Coroutine[Any, Any, _T]], *, patience: float | None = None) -> _T:
        """Do something with the store.

        Raises:
            StoreUnavailable: it did not answer, or did not when it was asked last. What was asked may still happen.

        """
        if not self.is_up:
            raise StoreUnavailable(_AWAY)
        return await self._asked(work, PATIENCE_SECONDS if patience is None else patience)

    async def check(self) -> None:
        """See that it answers. Raises as `ask` does."""
        if not self.is_up or self._clock() - self._heard_at > FRESH_SECONDS:
            await self.ask(self._ping)

    def owe(self, kind: Kind, what: str, pay: Pay) -> None:
        """Have something done when the store is back. What was spent is always kept: it is a few sums.

        Raises:
            StoreUnavailable: more is owed than can be kept.

        """
        if self.is_full and kind != "money":
            raise StoreUnavailable(f"{_AWAY} {MOST_OWED:,} writes wait for it already; no more are kept.")
        self._owed[kind][Owed(kind=kind, what=what, pay=pay)] = None
        if self._looking is None:  # it came back in between
            self._looking = asyncio.create_task(self._look(is_told=False))

    async def aclose(self) -> None:
        """Pay what can be paid, and say what cannot."""
        looking, self._looking = self._looking, None
        if looking is not None:
            abandon(looking)
        try:
            await within(_CLOSING_SECONDS, self._settle_up())
        except Exception:  # noqa: BLE001 - the store may fail in any way; what is lost is said below
            _log.error("the store did not come back: lost are %s", ", ".join(owed.what for owed in self.owed))

    async def _asked(self, work: Callable[[], Coroutine[Any, Any, _T]], patience: float) -> _T:
        try:
            value = await within(patience, work())
        except _OUTAGES as problem:
            self._lost(problem)
            raise StoreUnavailable(_AWAY) from problem
        self._heard_at = self._clock()
        return value

    def _lost(self, problem: BaseException) -> None:
        if self._looking is None:
            _log.warning(
                "the store does not answer (%s: %s); it is tried every second", type(problem).__name__, problem
            )
            self._looking = asyncio.create_task(self._look(is_told=True))

    async def _look(self, *, is_told: bool) -> None:
        """Try until it is back, then pay what is owed."""
        while True:
            try:
                await within(PATIENCE_SECONDS, self._ping())
                count = await self._settle_up()
            except Exception:  # noqa: BLE001 - whatever it says, it is tried again
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
            else:
                break
        self._heard_at = self._clock()
        self._looking = None
        if is_told:
            _log.warning("the store answers again; %d writes that waited for it are done", count)

    async def _settle_up(self) -> int:
        """Do what is owed, and what is owed meanwhile. All of it is written when this returns."""
        count = 0
        while waiting := next(filter(None, self._owed.values()), None):
            some = list(islice(waiting, _AT_ONCE))
            failures = await asyncio.gather(*(self._pay(owed) for owed in some), return_exceptions=True)
            if failure := next(filter(None, failures), None):
                raise failure
            count += len(some)
        if count:
            await within(LONG_PATIENCE_SECONDS, self._ping())  # a write: it returns after those nobody waited for
        return count

    async def _pay(self, owed: Owed) -> None:
        try:
            await within(LONG_PATIENCE_SECONDS, owed.pay())
        except _OUTAGES:
            raise
        except Exception:  # noqa: BLE001 - one write that the store refuses must not keep back the rest
            _log.exception("%s could not be written", owed.what)
        del self._owed[owed.kind][owed]


class GuardedStore:
    """The `Store` ``inner``, which must be open. ``policy`` says what becomes of tasks while it is away."""

    def __init__(self, inner: Store, policy: OutagePolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._policy = policy
        self.lifeline = Lifeline(inner.budgets.sweep, clock)
        self.ledger: Ledger = _GuardedLedger(inner.ledger, self.lifeline, policy)
        self.budgets: Budgets = _GuardedBudgets(inner.budgets, self.lifeline, policy)
        self.jobs: Jobs = _GuardedJobs(inner.jobs, self.lifeline)
        self.sessions: Sessions = _guarded(inner.sessions, self.lifeline, PATIENCE_SECONDS)
        self.memories: Memories = _guarded(inner.memories, self.lifeline, LONG_PATIENCE_SECONDS)
        self.reports: Reports = _guarded(inner.reports, self.lifeline, LONG_PATIENCE_SECONDS)
        self.answers: Answers = _guarded(inner.answers, self.lifeline, PATIENCE_SECONDS)
        self.feedback: Feedback = _GuardedFeedback(inner.feedback, self.lifeline)

    @property
    def place(self) -> str:
        return self._inner.place

    async def admit(self) -> None:
        """See whether a task may be begun.

        Raises:
            StoreUnavailable: what it would spend could not be booked.

        """
        if self._policy == "closed":
            await self.lifeline.check()
        elif self.lifeline.is_full:
            raise StoreUnavailable(f"{_AWAY} More answers than can be kept wait for it already.")

    async def aclose(self) -> None:
        await self.lifeline.aclose()
        await self._inner.aclose()


class _GuardedLedger:
    def __init__(self, inner: Ledger, lifeline: Lifeline, policy: OutagePolicy) -> None:
        self._inner = inner
        self._lifeline = lifeline
        self._notice = _LATER if policy == "closed" else _UNCHECKED

    async def record(self, route: RouteRecord, turn: Turn | None = None) -> bool:
        """As `Ledger.record`.

        Raises:
            BookedLater: the store is away, and it is written when it is back.

        """
        try:
            return await self._lifeline.ask(lambda: self._inner.record(route, turn))
        except StoreUnavailable as problem:
            self._lifeline.owe("ledger", f"route {route.route_id}", partial(self._record_late, route, turn))
            raise BookedLater(self._notice) from problem

    async def record_tool(self, caller: str, use: ToolUse, started_at: float) -> None:
        write = partial(self._inner.record_tool, caller, use, started_at)
        await _done_or_owed(self._lifeline, "ledger", f"a call of {use.name}", write)

    async def record_shadow(self, shadow: ShadowAnswer) -> None:
        write = partial(self._inner.record_shadow, shadow)
        await _done_or_owed(self._lifeline, "ledger", f"a shadow of route {shadow.route_id}", write)

    async def route(self, route_id: str, caller: str) -> RouteRecord:
        return await self._lifeline.ask(lambda: self._inner.route(route_id, caller))

    async def recent(self, caller: str, limit: int) -> tuple[RouteRecord, ...]:
        return await self._lifeline.ask(lambda: self._inner.recent(caller, limit))

    async def totals(self, caller: str, since: float | None = None) -> LedgerTotals:
        return await self._lifeline.ask(lambda: self._inner.totals(caller, since), patience=LONG_PATIENCE_SECONDS)

    async def health(self, caller: str, since: float) -> tuple[ModelHealth, ...]:
        return await self._lifeline.ask(lambda: self._inner.health(caller, since), patience=LONG_PATIENCE_SECONDS)

    async def _record_late(self, route: RouteRecord, turn: Turn | None) -> None:
        """Write a route, unless a write that nobody waited for was done after all: a route is written once."""
        try:
            await self._inner.record(route, turn)
        except _OUTAGES:
            raise
        except Exception as refused:  # noqa: BLE001 - each database has its own word for what is there already
            try:
                await self._inner.route(route.route_id, route.caller)
            except UnknownHandle:
                raise refused from None


class _GuardedBudgets:
    """Reservations of a store that was away are ``unseen``: they have no lease, and are booked when they are settled."""

    def __init__(self, inner: Budgets, lifeline: Lifeline, policy: OutagePolicy) -> None:
        self._inner = inner
        self._lifeline = lifeline
        self._policy = policy
        self._unseen: dict[str, tuple[Allowance, ...]] = {}
        self._unbooked: dict[tuple[Allowance, ...], int] = {}

    async def reserve(self, allowances: Sequence[Allowance], *, most: int, least: int) -> Reservation | Standing:
        try:
            return await self._lifeline.ask(lambda: self._reserve(allowances, most=most, least=least))
        except StoreUnavailable:
            if self._policy == "closed":
                raise
        reservation = Reservation(reservation_id=new_handle("rsv"), microusd=most, standings=())
        self._unseen[reservation.reservation_id] = tuple(allowances)
        return reservation

    def settle(self, reservation: Reservation, microusd: int) -> None:
        allowances = self._unseen.pop(reservation.reservation_id, None)
        if allowances is not None:
            self._owe(allowances, microusd)
        elif self._lifeline.is_up:
            self._inner.settle(reservation, microusd)
        else:
            self._lifeline.owe("money", f"{microusd} micro-dollars", partial(self._settle, reservation, microusd))

    async def standings(self, allowances: Sequence[Allowance]) -> tuple[Standing, ...]:
        try:
            return await self._lifeline.ask(lambda: self._inner.standings(allowances))
        except StoreUnavailable:
            if self._policy == "closed":
                raise
        return ()

    async def sweep(self) -> int:
        return await self._lifeline.ask(self._inner.sweep)

    async def _reserve(self, allowances: Sequence[Allowance], *, most: int, least: int) -> Reservation | Standing:
        """Reserve; what is granted after its caller has gone on is freed, and need not wait for its lease to end."""
        reserving = asyncio.ensure_future(self._inner.reserve(allowances, most=most, least=least))
        try:
            return await asyncio.shield(reserving)
        except asyncio.CancelledError:
            reserving.add_done_callback(self._free)
            raise

    def _free(self, reserving: asyncio.Future[Reservation | Standing]) -> None:
        if reserving.cancelled() or reserving.exception() is not None:
            return
        if isinstance(granted := reserving.result(), Reservation):
            self.settle(granted, 0)

    def _owe(self, allowances: tuple[Allowance, ...], microusd: int) -> None:
        """Have it booked later, in one sum with all else that is owed to these budgets."""
        if allowances not in self._unbooked:
            subjects = ", ".join(sorted({allowance.subject or "all" for allowance in allowances}))
            self._lifeline.owe("money", f"what was spent by {subjects}", partial(self._book, allowances))
        self._unbooked[allowances] = self._unbooked.get(allowances, 0) + microusd

    async def _settle(self, reservation: Reservation, microusd: int) -> None:
        self._inner.settle(reservation, microusd)  # it is on the disk before a later write returns

    async def _book(self, allowances: tuple[Allowance, ...]) -> None:
        """Book what was spent, whatever the caps: on the budgets of now, as it is not known which were those of then."""
        uncapped = [replace(allowance, cap_microusd=_NO_CAP) for allowance in allowances]
        while microusd := self._unbooked[allowances]:
            reservation = await self._inner.reserve(uncapped, most=microusd, least=microusd)
            self._unbooked[allowances] -= microusd  # more may have come meanwhile
            if isinstance(reservation, Reservation):
                await self._settle(reservation, microusd)
        del self._unbooked[allowances]


class _GuardedFeedback:
    def __init__(self, inner: Feedback, lifeline: Lifeline) -> None:
        self._inner = inner
        self._lifeline = lifeline

    async def record(self, caller: str, route_id: str, score: float, note: str | None = None) -> float | None:
        return await self._lifeline.ask(lambda: self._inner.record(caller, route_id, score, note))

    async def scores(self, caller: str, route_ids: Sequence[str]) -> Mapping[str, float]:
        return await self._lifeline.ask(lambda: self._inner.scores(caller, route_ids))

    async def experience(self, caller: str, *, half_life_seconds: float, since: float) -> Experience:
        """As `Feedback.experience`; none while the store is away: the choice is then as it is for a newcomer."""
        ask = partial(self._inner.experience, caller, half_life_seconds=half_life_seconds, since=since)
        try:
            return await self._lifeline.ask(ask)
        except StoreUnavailable:
            return Experience()


class _GuardedJobs:
    """What came of routes is kept here while the store is away, for who asks this process."""

    def __init__(self, inner: Jobs, lifeline: Lifeline) -> None:
        self._inner = inner
        self._lifeline = lifeline
        self._outcomes: dict[tuple[str, str], KeptAnswer] = {}

    async def begin(self, route_id: str, caller: str) -> None:
        await _done_or_owed(self._lifeline, "work", f"answer {route_id}", partial(self._inner.begin, route_id, caller))

    async def finish(self, route_id: str, caller: str, *, record: RouteRecord | None, error: str | None) -> None:
        write = partial(self._inner.finish, route_id, caller, record=record, error=error)
        try:
            await self._lifeline.ask(write)
        except StoreUnavailable:
            status: Literal["completed", "failed"] = "completed" if record else "failed"
            self._outcomes[route_id, caller] = KeptAnswer(status=status, record=record, error=error)
            self._lifeline.owe("end", f"answer {route_id}", partial(self._finish_late, route_id, caller, write))

    async def find(self, route_id: str, caller: str) -> KeptAnswer:
        if kept := self._outcomes.get((route_id, caller)):
            return kept
        return await self._lifeline.ask(lambda: self._inner.find(route_id, caller))

    async def recent(self, caller: str, limit: int) -> tuple[str, ...]:
        return await self._lifeline.ask(lambda: self._inner.recent(caller, limit))

    async def open_batch(self, caller: str, plan: BatchPlan) -> str:
        return await self._lifeline.ask(lambda: self._inner.open_batch(caller, plan))

    async def batch(self, batch_id: str, caller: str) -> KeptBatch:
        return await self._lifeline.ask(lambda: self._inner.batch(batch_id, caller))

    async def take_batch(self, batch_id: str) -> bool:
        return await self._lifeline.ask(lambda: self._inner.take_batch(batch_id))

    async def finish_item(self, batch_id: str, item: BatchItem) -> None:
        write = partial(self._inner.finish_item, batch_id, item)
        await _done_or_owed(self._lifeline, "work", f"task {item.position} of {batch_id}", write)

    async def leave_batch(self, batch_id: str) -> None:
        await _done_or_owed(self._lifeline, "end", f"the end of {batch_id}", partial(self._inner.leave_batch, batch_id))

    async def _finish_late(self, route_id: str, caller: str, write: Pay) -> None:
        await write()
        self._outcomes.pop((route_id, caller), None)


async def _done_or_owed(
    lifeline: Lifeline, kind: Kind, what: str, write: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Write now, or when the store is back. Such a write may come twice: it must do no harm, or be worth less than its loss."""
    try:
        await lifeline.ask(write)
    except StoreUnavailable:
        lifeline.owe(kind, what, write)


def _guarded(room: _Room, lifeline: Lifeline, patience: float) -> _Room:
    """A room all of whose methods are asked by way of the lifeline, and nothing else is to be said of them."""
    return cast("_Room", _Guarded(room, lifeline, patience))


class _Guarded:
    def __init__(self, room: object, lifeline: Lifeline, patience: float) -> None:
        self._room = room
        self._lifeline = lifeline
        self._patience = patience

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self._room, name)

        async def asked(*args: Any, **kwargs: Any) -> Any:
            return await self._lifeline.ask(lambda: method(*args, **kwargs), patience=self._patience)

        return asked
