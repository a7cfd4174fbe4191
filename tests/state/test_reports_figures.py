"""What a report makes of sums: windows, steps, breakdowns, alerts, and the host's own spending."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.report import (
    BREAKDOWNS,
    LEAST_SAMPLES,
    MOST_POINTS,
    Host,
    Period,
    WholeLoop,
    report_of,
    window_of,
    window_since,
)
from routing.state import AttemptSums, LatencyCount, RouteSums, ScoreSums, SpanSums, TrackRecord, UsageSums

HOUR, DAY = 3_600, 86_400
NOW = 20_000 * DAY + 10 * HOUR + 1_800.5
TIERS = {"acme/large": 1, "acme/small": 4}


@dataclass(frozen=True)
class Prices:
    input: Decimal | None = Decimal(2)
    output: Decimal | None = Decimal(8)
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    long_context: tuple[()] = ()


_NAMES = {"model_id": "acme/large", "provider": "acme", "category": "qa_retrieval"}


def counted(kind: type[Any], **changes: Any) -> dict[str, Any]:
    """The fields of a row: its names, and 0 for what is not said."""
    fields: dict[str, Any] = dict.fromkeys(kind.__dataclass_fields__, 0)
    names = {name: value for name, value in _NAMES.items() if name in fields}
    return {**fields, **names, **changes}


def routes(**changes: Any) -> RouteSums:
    return RouteSums(**counted(RouteSums, **{"routes": 1, **changes}))


def attempts(**changes: Any) -> AttemptSums:
    return AttemptSums(**counted(AttemptSums, **{"attempts": 1, **changes}))


def before(**changes: Any) -> TrackRecord:
    return TrackRecord(**counted(TrackRecord, **changes))


def scores(**changes: Any) -> ScoreSums:
    return ScoreSums(**counted(ScoreSums, **changes))


def sums(**changes: Any) -> UsageSums:
    parts: dict[str, Any] = {"first_at": None, "own_tools_microusd": 0}
    rows: dict[str, Any] = dict.fromkeys(
        ("routes", "attempts", "spans", "latencies", "scores", "before", "shadows", "policies", "checks"), ()
    )
    return UsageSums(**{**parts, **rows, **changes})


# Windows


@pytest.mark.parametrize(
    ("period", "since", "span"),
    [
        ("hour", 20_000 * DAY + 9 * HOUR, HOUR),
        ("day", 19_999 * DAY + 11 * HOUR, HOUR),
        ("week", 19_994 * DAY, DAY),
        ("month", 19_971 * DAY, DAY),
        ("all", None, DAY),
    ],
)
def test_a_period_is_whole_hours_or_days_up_to_now(period: Period, since: int | None, span: int) -> None:
    window = window_of(period, NOW)

    assert (window.since, window.span, window.until) == (since, span, NOW)


@given(now=st.floats(10**9, 10**10), period=st.sampled_from(["hour", "day", "week", "month"]))
def test_a_window_begins_with_a_span_and_reaches_as_far_as_its_name(now: float, period: Period) -> None:
    window = window_of(period, now)
    length = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY}[period]

    assert window.since is not None
    assert window.since % window.span == 0
    assert length - window.span <= now - window.since < length + window.span


def test_since_a_moment_is_since_the_beginning_of_its_day() -> None:
    assert window_since(NOW, NOW + 5).since == 20_000 * DAY


@given(days=st.integers(1, 5_000))
def test_a_chart_of_all_time_has_few_points_and_loses_nothing(days: int) -> None:
    first = 20_000 * DAY - days * DAY
    rows = [
        SpanSums(start=first + day * DAY, routes=1, cost_microusd=1, saved_microusd=day)
        for day in range(0, days + 1, 5)
    ]
    told = report_of(sums(spans=tuple(rows), first_at=first), window_of("all", NOW), tiers={})

    assert len(told.points) <= MOST_POINTS + 1
    assert sum(point.routes for point in told.points) == len(rows)
    assert sum(point.saved_microusd for point in told.points) == sum(row.saved_microusd for row in rows)
    assert all((point.start - first) % told.step == 0 for point in told.points)


# Breakdowns

names = st.sampled_from(["acme/large", "acme/small", "gone/model"])
categories = st.one_of(st.none(), st.sampled_from(["qa_retrieval", "embedding"]))
numbers = st.integers(0, 10**12)
any_sums = st.builds(
    sums,
    routes=st.lists(
        st.builds(
            routes,
            model_id=st.one_of(st.none(), names),
            category=categories,
            saved_microusd=numbers,
            tools_microusd=numbers,
        ),
        max_size=5,
    ).map(tuple),
    attempts=st.lists(
        st.builds(
            attempts,
            model_id=names,
            provider=st.sampled_from(["acme", "gone"]),
            category=categories,
            cost_microusd=numbers,
        ),
        max_size=5,
    ).map(tuple),
    scores=st.lists(st.builds(scores, model_id=names, category=categories, scored=st.integers(1, 9)), max_size=3).map(
        tuple
    ),
)


@given(told=any_sums.map(lambda one: report_of(one, window_of("all", NOW), tiers=TIERS)))
def test_every_breakdown_adds_up_to_the_totals(told: Any) -> None:
    for breakdown in BREAKDOWNS:
        figures = [group.figures for group in told.groups[breakdown]]
        for name in ("routes", "attempts", "cost_microusd", "tools_microusd", "saved_microusd"):
            assert sum(getattr(one, name) for one in figures) == getattr(told.totals, name), (breakdown, name)
        assert sum(one.quality.scored for one in figures) == told.totals.quality.scored
        assert len({group.name for group in told.groups[breakdown]}) == len(figures)


def test_a_model_that_left_the_registry_has_no_tier_and_keeps_its_provider() -> None:
    gone = attempts(model_id="gone/model", provider="gone")
    told = report_of(
        sums(attempts=(gone,), routes=(routes(model_id="gone/model"),)), window_of("all", NOW), tiers=TIERS
    )

    assert [group.name for group in told.groups["tier"]] == [None]
    assert [(group.name, group.figures.routes) for group in told.groups["provider"]] == [("gone", 1)]


def test_latency_is_of_calls_by_model_and_of_whole_tasks_by_category() -> None:
    counts = (
        LatencyCount(measure="route", subject="qa_retrieval", latency_ms=900, times=1),
        LatencyCount(measure="attempt", subject="acme/large", latency_ms=400, times=19),
        LatencyCount(measure="attempt", subject="acme/large", latency_ms=800, times=1),
        LatencyCount(measure="first_token", subject="acme/large", latency_ms=50, times=2),
    )
    told = report_of(
        sums(routes=(routes(),), attempts=(attempts(),), latencies=counts), window_of("all", NOW), tiers=TIERS
    )

    [model], [category] = told.groups["model"], told.groups["category"]
    assert (model.figures.latency.p50_ms, model.figures.latency.p95_ms, model.figures.first_token.p50_ms) == (
        400,
        400,
        50,
    )
    assert (category.figures.latency.p95_ms, category.figures.first_token.p50_ms) == (900, None)
    assert (told.totals.latency.p50_ms, told.totals.first_token.p50_ms) == (900, 50)


def test_rates_leave_out_what_was_cancelled_and_are_none_of_nothing() -> None:
    told = report_of(
        sums(routes=(routes(completed=4, fallbacks=1),), attempts=(attempts(answered=3, failed=1, cancelled=9),)),
        window_of("all", NOW),
        tiers={},
    )
    nothing = report_of(sums(), window_of("all", NOW), tiers={}).totals

    assert (told.totals.error_rate, told.totals.fallback_rate) == (0.25, 0.25)
    assert (nothing.error_rate, nothing.fallback_rate, nothing.quality.mean, nothing.latency.p50_ms) == (None,) * 4


# Alerts


@pytest.mark.parametrize(
    ("answered_now", "alerts"), [(95, 0), (90, 0), (89, 1), (100, 0)]
)  # of 100, against 95 of 100 before: five points are no alert, six are
def test_a_tier_that_answers_less_than_it_used_to_is_told(answered_now: int, alerts: int) -> None:
    told = report_of(
        sums(
            attempts=(attempts(answered=answered_now, failed=100 - answered_now),),
            before=(before(answered=95, failed=5),),
        ),
        window_of("week", NOW),
        tiers=TIERS,
    )

    assert len(told.alerts) == alerts
    for alert in told.alerts:
        assert (alert.tier, alert.measure, alert.now, alert.record, alert.samples) == (1, "answered", 0.89, 0.95, 100)


def test_scores_that_rise_or_fall_are_told_by_tier_over_all_of_its_models() -> None:
    told = report_of(
        sums(
            scores=(scores(scored=20, low=10), scores(model_id="acme/small", scored=20, low=0)),
            before=(before(scored=40, low=4), before(model_id="acme/small", scored=40, low=10)),
        ),
        window_of("week", NOW),
        tiers={**TIERS, "acme/other": 1},
    )

    assert [(alert.tier, alert.measure, alert.now, alert.record) for alert in told.alerts] == [
        (1, "good", 0.5, 0.9),
        (4, "good", 1.0, 0.75),
    ]


@given(now=st.integers(0, 60), record=st.integers(0, 60), failed=st.integers(0, 60))
def test_too_few_samples_raise_no_alert(now: int, record: int, failed: int) -> None:
    told = report_of(
        sums(attempts=(attempts(answered=now, failed=failed),), before=(before(answered=record),)),
        window_of("week", NOW),
        tiers=TIERS,
    )

    if min(now + failed, record) < LEAST_SAMPLES:
        assert not told.alerts
    else:
        assert bool(told.alerts) == (failed * 20 > now + failed)  # more than one in twenty, where none failed before


# The whole loop


def test_what_the_host_spends_is_its_price_of_schemas_task_and_answer() -> None:
    summed = sums(
        routes=(routes(routes=10, saved_microusd=100_000, task_tokens=1_000),), attempts=(attempts(answer_tokens=500),)
    )
    host = Host(model_id="acme/host", prices=Prices(), schema_tokens=3_000)

    told = report_of(summed, window_of("all", NOW), tiers={}, host=host)

    # (10 × 3,000 + 500) × 2 + 1,000 × 8 = 69,000; 100,000 − 69,000
    assert told.whole_loop == WholeLoop(host_model="acme/host", host_microusd=69_000, saved_microusd=31_000)


def test_without_a_host_model_or_its_price_there_is_no_second_figure() -> None:
    unknown = Host(model_id="acme/host", prices=Prices(output=None), schema_tokens=3_000)

    assert report_of(sums(), window_of("all", NOW), tiers={}).whole_loop is None
    assert report_of(sums(), window_of("all", NOW), tiers={}, host=unknown).whole_loop is None
