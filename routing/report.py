"""A report from the ledger's sums: what was spent and saved, how fast and how good it was. Pure; `routing.state` has the sums.

    window_of(period, now)         the whole hours or days (UTC) that a period means
    report_of(sums, window, …)     totals, the same by model, provider, tier and category, points over time, alerts

Savings are net: the baseline is what the tokens of the final answer would have cost on the baseline model, and every attempt
and tool is taken off it, those of retries, failures and tool rounds too, and what shadows cost. `WholeLoop` also takes off
what the host spends at the price of its own model on delegating at all.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Final, Literal, TypeVar, get_args

from routing.pricing import PriceList
from routing.state import (
    AttemptSums,
    CheckSums,
    LatencyCount,
    RouteSums,
    ScoreSums,
    ShadowSums,
    Span,
    SpanSums,
    TrackRecord,
    UsageSums,
)
from routing.types import Usage

Period = Literal["hour", "day", "week", "month", "all"]
PERIODS: tuple[Period, ...] = get_args(Period)
Breakdown = Literal["model", "provider", "tier", "category"]
BREAKDOWNS: tuple[Breakdown, ...] = get_args(Breakdown)

MOST_POINTS = 100
"""Points of a chart: a longer time is told in steps of a week, or of more weeks."""

ALERT_SHARE = Fraction(5, 100)
"""How far a tier's success may move from its own record before it is told."""

LEAST_SAMPLES = 20
"""Of both the period and the record: fewer would raise an alert by chance."""

_HOUR: Final = 3_600
_DAY: Final = 86_400
_WEEK: Final = 7 * _DAY
_DAYS: Mapping[Period, int] = {"week": 7, "month": 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """From the beginning of an hour or day, ``since``, until now; ``None`` is from the very first one."""

    period: Period | None
    since: int | None
    until: float
    span: Span


def window_of(period: Period, now: float) -> Window:
    """The present hour and the one before, the last 24 hours, 7 or 30 days, the present one included; or everything."""
    hour, day = int(now) // _HOUR * _HOUR, int(now) // _DAY * _DAY
    match period:
        case "hour" | "day":
            return Window(period=period, since=hour - (1 if period == "hour" else 23) * _HOUR, until=now, span=_HOUR)
        case "week" | "month":
            return Window(period=period, since=day - (_DAYS[period] - 1) * _DAY, until=now, span=_DAY)
        case "all":
            return Window(period=period, since=None, until=now, span=_DAY)


def window_since(moment: float, now: float) -> Window:
    """From the beginning of the day (UTC) that ``moment`` is in."""
    return Window(period=None, since=max(0, int(moment) // _DAY * _DAY), until=now, span=_DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds to two significant digits, by nearest rank: half of ``times`` took no longer than ``p50_ms``."""

    times: int
    p50_ms: int | None
    p95_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What callers and machines thought of answers.

    ``mean`` is that of ``scored`` scores between 0 and 1, ``low_share`` the share of those below `routing.state.LOW_SCORE`,
    ``failed_checks`` the share that failed one, of the ``checked`` answers.
    """

    scored: int
    mean: float | None
    low_share: float | None
    checked: int
    failed_checks: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadows:
    """Tasks that a second model was given unseen: ``times``, what that cost, and the mean agreement of its answers (0 to 1)."""

    times: int
    answered: int
    cost_microusd: int
    agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Sums over routes and their attempts. ``cost_microusd`` is of all attempts, and of tools and shadows beside them.

    ``latency`` is from task to answer in totals and by category, one upstream call elsewhere.
    """

    routes: int
    completed: int
    failed: int
    cancelled: int
    fallbacks: int
    attempts: int
    answered: int
    failures: int
    unpriced: int
    usage: Usage
    cost_microusd: int
    tools_microusd: int
    baseline_microusd: int
    saved_microusd: int
    losing: int
    lost_microusd: int
    uncompared: int
    task_tokens: int
    answer_tokens: int
    latency: Latency
    first_token: Latency
    quality: Quality
    shadows: Shadows

    @property
    def error_rate(self) -> float | None:
        """Upstream calls that failed, of those that were not cancelled."""
        return share(self.failures, self.answered + self.failures)

    @property
    def fallback_rate(self) -> float | None:
        """Answers that came from another model than the one chosen first."""
        return share(self.fallbacks, self.completed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of one model, provider, tier or category; ``name`` is ``None`` where there is none, as of a failed route."""

    name: str | None
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What happened in one step of time, from ``start`` on."""

    start: int
    routes: int
    cost_microusd: int
    saved_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A tier whose success moved: upstream calls that answered, or answers that were scored as good enough."""

    tier: int
    measure: Literal["answered", "good"]
    now: float
    record: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The model that delegates, by its prices, and the tokens of our tools' schemas that it reads."""

    model_id: str
    prices: PriceList
    schema_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeLoop:
    """What is left of the savings when the host's own tokens are paid: schemas, the task's text, and reading the answer."""

    host_model: str
    host_microusd: int
    saved_microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetGauge:
    """How much of a budget is used; ``resets_at`` is in seconds since the epoch."""

    limit_microusd: int
    spent_microusd: int
    reserved_microusd: int
    resets_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """``None`` where no such budget is set."""

    hourly: BudgetGauge | None = None
    monthly: BudgetGauge | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What there is to say about a window. ``step`` is the seconds of a point; points without a route are left out.

    ``own_tools_microusd`` is what tools cost that the host called itself; it is no part of any other figure. ``policies`` says
    who chose the model of how many routes.
    """

    window: Window
    totals: Figures
    groups: Mapping[Breakdown, tuple[Group, ...]]
    points: tuple[Point, ...]
    step: int
    own_tools_microusd: int
    alerts: tuple[Alert, ...]
    whole_loop: WholeLoop | None
    budgets: Budgets
    policies: Mapping[str, int]


def report_of(
    sums: UsageSums,
    window: Window,
    *,
    tiers: Mapping[str, int],
    host: Host | None = None,
    budgets: Budgets | None = None,
) -> Report:
    """Put the sums together. ``tiers`` is by model id; a model that is no longer in the registry has none."""
    counts = _counts(sums, "route"), _counts(sums, "first_token")
    totals = _figures(sums.routes, sums.attempts, (sums.scores, sums.checks), counts, sums.shadows)
    step = _step(window, sums.first_at)
    return Report(
        window=window,
        totals=totals,
        groups={breakdown: _groups(sums, breakdown, tiers) for breakdown in BREAKDOWNS},
        points=_points(sums.spans, window.since or int(sums.first_at or 0), step),
        step=step,
        own_tools_microusd=sums.own_tools_microusd,
        alerts=_alerts(sums, tiers),
        whole_loop=None if host is None else _whole_loop(totals, host),
        budgets=budgets or Budgets(),
        policies={row.policy: row.routes for row in sums.policies},
    )


def share(part: int, whole: int) -> float | None:
    """``None`` of nothing."""
    return part / whole if whole else None


# ── Sums ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T")
_Named = defaultdict[str | None, list[T]]
_Key = Callable[[str | None, str | None], str | None]
"""The name of the group that a model and a category belong to."""

_Counts = tuple[LatencyCount, ...]


def _figures(
    routes: Collection[RouteSums],
    attempts: Collection[AttemptSums],
    verdicts: tuple[Collection[ScoreSums], Collection[CheckSums]],
    latencies: tuple[Iterable[LatencyCount], Iterable[LatencyCount]],
    shadows: Collection[ShadowSums],
) -> Figures:
    """``verdicts`` are those of callers and of machines, ``latencies`` the whole ones and those of first tokens."""
    tools = sum(row.tools_microusd for row in routes)
    beside = _shadows(shadows)
    return Figures(
        routes=sum(row.routes for row in routes),
        completed=sum(row.completed for row in routes),
        failed=sum(row.failed for row in routes),
        cancelled=sum(row.cancelled for row in routes),
        fallbacks=sum(row.fallbacks for row in routes),
        attempts=sum(row.attempts for row in attempts),
        answered=sum(row.answered for row in attempts),
        failures=sum(row.failed for row in attempts),
        unpriced=sum(row.unpriced for row in attempts) + sum(row.unpriced for row in shadows),
        usage=_usage(attempts),
        cost_microusd=tools + beside.cost_microusd + sum(row.cost_microusd for row in attempts),
        tools_microusd=tools,
        baseline_microusd=sum(row.baseline_microusd for row in routes),
        saved_microusd=sum(row.saved_microusd for row in routes) - beside.cost_microusd,
        losing=sum(row.losing for row in routes),
        lost_microusd=sum(row.lost_microusd for row in routes),
        uncompared=sum(row.uncompared for row in routes),
        task_tokens=sum(row.task_tokens for row in routes),
        answer_tokens=sum(row.answer_tokens for row in attempts),
        latency=_latency(latencies[0]),
        first_token=_latency(latencies[1]),
        quality=_quality(*verdicts),
        shadows=beside,
    )


def _usage(attempts: Collection[AttemptSums]) -> Usage:
    return Usage(
        input_tokens=sum(row.input_tokens for row in attempts),
        output_tokens=sum(row.output_tokens for row in attempts),
        cache_read_tokens=sum(row.cache_read_tokens for row in attempts),
        cache_write_tokens=sum(row.cache_write_tokens for row in attempts),
        reasoning_tokens=sum(row.reasoning_tokens for row in attempts),
    )


def _quality(scores: Collection[ScoreSums], checks: Collection[CheckSums]) -> Quality:
    scored, checked = sum(row.scored for row in scores), sum(row.checked for row in checks)
    return Quality(
        scored=scored,
        mean=sum(row.total for row in scores) / scored if scored else None,
        low_share=share(sum(row.low for row in scores), scored),
        checked=checked,
        failed_checks=share(sum(row.failed for row in checks), checked),
    )


def _shadows(rows: Collection[ShadowSums]) -> Shadows:
    compared = sum(row.compared for row in rows)
    return Shadows(
        times=sum(row.shadows for row in rows),
        answered=sum(row.answered for row in rows),
        cost_microusd=sum(row.cost_microusd for row in rows),
        agreement=sum(row.agreement for row in rows) / compared if compared else None,
    )


def _counts(sums: UsageSums, measure: str) -> _Counts:
    return tuple(row for row in sums.latencies if row.measure == measure)


def _latency(counts: Iterable[LatencyCount]) -> Latency:
    times: Counter[int] = Counter()
    for row in counts:
        times[row.latency_ms] += row.times
    ordered = sorted(times.items())
    return Latency(times=times.total(), p50_ms=_percentile(ordered, 50), p95_ms=_percentile(ordered, 95))


def _percentile(ordered: Sequence[tuple[int, int]], percent: int) -> int | None:
    """The nearest rank (https://en.wikipedia.org/wiki/Percentile) of values with how often they came, in order."""
    rank = math.ceil(sum(times for _, times in ordered) * percent / 100)
    for value, times in ordered:
        rank -= times
        if rank <= 0:
            return value
    return None


def _groups(sums: UsageSums, breakdown: Breakdown, tiers: Mapping[str, int]) -> tuple[Group, ...]:
    """The figures by name, the dearest first; sums over all groups are the totals."""
    key = _key_of(breakdown, sums, tiers)
    routes = _by(sums.routes, lambda row: key(row.model_id, row.category))
    attempts = _by(
        sums.attempts, lambda row: row.provider if breakdown == "provider" else key(row.model_id, row.category)
    )
    scores = _by(sums.scores, lambda row: key(row.model_id, row.category))
    checks = _by(sums.checks, lambda row: key(row.model_id, row.category))
    shadows = _by(
        sums.shadows, lambda row: row.provider if breakdown == "provider" else key(row.model_id, row.category)
    )
    whole, first = _latencies_by(sums, breakdown, key)
    groups = [
        Group(
            name=name,
            figures=_figures(
                routes[name],
                attempts[name],
                (scores[name], checks[name]),
                (whole[name], first[name]),
                shadows[name],
            ),
        )
        for name in {**routes, **attempts, **scores, **checks, **shadows}
    ]
    return tuple(sorted(groups, key=lambda one: (-one.figures.cost_microusd, -one.figures.routes, one.name or "~")))


def _latencies_by(
    sums: UsageSums, breakdown: Breakdown, key: _Key
) -> tuple[_Named[LatencyCount], _Named[LatencyCount]]:
    """Of whole routes by category, of attempts and their first tokens by what belongs to a model."""
    if breakdown == "category":
        return _by(_counts(sums, "route"), lambda row: row.subject), defaultdict(list)
    return (
        _by(_counts(sums, "attempt"), lambda row: key(row.subject, None)),
        _by(_counts(sums, "first_token"), lambda row: key(row.subject, None)),
    )


def _by(rows: Iterable[T], key: Callable[[T], str | None]) -> _Named[T]:
    groups: _Named[T] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _key_of(breakdown: Breakdown, sums: UsageSums, tiers: Mapping[str, int]) -> _Key:
    match breakdown:
        case "model":
            return lambda model_id, _: model_id
        case "category":
            return lambda _, category: category
        case "tier":
            names = {model_id: str(tier) for model_id, tier in tiers.items()}
            return lambda model_id, _: names.get(model_id or "")
        case "provider":
            providers = {row.model_id: row.provider for row in sums.attempts}
            return lambda model_id, _: providers.get(model_id or "")


# ── Time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _step(window: Window, first_at: float | None) -> int:
    """Seconds of a point: the window's span, or as many weeks as make no more than `MOST_POINTS`."""
    since = window.since if window.since is not None else first_at
    seconds = 0 if since is None else window.until - since
    if seconds <= MOST_POINTS * window.span:
        return window.span
    return math.ceil(seconds / MOST_POINTS / _WEEK) * _WEEK


def _points(spans: Iterable[SpanSums], origin: int, step: int) -> tuple[Point, ...]:
    """The spans in steps from ``origin`` on; a step in which nothing happened is left out."""
    steps: defaultdict[int, list[SpanSums]] = defaultdict(list)
    for row in spans:
        steps[origin + (row.start - origin) // step * step].append(row)
    return tuple(
        Point(
            start=start,
            routes=sum(row.routes for row in rows),
            cost_microusd=sum(row.cost_microusd for row in rows),
            saved_microusd=sum(row.saved_microusd for row in rows),
        )
        for start, rows in sorted(steps.items())
    )


# ── Alerts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _alerts(sums: UsageSums, tiers: Mapping[str, int]) -> tuple[Alert, ...]:
    """The tiers whose success is not what it was before the window, by more than `ALERT_SHARE` either way."""
    alerts: list[Alert] = []
    for tier in sorted(set(tiers.values())):
        attempts = [row for row in sums.attempts if tiers.get(row.model_id) == tier]
        scores = [row for row in sums.scores if tiers.get(row.model_id or "") == tier]
        before = [row for row in sums.before if tiers.get(row.model_id or "") == tier]
        answered = _Success(good=sum(row.answered for row in attempts), bad=sum(row.failed for row in attempts))
        once = _Success(good=sum(row.answered for row in before), bad=sum(row.failed for row in before))
        alerts += _moved(tier, "answered", answered, once)
        alerts += _moved(tier, "good", _scored_well(scores), _scored_well(before))
    return tuple(alerts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Success:
    good: int
    bad: int


def _scored_well(rows: Collection[ScoreSums] | Collection[TrackRecord]) -> _Success:
    low = sum(row.low for row in rows)
    return _Success(good=sum(row.scored for row in rows) - low, bad=low)


def _moved(tier: int, measure: Literal["answered", "good"], now: _Success, once: _Success) -> list[Alert]:
    samples, of_record = now.good + now.bad, once.good + once.bad
    if min(samples, of_record) < LEAST_SAMPLES:
        return []
    share_now, record = Fraction(now.good, samples), Fraction(once.good, of_record)
    if abs(share_now - record) <= ALERT_SHARE:
        return []
    return [Alert(tier=tier, measure=measure, now=float(share_now), record=float(record), samples=samples)]


# ── The whole loop ────────────────────────────────────────────────────────────────────────────────────────────────────


def host_microusd(host: Host, *, tasks: int, task_tokens: int, answer_tokens: int) -> int | None:
    """What a host spends on delegating: it reads our schemas and the answers, and writes the tasks down.

    Schemas count with every task, as if no cache held them. ``None`` where the price of the host's model is unknown.
    """
    if host.prices.input is None or host.prices.output is None:
        return None
    read = host.schema_tokens * tasks + answer_tokens
    cost = read * host.prices.input + task_tokens * host.prices.output
    return int(cost.quantize(Decimal(1), rounding=ROUND_HALF_UP))


def _whole_loop(totals: Figures, host: Host) -> WholeLoop | None:
    """``None`` where the price of the host's model is unknown."""
    spent = host_microusd(host, tasks=totals.routes, task_tokens=totals.task_tokens, answer_tokens=totals.answer_tokens)
    if spent is None:
        return None
    return WholeLoop(host_model=host.model_id, host_microusd=spent, saved_microusd=totals.saved_microusd - spent)
