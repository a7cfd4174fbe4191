"""What is kept between calls, behind one interface.

    Store         the rooms, each an attribute
      .ledger     every route and its attempts, for the bill and the reports    kept for good
      .sessions   the messages of a conversation                                kept until they have rested for the TTL

    sqlite.py            the embedded default: one file in the home folder
      sqlite_ledger.py, sqlite_sessions.py    its rooms
      database.py        the file; knows nothing of what is kept
      migrations.py      the tables, as numbered steps
    handles.py           how ids are made

Everything belongs to the caller who made it. Somebody else's handle, an expired one and one that never was get the same
answer, `UnknownHandle` with the same words, so that nobody can find out by asking which handles exist.

A write that has returned is on the disk. A caller who is cancelled while waiting for a write does not take it back.
Any Python string can be kept, lone surrogates and NUL included. Times are seconds since the epoch by the store's clock.

`tests/state/test_store_contract.py` holds every backend to this page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from routing.state.handles import new_handle
from routing.types import Message, MessageRole, RouteRecord

__all__ = [
    "NO_SUCH_ROUTE",
    "NO_SUCH_SESSION",
    "Ledger",
    "LedgerTotals",
    "ModelHealth",
    "Sessions",
    "Store",
    "first_kept",
    "new_handle",
]

NO_SUCH_ROUTE = "there is no route of that id. Use the route_id that came with an answer."
NO_SUCH_SESSION = (
    "there is no session of that id; it may have expired. Leave session_id out to start a new one, and use the session_id "
    "that comes with the answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """Sums over a caller's routes. Tokens and cost are sums over all attempts, failed ones included.

    ``cost_microusd`` leaves out the ``unpriced_attempts``, whose cost is unknown; ``baseline_microusd`` leaves out the
    routes that have no baseline.
    """

    routes: int
    attempts: int
    input_tokens: int
    output_tokens: int
    cost_microusd: int
    baseline_microusd: int
    unpriced_attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHealth:
    """How a model has fared with a caller lately.

    ``attempts`` counts the cancelled ones too, which are neither ``answered`` nor ``failures``. Percentiles are over the
    answered attempts by nearest rank, so each is a time that was measured; ``None`` where none was. ``last_error`` is that of
    the failed attempt that started last; ``last_attempt_at`` is when the last one of any outcome started.
    """

    model_id: str
    attempts: int
    answered: int
    failures: int
    p50_latency_ms: int | None
    p95_latency_ms: int | None
    p50_first_token_ms: int | None
    last_error: str | None
    last_attempt_at: float


class Ledger(Protocol):
    """The book of routes. Neither the prompt nor the answer is kept: of the one its hash, of the other nothing."""

    async def record(self, route: RouteRecord) -> None:
        """Write a route and its attempts, all or nothing. A route is written once."""
        ...

    async def route(self, route_id: str, caller: str) -> RouteRecord:
        """Return a route as it was recorded, but for ``text``, which is empty.

        Raises:
            UnknownHandle: this caller has no such route.

        """
        ...

    async def recent(self, caller: str, limit: int) -> tuple[RouteRecord, ...]:
        """Return the caller's last ``limit`` routes, the one that started last first."""
        ...

    async def totals(self, caller: str, since: float | None = None) -> LedgerTotals:
        """Sum up the caller's routes that started at ``since`` or later; all of them where it is ``None``."""
        ...

    async def health(self, caller: str, since: float) -> tuple[ModelHealth, ...]:
        """Sum up by model the attempts of the caller's routes that started at ``since`` or later, in no special order.

        Meant for the last hours or days: it reads each of these attempts.
        """
        ...


class Sessions(Protocol):
    """Conversations, each a list of messages. One that has not been appended to for the TTL is gone."""

    async def start(self, caller: str, messages: Sequence[Message] = (), *, session_id: str | None = None) -> str:
        """Open a session with its first messages, in one write, and return its id: ``session_id``, or a new handle."""
        ...

    async def history(self, session_id: str, caller: str) -> tuple[Message, ...]:
        """Return what is kept of the conversation, oldest first. Reading does not prolong it.

        Raises:
            UnknownHandle: this caller has no such session, or it has expired.

        """
        ...

    async def append(self, session_id: str, caller: str, messages: Sequence[Message]) -> None:
        """Add messages, all or none, let go of the oldest as `first_kept` says, and start the TTL anew.

        ``native`` is not kept: it is of use only while its own turn goes on, and has a form that only its adapter knows.

        Raises:
            UnknownHandle: this caller has no such session, or it has expired.

        """
        ...

    async def latest(self, caller: str) -> str | None:
        """Return the caller's live session that was started or appended to last."""
        ...

    async def delete(self, session_id: str, caller: str) -> None:
        """Forget a session and its messages.

        Raises:
            UnknownHandle: this caller has no such session, or it has expired.

        """
        ...

    async def sweep(self) -> int:
        """Remove expired sessions, whoever's they are, and return how many. The store also does so by itself."""
        ...


class Store(Protocol):
    """All of it, in one place that is closed once."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def sessions(self) -> Sessions: ...

    async def aclose(self) -> None:
        """Write what has been asked for, then close. Closing twice is harmless."""
        ...


def first_kept(roles: Sequence[MessageRole], most: int) -> int:
    """Return the index of the oldest message to keep, so that at most ``most`` are kept.

    A cut falls on a user's turn: providers refuse a tool's result without its call, and some a conversation that opens with
    the assistant. A single turn of more than ``most`` messages is therefore let go of as a whole, and results that are
    appended after their calls were let go of follow them.
    """
    is_cut = len(roles) > most
    window = range(max(0, len(roles) - most), len(roles))
    opens = (index for index in window if (roles[index] == "user" if is_cut else roles[index] != "tool"))
    return next(opens, len(roles))
