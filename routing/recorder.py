"""Stage 5: one `RouteRecord` per task, written whether the task was answered, failed or was cancelled.

An answer also goes into its session, in the same write.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace

import anyio

from routing.catalog import Catalog
from routing.embeddings import spoken
from routing.errors import BookedLater, RoutingError
from routing.pricing import cost_microusd, total_microusd
from routing.registry import Model, ModelKind
from routing.state import Ledger, Turn, new_handle
from routing.types import (
    NO_USAGE,
    Attempt,
    CachedBy,
    Conversation,
    Embeddings,
    Message,
    ModelSelection,
    RouteOutcome,
    RouteRecord,
    Task,
    TaskAnalysis,
    ToolUse,
    Usage,
    VerificationStep,
)

_log = logging.getLogger(__name__)
_LONGEST_WRITE_SECONDS = 10


@dataclass(slots=True, kw_only=True)
class OpenRoute:
    """A route while it runs: the stages leave here what they found out.

    ``new_session_id`` is that of the session which its answer begins, where it continues none. ``whole_input_tokens`` is how
    long the prompt was, where notes were sent in its place.
    """

    route_id: str
    task: Task
    started_at: float
    started: float
    session_id: str = ""
    new_session_id: str = field(default_factory=lambda: new_handle("ses"))
    analysis: TaskAnalysis | None = None
    selection: ModelSelection | None = None
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    tools: list[ToolUse] = field(default_factory=list[ToolUse])
    conversation: Conversation | None = None
    embeddings: Embeddings | None = None
    verification: tuple[VerificationStep, ...] = ()
    baseline: Model | None = None
    whole_input_tokens: int | None = None
    cached: CachedBy | None = None
    notices: list[str] = field(default_factory=list[str])
    record: RouteRecord | None = None

    @property
    def text(self) -> str:
        """What the caller reads: the model's answer, or what its vectors say."""
        if self.embeddings is not None:
            return spoken(self.embeddings)
        return self.conversation.answer.response.text if self.conversation else ""

    def book(self, attempt: Attempt) -> None:
        """Take note of an upstream call."""
        self.attempts.append(attempt)

    def book_tool(self, use: ToolUse) -> None:
        """Take note of a tool's run."""
        self.tools.append(use)


Tell = Callable[[RouteRecord], None]
Watch = Callable[[str], AbstractContextManager[Tell]]
"""Round a route of an id; what it gives is told the record before the block ends. It must not fail."""


def unwatched(_: str) -> AbstractContextManager[Tell]:
    """Nobody looks."""
    return nullcontext(lambda _: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Writes the ledger, and with it answers into their sessions.

    ``baseline_model`` is what savings are measured against; by default the dearest model in reach. Prompts are part of what
    is written only where it is to ``keep_prompts``.
    """

    ledger: Ledger
    baseline_model: str | None = None
    keep_prompts: bool = False
    watch: Watch = unwatched
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    @asynccontextmanager
    async def recording(self, task: Task, route_id: str | None = None) -> AsyncGenerator[OpenRoute]:
        """Open a route, and write its record when the block ends, however it ends; ``record`` then holds it."""
        route_id = route_id or new_handle("rte")
        route = OpenRoute(route_id=route_id, task=task, started_at=self.wall_clock(), started=self.clock())
        with self.watch(route_id) as tell:
            try:
                yield route
            except RoutingError as error:
                tell(await self._write(route, "failed", f"{type(error).__name__}: {error}"))
                raise
            except BaseException as error:
                outcome: RouteOutcome = "failed" if isinstance(error, Exception) else "cancelled"
                tell(await self._write(route, outcome, type(error).__name__))
                raise
            tell(await self._write(route, "completed", None))

    def baseline_of(self, catalog: Catalog, kind: ModelKind) -> Model | None:
        """The model that a task's savings are measured against; ``None`` where no eligible one has a price."""
        if self.baseline_model and kind == "chat":
            return catalog.models.get(self.baseline_model)
        return _dearest(catalog, kind)

    async def _write(self, route: OpenRoute, outcome: RouteOutcome, error: str | None) -> RouteRecord:
        """Write what happened. What was paid for is handed over even where the store is broken, with a notice."""
        is_said = outcome == "completed" and route.conversation is not None and route.task.parent_id is None
        turn = _turn_of(route) if is_said else None
        if turn and turn.begins:
            route.session_id = route.new_session_id
        record = self._record(route, outcome, error)
        try:
            with anyio.fail_after(_LONGEST_WRITE_SECONDS, shield=True):
                joined = await self.ledger.record(_kept(record), turn)
            problem = None if joined else "added to its session"
        except BookedLater as later:
            problem = None
            record = replace(record, notices=(*record.notices, str(later)))
        except Exception:  # noqa: BLE001 - the store may fail in any way
            problem = "written to the ledger or added to its session" if turn else "written to the ledger"
            _log.exception("route %s could not be %s", route.route_id, problem)
        if problem:
            record = replace(
                record, notices=(*record.notices, f"This answer could not be {problem}; the log says why.")
            )
        route.record = record
        return record

    def _record(self, route: OpenRoute, outcome: RouteOutcome, error: str | None) -> RouteRecord:
        usage = sum((attempt.usage for attempt in route.attempts), start=NO_USAGE)
        answer = route.conversation.answer if route.conversation else None
        pattern = route.task.pattern if route.task.parent_id is None else None
        return RouteRecord(
            route_id=route.route_id,
            caller=route.task.caller,
            session_id=route.session_id,
            started_at=route.started_at,
            latency_ms=round(1000 * (self.clock() - route.started)),
            outcome=outcome,
            prompt_sha256=hashlib.sha256(route.task.prompt.encode("utf-8", "surrogatepass")).hexdigest(),
            analysis=route.analysis,
            selection=route.selection,
            attempts=tuple(route.attempts),
            model_used=answer.model_id if answer and pattern is None else None,
            text=route.text,
            embeddings=route.embeddings,
            verification=route.verification,
            finish_reason=answer.response.finish_reason if answer else None,
            usage=usage,
            cost_microusd=total_microusd(
                [*(attempt.cost_microusd for attempt in route.attempts), *(use.cost_microusd for use in route.tools)]
            ),
            baseline_model=route.baseline.model_id if route.baseline and answer else None,
            baseline_cost_microusd=cost_microusd(_plain(answer.usage, route.whole_input_tokens), route.baseline.prices)
            if route.baseline and answer
            else None,
            tools=tuple(route.tools),
            images=route.conversation.images if route.conversation else (),
            error=error,
            notices=tuple(dict.fromkeys(route.notices)),
            parent_id=route.task.parent_id,
            pattern=pattern,
            cached=route.cached,
            prompt=route.task.prompt if self.keep_prompts else None,
        )


@functools.lru_cache(maxsize=2)
def _dearest(catalog: Catalog, kind: ModelKind) -> Model | None:
    """The dearest model of a kind in reach; of a catalog, which stays the same for thousands of tasks, it is found once."""
    priced = [
        model
        for model in catalog.models.values()
        if catalog.is_configured(model) and model.kind == kind and not model.superseded_by and model.prices.known
    ]
    dearness = {model.model_id: cost_microusd(_MILLION_EACH, model.prices) for model in priced}
    return max(priced, key=lambda model: dearness[model.model_id] or 0, default=None)


def _turn_of(route: OpenRoute) -> Turn:
    said = Message(role="user", content=route.task.prompt), Message(role="assistant", content=route.text)
    answered_by = route.conversation.answer.model_id if route.conversation else None
    return Turn(messages=said, begins=route.task.session_id is None, answered_by=answered_by)


def _kept(record: RouteRecord) -> RouteRecord:
    """What the ledger keeps: models that could not have been called anyway were no part of the decision."""
    if record.selection is None:
        return record
    considered = tuple(rejection for rejection in record.selection.rejections if rejection.configured)
    if len(considered) == len(record.selection.rejections):
        return record
    return replace(record, selection=replace(record.selection, rejections=considered))


_MILLION_EACH = Usage(input_tokens=1_000_000, output_tokens=1_000_000)


def _plain(usage: Usage, input_tokens: int | None) -> Usage:
    """The same tokens without their caching: what another model would have billed for them, or for the whole prompt."""
    return Usage(input_tokens=input_tokens or usage.input_tokens, output_tokens=usage.output_tokens)
