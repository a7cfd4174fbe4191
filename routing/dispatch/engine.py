"""Stage 4: ModelRequest → ModelResponse, over a provider's bad day.

dispatch        the tool loop, whose every round is one `_ask`
  _ask          the candidates in turn, without those whose breaker is open
    _persist    one candidate: retries under policy, budget and deadline
      _attempt  one upstream call, through the provider's gate, under its time-outs, booked whatever becomes of it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import anyio

from routing.budgets import FREE, Hold, Purse
from routing.catalog import Catalog
from routing.dispatch.breaker import Breaker, Breakers, BreakerState, NotAsked, Trial
from routing.dispatch.limits import Gate, Sleep
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryBudget, RetryPolicy
from routing.dispatch.sharing import Sharing
from routing.dispatch.tool_loop import BookTool, ToolLoop, unbooked
from routing.errors import (
    AllModelsFailed,
    BudgetExceeded,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.pricing import cost_microusd
from routing.registry import Model
from routing.registry import Provider as ProviderRow
from routing.tokens import TokenCounter
from routing.types import (
    LOCAL_CALLER,
    NO_USAGE,
    Access,
    Answer,
    Attempt,
    AttemptOutcome,
    Conversation,
    Headroom,
    ModelRequest,
    ModelResponse,
    ModelSelection,
    OnProgress,
    Progress,
    Provider,
    Target,
    TaskAnalysis,
    Usage,
)

Book = Callable[[Attempt], None]
Tell = Callable[[Attempt, ModelResponse | None], None]
Watch = Callable[[ModelRequest, Target, Access], AbstractContextManager[Tell]]
"""Round an upstream call; what it gives is told how the call ended before the block does. It must not fail."""


_IDLE_SLACK = 0.05
"""By how much of it a stream's silence may be cut short: a time-out is not moved at every token."""


def unwatched(_request: ModelRequest, _target: Target, _access: Access) -> AbstractContextManager[Tell]:
    """Nobody looks."""
    return nullcontext(lambda _attempt, _response: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds: until the first sign of life, between signs of life, and in all. Connecting is the adapter's, 10 s."""

    first: float = 120.0
    idle: float = 60.0
    total: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """What one dispatch carries through its rounds; without a ``purse`` nothing limits what it may cost."""

    catalog: Catalog
    selection: ModelSelection
    analysis: TaskAnalysis
    book: Book
    on_progress: OnProgress
    book_tool: BookTool = unbooked
    purse: Purse | None = None
    caller: str = LOCAL_CALLER


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A model to ask: whether others come after it, and whether it is asked even where its breaker says no."""

    model: Model
    breaker: Breaker
    is_last: bool
    at_any_rate: bool


@dataclass(slots=True, kw_only=True)
class _Call:
    """One upstream call while it runs: what has arrived so far, and when."""

    model: Model
    breaker: Breaker
    trial: Trial
    started_at: float
    started: float
    text: list[str] = field(default_factory=list[str])
    first_token: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchEngine:
    """Sends requests. ``clock`` is monotonic, ``wall_clock`` is Unix time; both in seconds."""

    providers: ProviderPool
    counter: TokenCounter
    tool_loop: ToolLoop
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    breakers: Breakers = field(default_factory=Breakers)
    budget: RetryBudget = field(default_factory=RetryBudget)
    gates: dict[str, Gate] = field(default_factory=dict[str, Gate])
    sharing: Sharing | None = None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    sleep: Sleep = anyio.sleep
    watch: Watch = unwatched

    async def dispatch(self, request: ModelRequest, dispatch: Dispatch) -> Conversation:
        """Send the request to the selection's candidates in turn, and run the tools that the answering model calls.

        Raises:
            AllModelsFailed: no candidate answered; it holds the error of each attempt.
            BudgetExceeded: none that could answer fits what may be spent.
            AssetError: the embedded model can be neither found nor fetched.

        """

        async def ask(request: ModelRequest) -> Answer:
            return await self._ask(request, dispatch)

        tool_loop = replace(self.tool_loop, caller=dispatch.caller)
        if dispatch.purse is not None:
            tool_loop = replace(tool_loop, toolbox=dispatch.purse.toolbox(tool_loop.toolbox))
        return await tool_loop.converse(request, ask, dispatch.on_progress, dispatch.book_tool)

    def breaker_state(self, model: Model, catalog: Catalog) -> BreakerState:
        """Whether the model is being asked at the moment."""
        return self._breaker(model, catalog).state

    def headroom(self, provider_id: str) -> Headroom | None:
        """What the provider last said is left of its rate limit."""
        gate = self.gates.get(provider_id)
        return gate.headroom if gate else None

    async def _ask(self, request: ModelRequest, dispatch: Dispatch) -> Answer:
        failures: list[ProviderError] = []
        refusals: list[BudgetExceeded] = []
        for candidate in self._in_order(dispatch):
            model = candidate.model
            try:
                return await self._persist(request, candidate, dispatch, failures)
            except NotAsked:
                continue
            except ProviderError as failure:
                failures.append(failure)
                message = f"{model.model_id} failed ({type(failure).__name__})"
                await dispatch.on_progress(Progress(message=message))
            except BudgetExceeded as refusal:
                refusals.append(refusal)
                await dispatch.on_progress(Progress(message=f"{model.model_id} does not fit the budget"))
        raise _given_up(failures, refusals)

    def _in_order(self, dispatch: Dispatch) -> Sequence[_Candidate]:
        """Those that may be asked; where every breaker is open, all of them: better to knock than to give up."""
        models = [dispatch.catalog.models[model_id] for model_id in dispatch.selection.candidates]
        breakers = [self._breaker(model, dispatch.catalog) for model in models]
        pairs = list(zip(models, breakers, strict=True))
        allowed = [(model, breaker) for model, breaker in pairs if breaker.allows]
        last = (allowed or pairs)[-1][0]
        return [
            _Candidate(model=model, breaker=breaker, is_last=model is last, at_any_rate=model is last or not allowed)
            for model, breaker in allowed or pairs
        ]

    async def _persist(
        self, request: ModelRequest, candidate: _Candidate, dispatch: Dispatch, failures: list[ProviderError]
    ) -> Answer:
        """Ask one model until it answers, or another try is pointless; the last failure is raised."""
        retry = 0
        while True:
            try:
                return await self._attempt(request, candidate, dispatch)
            except ProviderError as failure:
                wait = self._wait_before(retry, failure, candidate)
                if wait is None:
                    raise
                with self.budget.retry():
                    await dispatch.on_progress(
                        Progress(message=f"{candidate.model.display_name} again in {wait:.1f} s")
                    )
                    await self.sleep(wait)
                if not candidate.breaker.allows:  # others found out meanwhile that nobody is there
                    raise
                failures.append(failure)
                retry += 1

    def _wait_before(self, retry: int, failure: ProviderError, candidate: _Candidate) -> float | None:
        """How long to wait for another try; ``None`` where the next candidate, or the end, is the better choice."""
        wait = self.policy.wait_before(retry, failure)
        if wait is None or candidate.breaker.state == "open" or not self.budget.allows_another:
            return None
        left = anyio.current_effective_deadline() - anyio.current_time()
        patience = left if candidate.is_last else min(left, self.policy.cap_seconds)
        return wait if wait < patience else None

    async def _attempt(self, request: ModelRequest, candidate: _Candidate, dispatch: Dispatch) -> Answer:
        catalog, on_progress = dispatch.catalog, dispatch.on_progress
        model, breaker = candidate.model, candidate.breaker
        row = catalog.registry.providers[model.provider]
        provider = await self.providers.get(model.provider, catalog.access[model.provider], on_progress, model.kind)
        target = _target(model, row, dispatch)
        gate = self._gate(row)
        async with (
            gate.entered(target, dispatch.analysis.estimated_input_tokens),
            breaker.trial(at_any_rate=candidate.at_any_rate) as trial,
        ):
            await on_progress(Progress(message=f"asking {model.display_name}"))
            hold, request = await self._reserve(request, model, dispatch)
            call = _Call(model=model, breaker=breaker, trial=trial, started_at=self.wall_clock(), started=self.clock())
            response: ModelResponse | None = None
            error: ProviderError | None = None
            with self.watch(request, target, catalog.access[model.provider]) as tell:
                try:
                    with self.budget.call():
                        response = await self._send(provider, request, target, call, on_progress)
                    if response.finish_reason == "error":
                        raise ProviderUnavailable(
                            "it ended its answer with an error", provider=model.provider, model_id=model.model_id
                        )
                    return Answer(
                        model_id=model.model_id, response=response, usage=self._usage(request, call, response)
                    )
                except ProviderError as failure:
                    error = failure
                    raise
                finally:
                    _learn(breaker, trial, gate, response, error)
                    attempt = self._booked(request, call, response, error)
                    dispatch.book(attempt)
                    if dispatch.purse is not None:
                        dispatch.purse.settle_call(hold, attempt)
                    tell(attempt, response)

    async def _reserve(self, request: ModelRequest, model: Model, dispatch: Dispatch) -> tuple[Hold, ModelRequest]:
        """Set aside what the call may cost; the request may come back with a smaller bound on its answer."""
        if dispatch.purse is None:
            return FREE, request
        expected = dispatch.analysis.estimated_output_tokens
        return await dispatch.purse.reserve_call(model, request, self.counter, expected_output=expected)

    async def _send(
        self, provider: Provider, request: ModelRequest, target: Target, call: _Call, on_progress: OnProgress
    ) -> ModelResponse:
        """Send under the three time-outs; the adapter has the fourth, for connecting."""
        begun = anyio.current_time()
        end, idle_slack = begun + self.timeouts.total, self.timeouts.idle * _IDLE_SLACK
        with anyio.CancelScope(deadline=begun + self.timeouts.first) as scope:

            async def on_text(text: str) -> None:
                deadline = min(end, anyio.current_time() + self.timeouts.idle)
                if abs(deadline - scope.deadline) > idle_slack:
                    scope.deadline = deadline
                call.breaker.heard(call.trial)
                if text:
                    await self._heard(text, call, on_progress)

            if request.texts:
                return await provider.embed(request, target)
            return await provider.send(request, target, on_text)
        waited = anyio.current_time() - begun
        raise ProviderTimeout(
            f"nothing more came after {waited:.0f} s", provider=target.provider, model_id=target.model_id
        )

    async def _heard(self, text: str, call: _Call, on_progress: OnProgress) -> None:
        call.first_token = call.first_token or self.clock()
        call.text.append(text)
        written = len(call.text)
        await on_progress(
            Progress(message=f"{call.model.display_name} is writing: {written} tokens", done=written, unit="token")
        )

    def _breaker(self, model: Model, catalog: Catalog) -> Breaker:
        return self.breakers.of(model.model_id, catalog.access.get(model.provider))

    def _gate(self, row: ProviderRow) -> Gate:
        gate = self.gates.get(row.provider_id)
        if gate is None:
            gate = Gate(
                requests_per_minute=row.requests_per_minute,
                tokens_per_minute=row.tokens_per_minute,
                clock=self.clock,
                sleep=self.sleep,
            )
            if self.sharing is not None:
                gate = self.sharing.shared_gate(row.provider_id, gate)
            self.gates[row.provider_id] = gate
        return gate

    def _usage(self, request: ModelRequest, call: _Call, response: ModelResponse | None) -> Usage:
        """What the provider reported, else what we count; nothing where no answer had begun."""
        if response is not None and response.usage is not None:
            return response.usage
        if response is None and not call.text:
            return NO_USAGE
        tokenizer = call.model.tokenizer
        texts = sum(self.counter.count(text, tokenizer).tokens for text in request.texts)
        return Usage(
            input_tokens=texts or self.counter.count_messages(request.messages, request.system).tokens,
            output_tokens=self.counter.count("".join(call.text), tokenizer).tokens,
            estimated=True,
        )

    def _booked(
        self, request: ModelRequest, call: _Call, response: ModelResponse | None, error: ProviderError | None
    ) -> Attempt:
        usage = self._usage(request, call, response)
        outcome: AttemptOutcome = "failed" if error else "answered" if response else "cancelled"
        return Attempt(
            model_id=call.model.model_id,
            provider=call.model.provider,
            outcome=outcome,
            started_at=call.started_at,
            latency_ms=_milliseconds(self.clock() - call.started),
            first_token_ms=None if call.first_token is None else _milliseconds(call.first_token - call.started),
            usage=usage,
            cost_microusd=cost_microusd(usage, call.model.prices),
            finish_reason=response.finish_reason if response else None,
            error=f"{type(error).__name__}: {error}" if error else None,
        )


def _given_up(
    failures: Sequence[ProviderError], refusals: Sequence[BudgetExceeded]
) -> AllModelsFailed | BudgetExceeded:
    """Why nobody answered. Where money kept one from being asked, that is what the caller can do something about."""
    if not refusals:
        return AllModelsFailed(tuple(failures))
    if not failures:
        return refusals[-1]
    last = refusals[-1]
    message = f"{last} Before that, {AllModelsFailed(tuple(failures))}"
    return BudgetExceeded(
        message, left_microusd=last.left_microusd, resets_at=last.resets_at, negotiable=last.negotiable
    )


def _learn(
    breaker: Breaker, trial: Trial, gate: Gate, response: ModelResponse | None, error: ProviderError | None
) -> None:
    """Tell the breaker and the gate how a call ended."""
    if response is not None and response.headroom is not None:
        gate.learn(response.headroom)
    if error is not None:
        breaker.failed(trial, error)
        if isinstance(error, RateLimited) and error.retry_after is not None:
            gate.blocked(error.retry_after)
    elif response is not None:
        breaker.succeeded(trial)


def _target(model: Model, row: ProviderRow, dispatch: Dispatch) -> Target:
    return Target(
        model_id=model.model_id,
        provider=model.provider,
        api_model_id=model.api_model_id,
        max_output_tokens=model.max_output_tokens,
        max_tokens_parameter=row.max_tokens_parameter,
        json_schema=model.capabilities.json_schema,
        thinking=model.capabilities.thinking,
        effort=dispatch.catalog.registry.effort_for(model, dispatch.analysis.complexity),
    )


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
