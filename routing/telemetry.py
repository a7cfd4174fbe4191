"""OpenTelemetry: spans and metrics of routes, upstream calls, tool runs and MCP operations.

    Key, Metric        every name that leaves this program, in two tables
    Telemetry
      .route           round a route: `routing.recorder.Recorder.watch`
      .attempt         round an upstream call, each retry and fallback its own: `routing.dispatch.engine.DispatchEngine.watch`
      .toolbox         round the tool loop's `Toolbox`
      .operation       an MCP request or notification, which the SDK has given its span and its parent from ``_meta``
    exporting          sends what was seen by OTLP, where the usual variables ask for it

The names are those of the OpenTelemetry semantic conventions for generative AI and MCP, as of October 2026
(https://github.com/open-telemetry/semantic-conventions-genai, ``docs/gen-ai/client-inference.md``, ``client-embeddings.md``,
``gen-ai-metrics.md``, ``mcp.md``); what they do not name is under ``pointsman.``.

Only the API of OpenTelemetry is needed. Where no SDK is configured, nothing is recorded and a call takes some microseconds
longer. Prompts and answers are attributes only where that was asked for; keys, error texts and paths of addresses never.
"""

from __future__ import annotations

import functools
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol
from urllib.parse import urlsplit

import anyio
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from routing.errors import SettingsError
from routing.types import (
    Access,
    Attempt,
    Message,
    ModelRequest,
    ModelResponse,
    RouteRecord,
    Target,
    Toolbox,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    Usage,
)

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter

SCOPE: Final = "pointsman"
ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)
"""The variables of which any asks for an export (https://opentelemetry.io/docs/specs/otel/protocol/exporter/)."""

_log = logging.getLogger(__name__)
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_MCP_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_TOKENS = tuple(float(4**power) for power in range(14))

Attributes = dict[str, AttributeValue]


class Key:
    """Attributes of spans and metrics."""

    OPERATION: Final = "gen_ai.operation.name"
    PROVIDER: Final = "gen_ai.provider.name"
    MODEL: Final = "gen_ai.request.model"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    STREAM: Final = "gen_ai.request.stream"
    REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
    OUTPUT_TYPE: Final = "gen_ai.output.type"
    CONVERSATION: Final = "gen_ai.conversation.id"
    ANSWERED_BY: Final = "gen_ai.response.model"
    FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
    FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
    DIMENSIONS: Final = "gen_ai.embeddings.dimension.count"
    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
    CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_write.input_tokens"
    REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
    MODALITY: Final = "gen_ai.token.modality"
    TOOL: Final = "gen_ai.tool.name"
    TOOL_TYPE: Final = "gen_ai.tool.type"
    SERVER_ADDRESS: Final = "server.address"
    SERVER_PORT: Final = "server.port"
    ERROR: Final = "error.type"
    MCP_METHOD: Final = "mcp.method.name"
    MCP_VERSION: Final = "mcp.protocol.version"
    TRANSPORT: Final = "network.transport"

    INSTRUCTIONS: Final = "gen_ai.system_instructions"
    INPUT_MESSAGES: Final = "gen_ai.input.messages"
    OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
    TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
    TOOL_RESULT: Final = "gen_ai.tool.call.result"
    """These five only where prompts are traced."""

    ROUTE: Final = "pointsman.route.id"
    OUTCOME: Final = "pointsman.route.outcome"
    CATEGORY: Final = "pointsman.category"
    COMPLEXITY: Final = "pointsman.complexity"
    CONFIDENCE: Final = "pointsman.confidence"
    CHOSEN: Final = "pointsman.model.chosen"
    USED: Final = "pointsman.model.used"
    ATTEMPTS: Final = "pointsman.attempts"
    COST: Final = "pointsman.cost_microusd"
    BASELINE: Final = "pointsman.baseline_cost_microusd"


class Metric:
    """Names of instruments."""

    INFERENCE_SECONDS: Final = "gen_ai.client.inference.duration"
    FIRST_CHUNK_SECONDS: Final = "gen_ai.client.inference.time_to_first_chunk"
    CALL_INPUT_TOKENS: Final = "gen_ai.client.inference.operation.input_tokens"
    CALL_OUTPUT_TOKENS: Final = "gen_ai.client.inference.operation.output_tokens"
    EMBEDDINGS_SECONDS: Final = "gen_ai.client.embeddings.duration"
    EMBEDDINGS_TOKENS: Final = "gen_ai.client.embeddings.operation.input_tokens"
    TOOL_SECONDS: Final = "gen_ai.execute_tool.duration"
    MCP_SECONDS: Final = "mcp.server.operation.duration"
    ROUTE_SECONDS: Final = "pointsman.route.duration"

    INPUT_TOKENS: Final = "gen_ai.client.inference.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.client.inference.usage.output_tokens"
    CACHE_READ_TOKENS: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
    CACHE_WRITE_TOKENS: Final = "gen_ai.client.inference.usage.cache_write.input_tokens"
    REASONING_TOKENS: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
    COST: Final = "pointsman.cost"


HISTOGRAMS: Final[Mapping[str, tuple[str, str, Sequence[float]]]] = {
    Metric.INFERENCE_SECONDS: ("s", "From an inference request to the end of its answer", _SECONDS),
    Metric.FIRST_CHUNK_SECONDS: ("s", "From an inference request to the first sign of life in its stream", _SECONDS),
    Metric.CALL_INPUT_TOKENS: ("{token}", "Input tokens of an inference call", _TOKENS),
    Metric.CALL_OUTPUT_TOKENS: ("{token}", "Output tokens of an inference call", _TOKENS),
    Metric.EMBEDDINGS_SECONDS: ("s", "Duration of an embeddings call", _SECONDS),
    Metric.EMBEDDINGS_TOKENS: ("{token}", "Input tokens of an embeddings call", _TOKENS),
    Metric.TOOL_SECONDS: ("s", "Duration of a tool's run in the tool loop", _SECONDS),
    Metric.MCP_SECONDS: ("s", "From an MCP request or notification to its result", _MCP_SECONDS),
    Metric.ROUTE_SECONDS: ("s", "Duration of a task from arrival to answer", _MCP_SECONDS),
}
"""Unit, description and boundaries of each; the boundaries are those that the conventions ask for."""

COUNTERS: Final[Mapping[str, tuple[str, str]]] = {
    Metric.INPUT_TOKENS: ("{token}", "Input tokens, cached ones included"),
    Metric.OUTPUT_TOKENS: ("{token}", "Output tokens, reasoning included"),
    Metric.CACHE_READ_TOKENS: ("{token}", "Input tokens read from the provider's cache"),
    Metric.CACHE_WRITE_TOKENS: ("{token}", "Input tokens written to the provider's cache"),
    Metric.REASONING_TOKENS: ("{token}", "Output tokens spent on reasoning"),
    Metric.COST: ("{microdollar}", "What upstream calls and tools cost, where the price is known"),
}

PROVIDER_NAMES: Final[Mapping[str, str]] = {"google": "gcp.gemini", "xai": "x_ai"}
"""Providers that the conventions call otherwise than our registry; all others go by their own name."""

_UNSPLIT = {Key.MODALITY: "unknown"}
"""Providers bill text and pictures as one number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An MCP request or notification. ``tool`` is one of ours or "other"; ``error`` is the class of what went wrong."""

    method: str
    seconds: float
    protocol_version: str
    transport: Literal["tcp", "pipe"]
    tool: str | None = None
    error: str | None = None


class Observer(Protocol):
    """Is told what was seen, in the event loop: it must neither wait nor fail."""

    def route(self, record: RouteRecord) -> None: ...

    def operation(self, operation: Operation) -> None: ...


@dataclass(frozen=True, slots=True)
class _Instruments:
    histograms: Mapping[str, Histogram]
    counters: Mapping[str, Counter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Sees what happens. ``prompts`` says whether texts may leave with the spans; ``clock`` is monotonic, in seconds.

    ``tracer`` and ``meter`` are those of the configured SDK unless others are given.
    """

    prompts: bool = False
    observers: tuple[Observer, ...] = ()
    tracer: Tracer = field(default_factory=lambda: trace.get_tracer(SCOPE))
    meter: Meter | None = None
    clock: Callable[[], float] = time.perf_counter

    def toolbox(self, inner: Toolbox) -> Toolbox:
        """A toolbox whose runs are seen."""
        return WatchedToolbox(inner=inner, telemetry=self)

    @contextmanager
    def route(self, route_id: str) -> Generator[Callable[[RouteRecord], None]]:
        """Round a route, which tells how it ended before the block does."""
        with self._span("route", SpanKind.INTERNAL, {Key.ROUTE: route_id}) as span:
            yield functools.partial(self._routed, span)

    def operation(self, operation: Operation) -> None:
        """An MCP operation ended."""
        attributes: Attributes = {
            Key.MCP_METHOD: operation.method,
            Key.MCP_VERSION: operation.protocol_version,
            Key.TRANSPORT: operation.transport,
        }
        if operation.tool is not None:
            attributes |= {Key.TOOL: operation.tool, Key.OPERATION: "execute_tool"}
        with _unharmed(operation.method):
            self.record(Metric.MCP_SECONDS, operation.seconds, _with_error(attributes, operation.error))
            for observer in self.observers:
                observer.operation(operation)

    @contextmanager
    def attempt(
        self, request: ModelRequest, target: Target, access: Access
    ) -> Generator[Callable[[Attempt, ModelResponse | None], None]]:
        """Round an upstream call, which tells how it ended, and what it brought, before the block does."""
        operation = "embeddings" if request.texts else "chat"
        named: Attributes = {
            Key.OPERATION: operation,
            Key.PROVIDER: PROVIDER_NAMES.get(target.provider, target.provider),
            Key.MODEL: target.api_model_id,
            **_server_of(access.base_url),
        }

        def tell(attempt: Attempt, response: ModelResponse | None) -> None:
            with _unharmed(target.model_id):
                self._measure(attempt, named)
                _mark(span, _error_of(attempt))
                if span.is_recording():
                    span.set_attributes(_asked(request, target) | _answered(attempt, response))
                if span.is_recording() and self.prompts:
                    span.set_attributes(_texts_of(request, response))

        with self._span(f"{operation} {target.api_model_id}", SpanKind.CLIENT, named) as span:
            yield tell

    @contextmanager
    def run(self, name: str, arguments: Mapping[str, object]) -> Generator[Callable[[ToolOutcome], None]]:
        """Round a tool's run, which tells its outcome."""
        named: Attributes = {Key.TOOL: name, Key.TOOL_TYPE: "function"}
        started, error = self.clock(), None

        def tell(outcome: ToolOutcome) -> None:
            nonlocal error
            error = "tool_error" if outcome.is_error else None
            if self.prompts:
                texts = {Key.TOOL_ARGUMENTS: json.dumps(dict(arguments)), Key.TOOL_RESULT: json.dumps(outcome.text)}
                span.set_attributes(texts)

        with self._span(f"execute_tool {name}", SpanKind.INTERNAL, {Key.OPERATION: "execute_tool", **named}) as span:
            try:
                yield tell
            except BaseException as failure:
                stopped = isinstance(failure, anyio.get_cancelled_exc_class())
                error = "cancelled" if stopped else type(failure).__name__
                raise
            finally:
                _mark(span, error)
                self.record(Metric.TOOL_SECONDS, self.clock() - started, _with_error(named, error))

    def record(self, metric: str, value: float, attributes: Attributes) -> None:
        """Add a measurement to a histogram of the table."""
        _instruments(self.meter).histograms[metric].record(value, attributes)

    def count(self, metric: str, value: int, attributes: Attributes) -> None:
        """Add to a counter of the table; nothing adds nothing."""
        if value > 0:
            _instruments(self.meter).counters[metric].add(value, attributes)

    @contextmanager
    def _span(self, name: str, kind: SpanKind, attributes: Attributes) -> Generator[Span]:
        """A span that carries no text of an error: providers quote prompts in theirs."""
        span = self.tracer.start_span(name, kind=kind, attributes=attributes)
        if not span.get_span_context().is_valid:  # no SDK, and nobody upstream of us who traces
            yield span
            return
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            yield span

    def _measure(self, attempt: Attempt, named: Attributes) -> None:
        """Measure an upstream call; its tokens only where the provider counted them."""
        embeds, usage = named[Key.OPERATION] == "embeddings", attempt.usage
        duration = Metric.EMBEDDINGS_SECONDS if embeds else Metric.INFERENCE_SECONDS
        self.record(duration, attempt.latency_ms / 1000, _with_error(named, _error_of(attempt)))
        if attempt.first_token_ms is not None:
            self.record(Metric.FIRST_CHUNK_SECONDS, attempt.first_token_ms / 1000, named)
        if attempt.outcome != "answered" or usage.estimated:
            return
        if embeds:
            self.record(Metric.EMBEDDINGS_TOKENS, usage.input_tokens, named)
            return
        self.record(Metric.CALL_INPUT_TOKENS, usage.input_tokens, named)
        self.record(Metric.CALL_OUTPUT_TOKENS, usage.output_tokens, named)
        self._count_tokens(usage, {**named, **_UNSPLIT})

    def _count_tokens(self, usage: Usage, attributes: Attributes) -> None:
        self.count(Metric.INPUT_TOKENS, usage.input_tokens, attributes)
        self.count(Metric.OUTPUT_TOKENS, usage.output_tokens, attributes)
        self.count(Metric.CACHE_READ_TOKENS, usage.cache_read_tokens, attributes)
        self.count(Metric.CACHE_WRITE_TOKENS, usage.cache_write_tokens, attributes)
        self.count(Metric.REASONING_TOKENS, usage.reasoning_tokens, attributes)

    def _routed(self, span: Span, record: RouteRecord) -> None:
        """Measure a route."""
        error = record.error.split(":")[0] if record.error else None
        category = record.analysis.category if record.analysis else "none"
        named: Attributes = {Key.CATEGORY: category, Key.OUTCOME: record.outcome}
        with _unharmed(record.route_id):
            if span.is_recording():
                span.set_attributes(_facts_of(record))
            _mark(span, "cancelled" if record.outcome == "cancelled" else error)
            self.record(Metric.ROUTE_SECONDS, record.latency_ms / 1000, _with_error(named, error))
            self.count(Metric.COST, record.cost_microusd or 0, {Key.CATEGORY: category})
            for observer in self.observers:
                observer.route(record)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedToolbox:
    """A `routing.types.Toolbox` whose runs are seen."""

    inner: Toolbox
    telemetry: Telemetry

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        return self.inner.specs

    async def look(self) -> None:
        await self.inner.look()

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        with self.telemetry.run(name, arguments) as tell:
            outcome = await self.inner.run(name, arguments, caller=caller)
            tell(outcome)
            return outcome


@contextmanager
def _unharmed(what: str) -> Generator[None]:
    """Log what goes wrong in measuring: an answer is not lost because of it."""
    try:
        yield
    except Exception:  # noqa: BLE001 - an observer may fail in any way
        _log.exception("%s could not be measured", what)


@contextmanager
def exporting(environment: Mapping[str, str], version: str) -> Generator[None]:
    """Send spans and metrics by OTLP over HTTP while the block lasts, where one of `ENDPOINTS` asks for it.

    The exporters read the variables of OpenTelemetry themselves. A program that brought its own SDK keeps it.

    Raises:
        SettingsError: an export is asked for, and the extra ``telemetry`` is not installed.

    """
    asked = next((name for name in ENDPOINTS if environment.get(name)), None)
    brought = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if asked is None or brought or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield
        return
    end = _start_export(asked, environment, version)
    try:
        yield
    finally:
        end()


def _start_export(asked: str, environment: Mapping[str, str], version: str) -> Callable[[], None]:
    """Configure the SDK; what is returned sends the rest and stops."""
    try:  # all of this only where it is asked for: 0.3 s
        from opentelemetry import metrics  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as missing:
        raise SettingsError(
            f"{asked} asks for an export. Install the extra telemetry: pip install pointsman[telemetry]"
        ) from missing
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": SCOPE}
    resource = Resource.create({"service.version": version, **named})
    traces = TracerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    measures = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(measures)

    def end() -> None:
        traces.shutdown()
        measures.shutdown()

    return end


@functools.lru_cache(maxsize=8)
def _instruments(meter: Meter | None) -> _Instruments:
    """The instruments of the tables, made when the first is needed: the API of metrics takes 10 ms to import."""
    if meter is None:
        from opentelemetry.metrics import get_meter  # noqa: PLC0415

        meter = get_meter(SCOPE)
    return _Instruments(
        histograms={
            name: meter.create_histogram(name, unit, described, explicit_bucket_boundaries_advisory=boundaries)
            for name, (unit, described, boundaries) in HISTOGRAMS.items()
        },
        counters={name: meter.create_counter(name, unit, described) for name, (unit, described) in COUNTERS.items()},
    )


@functools.lru_cache(maxsize=64)
def _server_of(base_url: str) -> Attributes:
    """Host and port of an address, without what else stands in it; nothing for the model in this process."""
    try:
        parts = urlsplit(base_url)
        port = parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:  # the call will say what is wrong with it
        return {}
    return {Key.SERVER_ADDRESS: parts.hostname, Key.SERVER_PORT: port} if parts.hostname else {}


def _with_error(attributes: Attributes, error: str | None) -> Attributes:
    return attributes if error is None else {**attributes, Key.ERROR: error}


def _mark(span: Span, error: str | None) -> None:
    """Say on a span how it failed. One that was cancelled did not."""
    if error is not None:
        span.set_attribute(Key.ERROR, error)
    if error not in (None, "cancelled"):
        span.set_status(StatusCode.ERROR)


def _error_of(attempt: Attempt) -> str | None:
    """The class of what went wrong, as `Attempt.error` begins with it."""
    if attempt.outcome == "cancelled":
        return "cancelled"
    return attempt.error.split(":")[0] if attempt.error else None


def _asked(request: ModelRequest, target: Target) -> Attributes:
    if request.texts:
        return {}
    reasoning: Attributes = {} if target.effort == "none" else {Key.REASONING_LEVEL: target.effort}
    return {
        Key.MAX_TOKENS: min(request.max_output_tokens, target.max_output_tokens),
        Key.STREAM: True,
        Key.OUTPUT_TYPE: "json" if request.response_schema else "text",
        **reasoning,
    }


def _answered(attempt: Attempt, response: ModelResponse | None) -> Attributes:
    """What a call brought; tokens only where the provider counted them."""
    facts: Attributes = {}
    if attempt.first_token_ms is not None:
        facts[Key.FIRST_CHUNK] = attempt.first_token_ms / 1000
    if attempt.cost_microusd is not None:
        facts[Key.COST] = attempt.cost_microusd
    if response is None:
        return facts
    if response.api_model_id:
        facts[Key.ANSWERED_BY] = response.api_model_id
    counted = {} if attempt.usage.estimated else _tokens_of(attempt.usage)
    if response.vectors:
        return {**facts, **counted, Key.DIMENSIONS: len(response.vectors[0])}
    return {**facts, **counted, Key.FINISH_REASONS: (response.finish_reason,)}


def _tokens_of(usage: Usage) -> Attributes:
    details = {
        Key.CACHE_READ_TOKENS: usage.cache_read_tokens,
        Key.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        Key.REASONING_TOKENS: usage.reasoning_tokens,
    }
    applicable = {name: tokens for name, tokens in details.items() if tokens}
    return {Key.INPUT_TOKENS: usage.input_tokens, Key.OUTPUT_TOKENS: usage.output_tokens, **applicable}


def _facts_of(record: RouteRecord) -> Attributes:
    """A route on its span; what is not known is left out. No tokens: whoever sums up spans would count them twice."""
    analysis, selection = record.analysis, record.selection
    facts: dict[str, AttributeValue | None] = {
        Key.OUTCOME: record.outcome,
        Key.CONVERSATION: record.session_id or None,
        Key.CATEGORY: analysis.category if analysis else None,
        Key.COMPLEXITY: analysis.complexity if analysis else None,
        Key.CONFIDENCE: analysis.confidence if analysis else None,
        Key.CHOSEN: selection.primary_model if selection else None,
        Key.USED: record.model_used,
        Key.ATTEMPTS: len(record.attempts),
        Key.COST: record.cost_microusd,
        Key.BASELINE: record.baseline_cost_microusd,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _texts_of(request: ModelRequest, response: ModelResponse | None) -> Attributes:
    """Prompt and answer as the conventions' JSON (``gen-ai-input-messages.json`` beside the pages named above)."""
    if request.texts:
        return {}
    texts: Attributes = {
        Key.INSTRUCTIONS: json.dumps([_text(request.system)]),
        Key.INPUT_MESSAGES: json.dumps([_message(message) for message in request.messages]),
    }
    if response is not None:
        parts = [_text(response.text), *(_tool_call(call) for call in response.tool_calls)]
        texts[Key.OUTPUT_MESSAGES] = json.dumps([{"role": "assistant", "parts": parts}])
    return texts


def _message(message: Message) -> dict[str, object]:
    if message.role == "tool":
        result = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.content}
        return {"role": "tool", "parts": [result]}
    images = [{"type": "image", "mime_type": image.media_type, "bytes": len(image.data)} for image in message.images]
    calls = [_tool_call(call) for call in message.tool_calls]
    return {"role": message.role, "parts": [_text(message.content), *calls, *images]}


def _text(content: str) -> dict[str, object]:
    return {"type": "text", "content": content}


def _tool_call(call: ToolCall) -> dict[str, object]:
    return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
