"""Shadow mode: a share of the tasks is also given to a second model, whose answer nobody sees.

    Shadows.consider   after an answer: whether this route has a shadow; it only begins one, and never waits
    second_model       who that is: the one of the settings, else the matrix's own choice where another answered, else the best
                       forecast; never one that the task itself might not have gone to

A shadow has the same messages and the same bound on its answer, no tools, one try, and a purse of its own: what does not fit
the budgets, or with the route's own bill the caller's ``max_cost_usd``, is not asked, and nothing is while little is left
of a budget. What is kept is its bill, its speed, and
how far it agrees with the answer that was shown (`routing.agreement`); of both texts nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import anyio

from routing.budgets import Wallet, lowest
from routing.catalog import Catalog
from routing.dispatch.engine import Dispatch, DispatchEngine
from routing.dispatch.retry import RetryPolicy
from routing.errors import RoutingError
from routing.pricing import total_microusd
from routing.recorder import OpenRoute
from routing.registry import Model
from routing.selector.constraints import Requirements, rejection
from routing.state import Ledger, ShadowAnswer
from routing.types import (
    NO_USAGE,
    Attempt,
    Conversation,
    ModelRequest,
    ModelSelection,
    Progress,
    Task,
    TaskAnalysis,
)

MOST_AT_ONCE = 2
"""Shadows under way; a route that comes while there are so many has none, because queues would grow on a busy day."""

LONGEST_SECONDS = 300.0
_LONGEST_WRITE_SECONDS = 10
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A route that was answered, as far as its shadow needs it. ``left_microusd`` is of the caller's own limit, if any."""

    route_id: str
    session_id: str
    task: Task
    analysis: TaskAnalysis
    selection: ModelSelection
    request: ModelRequest
    catalog: Catalog
    answered_by: str
    text: str = field(repr=False)
    left_microusd: int | None = None


class Shadows:
    """Runs shadows beside the routes. ``share`` of the routes have one, which follows from their ids."""

    def __init__(
        self, dispatcher: DispatchEngine, wallet: Wallet, ledger: Ledger, *, share: float, model_id: str | None = None
    ) -> None:
        self._dispatcher = replace(dispatcher, policy=RetryPolicy(most_retries=0))
        self._wallet = wallet
        self._ledger = ledger
        self._share = share
        self._model_id = model_id
        self._under_way: set[asyncio.Task[None]] = set()

    def consider(self, route: OpenRoute, task: Task, request: ModelRequest, catalog: Catalog) -> None:
        """Begin the shadow of a route that has been answered, where it is to have one."""
        if not self._share or len(self._under_way) >= MOST_AT_ONCE or not is_drawn(route.route_id, self._share):
            return
        shown = _shown(route, task, request, catalog)
        if shown is None:
            return
        work = asyncio.create_task(self._work(shown))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """Wait until none is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def aclose(self) -> None:
        """End what is under way; what it has cost is booked."""
        for work in self._under_way:
            work.cancel()
        await self.settled()

    async def _work(self, shown: Shown) -> None:
        try:
            model = second_model(shown, self._model_id)
            if model is not None and lowest(await self._wallet.standings(shown.task.caller, shown.session_id)) is None:
                await self._ask(shown, model)
        except Exception:  # noqa: BLE001 - nobody waits for it, and nothing is to fail of it
            _log.exception("the shadow of route %s failed", shown.route_id)

    async def _ask(self, shown: Shown, model: Model) -> None:
        attempts: list[Attempt] = []
        conversation: Conversation | None = None
        selection = replace(shown.selection, primary_model=model.model_id, provider=model.provider, fallback_models=())
        dispatch = Dispatch(
            catalog=shown.catalog,
            selection=selection,
            analysis=shown.analysis,
            book=attempts.append,
            on_progress=_unheard,
            purse=self._wallet.purse(shown.task.caller, shown.session_id, call_microusd=shown.left_microusd),
        )
        try:
            with anyio.move_on_after(LONGEST_SECONDS):
                conversation = await self._dispatcher.dispatch(shown.request, dispatch)
        except RoutingError as problem:
            _log.info("the shadow of route %s: %s", shown.route_id, problem)
        finally:
            if attempts:
                await self._book(shown, attempts, conversation)

    async def _book(self, shown: Shown, attempts: list[Attempt], conversation: Conversation | None) -> None:
        from routing.agreement import agreement  # noqa: PLC0415 - few servers have shadows

        last = attempts[-1]
        alike = agreement(shown.text, conversation.answer.response.text) if conversation else None
        shadow = ShadowAnswer(
            route_id=shown.route_id,
            caller=shown.task.caller,
            model_id=last.model_id,
            provider=last.provider,
            category=shown.analysis.category,
            started_at=attempts[0].started_at,
            latency_ms=sum(attempt.latency_ms for attempt in attempts),
            outcome=last.outcome,
            usage=sum((attempt.usage for attempt in attempts), start=NO_USAGE),
            cost_microusd=total_microusd([attempt.cost_microusd for attempt in attempts]),
            agreement=alike,
        )
        with anyio.fail_after(_LONGEST_WRITE_SECONDS, shield=True):
            await self._ledger.record_shadow(shadow)


def is_drawn(route_id: str, share: float) -> bool:
    """Whether a route is of the share: the same id, the same answer, today and in another process."""
    digest = hashlib.sha256(b"shadow:" + route_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) < share * 2**48


def second_model(shown: Shown, named: str | None) -> Model | None:
    """The model that is asked besides the one that answered; ``None`` where none may be."""
    models = shown.catalog.models
    needs = Requirements(
        task=shown.task,
        analysis=shown.analysis,
        catalog=shown.catalog,
        input_tokens=shown.analysis.estimated_input_tokens,
    )
    wished = [named] if named is not None else _by_forecast(shown.selection)
    allowed = (
        models[model_id]
        for model_id in wished
        if model_id in models and model_id != shown.answered_by and rejection(models[model_id], needs) is None
    )
    return next((model for model in allowed if named is not None or not model.last_resort), None)


def _by_forecast(selection: ModelSelection) -> Iterator[str]:
    if selection.reference_model is not None:
        yield selection.reference_model
    yield from sorted(selection.forecasts, key=lambda model_id: (-selection.forecasts[model_id], model_id))


def _shown(route: OpenRoute, task: Task, request: ModelRequest, catalog: Catalog) -> Shown | None:
    """The route as its shadow needs it; ``None`` where it must have none, or none could be compared with it.

    The first are sensitive tasks, which nobody is to see without need, and those whose caller forced a model; the other are
    those for vectors, and those that tools took part in.
    """
    analysis, selection, conversation = route.analysis, route.selection, route.conversation
    if analysis is None or selection is None or conversation is None:
        return None
    if analysis.sensitive or task.constraints.force_model is not None:
        return None
    tools_took_part = route.tools or any(message.tool_calls for message in request.messages)
    if request.texts or tools_took_part:
        return None
    limit = task.constraints.max_cost_microusd
    bill = total_microusd([attempt.cost_microusd for attempt in route.attempts])  # no tool had a part in it
    if limit is not None and bill is None:
        return None
    return Shown(
        route_id=route.route_id,
        session_id=route.session_id or route.new_session_id,
        task=task,
        analysis=analysis,
        selection=selection,
        request=replace(request, tools=(), tools_forbidden=False),
        catalog=catalog,
        answered_by=conversation.answer.model_id,
        text=conversation.answer.response.text,
        left_microusd=None if limit is None else limit - (bill or 0),
    )


async def _unheard(_: Progress) -> None:
    """Nobody listens."""
