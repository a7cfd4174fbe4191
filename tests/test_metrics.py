"""What Prometheus scrapes: the real library's exposition, read back by its own parser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from routing.dispatch.breaker import BreakerState
from routing.metrics import MOST_MODELS, Metrics
from routing.state import Allowance, Standing
from routing.telemetry import Operation
from routing.types import NO_USAGE, Attempt, RouteRecord, ToolUse, Usage
from tests.builders import analysis

ROOT = Path(__file__).resolve().parent.parent
CANARY = "canary-7f3a9c1e"
TOOLS = frozenset({"web_search", "route_and_answer"})


def attempt(**changes: Any) -> Attempt:
    facts: dict[str, Any] = {
        "model_id": "acme/first",
        "provider": "acme",
        "outcome": "answered",
        "started_at": 0.0,
        "latency_ms": 700,
        "first_token_ms": 150,
        "usage": Usage(input_tokens=100, output_tokens=30, cache_read_tokens=60, reasoning_tokens=5),
        "cost_microusd": 160,
    }
    return Attempt(**{**facts, **changes})


def record(*attempts: Attempt, **changes: Any) -> RouteRecord:
    facts: dict[str, Any] = {
        "route_id": f"rte_{CANARY}",
        "caller": CANARY,
        "session_id": CANARY,
        "started_at": 0.0,
        "latency_ms": 900,
        "outcome": "completed",
        "prompt_sha256": CANARY,
        "text": CANARY,
        "analysis": analysis(reasoning=CANARY),
        "attempts": attempts,
        "model_used": "acme/first",
        "baseline_cost_microusd": 1_000,
    }
    return RouteRecord(**{**facts, **changes})


def scraped(
    metrics: Metrics, breakers: Mapping[str, BreakerState] | None = None, budgets: Sequence[Standing] = ()
) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Value by name and labels, of what is ours."""
    page, _ = metrics.exposition("", breakers or {}, budgets)
    families = text_string_to_metric_families(page.decode())
    samples = [sample for family in families for sample in family.samples]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for sample in samples
        if not sample.name.startswith("process_")
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def total(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str) -> float:
    return sum(value for (sample, _), value in samples.items() if sample == name)


def test_a_task_counts_with_its_calls_tokens_money_and_tools() -> None:
    metrics = Metrics(TOOLS)
    failed = attempt(model_id="zeta/second", outcome="failed", usage=NO_USAGE, cost_microusd=0, first_token_ms=None)
    use = ToolUse(name="web_search", is_error=False, latency_ms=5, cost_microusd=5_000)
    metrics.route(record(failed, attempt(), tools=(use,)))

    seen = scraped(metrics)
    one = {"outcome": "completed", "category": "qa_retrieval", "model": "acme/first"}
    assert seen[key("pointsman_routes_total", **one)] == 1
    assert seen[key("pointsman_attempts_total", model="zeta/second", outcome="failed")] == 1
    assert seen[key("pointsman_attempts_total", model="acme/first", outcome="answered")] == 1
    kinds = {"input": 100, "output": 30, "cache_read": 60, "cache_write": 0, "reasoning": 5}
    for kind, tokens in kinds.items():
        assert seen[key("pointsman_tokens_total", model="acme/first", kind=kind)] == tokens
    assert seen[key("pointsman_cost_microusd_total", model="acme/first")] == 160
    assert seen[key("pointsman_baseline_microusd_total")] == 1_000
    assert seen[key("pointsman_tool_runs_total", tool="web_search", outcome="completed")] == 1
    assert seen[key("pointsman_tool_cost_microusd_total", tool="web_search")] == 5_000
    assert seen[key("pointsman_first_token_seconds_sum", model="acme/first")] == 0.15
    assert seen[key("pointsman_attempt_duration_seconds_sum", model="acme/first")] == 0.7
    assert seen[key("pointsman_route_duration_seconds_sum", outcome="completed", category="qa_retrieval")] == 0.9


def test_a_call_of_unknown_price_is_not_counted_as_free() -> None:
    metrics = Metrics(TOOLS)
    metrics.route(record(attempt(cost_microusd=None)))

    seen = scraped(metrics)
    assert seen[key("pointsman_unpriced_attempts_total", model="acme/first")] == 1
    assert key("pointsman_cost_microusd_total", model="acme/first") not in seen


def test_a_task_that_failed_before_any_choice_is_counted_under_none() -> None:
    metrics = Metrics(TOOLS)
    metrics.route(record(outcome="failed", analysis=None, model_used=None))

    assert scraped(metrics)[key("pointsman_routes_total", outcome="failed", category="none", model="none")] == 1


amounts = st.integers(0, 10**9)


@given(st.lists(st.tuples(st.sampled_from(["a/b", "c/d", "e/f"]), amounts, amounts, st.none() | amounts), max_size=20))
def test_totals_are_the_sums_of_what_was_told(calls: list[tuple[str, int, int, int | None]]) -> None:
    metrics = Metrics(TOOLS)
    for model_id, sent, got, cost in calls:
        usage = Usage(input_tokens=sent, output_tokens=got)
        metrics.route(record(attempt(model_id=model_id, usage=usage, cost_microusd=cost)))

    seen = scraped(metrics)
    assert total(seen, "pointsman_cost_microusd_total") == sum(cost or 0 for *_, cost in calls)
    assert total(seen, "pointsman_tokens_total") == sum(sent + got for _, sent, got, _ in calls)
    assert total(seen, "pointsman_unpriced_attempts_total") == sum(cost is None for *_, cost in calls)
    assert (
        total(seen, "pointsman_attempts_total") == total(seen, "pointsman_attempt_duration_seconds_count") == len(calls)
    )


def test_no_flood_of_models_makes_a_flood_of_series() -> None:
    metrics = Metrics(TOOLS)
    for number in range(3 * MOST_MODELS):
        metrics.route(record(attempt(model_id=f"found/{number}"), model_used=f"found/{number}"))

    seen = scraped(metrics)
    assert len({value for _, labels in seen for label, value in labels if label == "model"}) == MOST_MODELS + 1
    assert seen[key("pointsman_attempts_total", model="other", outcome="answered")] == 2 * MOST_MODELS


@given(st.lists(st.text(max_size=20), max_size=30))
def test_no_invented_tool_makes_a_series(tools: list[str]) -> None:
    metrics = Metrics(TOOLS)
    for name in tools:
        metrics.route(record(tools=(ToolUse(name=name, is_error=False, latency_ms=1),)))
        metrics.operation(
            Operation(method="tools/call", tool=name, seconds=0.1, protocol_version="1", transport="pipe")
        )

    seen = scraped(metrics)
    named = {value for _, labels in seen for label, value in labels if label in ("tool", "gen_ai_tool_name")}
    assert named <= {*TOOLS, "other"}
    assert total(seen, "pointsman_tool_runs_total") == len(tools)


def test_nothing_that_belongs_to_a_caller_stands_on_the_page() -> None:
    metrics = Metrics(TOOLS)
    broken = attempt(outcome="failed", error=f"ProviderRejected: {CANARY}")
    use = ToolUse(name=CANARY, is_error=True, latency_ms=1)
    metrics.route(record(broken, tools=(use,), error=f"AllModelsFailed: {CANARY}"))

    page, _ = metrics.exposition("", {}, ())

    assert b"pointsman_routes_total{" in page
    assert CANARY.encode() not in page


def test_an_mcp_operation_is_timed_under_the_usual_name() -> None:
    metrics = Metrics(TOOLS)
    told = Operation(
        method="tools/call",
        tool="route_and_answer",
        error="tool_error",
        seconds=0.3,
        protocol_version="1",
        transport="tcp",
    )
    metrics.operation(told)
    metrics.operation(replace(told, method="tools/list", tool=None, error=None))

    seen = scraped(metrics)
    name = "mcp_server_operation_duration_seconds_sum"
    labels = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "route_and_answer", "error_type": "tool_error"}
    assert seen[key(name, **labels)] == 0.3
    assert seen[key(name, mcp_method_name="tools/list", gen_ai_tool_name="", error_type="")] == 0.3


def test_breakers_and_budgets_show_how_they_stand_now() -> None:
    metrics = Metrics(TOOLS)
    budget = Standing(
        allowance=Allowance(period="hour", cap_microusd=1_000_000),
        start=0,
        spent_microusd=250_000,
        reserved_microusd=50_000,
        resets_at=3_600.0,
    )
    before = scraped(metrics, {"a/b": "open", "c/d": "half_open"}, [budget])
    after = scraped(metrics, {"c/d": "closed"})

    assert before[key("pointsman_breaker_state", model="a/b")] == 2
    assert before[key("pointsman_breaker_state", model="c/d")] == 1
    assert before[key("pointsman_budget_microusd", period="hour")] == 1_000_000
    assert before[key("pointsman_budget_left_microusd", period="hour")] == 700_000
    assert after[key("pointsman_breaker_state", model="c/d")] == 0
    assert not [name for name, _ in after if "budget" in name]
    assert key("pointsman_breaker_state", model="a/b") not in after


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("", "text/plain; version="), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
def test_the_scraper_gets_the_form_that_it_asks_for(accept: str, media_type: str) -> None:
    page, told = Metrics(TOOLS).exposition(accept, {}, ())

    assert told.startswith(media_type)
    assert page.endswith(b"# EOF\n") == media_type.startswith("application")


def test_a_server_that_nobody_scrapes_does_not_load_the_library() -> None:
    probe = "import sys, server; print('prometheus_client' in sys.modules, 'opentelemetry.metrics' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout.split() == ["False", "False"]
