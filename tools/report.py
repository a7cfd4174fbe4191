"""What it cost, what it saved and how good it was: `usage_report`, `record_feedback`.

The report's data is also what the dashboard shows (`tools/dashboard/`): over HTTP, and inside hosts that render MCP Apps, which
hand the page the result of `usage_report` and let it ask for more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp_types import CallToolResult, TextContent
from pydantic import BeforeValidator, Field, WithJsonSchema

from routing.errors import InvalidTask
from routing.learning.policy import Verdict
from routing.pricing import saved_microusd, spoken_usd, usd
from routing.report import (
    BREAKDOWNS,
    PERIODS,
    Alert,
    Breakdown,
    BudgetGauge,
    Budgets,
    Figures,
    Group,
    Period,
    Point,
    Report,
    Shadows,
    WholeLoop,
    Window,
    report_of,
    window_of,
)
from routing.types import RouteRecord
from tools.base import Result, Services, StrictTool, caller_of, errors_for_the_model, host_of, services_of, strict_tool
from tools.resources import Readable, errors_for_the_reader

AnyContext = Context[Services, Any]
DASHBOARD_URI = "ui://pointsman/dashboard.html"
MOST_NOTE_CHARS = 2_000
_FEW_DECISIONS, _MANY_DECISIONS = 5, 20
_MOST_LINES = 8
_SECOND_MS = 1_000

By = Literal["model", "provider", "tier", "category", "all"]


def _score_of(value: object) -> object:
    """Translate a word of praise or blame into a score."""
    return {"good": 1.0, "bad": 0.0}.get(value, value) if isinstance(value, str) else value


Score = Annotated[
    float,
    BeforeValidator(_score_of),
    Field(ge=0, le=1, allow_inf_nan=False, description="0-1, good, bad"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
]


def _words(words: str) -> WithJsonSchema:
    """One of some words, in fewer tokens than an enum takes."""
    return WithJsonSchema({"type": "string", "description": words})


class FiguresResult(Result):
    """Sums over tasks. ``saved_usd`` is the baseline less all calls and tools, negative where money was lost."""

    tasks: int
    completed: int
    failed: int
    cancelled: int
    calls: int
    failed_calls: int
    error_rate: float | None
    fallback_rate: float | None
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: float
    tools_usd: float
    baseline_usd: float
    saved_usd: float
    losing_tasks: int
    lost_usd: float
    uncompared_tasks: int
    unpriced_calls: int
    p50_ms: int | None
    p95_ms: int | None
    first_token_p50_ms: int | None
    first_token_p95_ms: int | None
    scored: int
    mean_score: float | None
    low_share: float | None
    checked: int
    failed_checks: float | None
    shadows: int
    shadows_usd: float
    shadow_agreement: float | None

    @classmethod
    def of(cls, figures: Figures) -> FiguresResult:
        """From what was summed."""
        return cls(**_figures_of(figures))


class GroupResult(FiguresResult):
    """The same of one model, provider, tier or category; without a name: what none of them did."""

    name: str | None

    @classmethod
    def of_group(cls, group: Group) -> GroupResult:
        """From what was summed."""
        return cls(name=group.name, **_figures_of(group.figures))


class PointResult(Result):
    """One step of time."""

    start: str
    tasks: int
    cost_usd: float
    saved_usd: float

    @classmethod
    def of(cls, point: Point) -> PointResult:
        """From what was summed."""
        return cls(
            start=_spoken_time(point.start),
            tasks=point.routes,
            cost_usd=point.cost_microusd / 1e6,
            saved_usd=point.saved_microusd / 1e6,
        )


class AlertResult(Result):
    """A tier whose success is not what it used to be."""

    tier: int
    measure: Literal["answered", "good"]
    now: float
    record: float
    samples: int
    text: str

    @classmethod
    def of(cls, alert: Alert) -> AlertResult:
        """From what was compared."""
        return cls(
            tier=alert.tier,
            measure=alert.measure,
            now=round(alert.now, 4),
            record=round(alert.record, 4),
            samples=alert.samples,
            text=_spoken_alert(alert),
        )


class DecisionResult(Result):
    """A task, the model that took it, and why."""

    route_id: str
    at: str
    outcome: str
    category: str | None
    complexity: int | None
    model: str | None
    fallback: bool
    reason: str | None
    calls: int
    latency_ms: int
    cost_usd: float | None
    saved_usd: float | None
    score: float | None
    error: str | None

    @classmethod
    def of(cls, route: RouteRecord, score: float | None) -> DecisionResult:
        """From what was recorded."""
        analysis, selection = route.analysis, route.selection
        chosen = selection.primary_model if selection else None
        return cls(
            route_id=route.route_id,
            at=_spoken_time(route.started_at),
            outcome=route.outcome,
            category=analysis.category if analysis else None,
            complexity=analysis.complexity if analysis else None,
            model=route.model_used or chosen,
            fallback=route.model_used is not None and route.model_used != chosen,
            reason=selection.reasoning if selection else None,
            calls=len(route.attempts),
            latency_ms=route.latency_ms,
            cost_usd=usd(route.cost_microusd),
            saved_usd=usd(_saved_by(route)),
            score=score,
            error=route.error,
        )


class GuardResult(Result):
    """What the ledger's guard found: learned selection is kept (``policy``), or ``chosen`` takes its place (``fixed``).

    ``gain`` is its mean quality less the rival's on the caller's scored tasks, ``lowest`` to ``highest`` the 95 % interval.
    """

    outcome: Literal["policy", "fixed"]
    chosen: str
    rival: str
    gain: float
    lowest: float
    highest: float
    reason: str

    @classmethod
    def of(cls, verdict: Verdict | None) -> GuardResult | None:
        """From its verdict; ``None`` where too few tasks were scored."""
        if verdict is None:
            return None
        return cls(
            outcome=verdict.outcome,
            chosen=verdict.chosen,
            rival=verdict.rival,
            gain=round(verdict.gain, 4),
            lowest=round(verdict.lowest, 4),
            highest=round(verdict.highest, 4),
            reason=verdict.reason,
        )


class WholeLoopResult(Result):
    """What is left of the savings when the host's own tokens are paid."""

    host_model: str
    host_usd: float
    saved_usd: float

    @classmethod
    def of(cls, loop: WholeLoop) -> WholeLoopResult:
        """From what was computed."""
        return cls(host_model=loop.host_model, host_usd=loop.host_microusd / 1e6, saved_usd=loop.saved_microusd / 1e6)


class BudgetResult(Result):
    """How much of a budget is used."""

    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: str

    @classmethod
    def of(cls, gauge: BudgetGauge | None) -> BudgetResult | None:
        """From its gauge; ``None`` where no such budget is set."""
        if gauge is None:
            return None
        return cls(
            limit_usd=gauge.limit_microusd / 1e6,
            spent_usd=gauge.spent_microusd / 1e6,
            reserved_usd=gauge.reserved_microusd / 1e6,
            resets_at=_spoken_time(gauge.resets_at),
        )


class BudgetsResult(Result):
    """The budgets; ``null`` where none is set."""

    hourly: BudgetResult | None
    monthly: BudgetResult | None

    @classmethod
    def of(cls, budgets: Budgets) -> BudgetsResult:
        """From their gauges."""
        return cls(hourly=BudgetResult.of(budgets.hourly), monthly=BudgetResult.of(budgets.monthly))


class ReportResult(Result):
    """The report as data. Times are UTC; points of ``over_time`` are ``step_seconds`` apart, those without a task left out."""

    period: str | None
    since: str | None
    until: str
    step_seconds: int
    totals: FiguresResult
    own_tools_usd: float
    whole_loop: WholeLoopResult | None
    over_time: list[PointResult]
    groups: dict[str, list[GroupResult]]
    alerts: list[AlertResult]
    recent: list[DecisionResult]
    budgets: BudgetsResult
    chosen_by: dict[str, int]
    guard: GuardResult | None


class FeedbackResult(Result):
    """What was kept; ``replaced`` is the score before, if any."""

    score: float
    replaced: float | None


async def usage_report(
    ctx: AnyContext,
    period: Annotated[Period, _words("hour, day, week, month, all")] = "week",
    by: Annotated[By, _words("model, provider, tier, category, all")] = "model",
) -> Annotated[CallToolResult, ReportResult]:
    """Costs, savings, quality."""
    services = services_of(ctx)
    with errors_for_the_model():
        caller = caller_of(ctx)
        report = await reported(services, caller, window_of(period, _now(services)))
        result = await told(services, caller, report, by)
    said = _said(report, result, "model" if by == "all" else by)
    return CallToolResult(content=[TextContent(text=said)], structured_content=result.model_dump(mode="json"))


async def record_feedback(
    ctx: AnyContext,
    route_id: Annotated[str, Field(description="Which")],
    score: Score,
    note: Annotated[str | None, Field(description="Why")] = None,
) -> FeedbackResult:
    """Rate an answer."""
    with errors_for_the_model():
        if note is not None and len(note) > MOST_NOTE_CHARS:
            raise InvalidTask(
                f"the note has {len(note):,} characters, and {MOST_NOTE_CHARS:,} are the most. Shorten it."
            )
        replaced = await services_of(ctx).store.feedback.record(caller_of(ctx), route_id, score, note)
    return FeedbackResult(score=score, replaced=replaced)


async def reported(services: Services, caller: str, window: Window) -> Report:
    """The report on a window of a caller's, from the ledger's sums."""
    sums = await services.store.reports.usage(caller, since=window.since, span=window.span)
    catalog = await services.catalog.current()
    tiers = {model.model_id: model.tier for model in catalog.models.values()}
    gauges = {
        row.allowance.period: BudgetGauge(
            limit_microusd=row.allowance.cap_microusd,
            spent_microusd=row.spent_microusd,
            reserved_microusd=row.reserved_microusd,
            resets_at=row.resets_at,
        )
        for row in await services.router.wallet.standings(caller, None)
        if row.resets_at is not None and row.allowance.subject == caller
    }
    budgets = Budgets(hourly=gauges.get("hour"), monthly=gauges.get("month"))
    return report_of(sums, window, tiers=tiers, host=host_of(services, catalog), budgets=budgets)


async def told(services: Services, caller: str, report: Report, by: By = "all") -> ReportResult:
    """The report as data, with the last decisions; all breakdowns and more decisions where ``by`` is ``all``."""
    breakdowns: Sequence[Breakdown] = BREAKDOWNS if by == "all" else (by,)
    decisions = _MANY_DECISIONS if by == "all" else _FEW_DECISIONS
    routes = await services.store.ledger.recent(caller, decisions)
    scores = await services.store.feedback.scores(caller, [route.route_id for route in routes])
    verdict = await services.guard.verdict(caller) if services.guard else None
    return _result_of(report, breakdowns, routes, scores, verdict)


async def dashboard_data(services: Services, caller: str, period: Period) -> str:
    """What the dashboard shows to a caller, as JSON."""
    report = await reported(services, caller, window_of(period, _now(services)))
    return (await told(services, caller, report)).model_dump_json()


def _now(services: Services) -> float:
    return services.router.dispatcher.wall_clock()


def _result_of(
    report: Report,
    breakdowns: Sequence[Breakdown],
    routes: Sequence[RouteRecord],
    scores: Mapping[str, float],
    verdict: Verdict | None,
) -> ReportResult:
    window = report.window
    return ReportResult(
        period=window.period,
        since=None if window.since is None else _spoken_time(window.since),
        until=_spoken_time(window.until),
        step_seconds=report.step,
        totals=FiguresResult.of(report.totals),
        own_tools_usd=report.own_tools_microusd / 1e6,
        whole_loop=None if report.whole_loop is None else WholeLoopResult.of(report.whole_loop),
        over_time=[PointResult.of(point) for point in report.points],
        groups={name: [GroupResult.of_group(group) for group in report.groups[name]] for name in breakdowns},
        alerts=[AlertResult.of(alert) for alert in report.alerts],
        recent=[DecisionResult.of(route, scores.get(route.route_id)) for route in routes],
        budgets=BudgetsResult.of(report.budgets),
        chosen_by=dict(report.policies),
        guard=GuardResult.of(verdict),
    )


def _figures_of(figures: Figures) -> dict[str, Any]:
    usage, quality = figures.usage, figures.quality
    return {
        "tasks": figures.routes,
        "completed": figures.completed,
        "failed": figures.failed,
        "cancelled": figures.cancelled,
        "calls": figures.attempts,
        "failed_calls": figures.failures,
        "error_rate": _rounded(figures.error_rate),
        "fallback_rate": _rounded(figures.fallback_rate),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "cost_usd": figures.cost_microusd / 1e6,
        "tools_usd": figures.tools_microusd / 1e6,
        "baseline_usd": figures.baseline_microusd / 1e6,
        "saved_usd": figures.saved_microusd / 1e6,
        "losing_tasks": figures.losing,
        "lost_usd": figures.lost_microusd / 1e6,
        "uncompared_tasks": figures.uncompared,
        "unpriced_calls": figures.unpriced,
        "p50_ms": figures.latency.p50_ms,
        "p95_ms": figures.latency.p95_ms,
        "first_token_p50_ms": figures.first_token.p50_ms,
        "first_token_p95_ms": figures.first_token.p95_ms,
        "scored": quality.scored,
        "mean_score": _rounded(quality.mean),
        "low_share": _rounded(quality.low_share),
        "checked": quality.checked,
        "failed_checks": _rounded(quality.failed_checks),
        "shadows": figures.shadows.times,
        "shadows_usd": figures.shadows.cost_microusd / 1e6,
        "shadow_agreement": _rounded(figures.shadows.agreement),
    }


def _saved_by(route: RouteRecord) -> int | None:
    """As in the sums: a task that did not end well saved the opposite of what it cost."""
    if route.outcome == "completed":
        return saved_microusd(route)
    return None if route.cost_microusd is None else -route.cost_microusd


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# ── Text ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoken(report: Report) -> str:
    """The report in a few lines, without its breakdowns."""
    if not report.totals.routes:
        return f"{_spoken_window(report.window)}: no task was delegated. route_and_answer delegates one."
    alerts = [f"Alert: {_spoken_alert(alert)}" for alert in report.alerts]
    return "\n".join([_spoken_tasks(report), _spoken_money(report), _spoken_speed(report.totals), *alerts])


def _spoken_groups(report: Report, by: Breakdown) -> Sequence[str]:
    return [f"- {_spoken_group(group, by)}" for group in report.groups[by][:_MOST_LINES]]


def _spoken_window(window: Window) -> str:
    return "Since the first task" if window.since is None else f"Since {_spoken_time(window.since)[:16]} UTC"


def _spoken_tasks(report: Report) -> str:
    totals = report.totals
    fallbacks = f", {_percent(totals.fallback_rate)} of answers from a fallback" if totals.fallbacks else ""
    return (
        f"{_spoken_window(report.window)}: {totals.routes:,} tasks, {totals.completed:,} answered, {totals.failed:,} failed, "
        f"{totals.cancelled:,} cancelled; {totals.attempts:,} calls, {_percent(totals.error_rate)} failed{fallbacks}."
    )


def _spoken_money(report: Report) -> str:
    totals = report.totals
    spent, baseline = _money(totals.cost_microusd), _money(totals.baseline_microusd)
    beside = "retries, failures, tools and shadows" if totals.shadows.times else "retries, failures and tools"
    saved = f"{_saved(totals.saved_microusd)}, net of {beside}"
    said = [f"Spent {spent}; the baseline would have cost {baseline}: {saved}."]
    if totals.losing:
        said.append(f"{totals.losing:,} of the tasks lost money, {_money(totals.lost_microusd)} in all.")
    if totals.uncompared:
        said.append(f"{totals.uncompared:,} could not be compared: a price is unknown.")
    if report.own_tools_microusd:
        said.append(f"Tools that you called yourself cost {_money(report.own_tools_microusd)} besides.")
    if loop := report.whole_loop:
        host = _money(loop.host_microusd)
        said.append(f"Delegating cost {loop.host_model} about {host}: {_saved(loop.saved_microusd)} in all.")
    return " ".join(said)


def _spoken_speed(totals: Figures) -> str:
    quality = totals.quality
    scored = (
        f" {quality.scored:,} scored, mean {quality.mean:.2f}, {_percent(quality.low_share)} below 0.7."
        if quality.mean is not None
        else ""
    )
    if quality.checked:
        scored += f" {quality.checked:,} checked by machine, of which {_percent(quality.failed_checks)} failed."
    speed = f"Answers took p50 {_time(totals.latency.p50_ms)}, p95 {_time(totals.latency.p95_ms)}."
    return f"{speed}{scored}{_spoken_shadows(totals.shadows)}"


def _spoken_shadows(shadows: Shadows) -> str:
    if not shadows.times:
        return ""
    alike = "" if shadows.agreement is None else f", which agree with those shown by {_percent(shadows.agreement)}"
    return f" {shadows.times:,} had a shadow, for {_money(shadows.cost_microusd)}: {shadows.answered:,} answers{alike}."


def _spoken_choice(result: ReportResult) -> Sequence[str]:
    """Who chose how often, and what the guard makes of it; nothing while the matrix alone has chosen."""
    counts = ", ".join(f"{name} {times:,}" for name, times in result.chosen_by.items())
    said = [f"Chosen by: {counts}."] if set(result.chosen_by) - {"matrix"} else []
    return [*said, *([f"Guard: {result.guard.reason}."] if result.guard else [])]


def _spoken_group(group: Group, by: Breakdown) -> str:
    figures, quality = group.figures, group.figures.quality
    name = group.name or "none answered"
    scored = f", score {quality.mean:.2f} of {quality.scored:,}" if quality.mean is not None else ""
    if quality.checked:
        scored += f", {_percent(quality.failed_checks)} of {quality.checked:,} checked failed"
    if figures.shadows.agreement is not None:
        scored += f", as a shadow {_percent(figures.shadows.agreement)} alike of {figures.shadows.answered:,}"
    money = f"{_money(figures.cost_microusd)}, {_saved(figures.saved_microusd)}"
    speed = f"p50 {_time(figures.latency.p50_ms)}, {_percent(figures.error_rate)} of calls failed"
    return f"{'tier ' if by == 'tier' and group.name else ''}{name}: {figures.routes:,} tasks, {money}, {speed}{scored}"


def _spoken_alert(alert: Alert) -> str:
    what = {"answered": "calls that answered", "good": "answers scored 0.7 or better"}[alert.measure]
    way = "fell" if alert.now < alert.record else "rose"
    moved = f"{what} {way} to {_percent(alert.now)} from {_percent(alert.record)} before"
    return f"tier {alert.tier}: {moved} ({alert.samples:,} samples)."


def _money(microusd: int) -> str:
    return f"-{spoken_usd(-microusd)}" if microusd < 0 else spoken_usd(microusd)


def _saved(microusd: int) -> str:
    return f"{_money(-microusd)} lost" if microusd < 0 else f"{_money(microusd)} saved"


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{value:.1%}"


def _time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "?"
    return f"{milliseconds} ms" if milliseconds < _SECOND_MS else f"{milliseconds / _SECOND_MS:.1f} s"


def _spoken_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _in_brief(tool: StrictTool) -> StrictTool:
    """Leave out what the results tell by their values, and defaults: few conversations ask, and every host pays."""
    arguments: dict[str, dict[str, Any]] = tool.parameters["properties"]
    lean = {name: {key: part for key, part in row.items() if key != "default"} for name, row in arguments.items()}
    tool.parameters = {**tool.parameters, "properties": lean}
    tool.fn_metadata.output_schema = {"type": "object"}
    return tool


def _said(report: Report, result: ReportResult, by: Breakdown) -> str:
    return "\n".join([spoken(report), *_spoken_choice(result), *_spoken_groups(report, by)])


async def report_resource(period: str, ctx: AnyContext) -> str:
    """What was spent and saved, how fast and how good it was, as usage_report tells it."""
    known: Period | None = next((name for name in PERIODS if name == period), None)
    if known is None:
        raise ResourceNotFoundError(f"there is no report on {period!r}: it is one of {', '.join(PERIODS)}.")
    with errors_for_the_reader():
        services = services_of(ctx)
        caller = caller_of(ctx)
        report = await reported(services, caller, window_of(known, _now(services)))
        result = await told(services, caller, report, "model")
    return f"# Usage: {known}\n\n{_said(report, result, 'model')}\n"


def resources() -> Sequence[Readable]:
    """The resources of this page."""
    return (
        Readable(
            uri="report://{period}",
            name="report",
            title="Usage report",
            mime_type="text/markdown",
            goes_with="usage_report",
            read=report_resource,
            listed={f"report://{period}": f"Usage: {period}" for period in PERIODS},
        ),
    )


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    report = _in_brief(strict_tool(usage_report, title="Usage", read_only=True, idempotent=True, open_world=False))
    report.meta = {"ui": {"resourceUri": DASHBOARD_URI}}
    feedback = _in_brief(
        strict_tool(record_feedback, title="Feedback", read_only=False, idempotent=True, open_world=False)
    )
    return (report, feedback)
