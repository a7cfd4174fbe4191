"""Stage 4: ModelRequest → ModelResponse. Tries the candidates in order until one answers.

Every upstream call is booked as an `Attempt`, whether it answers, fails or is cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from routing.catalog import Catalog
from routing.dispatch.providers import ProviderPool
from routing.errors import AllModelsFailed, ProviderError
from routing.pricing import cost_microusd
from routing.registry import Model
from routing.tokens import TokenCounter
from routing.types import (
    NO_USAGE,
    Answer,
    Attempt,
    AttemptOutcome,
    ModelRequest,
    ModelResponse,
    ModelSelection,
    OnProgress,
    OnText,
    Progress,
    Target,
    Usage,
)

Book = Callable[[Attempt], None]


@dataclass(slots=True, kw_only=True)
class _Call:
    """One upstream call while it runs: what has arrived so far, and when."""

    model: Model
    started_at: float
    started: float
    text: list[str] = field(default_factory=list[str])
    first_token: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchEngine:
    """Sends requests. ``clock`` is monotonic, ``wall_clock`` is Unix time; both in seconds."""

    providers: ProviderPool
    counter: TokenCounter
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time

    async def dispatch(
        self, request: ModelRequest, selection: ModelSelection, catalog: Catalog, book: Book, on_progress: OnProgress
    ) -> Answer:
        """Send the request to the selection's candidates in turn.

        Raises:
            AllModelsFailed: no candidate answered; it holds the error of each.
            AssetError: the embedded model can be neither found nor fetched.

        """
        failures: list[ProviderError] = []
        for model_id in selection.candidates:
            try:
                return await self._attempt(request, catalog.models[model_id], catalog, book, on_progress)
            except ProviderError as failure:
                failures.append(failure)
                await on_progress(Progress(message=f"{model_id} failed ({type(failure).__name__}); trying the next"))
        raise AllModelsFailed(tuple(failures))

    async def _attempt(
        self, request: ModelRequest, model: Model, catalog: Catalog, book: Book, on_progress: OnProgress
    ) -> Answer:
        row = catalog.registry.providers[model.provider]
        provider = await self.providers.get(row, catalog.access[model.provider], on_progress)
        await on_progress(Progress(message=f"asking {model.display_name}"))
        target = _target(model, row.max_tokens_parameter)
        call = _Call(model=model, started_at=self.wall_clock(), started=self.clock())
        response: ModelResponse | None = None
        error: ProviderError | None = None
        try:
            response = await provider.send(request, target, self._listener(call, on_progress))
            return Answer(model_id=model.model_id, response=response, usage=self._usage(request, call, response))
        except ProviderError as failure:
            error = failure
            raise
        finally:
            book(self._booked(request, call, response, error))

    def _listener(self, call: _Call, on_progress: OnProgress) -> OnText:
        async def on_text(text: str) -> None:
            call.first_token = call.first_token or self.clock()
            call.text.append(text)
            written = len(call.text)
            await on_progress(
                Progress(message=f"{call.model.display_name} is writing: {written} tokens", done=written, unit="token")
            )

        return on_text

    def _usage(self, request: ModelRequest, call: _Call, response: ModelResponse | None) -> Usage:
        """What the provider reported, else what we count; nothing where no answer had begun."""
        if response is not None and response.usage is not None:
            return response.usage
        if response is None and not call.text:
            return NO_USAGE
        return Usage(
            input_tokens=self.counter.count_messages(request.messages, request.system).tokens,
            output_tokens=self.counter.count("".join(call.text), call.model.tokenizer).tokens,
            estimated=True,
        )

    def _booked(
        self, request: ModelRequest, call: _Call, response: ModelResponse | None, error: ProviderError | None
    ) -> Attempt:
        usage = self._usage(request, call, response)
        outcome: AttemptOutcome = "answered" if response else "failed" if error else "cancelled"
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


def _target(model: Model, max_tokens_parameter: str) -> Target:
    return Target(
        model_id=model.model_id,
        provider=model.provider,
        api_model_id=model.api_model_id,
        max_output_tokens=model.max_output_tokens,
        max_tokens_parameter=max_tokens_parameter,
        json_schema=model.capabilities.json_schema,
    )


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
