"""What Prometheus may scrape, counted in this process since it began.

The names follow https://prometheus.io/docs/practices/naming/; that of the MCP operations is the one that OpenTelemetry's
translation gives it, so a board made for another MCP server shows them. Money is in micro-dollars: counters are whole numbers.

No label takes a value that a model, a caller or a host made up: categories and outcomes are closed sets, tools are ours, and
models are those of the registry and of servers that were found, of which the first `MOST_MODELS` are told apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from routing.dispatch.breaker import BreakerState
from routing.state import Standing
from routing.telemetry import Operation
from routing.types import Attempt, RouteRecord

MOST_MODELS: Final = 100
OTHER: Final = "other"
NONE: Final = "none"
BREAKER_STATES: Final[Mapping[BreakerState, int]] = {"closed": 0, "half_open": 1, "open": 2}

_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_MCP_LABELS = ("mcp_method_name", "gen_ai_tool_name", "error_type")


@dataclass(slots=True)
class _Known:
    """The first ``most`` different values as they are; what comes later is `OTHER`."""

    most: int
    seen: set[str] = field(default_factory=set[str])

    def __call__(self, value: str) -> str:
        if value not in self.seen and len(self.seen) >= self.most:
            return OTHER
        self.seen.add(value)
        return value


class Metrics:
    """A `routing.telemetry.Observer`. ``tools`` are the names that may stand in a label.

    Made where something is to be scraped: the library looks at this process when it is imported.
    """

    def __init__(self, tools: Collection[str]) -> None:
        import prometheus_client as prometheus  # noqa: PLC0415 - 20 ms, and it reads /proc

        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]  # it lacks "-> None"
        self._tools = frozenset(tools)
        self._model = _Known(MOST_MODELS)
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)

        def counter(name: str, described: str, *labels: str) -> prometheus.Counter:
            return prometheus.Counter(name, described, labels, registry=registry)

        def gauge(name: str, described: str, *labels: str) -> prometheus.Gauge:
            return prometheus.Gauge(name, described, labels, registry=registry)

        def seconds(name: str, described: str, *labels: str) -> prometheus.Histogram:
            return prometheus.Histogram(name, described, labels, registry=registry, buckets=_SECONDS)

        self._routes = counter("pointsman_routes", "Tasks", "outcome", "category", "model")
        self._route_seconds = seconds("pointsman_route_duration_seconds", "Of a task", "outcome", "category")
        self._attempts = counter("pointsman_attempts", "Upstream calls", "model", "outcome")
        self._attempt_seconds = seconds("pointsman_attempt_duration_seconds", "Of an upstream call", "model")
        self._first_token_seconds = seconds("pointsman_first_token_seconds", "Until the first text of a call", "model")
        self._tokens = counter("pointsman_tokens", "Input and output include the other kinds", "model", "kind")
        self._cost = counter("pointsman_cost_microusd", "What upstream calls cost", "model")
        self._unpriced = counter("pointsman_unpriced_attempts", "Upstream calls whose cost cannot be told", "model")
        self._baseline = counter("pointsman_baseline_microusd", "What answers would have cost on it")
        self._tool_runs = counter("pointsman_tool_runs", "Tools that models ran", "tool", "outcome")
        self._tool_cost = counter("pointsman_tool_cost_microusd", "What the tools that models ran cost", "tool")
        self._operations = seconds("mcp_server_operation_duration_seconds", "Of an MCP message", *_MCP_LABELS)
        self._breaker = gauge("pointsman_breaker_state", "0 closed, 1 half open, 2 open", "model")
        self._budget = gauge("pointsman_budget_microusd", "The cap of the present hour or month", "period")
        self._budget_left = gauge("pointsman_budget_left_microusd", "Neither spent nor reserved of it", "period")

    def route(self, record: RouteRecord) -> None:
        """Count a task with its attempts and tools."""
        category = record.analysis.category if record.analysis else NONE
        model = self._model(record.model_used) if record.model_used else NONE
        self._routes.labels(record.outcome, category, model).inc()
        self._route_seconds.labels(record.outcome, category).observe(record.latency_ms / 1000)
        self._baseline.inc(record.baseline_cost_microusd or 0)
        for attempt in record.attempts:
            self._attempt(attempt)
        for use in record.tools:
            tool = self._tool(use.name)
            self._tool_runs.labels(tool, "failed" if use.is_error else "completed").inc()
            self._tool_cost.labels(tool).inc(use.cost_microusd)

    def operation(self, operation: Operation) -> None:
        """Count an MCP operation."""
        tool = "" if operation.tool is None else self._tool(operation.tool)
        self._operations.labels(operation.method, tool, operation.error or "").observe(operation.seconds)

    def exposition(
        self, accept: str, breakers: Mapping[str, BreakerState], budgets: Sequence[Standing]
    ) -> tuple[bytes, str]:
        """The page and its media type, in the form that ``accept`` asks for.

        ``breakers`` are the states by model, ``budgets`` how they stand at this moment.
        """
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415 - as above

        self._breaker.clear()
        for model, state in breakers.items():
            self._breaker.labels(self._model(model)).set(BREAKER_STATES[state])
        self._budget.clear()
        self._budget_left.clear()
        for standing in budgets:
            self._budget.labels(standing.allowance.period).set(standing.allowance.cap_microusd)
            self._budget_left.labels(standing.allowance.period).set(standing.left_microusd)
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def _attempt(self, attempt: Attempt) -> None:
        model, usage = self._model(attempt.model_id), attempt.usage
        self._attempts.labels(model, attempt.outcome).inc()
        self._attempt_seconds.labels(model).observe(attempt.latency_ms / 1000)
        if attempt.first_token_ms is not None:
            self._first_token_seconds.labels(model).observe(attempt.first_token_ms / 1000)
        kinds = {
            "input": usage.input_tokens,
            "output": usage.output_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_write": usage.cache_write_tokens,
            "reasoning": usage.reasoning_tokens,
        }
        for kind, tokens in kinds.items():
            self._tokens.labels(model, kind).inc(tokens)
        if attempt.cost_microusd is None:
            self._unpriced.labels(model).inc()
        else:
            self._cost.labels(model).inc(attempt.cost_microusd)

    def _tool(self, name: str) -> str:
        return name if name in self._tools else OTHER
