"""Spans and metrics: the real SDK with exporters in memory, the real engine and recorder, a fake provider."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from routing.dispatch.engine import Timeouts
from routing.errors import AllModelsFailed, ProviderRejected, SettingsError, UnknownHandle
from routing.recorder import Recorder
from routing.state.sqlite import SqliteStore
from routing.telemetry import COUNTERS, HISTOGRAMS, Key, Metric, Operation, Telemetry, exporting
from routing.types import (
    Access,
    Answer,
    Conversation,
    ModelResponse,
    RouteRecord,
    Task,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    Usage,
)
from tests.builders import request, target
from tests.dispatch.test_engine import DOWN, Add, stand
from tests.fakes import reply

pytestmark = pytest.mark.anyio

CANARY = "canary-7f3a9c1e"
OPERATION = Operation(method="tools/list", seconds=0.25, protocol_version="2026-07-28", transport="pipe")
CALLS_ADD = ModelResponse(
    text="",
    finish_reason="tool_call",
    usage=Usage(input_tokens=10, output_tokens=2),
    tool_calls=(ToolCall(id="1", name="add", arguments=json.dumps({"secret": CANARY})),),
)


@dataclass(slots=True)
class Lab:
    """A telemetry of its own, and what it saw."""

    spans: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    telemetry: Telemetry = field(init=False)

    def __post_init__(self) -> None:
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(tracer=tracers.get_tracer("test"), meter=meters.get_meter("test"))

    def seen(self) -> Sequence[ReadableSpan]:
        return self.spans.get_finished_spans()

    def everything(self) -> str:
        """All that was exported, as text."""
        metrics = self.reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.seen()), metrics.to_json() if metrics else ""])

    def points(self, metric: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return [
            point for scope in scopes for one in scope.metrics if one.name == metric for point in one.data.data_points
        ]


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def test_an_upstream_call_is_a_client_span_with_the_conventions_names(lab: Lab) -> None:
    used = Usage(input_tokens=100, output_tokens=30, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=5)
    it = stand(first=[replace(reply(), usage=used, api_model_id="first-2026-11-01")])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    await it.ask()

    (span,) = lab.seen()
    assert span.name == "chat first"
    assert span.kind == SpanKind.CLIENT
    assert span.status.status_code == StatusCode.UNSET
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "first",
        "gen_ai.request.max_tokens": 500,
        "gen_ai.request.stream": True,
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.model": "first-2026-11-01",
        "gen_ai.response.time_to_first_chunk": 0.0,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 30,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "server.address": "127.0.0.1",
        "server.port": 1,
        "pointsman.cost_microusd": 100 + 2 * 30,
    }


@pytest.mark.parametrize(
    ("base_url", "where"),
    [
        (f"https://user:{CANARY}@llm.test/v1/{CANARY}", ("llm.test", 443)),
        ("http://[::1]:8080/v1", ("::1", 8080)),
        ("http://llm.test:port", (None, None)),
        ("embedded", (None, None)),
    ],
)
def test_of_an_address_only_host_and_port_are_told(
    lab: Lab, base_url: str, where: tuple[str | None, int | None]
) -> None:
    with lab.telemetry.attempt(request(), target(), Access(protocol="x", base_url=base_url)):
        pass

    (span,) = lab.seen()
    assert (attributes(span).get("server.address"), attributes(span).get("server.port")) == where
    assert CANARY not in lab.everything()


async def test_every_retry_and_fallback_is_a_span_of_its_own_with_the_class_of_its_error(lab: Lab) -> None:
    it = stand(first=[DOWN, DOWN, DOWN])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    await it.ask()

    assert [(span.name, attributes(span).get("error.type"), span.status.status_code) for span in lab.seen()] == [
        *[("chat first", "ProviderUnavailable", StatusCode.ERROR)] * 3,
        ("chat second", None, StatusCode.UNSET),
    ]
    durations = lab.points("gen_ai.client.inference.duration")
    assert {(point.attributes.get("error.type"), point.count) for point in durations} == {
        ("ProviderUnavailable", 3),
        (None, 1),
    }


async def test_a_call_that_falls_silent_is_a_time_out_on_its_span(lab: Lab) -> None:
    it = stand(first=[None, None, None])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt, timeouts=Timeouts(first=0.01, idle=0.01))

    await it.ask()

    assert attributes(lab.seen()[0])["error.type"] == "ProviderTimeout"


async def test_a_cancelled_call_is_told_as_such_and_is_no_fault(lab: Lab) -> None:
    it = stand(first=[None])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    async with anyio.create_task_group() as group:
        group.start_soon(it.ask)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    (span,) = lab.seen()
    assert attributes(span)["error.type"] == "cancelled"
    assert span.status.status_code == StatusCode.UNSET


async def test_tokens_are_counted_by_kind_and_distributed_by_call(lab: Lab) -> None:
    used = Usage(input_tokens=100, output_tokens=30, cache_read_tokens=60, reasoning_tokens=5)
    it = stand(first=[replace(reply(), usage=used), replace(reply(), usage=used)])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    await it.ask()
    await it.ask()

    counted = {kind: sum(point.value for point in lab.points(kind)) for kind in COUNTERS if kind != Metric.COST}
    assert counted == {
        "gen_ai.client.inference.usage.input_tokens": 200,
        "gen_ai.client.inference.usage.output_tokens": 60,
        "gen_ai.client.inference.usage.cache_read.input_tokens": 120,
        "gen_ai.client.inference.usage.cache_write.input_tokens": 0,
        "gen_ai.client.inference.usage.reasoning.output_tokens": 10,
    }
    assert lab.points(Metric.INPUT_TOKENS)[0].attributes["gen_ai.token.modality"] == "unknown"
    (point,) = lab.points("gen_ai.client.inference.operation.input_tokens")
    assert (point.count, point.sum) == (2, 200)


async def test_tokens_that_we_counted_ourselves_are_not_reported_as_the_providers(lab: Lab) -> None:
    it = stand(first=[replace(reply(), usage=None)])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    await it.ask()

    assert it.booked[0].usage.estimated
    assert "usage" not in lab.everything().replace(Metric.INFERENCE_SECONDS, "")


async def test_embeddings_have_names_of_their_own(lab: Lab) -> None:
    it = stand()
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    await it.ask(request(texts=("one", "two")))

    (span,) = lab.seen()
    assert span.name == "embeddings first"
    assert attributes(span)["gen_ai.embeddings.dimension.count"] == 2
    assert lab.points("gen_ai.client.embeddings.duration")
    assert not lab.points("gen_ai.client.inference.duration")
    told = replace(it.booked[0], usage=Usage(input_tokens=42, output_tokens=0))
    with lab.telemetry.attempt(request(texts=("one",)), target(), Access(protocol="x", base_url="embedded")) as tell:
        tell(told, None)
    (point,) = lab.points("gen_ai.client.embeddings.operation.input_tokens")
    assert point.sum == 42
    assert not lab.points(Metric.INPUT_TOKENS)


async def test_a_tool_that_a_model_runs_is_a_span_with_its_outcome(lab: Lab) -> None:
    class Broken(Add):
        async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
            return ToolOutcome(text="no", is_error=True)

    for toolbox in (Add(), Broken()):
        it = stand(first=[CALLS_ADD])
        loop = replace(it.engine.tool_loop, toolbox=lab.telemetry.toolbox(toolbox))
        it.engine = replace(it.engine, tool_loop=loop)
        await it.ask(request(tools=(ToolSpec(name="add", description="", input_schema={"type": "object"}),)))

    good, bad = lab.seen()
    assert good.name == "execute_tool add"
    assert attributes(good) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "add",
        "gen_ai.tool.type": "function",
    }
    assert attributes(bad)["error.type"] == "tool_error"
    assert bad.status.status_code == StatusCode.ERROR
    assert sum(point.count for point in lab.points("gen_ai.execute_tool.duration")) == 2


@pytest.mark.parametrize("prompts", [False, True])
async def test_prompts_answers_and_tools_words_leave_only_where_that_was_asked_for(lab: Lab, *, prompts: bool) -> None:
    telemetry = replace(lab.telemetry, prompts=prompts)
    it = stand(first=[CALLS_ADD, reply(f"answer {CANARY}")])
    loop = replace(it.engine.tool_loop, toolbox=telemetry.toolbox(Add()))
    it.engine = replace(it.engine, watch=telemetry.attempt, tool_loop=loop)

    tool = ToolSpec(name="add", description="", input_schema={"type": "object"})
    await it.ask(request(f"prompt {CANARY}", system=f"system {CANARY}", tools=(tool,)))

    assert (CANARY in lab.everything()) == prompts
    if prompts:
        first, run, second = lab.seen()
        [instructions] = json.loads(attributes(first)["gen_ai.system_instructions"])
        assert instructions == {"type": "text", "content": f"system {CANARY}"}
        roles = [message["role"] for message in json.loads(attributes(second)["gen_ai.input.messages"])]
        assert roles == ["user", "assistant", "tool"]
        [answer] = json.loads(attributes(second)["gen_ai.output.messages"])
        assert answer["parts"][0]["content"] == f"answer {CANARY}"
        assert json.loads(attributes(run)["gen_ai.tool.call.arguments"]) == {"secret": CANARY}


async def test_what_a_provider_says_of_a_prompt_it_refuses_stays_here(lab: Lab) -> None:
    refusal = ProviderRejected(f"your prompt {CANARY} is not allowed", provider="acme", model_id="acme/first")
    it = stand(first=[refusal], second=[refusal])
    it.engine = replace(it.engine, watch=lab.telemetry.attempt)

    with pytest.raises(AllModelsFailed, match=CANARY):
        await it.ask()

    assert len(lab.seen()) == 2
    assert CANARY not in lab.everything()


@dataclass(slots=True)
class Told:
    """An observer that remembers."""

    routes: list[RouteRecord] = field(default_factory=list[RouteRecord])
    operations: list[Operation] = field(default_factory=list[Operation])

    def route(self, record: RouteRecord) -> None:
        self.routes.append(record)

    def operation(self, operation: Operation) -> None:
        self.operations.append(operation)


class Failing(Told):
    def route(self, record: RouteRecord) -> None:
        raise ValueError

    def operation(self, operation: Operation) -> None:
        raise ValueError


async def test_a_route_is_a_span_round_its_calls_and_observers_get_its_record(tmp_path: Path, lab: Lab) -> None:
    told = Told()
    telemetry = replace(lab.telemetry, observers=(told,))
    it = stand()
    it.engine = replace(it.engine, watch=telemetry.attempt)
    async with SqliteStore(tmp_path / "state.db") as store:
        recorder = Recorder(ledger=store.ledger, watch=telemetry.route)
        async with recorder.recording(Task(prompt=CANARY)) as route:
            it.booked = route.attempts
            route.conversation = await it.ask()

    call, span = lab.seen()
    assert span.name == "route"
    assert call.parent is not None
    assert span.context is not None
    assert call.parent.span_id == span.context.span_id
    assert told.routes == [route.record]
    assert attributes(span)["pointsman.route.outcome"] == "completed"
    assert attributes(span)["pointsman.model.used"] == "acme/first"
    assert attributes(span)["pointsman.cost_microusd"] == 20 + 2 * 5
    assert attributes(span)["gen_ai.conversation.id"] == route.session_id
    assert not any("token" in name for name in attributes(span))
    assert CANARY not in lab.everything()


@pytest.mark.parametrize(
    ("error", "told"), [(UnknownHandle(f"no {CANARY}"), "UnknownHandle"), (ValueError(CANARY), "ValueError")]
)
async def test_a_route_that_fails_names_the_class_of_its_error_alone(
    tmp_path: Path, lab: Lab, error: Exception, told: str
) -> None:
    async with SqliteStore(tmp_path / "state.db") as store:
        recorder = Recorder(ledger=store.ledger, watch=lab.telemetry.route)
        with pytest.raises(type(error)):
            async with recorder.recording(Task(prompt="Hello")):
                raise error

    (span,) = lab.seen()
    assert attributes(span)["error.type"] == told
    assert span.status.status_code == StatusCode.ERROR
    (point,) = lab.points("pointsman.route.duration")
    assert point.attributes["pointsman.route.outcome"] == "failed"
    assert CANARY not in lab.everything()


async def test_a_route_that_its_caller_gave_up_is_no_fault(tmp_path: Path, lab: Lab) -> None:
    async with SqliteStore(tmp_path / "state.db") as store:
        recorder = Recorder(ledger=store.ledger, watch=lab.telemetry.route)
        with anyio.CancelScope() as scope:
            async with recorder.recording(Task(prompt="Hello")):
                scope.cancel()
                await anyio.sleep_forever()

    (span,) = lab.seen()
    assert attributes(span)["error.type"] == "cancelled"
    assert span.status.status_code == StatusCode.UNSET


async def test_an_answer_survives_whoever_measures_it(
    tmp_path: Path, lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry = replace(lab.telemetry, observers=(Failing(),))
    async with SqliteStore(tmp_path / "state.db") as store:
        recorder = Recorder(ledger=store.ledger, watch=telemetry.route)
        async with recorder.recording(Task(prompt="Hello")) as route:
            route.conversation = Conversation(
                answer=Answer(model_id="a/b", response=reply(), usage=Usage(input_tokens=1, output_tokens=1))
            )
    telemetry.operation(OPERATION)

    assert route.record is not None
    assert route.record.outcome == "completed"
    assert caplog.text.count("could not be measured") == 2


def test_an_mcp_operation_is_measured_and_told(lab: Lab) -> None:
    told = Told()
    telemetry = replace(lab.telemetry, observers=(told,))
    failed = replace(OPERATION, method="tools/call", tool="web_search", error="tool_error")

    telemetry.operation(OPERATION)
    telemetry.operation(failed)

    assert told.operations == [OPERATION, failed]
    assert {
        point.attributes.get("gen_ai.tool.name"): point.sum for point in lab.points("mcp.server.operation.duration")
    } == {
        None: 0.25,
        "web_search": 0.25,
    }


async def test_without_an_sdk_calls_go_on_and_a_trace_that_a_host_began_is_not_broken_off() -> None:
    it = stand()
    it.engine = replace(it.engine, watch=Telemetry().attempt)
    host = trace.SpanContext(trace_id=7, span_id=8, is_remote=True)

    await it.ask()
    with trace.use_span(trace.NonRecordingSpan(host)), Telemetry().route("rte_1"):
        assert trace.get_current_span().get_span_context() == host

    assert len(it.booked) == 1


def test_no_name_is_used_twice_and_every_instrument_has_its_boundaries() -> None:
    names = [value for table in (Key, Metric) for name, value in vars(table).items() if name.isupper()]
    assert len(names) == len(set(names))
    assert {value for name, value in vars(Metric).items() if name.isupper()} == {*HISTOGRAMS, *COUNTERS}
    assert all(list(bounds) == sorted(set(bounds)) for _, _, bounds in HISTOGRAMS.values())


@pytest.mark.parametrize(
    "variables", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}]
)
def test_nothing_is_exported_that_was_not_asked_for(variables: dict[str, str]) -> None:
    with exporting(variables, "0"):
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_a_program_that_brought_its_own_sdk_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    brought = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: brought)
    monkeypatch.setattr("routing.telemetry._start_export", None)

    with exporting({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "0"):
        assert trace.get_tracer_provider() is brought


def test_an_export_without_the_extra_stops_the_start_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
    with (
        pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT .* pointsman\[telemetry\]"),
        exporting({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, "0"),
    ):
        raise AssertionError
