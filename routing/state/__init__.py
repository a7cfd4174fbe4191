"""What is kept between calls, behind one interface.

    Store         the rooms, each an attribute
      .ledger     every route and its attempts, for the bill and the reports    kept for good, or for as many days as asked
      .reports    sums of the ledger by hour and day                            the days for good, the hours for three days
      .feedback   how good a caller found an answer                             kept for good; its note as long as its route
      .sessions   the messages of a conversation                                kept until they have rested for the TTL
      .memories   what a caller wants to find again, by meaning and by word     kept until deleted, or for a TTL of its own
      .budgets    what has been spent of each budget, and what is reserved      kept until its hour, month or session is past
      .jobs       answers that outlive their call, and batches                  kept for the sessions' TTL
      .answers    answers that may be given again to the same question          kept for the time that the settings say

    sqlite.py            the embedded default: one file in the home folder
    postgres.py          a database that several processes and machines share
    sql_ledger.py, sql_reports.py, sql_sessions.py, sql_budgets.py, sql_jobs.py, sql_answers.py
                         the rooms, written once for both
    tables.py            what a room asks of a database
    columns.py           how values become columns
    sqlite_memories.py, postgres_memories.py
                         the one room that is different in each; remembering.py: what they have in common
    database.py, postgres_database.py
                         the file, and the server; they know nothing of what is kept
    migrations.py, postgres_migrations.py
                         the tables, as numbered steps
    outage.py            any of them, where it may go away and come back
    leases.py            what a process holds, for as long as it lives
    words.py             the words of a text, in scripts with and without spaces
    vectors.py           the vectors of a caller's memories, and what is nearest; imported where there are any
    handles.py           how ids are made

Everything belongs to the caller who made it. Somebody else's handle, an expired one and one that never was get the same
answer, `UnknownHandle` with the same words, so that nobody can find out by asking which handles exist.

A write that has returned outlives the process, and it is on the disk; only that of a route or of a reservation may get there
some milliseconds later, as an answer does not wait for a disk. A caller who is cancelled while waiting for a write does not
take it back.
Any Python string can be kept, lone surrogates and NUL included. Times are seconds since the epoch by the store's clock.

`tests/state/test_store_contract.py` holds every backend to this page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from routing.errors import InvalidTask
from routing.state.handles import new_handle
from routing.types import (
    AttemptOutcome,
    CostPreference,
    Message,
    MessageRole,
    RouteRecord,
    SelectionPolicy,
    ToolUse,
    Usage,
    VerifyMode,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ALIKE",
    "LEASE_SECONDS",
    "LOW_SCORE",
    "MOST_KEY_CHARS",
    "MOST_MEMORIES",
    "MOST_MEMORIES_AT_ONCE",
    "MOST_MEMORY_BYTES",
    "MOST_METADATA_BYTES",
    "MOST_SOURCE_CHARS",
    "MOST_TTL_SECONDS",
    "NO_SUCH_ANSWER",
    "NO_SUCH_BATCH",
    "NO_SUCH_MEMORY",
    "NO_SUCH_ROUTE",
    "NO_SUCH_SESSION",
    "Allowance",
    "AnswerKey",
    "AnswerToKeep",
    "Answers",
    "AttemptSums",
    "BatchItem",
    "BatchPlan",
    "BudgetPeriod",
    "Budgets",
    "CheckSums",
    "Decided",
    "DecidedPage",
    "Embedder",
    "Feedback",
    "Jobs",
    "KeptAnswer",
    "KeptBatch",
    "LatencyCount",
    "Ledger",
    "LedgerLine",
    "LedgerPage",
    "LedgerTotals",
    "Likeness",
    "Memories",
    "Memory",
    "MemoryHit",
    "MemoryPage",
    "MemorySearch",
    "ModelHealth",
    "NewMemory",
    "PolicyCount",
    "Reports",
    "Reservation",
    "RouteSums",
    "ScoreSums",
    "SearchMode",
    "Sessions",
    "ShadowAnswer",
    "ShadowSums",
    "Span",
    "SpanSums",
    "SpareAnswer",
    "Standing",
    "Store",
    "StoredMemory",
    "TrackRecord",
    "UsageSums",
    "check_filter",
    "check_memories",
    "first_kept",
    "new_handle",
]

MOST_MEMORIES = 100_000
"""What a caller may keep: as many as are searched exactly within a few milliseconds."""

MOST_MEMORIES_AT_ONCE = 1_000
MOST_MEMORY_BYTES = 32_768
MOST_METADATA_BYTES = 16_384
MOST_KEY_CHARS = 256
MOST_SOURCE_CHARS = 1_024
MOST_TTL_SECONDS = 10 * 366 * 86_400

ALIKE = 0.95
"""Cosine from which two memories are told to say the same."""

NO_SUCH_MEMORY = "there is no such memory; it may have expired, or be deleted already. memory_list shows what there is."
NO_SUCH_ANSWER = (
    "no answer of that id is kept: only those that outlived their call, were detached or are long, for some time."
)
NO_SUCH_BATCH = "there is no batch of that id; it may have expired. Leave batch_id out to start a new one."
NO_SUCH_ROUTE = "there is no route of that id. Use the route_id that came with an answer."
NO_SUCH_SESSION = (
    "there is no session of that id; it may have expired. Leave session_id out to start a new one, and use the session_id "
    "that comes with the answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTotals:
    """Sums over a caller's routes. Tokens and cost are sums over all attempts, failed ones included.

    The cost is also that of tools and of shadows.

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


SearchMode = Literal["hybrid", "meaning", "word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMemory:
    """What is to be remembered. With a ``key`` it takes the place of the caller's memory of that key.

    ``metadata`` is what JSON can hold, by names of letters, digits, ``_``, ``-`` and ``.``; ``source`` says where the text is
    from; ``ttl_seconds`` is how long it is kept, for good where it is ``None``.
    """

    text: str
    key: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    source: str | None = None
    ttl_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A memory as it is kept. ``updated_at`` is when it was stored last; ``expires_at`` is ``None`` where it is for good."""

    memory_id: str
    text: str
    key: str | None
    metadata: Mapping[str, object]
    source: str | None
    created_at: float
    updated_at: float
    expires_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A memory that was there before and says about the same; ``similarity`` is the cosine, from `ALIKE` to 1."""

    memory_id: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMemory:
    """What became of a `NewMemory`. ``created`` is false where it took the place of one with its key.

    While it is not ``embedded`` it is found by word only, and ``duplicates`` are not known; the store sees to it.
    """

    memory_id: str
    created: bool
    embedded: bool
    duplicates: tuple[Likeness, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHit:
    """A memory that was found. ``score`` is between 0 and 1, and 1 for the best by all that was asked for.

    ``similarity`` is the cosine with the query, ``None`` where it is not among the nearest by meaning.
    """

    memory: Memory
    score: float
    similarity: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySearch:
    """What was found, the best first. ``by_meaning`` is false where no embedder was at hand.

    ``pending`` is how many of the caller's memories have no vector of this embedder yet, and so are found by word only.
    """

    hits: tuple[MemoryHit, ...]
    by_meaning: bool
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPage:
    """Some of ``total`` memories, the one stored last first. ``cursor`` asks for the next page, ``None`` on the last one."""

    memories: tuple[Memory, ...]
    total: int
    cursor: str | None


class Embedder(Protocol):
    """What turns texts into vectors whose scalar product says how near their meanings are."""

    @property
    def name(self) -> str:
        """What the vectors depend on, version included: those of another name are made anew."""
        ...

    @property
    def dimensions(self) -> int:
        """How long a vector is."""
        ...

    def available(self) -> bool:
        """Whether it is ready, or will be as soon as it is asked; cheap."""
        ...

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> NDArray[np.float32]:
        """One vector of length 1 for each text. It can be cancelled.

        Raises:
            AssetError: it is not available after all.

        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What a route adds to its session, which it ``begins`` or continues; ``answered_by`` is the model's id."""

    messages: tuple[Message, ...]
    begins: bool
    answered_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowAnswer:
    """What became of a task that a second model was given unseen. Of its text there is only how far it agrees, 0 to 1.

    ``agreement`` is ``None`` where it did not answer; ``cost_microusd`` where the price is unknown.
    """

    route_id: str
    caller: str
    model_id: str
    provider: str
    category: str
    started_at: float
    latency_ms: int
    outcome: AttemptOutcome
    usage: Usage
    cost_microusd: int | None
    agreement: float | None = None


class Ledger(Protocol):
    """The book of routes. Of a prompt its hash is kept, itself only where the record has it; of an answer nothing."""

    async def record(self, route: RouteRecord, turn: Turn | None = None) -> bool:
        """Write a route and its attempts, all or nothing, and in the same write its turn. A route is written once.

        Returns whether the session took the turn; where it did not, the route is written all the same, and the log says why.
        """
        ...

    async def record_tool(self, caller: str, use: ToolUse, started_at: float) -> None:
        """Write a call of a paid tool that a host made itself; those of a route come with the route."""
        ...

    async def record_shadow(self, shadow: ShadowAnswer) -> None:
        """Write what a second model made of a route; it is spent money, and no part of the route's own bill."""
        ...

    async def route(self, route_id: str, caller: str) -> RouteRecord:
        """Return a route as it was recorded, but for ``text``, ``images`` and ``embeddings``, which are empty.

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


Span = Literal[3600, 86400]
"""Seconds in an hour and in a day: what sums are kept by."""

LOW_SCORE = 0.7
"""An answer that was scored below this was not good enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSums:
    """Sums over the routes that were answered by one model, in one category.

    ``fallbacks`` were answered by another model than the one chosen first. ``saved_microusd`` is the baseline less all
    attempts and tools; a route that did not end well saved the opposite of what it cost. It leaves out the ``uncompared``,
    whose cost or baseline is unknown, as ``baseline_microusd`` does. ``losing`` routes saved less than nothing:
    ``lost_microusd`` in all. ``task_tokens`` is what the caller wrote: system prompt and prompt.
    """

    model_id: str | None
    category: str | None
    routes: int
    completed: int
    failed: int
    cancelled: int
    fallbacks: int
    tools_microusd: int
    baseline_microusd: int
    saved_microusd: int
    losing: int
    lost_microusd: int
    uncompared: int
    task_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptSums:
    """Sums over the attempts by model, provider and category of their routes.

    ``cost_microusd`` leaves out the ``unpriced``. Token counts are `Usage`'s; ``answer_tokens`` is what a caller got to read.
    """

    model_id: str
    provider: str
    category: str | None
    attempts: int
    answered: int
    failed: int
    cancelled: int
    unpriced: int
    cost_microusd: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanSums:
    """What happened in one hour or day, from ``start`` on; the cost is that of attempts, tools and shadows of its routes."""

    start: int
    routes: int
    cost_microusd: int
    saved_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyCount:
    """How often something took that long, to two significant digits (exact below 100 ms).

    ``route`` is from task to answer, by category; ``attempt`` one upstream call and ``first_token`` its beginning, by model.
    """

    measure: Literal["route", "attempt", "first_token"]
    subject: str | None
    latency_ms: int
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSums:
    """Feedback on the answers of one model in one category; ``low`` ones are below `LOW_SCORE`."""

    model_id: str | None
    category: str | None
    scored: int
    low: int
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRecord:
    """How a model did before the time that is reported on, feedback included."""

    model_id: str | None
    answered: int
    failed: int
    scored: int
    low: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowSums:
    """Sums over the answers of a second model that nobody was shown, by category of their routes.

    ``agreement`` is the sum over the ``compared`` ones of how far each agrees with what was shown (0 to 1).
    """

    model_id: str
    provider: str
    category: str | None
    shadows: int
    answered: int
    failed: int
    unpriced: int
    cost_microusd: int
    compared: int
    agreement: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSums:
    """How many answers of a model were checked by machine, failed a check, or passed tests that were run on them."""

    model_id: str
    category: str | None
    checked: int
    failed: int
    tested: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCount:
    """How many routes a policy chose the model of."""

    policy: SelectionPolicy
    routes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSums:
    """What there is to report on a stretch of time, all as of one moment. ``first_at`` begins the caller's first day.

    ``own_tools_microusd`` is what the tools cost that the caller called itself, outside of any route.
    """

    routes: tuple[RouteSums, ...]
    attempts: tuple[AttemptSums, ...]
    spans: tuple[SpanSums, ...]
    latencies: tuple[LatencyCount, ...]
    scores: tuple[ScoreSums, ...]
    before: tuple[TrackRecord, ...]
    shadows: tuple[ShadowSums, ...]
    policies: tuple[PolicyCount, ...]
    checks: tuple[CheckSums, ...]
    own_tools_microusd: int
    first_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLine:
    """An attempt with its route, for export; a route without attempts is one line whose ``position`` is ``None``."""

    route_id: str
    session_id: str
    started_at: float
    outcome: str
    error: str | None
    category: str | None
    complexity: int | None
    confidence: float | None
    analyzer: str | None
    chosen_model: str | None
    reasoning: str | None
    model_used: str | None
    latency_ms: int
    tools: str | None
    tools_microusd: int
    cost_microusd: int | None
    baseline_model: str | None
    baseline_microusd: int | None
    score: float | None
    note: str | None
    position: int | None
    model_id: str | None
    provider: str | None
    attempt_outcome: str | None
    attempt_error: str | None
    attempt_started_at: float | None
    attempt_latency_ms: int | None
    first_token_ms: int | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    estimated: bool | None
    attempt_microusd: int | None
    parent_id: str | None
    cached: str | None
    prompt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerPage:
    """Some lines, oldest route first. ``after`` asks for the next page, ``None`` on the last one."""

    lines: tuple[LedgerLine, ...]
    after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A completed route as a choice: what was weighed, what was taken, and what came of it.

    ``forecasts``, ``propensity`` and ``reference_model`` are `ModelSelection`'s. ``usages`` are the tokens of
    each attempt of ``model_used``; ``cost_microusd`` is that of all attempts and of the ``tools_microusd`` among them, ``None``
    where a price was unknown.
    """

    route_id: str
    started_at: float
    category: str | None
    complexity: int | None
    policy: SelectionPolicy
    chosen_model: str
    reference_model: str | None
    forecasts: Mapping[str, float]
    propensity: float
    model_used: str | None
    usages: tuple[Usage, ...]
    tools_microusd: int
    cost_microusd: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedPage:
    """Some choices, oldest first. ``after`` asks for the next page, ``None`` on the last one."""

    decided: tuple[Decided, ...]
    after: int | None


class Reports(Protocol):
    """Sums of a caller's routes by hour and day (UTC), each route in the hour in which it started. All of them are exact."""

    async def usage(self, caller: str, *, since: int | None, span: Span) -> UsageSums:
        """Return the sums of the spans from ``since`` on, which is the beginning of one; of all where it is ``None``.

        Sums by the hour reach back three days.
        """
        ...

    async def export(
        self, caller: str, *, since: float | None, after: int | None = None, routes: int = 1000
    ) -> LedgerPage:
        """Return the attempts of up to ``routes`` routes that started at ``since`` or later, in the order they were written."""
        ...

    async def decisions(
        self, caller: str, *, since: float | None, after: int | None = None, routes: int = 1000, scored: bool = False
    ) -> DecidedPage:
        """Return up to ``routes`` completed routes from ``since`` on as choices, oldest first, after the row ``after``.

        Only those with feedback where ``scored``, and of them the latest `routing.state.sql_reports.MOST_SCORED`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a model's answers to tasks of one kind were scored: ``weight`` is how many they count as, ``good`` their sum."""

    category: str
    complexity: int
    model_id: str
    weight: float
    good: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """How a model's calls went lately; the means are over the answered ones, times in milliseconds."""

    model_id: str
    answered: int
    failed: int
    latency_ms: float | None
    first_token_ms: float | None
    output_tokens: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What selection can learn from a caller's past."""

    scored: tuple[Scored, ...] = ()
    runs: tuple[Runs, ...] = ()


class Feedback(Protocol):
    """How good callers found the answers they got."""

    async def record(self, caller: str, route_id: str, score: float, note: str | None = None) -> float | None:
        """Keep a score between 0 and 1 in place of the one before, which is returned.

        Raises:
            UnknownHandle: this caller has no such route.

        """
        ...

    async def scores(self, caller: str, route_ids: Sequence[str]) -> Mapping[str, float]:
        """Return the scores that these routes were given, by id; those without one are left out."""
        ...

    async def experience(self, caller: str, *, half_life_seconds: float, since: float) -> Experience:
        """Sum up scores, each counting half as much with every half-life since it was given, and the calls from ``since`` on.

        A failed check counts as a score of 0, passed tests as one of 1; that another check was passed proves nothing.

        Sums of calls are by the hour, and reach back three days.
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

    async def answered_by(self, session_id: str, caller: str, *, within_seconds: float) -> str | None:
        """Return the model that gave the session's last answer, where that is not longer ago: its provider still has it cached.

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

    async def recent(self, caller: str, limit: int) -> tuple[str, ...]:
        """Return the caller's live sessions, at most ``limit`` of them, the one used last first."""
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


class Memories(Protocol):
    """What callers want to find again. ``metadata`` as an argument means: only memories that have all of these values."""

    async def store(self, caller: str, memories: Sequence[NewMemory]) -> tuple[StoredMemory, ...]:
        """Keep them, all or none, and say what became of each.

        They are on the disk before they are embedded, and embedding may go on after this returns.

        Raises:
            InvalidTask: one of them is empty or too large (`check_memories`), or it would be more than `MOST_MEMORIES`.

        """
        ...

    async def search(
        self,
        caller: str,
        query: str,
        *,
        limit: int = 10,
        metadata: Mapping[str, object] | None = None,
        mode: SearchMode = "hybrid",
    ) -> MemorySearch:
        """Find by meaning and by word, joined by reciprocal rank.

        Exact, every memory of the caller is compared; in PostgreSQL up to some thousands of them.

        Raises:
            InvalidTask: the filter cannot be one.
            ToolFailed: only ``meaning`` is asked for, and no embedder is at hand.

        """
        ...

    async def list(
        self, caller: str, *, limit: int = 20, cursor: str | None = None, metadata: Mapping[str, object] | None = None
    ) -> MemoryPage:
        """Return the caller's memories page by page, those stored last first.

        Raises:
            InvalidTask: the filter or the cursor cannot be one.

        """
        ...

    async def delete(
        self,
        caller: str,
        *,
        memory_ids: Sequence[str] = (),
        key: str | None = None,
        metadata: Mapping[str, object] | None = None,
        everything: bool = False,
    ) -> int:
        """Forget those with one of the ids, or the key, or the metadata, or all; return how many there were.

        They are gone for every later reader, and in SQLite overwritten on the disk, before this returns.

        Raises:
            InvalidTask: not exactly one way of choosing is given.
            UnknownHandle: this caller has none of these ids, or none of that key.

        """
        ...

    async def sweep(self) -> int:
        """Remove expired memories, whoever's they are, and return how many. The store also does so by itself."""
        ...


BudgetPeriod = Literal["hour", "month", "session"]

LEASE_SECONDS = 90.0
"""How long a reservation, or a job, is taken to be alive without a sign of life from its process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may be spent in the present hour or month (UTC), or in the session that ``subject`` names."""

    period: BudgetPeriod
    cap_microusd: int
    subject: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a budget stands. ``start`` is when its hour or month began; ``resets_at`` is ``None`` where it never does."""

    allowance: Allowance
    start: int
    spent_microusd: int
    reserved_microusd: int
    resets_at: float | None

    @property
    def left_microusd(self) -> int:
        """What can still be reserved; less than nothing where a bill was higher than its reservation."""
        return self.allowance.cap_microusd - self.spent_microusd - self.reserved_microusd


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Money that is set aside. ``standings`` are those before it, of the budgets that it is booked on."""

    reservation_id: str
    microusd: int
    standings: tuple[Standing, ...]


class Budgets(Protocol):
    """Money set aside before a call and booked after it. In each budget, spent + reserved never exceeds the cap.

    (But for a bill that is higher than its reservation: it is booked as it is, and nothing more is granted.) A reservation
    ends once: it is settled, or its lease of `LEASE_SECONDS` runs out because the process that renewed it is gone.
    """

    async def reserve(self, allowances: Sequence[Allowance], *, most: int, least: int) -> Reservation | Standing:
        """Set aside up to ``most``, at least ``least``, micro-dollars in all of the budgets at once.

        Where one has less than ``least`` left, nothing is set aside, and its standing is returned. A budget that is new counts
        what the ledger has for its hour or month.
        """
        ...

    def settle(self, reservation: Reservation, microusd: int) -> None:
        """Book what it came to, free the rest. Does not wait: it is written before any later write returns."""
        ...

    async def standings(self, allowances: Sequence[Allowance]) -> tuple[Standing, ...]:
        """Return how these budgets stand, in their order."""
        ...

    async def sweep(self) -> int:
        """Free reservations whose lease ran out, and return how many. Every `reserve` also does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer that can be asked for again; ``record`` where it is completed, ``error`` where it failed."""

    status: Literal["running", "completed", "failed"]
    record: RouteRecord | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """Many tasks that differ in their prompts alone. ``max_cost_microusd`` is for each of them, as are the checks."""

    prompts: tuple[str, ...]
    system: str | None = None
    cost_preference: CostPreference = "balanced"
    self_hosted_only: bool = False
    force_model: str | None = None
    max_tokens: int | None = None
    max_cost_microusd: int | None = None
    verify: VerifyMode = "auto"
    tests: str = ""
    criteria: str = ""
    samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchItem:
    """What became of one task of a batch; ``error`` is ``None`` where it was answered. A cost is ``None`` where unknown."""

    position: int
    route_id: str
    text: str = ""
    error: str | None = None
    model_used: str | None = None
    cost_microusd: int | None = 0
    saved_microusd: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBatch:
    """A batch and what is done of it, by position; ``running`` while a process has it under way."""

    plan: BatchPlan
    items: Mapping[int, BatchItem]
    running: bool


class Jobs(Protocol):
    """Work that outlives the call which asked for it. What runs is leased as reservations are, and renewed by its process."""

    async def begin(self, route_id: str, caller: str) -> None:
        """Note that a route is under way; where it is known already, nothing happens."""
        ...

    async def finish(self, route_id: str, caller: str, *, record: RouteRecord | None, error: str | None) -> None:
        """Keep what came of a route, whether it was begun here or not."""
        ...

    async def find(self, route_id: str, caller: str) -> KeptAnswer:
        """Return what is known; where the process that worked on it is gone, that it failed.

        Raises:
            UnknownHandle: this caller has no such answer, or it has expired.

        """
        ...

    async def recent(self, caller: str, limit: int) -> tuple[str, ...]:
        """Return the route ids of what `find` knows for the caller, at most ``limit`` of them, the newest first."""
        ...

    async def open_batch(self, caller: str, plan: BatchPlan) -> str:
        """Keep what is to be done, and return its id."""
        ...

    async def batch(self, batch_id: str, caller: str) -> KeptBatch:
        """Return a batch as it is.

        Raises:
            UnknownHandle: this caller has no such batch, or it has expired.

        """
        ...

    async def take_batch(self, batch_id: str) -> bool:
        """Have it under way from now on; false where a living process has it."""
        ...

    async def finish_item(self, batch_id: str, item: BatchItem) -> None:
        """Keep what became of a task, in place of what was there."""
        ...

    async def leave_batch(self, batch_id: str) -> None:
        """Have it under way no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerKey:
    """What a question is known by: ``digest`` of all that matters to its answer, ``context`` of all but its wording."""

    caller: str
    digest: str
    context: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpareAnswer:
    """An answer that was given before, the model that gave it, and what it consumed then."""

    text: str
    model_id: str
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerToKeep(SpareAnswer):
    """An answer, for how long it is kept, and how many of the caller's, in rows and bytes, are kept beside it.

    ``vector`` is that of its question, where it may be found by meaning; of length 1.
    """

    ttl_seconds: float
    most_rows: int
    most_bytes: int
    vector: tuple[float, ...] = field(default=(), repr=False)


class Answers(Protocol):
    """Answers that may be given again. They belong to the caller who got them; questions are not kept."""

    async def keep(self, key: AnswerKey, answer: AnswerToKeep) -> None:
        """Keep an answer in place of an earlier one of the same digest; the caller's oldest make room for it."""
        ...

    async def find(self, key: AnswerKey) -> SpareAnswer | None:
        """Return the answer of that digest; ``None`` where there is none, or it has expired."""
        ...

    async def alike(self, key: AnswerKey, vector: Sequence[float], *, least: float) -> SpareAnswer | None:
        """Return the answer in that context whose question's vector is nearest, at a cosine of ``least`` or more."""
        ...


class Store(Protocol):
    """All of it, in one place that is closed once."""

    @property
    def place(self) -> str:
        """Where it is, for people: without who may enter."""
        ...

    @property
    def ledger(self) -> Ledger: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def feedback(self) -> Feedback: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def memories(self) -> Memories: ...

    @property
    def budgets(self) -> Budgets: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def answers(self) -> Answers: ...

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


_METADATA_NAME = re.compile(r"[\w.-]{1,64}")


def check_memories(memories: Sequence[NewMemory]) -> None:
    """See that each of them can be kept.

    Raises:
        InvalidTask: it says which one cannot, and why.

    """
    if not 0 < len(memories) <= MOST_MEMORIES_AT_ONCE:
        raise InvalidTask(f"store 1 to {MOST_MEMORIES_AT_ONCE:,} memories at once; these are {len(memories):,}.")
    keys = [memory.key for memory in memories if memory.key is not None]
    if len(set(keys)) < len(keys):
        raise InvalidTask("two of the memories have the same key. Give each its own, or leave it out.")
    for number, memory in enumerate(memories, 1):
        if problem := _problem_of(memory):
            raise InvalidTask(f"memory {number} of {len(memories)} cannot be kept: {problem}. Nothing was stored.")


def _problem_of(memory: NewMemory) -> str | None:
    size = len(memory.text.encode("utf-8", "surrogatepass"))
    ttl = memory.ttl_seconds
    if not memory.text.strip():
        return "its text is empty"
    if size > MOST_MEMORY_BYTES:
        return f"its text has {size:,} bytes, and {MOST_MEMORY_BYTES:,} are the most. Store it in parts"
    if memory.key is not None and not 0 < len(memory.key) <= MOST_KEY_CHARS:
        return f"its key must have 1 to {MOST_KEY_CHARS} characters"
    if memory.source is not None and len(memory.source) > MOST_SOURCE_CHARS:
        return f"its source has more than {MOST_SOURCE_CHARS:,} characters"
    if ttl is not None and not 0 < ttl <= MOST_TTL_SECONDS:
        return f"it must be kept for more than 0 seconds and at most {MOST_TTL_SECONDS:,}"
    return _problem_of_metadata(memory.metadata)


def _problem_of_metadata(metadata: Mapping[str, object]) -> str | None:
    if odd := next((name for name in metadata if not _METADATA_NAME.fullmatch(name)), None):
        return f"a name in metadata must be 1 to 64 letters, digits, _, - or ., and this is none: {odd[:64]!a}"
    try:
        size = len(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as problem:
        return f"its metadata is not JSON: {problem}"
    if size > MOST_METADATA_BYTES:
        return (
            f"its metadata has {size:,} bytes as JSON, and {MOST_METADATA_BYTES:,} are the most. Put it into the text"
        )
    return None


def check_filter(metadata: Mapping[str, object] | None) -> None:
    """See that memories can have such metadata at all.

    Raises:
        InvalidTask: they cannot.

    """
    if problem := _problem_of_metadata(metadata or {}):
        raise InvalidTask(f"nothing can be found by this filter: {problem}.")
