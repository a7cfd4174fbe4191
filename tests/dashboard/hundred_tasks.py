"""A hundred tasks whose bill is worked out by hand.

Prices in micro-dollars a token, input / output: small 1 / 2, large 2 / 8, dear 20 / 100, and the baseline 15 / 75.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from routing.types import (
    Attempt,
    AttemptOutcome,
    Category,
    FinishReason,
    ModelSelection,
    RouteOutcome,
    RouteRecord,
    ToolUse,
)
from tests.builders import analysis, usage

SMALL, LARGE, DEAR = "openai/gpt-5-nano", "google/gemini-3.8-flash", "anthropic/claude-opus-4"
CALLER = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An upstream call and what it costs."""

    model_id: str
    tokens: tuple[int, int]
    microusd: int
    outcome: AttemptOutcome = "answered"
    finish_reason: FinishReason | None = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Tasks that go alike. ``baseline`` is in micro-dollars, ``None`` where there was no answer."""

    times: int
    category: Category
    calls: tuple[Call, ...]
    baseline: int | None
    tools_microusd: int = 0
    outcome: RouteOutcome = "completed"


SCRIPT = (
    # 1,000 × 1 + 200 × 2 = 1,400 against 1,000 × 15 + 200 × 75 = 30,000
    Kind(
        times=60,
        category="text_generation",
        calls=(Call(model_id=SMALL, tokens=(1_000, 200), microusd=1_400),),
        baseline=30_000,
    ),
    # 3,000 × 2 + 500 × 8 = 10,000 against 3,000 × 15 + 500 × 75 = 82,500
    Kind(
        times=20,
        category="complex_coding",
        calls=(Call(model_id=LARGE, tokens=(3_000, 500), microusd=10_000),),
        baseline=82_500,
    ),
    # the small model fails (1,000 × 1 = 1,000), the large one answers: 1,000 × 2 + 200 × 8 = 3,600; against 30,000
    Kind(
        times=8,
        category="text_generation",
        calls=(
            Call(model_id=SMALL, tokens=(1_000, 0), microusd=1_000, outcome="failed", finish_reason=None),
            Call(model_id=LARGE, tokens=(1_000, 200), microusd=3_600),
        ),
        baseline=30_000,
    ),
    # a tool round: 1,000 × 2 + 100 × 8 = 2,800, a search for 5,000, and 2,000 × 2 + 300 × 8 = 6,400;
    # against the answer's 2,000 × 15 + 300 × 75 = 52,500
    Kind(
        times=5,
        category="agentic_tool_use",
        calls=(
            Call(model_id=LARGE, tokens=(1_000, 100), microusd=2_800, finish_reason="tool_call"),
            Call(model_id=LARGE, tokens=(2_000, 300), microusd=6_400),
        ),
        baseline=52_500,
        tools_microusd=5_000,
    ),
    # two tries, 1,000 × 1 each, and no answer
    Kind(
        times=3,
        category="qa_retrieval",
        calls=(Call(model_id=SMALL, tokens=(1_000, 0), microusd=1_000, outcome="failed", finish_reason=None),) * 2,
        baseline=None,
        outcome="failed",
    ),
    # cancelled after 1,000 × 2 + 50 × 8 = 2,400
    Kind(
        times=2,
        category="complex_coding",
        calls=(Call(model_id=LARGE, tokens=(1_000, 50), microusd=2_400, outcome="cancelled", finish_reason=None),),
        baseline=None,
        outcome="cancelled",
    ),
    # forced to the dear model: 100 × 20 + 400 × 100 = 42,000 against 100 × 15 + 400 × 75 = 31,500
    Kind(
        times=2,
        category="deep_reasoning",
        calls=(Call(model_id=DEAR, tokens=(100, 400), microusd=42_000),),
        baseline=31_500,
    ),
)


def hundred_tasks(started_at: float, *, apart_seconds: float = 60) -> Iterator[RouteRecord]:
    """The tasks of the script, dealt out evenly, the last one ``started_at``."""
    kinds = [kind for kind in SCRIPT for _ in range(kind.times)]
    order = sorted(range(len(kinds)), key=lambda number: number * 37 % len(kinds))
    for place, number in enumerate(order):
        yield _record_of(kinds[number], number, started_at - apart_seconds * (len(kinds) - 1 - place))


def _record_of(kind: Kind, number: int, started_at: float) -> RouteRecord:
    first, last = kind.calls[0], kind.calls[-1]
    return RouteRecord(
        route_id=f"rte_{number:03}",
        caller=CALLER,
        session_id="ses_1",
        started_at=started_at,
        latency_ms=sum(_latency_ms(call) for call in kind.calls) + number,
        outcome=kind.outcome,
        prompt_sha256="00" * 32,
        analysis=analysis(category=kind.category, complexity=2 if first.model_id == SMALL else 4),
        selection=ModelSelection(
            primary_model=first.model_id,
            provider=first.model_id.split("/")[0],
            fallback_models=(LARGE,),
            estimated_cost_microusd=first.microusd,
            reasoning=f"cheapest that is good enough for {kind.category}",
        ),
        attempts=tuple(_attempt_of(call, number, started_at) for call in kind.calls),
        model_used=last.model_id if kind.outcome == "completed" else None,
        finish_reason=last.finish_reason,
        cost_microusd=sum(call.microusd for call in kind.calls) + kind.tools_microusd,
        baseline_model="anthropic/claude-opus-4-7" if kind.baseline else None,
        baseline_cost_microusd=kind.baseline,
        tools=(ToolUse(name="web_search", is_error=False, latency_ms=300, cost_microusd=kind.tools_microusd),)
        if kind.tools_microusd
        else (),
        error="AllModelsFailed: every model that was tried failed." if kind.outcome == "failed" else None,
    )


def _latency_ms(call: Call) -> int:
    return 300 + 8 * call.tokens[1]


def _attempt_of(call: Call, number: int, started_at: float) -> Attempt:
    attempt = Attempt(
        model_id=call.model_id,
        provider=call.model_id.split("/")[0],
        outcome=call.outcome,
        started_at=started_at,
        latency_ms=_latency_ms(call) + 7 * (number % 60),
        first_token_ms=200 + number % 50 if call.outcome == "answered" else None,
        usage=usage(*call.tokens),
        cost_microusd=call.microusd,
        finish_reason=call.finish_reason,
    )
    return attempt if call.outcome == "answered" else replace(attempt, error="ProviderUnavailable: 503")
