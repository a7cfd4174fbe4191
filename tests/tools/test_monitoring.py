"""What whoever runs the server sees of it: probes, metrics, spans and logs, of the real server over a loopback upstream."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import anyio
import httpx2 as httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

import composition
import server
from routing.errors import SettingsError
from routing.metrics import Metrics
from routing.settings import Settings
from routing.telemetry import Operation, WatchedToolbox
from tests.test_transports import environment, free_port, serving
from tests.upstream import Upstream
from tools.base import Services
from tools.monitoring import OperationTimer, routes

pytestmark = pytest.mark.anyio

CANARY = "sk-canary-7f3a9c1e"
PROMPT = "What is the capital of France, dear heron-4471?"
GUARDED = ("/healthz", "/readyz", "/metrics")


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, upstream: Upstream) -> Settings:
    return settings_at(tmp_path, upstream)


def settings_at(home: Path, upstream: Upstream, **changes: str) -> Settings:
    return composition.settings_of({**environment(home, upstream), "OPENAI_API_KEY": CANARY, **changes})


@asynccontextmanager
async def browsing(services: Services | None, metrics: Metrics | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    app = Starlette(routes=routes(lambda: services, metrics or Metrics(server.TOOL_NAMES)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8484") as browser:
        yield browser


async def test_a_server_that_can_take_a_task_is_alive_and_ready(settings: Settings) -> None:
    async with composition.composed(settings) as services, browsing(services) as browser:
        alive, ready = await browser.get("/healthz"), await browser.get("/readyz")

    assert (alive.status_code, alive.text) == (200, "ok\n")
    assert ready.status_code == 200
    body = ready.json()
    assert body["ready"]
    assert body["checks"].keys() == {"store", "registry", "models"}
    assert all(check["ok"] and check["detail"] for check in body["checks"].values())


async def test_a_server_without_a_model_is_alive_but_not_ready_and_says_why(tmp_path: Path, upstream: Upstream) -> None:
    none = settings_at(tmp_path, upstream, OPENAI_API_KEY="")
    async with composition.composed(none) as services, browsing(services) as browser:
        alive, ready = await browser.get("/healthz"), await browser.get("/readyz")

    assert alive.status_code == 200
    assert ready.status_code == 503
    assert not ready.json()["ready"]
    assert ready.json()["checks"]["models"] == {
        "ok": False,
        "detail": "none can be called; list_models says what is missing",
    }
    assert ready.json()["checks"]["store"]["ok"]


async def test_models_that_the_settings_forbid_make_nobody_ready(tmp_path: Path, upstream: Upstream) -> None:
    closed = settings_at(tmp_path, upstream, POINTSMAN_SELF_HOSTED_ONLY="true")
    async with composition.composed(closed) as services, browsing(services) as browser:
        ready = await browser.get("/readyz")

    assert ready.status_code == 503
    assert not ready.json()["checks"]["models"]["ok"]


async def test_a_store_that_takes_no_writes_makes_the_server_unready(settings: Settings) -> None:
    async with composition.composed(settings) as services:
        await services.store.aclose()
        async with browsing(services) as browser:
            ready = await browser.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["checks"]["store"] == {"ok": False, "detail": "the store is not open"}
    assert ready.json()["checks"]["models"]["ok"]


@pytest.mark.parametrize("fault", ["full", "hangs"])
async def test_a_store_that_fails_or_hangs_is_told_in_its_own_words(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async def sweep() -> int:
        if fault == "full":
            raise SettingsError("the disk is full")
        await anyio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr("tools.monitoring.STORE_PATIENCE_SECONDS", 0.01)
    async with composition.composed(settings) as services, browsing(services) as browser:
        monkeypatch.setattr(services.store.budgets, "sweep", sweep)
        with anyio.fail_after(2):
            ready = await browser.get("/readyz")

    assert ready.status_code == 503
    told = {"full": "the disk is full", "hangs": "no write within 0.01 s"}
    assert ready.json()["checks"]["store"]["detail"] == told[fault]


async def test_a_broken_edit_of_the_registry_is_told_while_the_last_good_one_serves(
    tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.registry._LOOK_EVERY_SECONDS", 0.0)
    overlay = tmp_path / "registry.json"
    overlay.write_text('{"models": {}}')
    async with composition.composed(settings_at(tmp_path, upstream)) as services, browsing(services) as browser:
        before = await browser.get("/readyz")
        overlay.write_text('{"models": {"openai/gpt-4.1": {"teir": 1}}}')
        after = await browser.get("/readyz")

    assert before.json()["checks"]["registry"]["detail"].endswith("models")
    assert after.status_code == 200
    assert "teir" in after.json()["checks"]["registry"]["detail"]


async def test_nothing_is_ready_or_counted_while_the_server_starts() -> None:
    async with browsing(None) as browser:
        assert [(await browser.get(path)).status_code for path in GUARDED] == [200, 503, 503]


@pytest.mark.parametrize("path", GUARDED)
async def test_a_page_on_the_web_cannot_read_along(settings: Settings, path: str) -> None:
    async with composition.composed(settings) as services, browsing(services) as browser:
        rebound = await browser.get(path, headers={"host": "evil.test:8484"})
        foreign = await browser.get(path, headers={"origin": "http://evil.test"})
        local = [await browser.get(path, headers={"host": f"{name}:8484"}) for name in ("localhost", "[::1]")]
        posted = await browser.post(path)

    assert (rebound.status_code, foreign.status_code, posted.status_code) == (421, 403, 405)
    assert [answer.status_code for answer in local] == [200, 200]
    assert "access-control-allow-origin" not in local[0].headers


async def test_the_budgets_that_are_set_and_the_breakers_stand_on_the_page(tmp_path: Path, upstream: Upstream) -> None:
    for changes, periods in (({}, set[str]()), ({"POINTSMAN_HOURLY_BUDGET_USD": "2"}, {"hour"})):
        chosen = settings_at(tmp_path, upstream, **changes)
        async with composition.composed(chosen) as services, browsing(services) as browser:
            page = (await browser.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
        left = {row.labels["period"]: row.value for row in samples if row.name == "pointsman_budget_left_microusd"}
        assert left.keys() == periods
        assert not periods or left["hour"] == 2_000_000
        assert {row.value for row in samples if row.name == "pointsman_breaker_state"} == {0}


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_over_http_the_server_counts_what_it_did_and_neither_page_nor_log_holds_key_or_prompt(
    tmp_path: Path, upstream: Upstream, transport: str
) -> None:
    variables = {
        **environment(tmp_path, upstream),
        "OPENAI_API_KEY": CANARY,
        "POINTSMAN_LOG_FORMAT": "json",
        "POINTSMAN_LOG_LEVEL": "DEBUG",
    }
    with serving(transport, variables, log_to=tmp_path / "log") as port:
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/healthz").status_code == 200
        async with Client(_address(transport, base)) as host:
            await host.call_tool("route_and_answer", {"prompt": PROMPT})
            await host.call_tool("no-such-tool-heron-4471", {})
        ready = httpx.get(f"{base}/readyz")
        page = httpx.get(f"{base}/metrics").text

    assert upstream.requests[0].headers["authorization"] == f"Bearer {CANARY}"
    assert ready.json()["ready"]
    samples = {
        (row.name, *sorted(row.labels.values())): row.value
        for family in text_string_to_metric_families(page)
        for row in family.samples
    }
    assert [count for (name, *_), count in samples.items() if name == "pointsman_routes_total"] == [1]
    called = "mcp_server_operation_duration_seconds_count"
    assert samples[(called, "", "route_and_answer", "tools/call")] == 1
    assert [count for (name, *labels), count in samples.items() if name == called and "other" in labels] == [1]
    assert not [secret for secret in (CANARY, "heron-4471") if secret in page + ready.text]
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert "uvicorn" in log
    assert not [secret for secret in (CANARY, "dear heron-4471") if secret in log]


def _address(transport: str, base: str) -> Any:
    from mcp.client.sse import sse_client  # noqa: PLC0415 - one of two

    return f"{base}/mcp" if transport == "streamable-http" else sse_client(f"{base}/sse")


def test_the_log_is_json_lines_on_stderr_without_key_or_prompt(tmp_path: Path, upstream: Upstream) -> None:
    call = {"name": "route_and_answer", "arguments": {"prompt": PROMPT}}
    client = {"name": "test", "version": "1"}
    opening: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
    messages: list[dict[str, Any]] = [
        {"id": 1, "method": "initialize", "params": opening},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ]
    variables = {
        **environment(tmp_path, upstream),
        "OPENAI_API_KEY": CANARY,
        "POINTSMAN_LOG_FORMAT": "json",
        "POINTSMAN_LOG_LEVEL": "DEBUG",
    }
    command = [sys.executable, server.__file__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin
        assert process.stdout
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        answers = iter(process.stdout.readline, "")
        result = next(line for line in answers if json.loads(line).get("id") == 2)
        _, log = process.communicate(timeout=30)

    assert "Paris." in result
    lines = [json.loads(line) for line in log.splitlines()]
    assert lines
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert not [secret for secret in (CANARY, "heron-4471") if secret in log]


def test_the_log_of_an_http_server_is_json_lines_too(tmp_path: Path, upstream: Upstream) -> None:
    level = {"POINTSMAN_LOG_FORMAT": "json", "POINTSMAN_LOG_LEVEL": "INFO"}
    port = free_port()
    command = [sys.executable, server.__file__, "--transport", "streamable-http", "--port", str(port)]
    variables = {**environment(tmp_path, upstream), **level}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr
        first = process.stderr.readline()
        _until_it_answers(f"http://127.0.0.1:{port}/healthz")
        process.terminate()
        out, log = process.communicate(timeout=20)

    lines = [json.loads(line) for line in [first, *log.splitlines()]]
    assert f"serving MCP at http://127.0.0.1:{port}/mcp" in {line["message"] for line in lines}
    assert "uvicorn.access" in {line["logger"] for line in lines}
    assert process.returncode == 0
    assert not out


def _until_it_answers(url: str) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with suppress(httpx.ConnectError):
            assert httpx.get(url).status_code == 200
            return
    raise AssertionError


async def test_the_tools_that_models_run_are_watched(settings: Settings) -> None:
    async with composition.composed(settings) as services:
        assert isinstance(services.router.dispatcher.tool_loop.toolbox, WatchedToolbox)


@pytest.fixture
def observed() -> list[Operation]:
    return []


class _Heard:
    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations

    def route(self, record: object) -> None: ...

    def operation(self, operation: Operation) -> None:
        self._operations.append(operation)


async def test_an_operation_is_told_with_its_tool_and_how_it_ended(
    settings: Settings, observed: list[Operation]
) -> None:
    async def passed(_: object) -> dict[str, Any]:
        return {"isError": True}

    async def unknown(_: object) -> dict[str, Any]:
        raise MCPError(METHOD_NOT_FOUND, "no such method")

    async def hung(_: object) -> dict[str, Any]:
        await anyio.sleep_forever()
        raise AssertionError

    timer = OperationTimer(frozenset({"web_search"}), clock=iter(range(100)).__next__)
    async with composition.composed(settings, _Heard(observed)) as services:

        def message(method: str, name: str | None = None) -> Any:
            params = None if name is None else {"name": name}
            return SimpleNamespace(
                lifespan_context=services, method=method, params=params, protocol_version="1", request=None
            )

        await timer(message("tools/call", "web_search"), cast("Any", passed))
        with pytest.raises(MCPError):
            await timer(message("made/up"), cast("Any", unknown))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await timer(message("tools/call", "made up"), cast("Any", hung))

    assert [(told.method, told.tool, told.error, told.seconds) for told in observed] == [
        ("tools/call", "web_search", "tool_error", 1),
        ("other", None, "-32601", 1),
        ("tools/call", "other", "cancelled", 1),
    ]


class Collector:
    """An OpenTelemetry collector on loopback that keeps what it gets."""

    def __init__(self) -> None:
        self.traces: list[bytes] = []
        self.metrics: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                (collector.traces if self.path == "/v1/traces" else collector.metrics).append(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[Any]:
        parsed = [cast("Any", ExportTraceServiceRequest).FromString(body) for body in self.traces]
        scopes = [scope for one in parsed for resource in one.resource_spans for scope in resource.scope_spans]
        return [span for scope in scopes for span in scope.spans]

    def metric_names(self) -> set[str]:
        parsed = [cast("Any", ExportMetricsServiceRequest).FromString(body) for body in self.metrics]
        scopes = [scope for one in parsed for resource in one.resource_metrics for scope in resource.scope_metrics]
        return {metric.name for scope in scopes for metric in scope.metrics}


@pytest.mark.parametrize("prompts", [False, True])
async def test_a_hosts_trace_goes_on_through_the_server_to_the_model_and_prompts_only_where_asked_for(
    tmp_path: Path, upstream: Upstream, *, prompts: bool
) -> None:
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with Collector() as collector:
        variables = {
            **environment(tmp_path, upstream),
            "OPENAI_API_KEY": CANARY,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "POINTSMAN_TRACE_PROMPTS": str(prompts),
        }
        parameters = StdioServerParameters(command=sys.executable, args=[server.__file__], env=variables)
        async with Client(stdio_client(parameters)) as host:
            meta = cast("Any", {"traceparent": f"00-{trace_id}-{parent_id}-01"})
            result = await host.call_tool("route_and_answer", {"prompt": PROMPT}, meta=meta)
        spans = {span.name.split(" ")[0]: span for span in collector.spans() if span.trace_id.hex() == trace_id}

    assert not result.is_error
    assert spans["tools/call"].parent_span_id.hex() == parent_id
    assert spans["route"].parent_span_id == spans["tools/call"].span_id
    assert spans["chat"].parent_span_id == spans["route"].span_id
    assert {
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.usage.input_tokens",
        "mcp.server.operation.duration",
        "pointsman.route.duration",
    } <= collector.metric_names()
    sent = b"".join([*collector.traces, *collector.metrics])
    assert CANARY.encode() not in sent
    assert (b"heron-4471" in sent) == prompts
