"""The data of tool results. Money is in dollars here, durations in milliseconds."""

from __future__ import annotations

import base64
from typing import Literal

from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from routing.dispatch.breaker import BreakerState
from routing.jobs import Failed, Running
from routing.pricing import saved_microusd, spoken_usd, usd
from routing.tokens import TokenCounter
from routing.types import (
    Attempt,
    AttemptOutcome,
    CachedBy,
    Category,
    EmbeddingForm,
    Embeddings,
    FinishReason,
    ModelSelection,
    Pattern,
    PatternStep,
    Role,
    RouteRecord,
    StepStatus,
    TaskAnalysis,
    Verdict,
    VerificationStep,
)
from tools.base import Result

_MOST_REJECTIONS = 12


class AnalysisResult(Result):
    """What the task was understood as."""

    category: Category
    complexity: int
    confidence: float
    estimated_input_tokens: int
    estimated_output_tokens: int
    input_tokens_exact: bool
    requires_long_context: bool
    requires_tool_use: bool
    requires_vision: bool
    math_heavy: bool
    pattern: Pattern
    role: Role
    language: str
    sensitive: bool
    profile: str | None
    analyzer: str
    reasoning: str

    @classmethod
    def of(cls, analysis: TaskAnalysis) -> AnalysisResult:
        """From what the analyzer found."""
        return cls.model_validate(analysis, from_attributes=True)


class RejectionResult(Result):
    """A model that was not chosen."""

    model_id: str
    reason: str


class SelectionResult(Result):
    """The model that was chosen, and why."""

    primary_model: str
    provider: str
    fallback_models: list[str]
    estimated_cost_usd: float | None = Field(description="null: the price is unknown")
    reasoning: str
    rejected: list[RejectionResult] = Field(description="Of the configured models")
    not_configured: int = Field(description="Models whose provider has no key or server")

    @classmethod
    def of(cls, selection: ModelSelection) -> SelectionResult:
        """From what the selector decided."""
        near = [rejection for rejection in selection.rejections if rejection.configured]
        near.sort(key=lambda rejection: rejection.reason.startswith("superseded"))
        return cls(
            primary_model=selection.primary_model,
            provider=selection.provider,
            fallback_models=list(selection.fallback_models),
            estimated_cost_usd=usd(selection.estimated_cost_microusd),
            reasoning=selection.reasoning,
            rejected=[RejectionResult(model_id=one.model_id, reason=one.reason) for one in near[:_MOST_REJECTIONS]],
            not_configured=len(selection.rejections) - len(near),
        )


class AttemptResult(Result):
    """One upstream call."""

    model_id: str
    outcome: AttemptOutcome
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    error: str | None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptResult:
        """From what was booked."""
        return cls(
            model_id=attempt.model_id,
            outcome=attempt.outcome,
            latency_ms=attempt.latency_ms,
            input_tokens=attempt.usage.input_tokens,
            output_tokens=attempt.usage.output_tokens,
            cost_usd=usd(attempt.cost_microusd),
            error=attempt.error,
        )


class SimilarityResult(Result):
    """How alike two texts are."""

    text: int
    other: int | None
    similarity: float


class EmbeddingsResult(Result):
    """What an embedding model found."""

    form: EmbeddingForm
    vectors: list[list[float]]
    similarities: list[SimilarityResult] = Field(description="Indices of texts, the most alike first")

    @classmethod
    def of(cls, embeddings: Embeddings) -> EmbeddingsResult:
        """From what was computed; single precision is what the models give."""
        rows = embeddings.similarities
        return cls(
            form=embeddings.form,
            vectors=[[float(f"{value:.7g}") for value in vector] for vector in embeddings.vectors],
            similarities=[
                SimilarityResult(text=row.text, other=row.other, similarity=round(row.similarity, 4)) for row in rows
            ],
        )


class StepResult(Result):
    """An answer that was checked."""

    kind: Literal["answer", "repair", "escalation"]
    model_id: str
    checked: list[str]
    failed: list[str] = Field(description="What was found wrong")
    cost_usd: float | None
    check_cost_usd: float | None = Field(description="Of it, for samples and judges")
    verdict: Verdict = Field(description="verified: by machine")
    returned: bool

    @classmethod
    def of(cls, step: VerificationStep) -> StepResult:
        """From what was found."""
        return cls(
            kind=step.kind,
            model_id=step.model_id,
            checked=[finding.check for finding in step.findings],
            failed=[finding.detail for finding in step.failed],
            cost_usd=usd(step.cost_microusd),
            check_cost_usd=usd(step.checks_microusd),
            verdict=step.verdict,
            returned=step.returned,
        )


LONGEST_STEP_CHARS = 400
"""What is shown of a step's answer; get_answer has the whole of it, by the step's own route_id."""


class PatternStepResult(Result):
    """One step of a pattern."""

    name: str
    role: Role
    status: StepStatus
    route_id: str | None
    model_used: str | None
    response: str
    next_start_index: int | None = Field(description="get_answer has the rest, by the step's route_id")
    detail: str
    latency_ms: int
    cost_usd: float | None

    @classmethod
    def of(cls, step: PatternStep) -> PatternStepResult:
        """From what was booked."""
        is_cut = len(step.text) > LONGEST_STEP_CHARS
        return cls(
            name=step.name,
            role=step.role,
            status=step.status,
            route_id=step.route_id,
            model_used=step.model_used,
            response=step.text[:LONGEST_STEP_CHARS],
            next_start_index=LONGEST_STEP_CHARS if is_cut else None,
            detail=step.detail[:LONGEST_STEP_CHARS],
            latency_ms=step.latency_ms,
            cost_usd=usd(step.cost_microusd),
        )


class RouteResult(Result):
    """An answer and its bill; while it runs, and where it failed, only what is known of it."""

    session_id: str | None = Field(default=None, description="Pass it on to continue the conversation")
    route_id: str
    status: Literal["running", "completed", "partial", "failed"]
    response: str = ""
    next_start_index: int | None = Field(default=None, description="get_answer has the rest from there")
    finish_reason: FinishReason | None = None
    model_used: str | None = None
    task_analysis: AnalysisResult | None = None
    model_selection: SelectionResult | None = None
    actual_input_tokens: int = 0
    actual_output_tokens: int = 0
    tokens_estimated: bool = Field(default=False, description="true: the provider reported none, we counted")
    actual_cost_usd: float | None = Field(default=None, description="null: the price is unknown")
    baseline_model: str | None = None
    baseline_cost_usd: float | None = None
    savings_usd: float | None = Field(default=None, description="Against the baseline model, all attempts paid")
    latency_ms: int = 0
    tools_called: list[str] = Field(default=[])
    embeddings: EmbeddingsResult | None = Field(
        default=None, description="Of texts: vectors, or similarities by their indices"
    )
    attempts: list[AttemptResult] = Field(default=[])
    cached: CachedBy | None = None
    verification: list[StepResult] = Field(default=[], description="Answers checked on the way to this one")
    steps: list[PatternStepResult] = Field(default=[])
    notices: list[str] = Field(default=[])

    @classmethod
    def of(cls, record: RouteRecord, response: str | None = None, next_start_index: int | None = None) -> RouteResult:
        """From the record of a completed route, with the whole of its answer or this part of it."""
        if record.analysis is None or record.model_used is None:
            raise ValueError(f"route {record.route_id} was not completed")
        return cls(
            session_id=record.session_id,
            route_id=record.route_id,
            status="partial" if record.is_partial else "completed",
            response=record.text if response is None else response,
            next_start_index=next_start_index,
            finish_reason=record.finish_reason,
            model_used=record.model_used,
            task_analysis=AnalysisResult.of(record.analysis),
            model_selection=SelectionResult.of(record.selection) if record.selection else None,
            actual_input_tokens=record.usage.input_tokens,
            actual_output_tokens=record.usage.output_tokens,
            tokens_estimated=record.usage.estimated,
            actual_cost_usd=usd(record.cost_microusd),
            baseline_model=record.baseline_model,
            baseline_cost_usd=usd(record.baseline_cost_microusd),
            savings_usd=usd(saved_microusd(record)),
            latency_ms=record.latency_ms,
            tools_called=[use.name for use in record.tools],
            embeddings=EmbeddingsResult.of(record.embeddings) if record.embeddings else None,
            attempts=[AttemptResult.of(attempt) for attempt in record.attempts],
            cached=record.cached,
            verification=[StepResult.of(step) for step in record.verification],
            steps=[PatternStepResult.of(step) for step in record.steps],
            notices=list(record.notices),
        )


MOST_ANSWER_TOKENS = 20_000
"""What of an answer one result holds: hosts cut at 25,000 tokens, and keep the whole result in their context."""


def part_end(text: str, start: int, counter: TokenCounter, most_tokens: int = MOST_ANSWER_TOKENS) -> int:
    """Where the part of a text ends that begins at ``start`` and has at most ``most_tokens`` tokens."""
    end = len(text)
    while end > start + 1:
        part = text[start:end]
        if len(part.encode(errors="replace")) <= most_tokens:  # no token is shorter than a byte
            return end
        tokens = counter.count(part).tokens
        if tokens <= most_tokens:
            return end
        end = start + max(1, min(len(part) - 1, int(len(part) * 0.98 * most_tokens / tokens)))
    return end


def answered(record: RouteRecord, counter: TokenCounter, start: int = 0) -> CallToolResult:
    """An answer as text, from ``start`` on as much of it as one result holds, and everything as data."""
    end = part_end(record.text, start, counter)
    rest = end if end < len(record.text) else None
    part = record.text[start:end]
    result = RouteResult.of(record, part, rest)
    by = f"{record.pattern} in {len(record.steps)} steps" if record.steps else result.model_used
    bill = f"{by}, {spoken_usd(record.cost_microusd)}, session_id {result.session_id}{_verdict_on(record)}"
    notices = "".join(
        f"\nNote: {notice}" for notice in (*record.notices, *_what_is_missing(record), *_where_the_rest_is(record, end))
    )
    pictures = [
        ImageContent(data=base64.b64encode(image.data).decode("ascii"), mime_type=image.media_type)
        for image in record.images
    ]
    return CallToolResult(
        content=[TextContent(text=part), *(pictures if start == 0 else []), TextContent(text=f"[{bill}]{notices}")],
        structured_content=result.model_dump(mode="json"),
    )


def _verdict_on(record: RouteRecord) -> str:
    """What was found of the answer, where anything was; what failed is in the notices."""
    for step in record.verification:
        if step.returned and step.verdict not in ("failed", "unchecked"):
            return f", {step.verdict}: {', '.join(finding.check for finding in step.telling)}"
    return ""


def _what_is_missing(record: RouteRecord) -> list[str]:
    """The steps whose work is not in the answer."""
    if not record.is_partial:
        return []
    last = {step.name: step for step in record.steps}
    told = (f"{step.name} ({step.status})" for step in last.values() if step.status != "completed")
    return [f"PARTIAL answer. Missing: {', '.join(told)}; steps say why."]


def _where_the_rest_is(record: RouteRecord, end: int) -> list[str]:
    total = len(record.text)
    if end == total:
        return []
    here = (
        f"get_answer with route_id {record.route_id} and start_index {end}, or the resource answer://{record.route_id}"
    )
    return [f"This is the answer up to character {end:,} of {total:,}. The rest: {here}."]


def unanswered(outcome: Running | Failed) -> CallToolResult:
    """What is known of a route that runs, or that failed after its call was over."""
    if isinstance(outcome, Running):
        text = f"It goes on. Call get_answer with route_id {outcome.route_id}; it waits for the answer."
        result = RouteResult(route_id=outcome.route_id, status="running", notices=[text])
    else:
        text = outcome.error
        result = RouteResult(route_id=outcome.route_id, status="failed", notices=[text])
    return CallToolResult(
        content=[TextContent(text=text)],
        structured_content=result.model_dump(mode="json"),
        is_error=isinstance(outcome, Failed),
    )


class ClassifyResult(Result):
    """What would be done with a task."""

    task_analysis: AnalysisResult
    model_selection: SelectionResult
    delegate: bool
    delegate_reason: str


class ModelEstimate(Result):
    """What a task would cost on one model."""

    model_id: str
    tier: int
    cost_usd: float | None = Field(description="Expected; null: the price is unknown")
    low_cost_usd: float | None
    worst_cost_usd: float | None
    latency_ms: int | None = Field(description="null: its speed was never measured")
    configured: bool
    chosen: bool


class EstimateResult(Result):
    """What a task would cost, on every model asked about, the cheapest first."""

    input_tokens: int = Field(description="Per turn")
    output_tokens: int = Field(description="Per turn")
    turns: int
    input_tokens_exact: bool
    chosen_model: str | None
    models: list[ModelEstimate]


class HealthResult(Result):
    """How a model did for this caller in the last day."""

    breaker: BreakerState = Field(description="open: not asked at the moment")
    attempts: int
    error_rate: float | None
    p50_latency_ms: int | None
    p95_latency_ms: int | None
    requests_left: int | None = Field(description="Of the provider's rate limit, as it last said")
    last_error: str | None


class ModelResult(Result):
    """A model, and whether it can be called."""

    model_id: str
    display_name: str
    provider: str
    tier: int
    configured: bool
    how_to_configure: str | None
    input_usd_per_million: float | None
    output_usd_per_million: float | None
    prices_checked: str | None
    prices_are_old: bool
    context_window: int
    max_output_tokens: int
    quality_index: float | None
    self_hosted: bool
    superseded_by: str | None
    health: HealthResult | None = Field(description="null: not asked in the last day")


class ModelsResult(Result):
    """The models of the registry."""

    models: list[ModelResult]
    configured_providers: list[str]
    not_configured: dict[str, str] = Field(description="Provider: what to set")
    notices: list[str]
