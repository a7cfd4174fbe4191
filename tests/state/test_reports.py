"""The sums that reports are made of, feedback, retention and export, in the SQLite store."""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.errors import UnknownHandle
from routing.export import COLUMNS, csv_rows, json_rows
from routing.report import Report, report_of, window_of
from routing.state import Experience, ShadowAnswer, Span, UsageSums, new_handle
from routing.state.migrations import MIGRATIONS
from routing.state.sqlite import SqliteStore
from routing.types import Attempt, CheckName, Finding, ModelSelection, RouteRecord, ToolUse, VerificationStep
from tests.builders import analysis, usage
from tests.state.stores import KINDS, place_of, store_at

if TYPE_CHECKING:
    from tests.state.stores import AnyStore

pytestmark = pytest.mark.anyio

HOUR: Final = 3_600
DAY: Final = 86_400
NOW = 1_000 * DAY + 10 * HOUR
SPANS: tuple[Span, ...] = (HOUR, DAY)
MINE, THEIRS = "alice", "mallory"
shared_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40, deadline=None
)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Clock, **options: Any) -> AbstractAsyncContextManager[SqliteStore]:
    return SqliteStore(folder / "store.db", wall_clock=clock, **options)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return place_of(request.param, tmp_path)


@pytest.fixture
async def store(place: str, clock: Clock) -> AsyncIterator[AnyStore]:
    async with store_at(place, wall_clock=clock) as one:
        yield one


def route(route_id: str | None = None, **changes: Any) -> RouteRecord:
    facts: dict[str, Any] = {
        "route_id": route_id or new_handle("rte"),
        "caller": MINE,
        "session_id": "ses_1",
        "started_at": float(NOW),
        "latency_ms": 12,
        "outcome": "completed",
        "prompt_sha256": "00" * 32,
        "analysis": analysis(),
        "model_used": "acme/large",
        "selection": chosen("acme/large"),
        "attempts": (attempt(),),
        "cost_microusd": 7,
        "baseline_cost_microusd": 100,
    }
    return RouteRecord(**{**facts, **changes})


def chosen(model_id: str, reasoning: str = "") -> ModelSelection:
    return ModelSelection(
        primary_model=model_id, provider="acme", fallback_models=(), estimated_cost_microusd=None, reasoning=reasoning
    )


def attempt(**changes: Any) -> Attempt:
    facts: dict[str, Any] = {
        "model_id": "acme/large",
        "provider": "acme",
        "outcome": "answered",
        "started_at": float(NOW),
        "latency_ms": 10,
        "usage": usage(100, 20),
        "cost_microusd": 7,
        "finish_reason": "stop",
    }
    return Attempt(**{**facts, **changes})


async def record(store: AnyStore, *routes: RouteRecord) -> None:
    for one in routes:
        await store.ledger.record(one)


async def usage_of(store: AnyStore, since: int | None = None, span: Span = DAY, caller: str = MINE) -> UsageSums:
    return await store.reports.usage(caller, since=since, span=span)


async def report_on(store: AnyStore, **changes: Any) -> Report:
    return report_of(await usage_of(store), window_of("all", NOW), tiers={"acme/large": 2}, **changes)


# Sums

costs = st.one_of(st.none(), st.integers(0, 10**9))
models = st.sampled_from(["acme/large", "acme/small", "other/\ud800"])
attempts = st.builds(
    attempt,
    model_id=models,
    outcome=st.sampled_from(["answered", "failed", "cancelled"]),
    latency_ms=st.integers(0, 10**6),
    first_token_ms=st.one_of(st.none(), st.integers(0, 10**5)),
    usage=st.builds(usage, st.integers(0, 10**6), st.integers(0, 10**6), cache_read_tokens=st.integers(0, 9)),
    cost_microusd=costs,
    finish_reason=st.sampled_from(["stop", "tool_call"]),
)


@st.composite
def routes(draw: st.DrawFn) -> RouteRecord:
    calls = tuple(draw(st.lists(attempts, max_size=3)))
    tools = tuple(
        ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=cost)
        for cost in draw(st.lists(st.integers(0, 9_999), max_size=2))
    )
    paid = [call.cost_microusd for call in calls]
    known = [cost for cost in paid if cost is not None]
    return route(
        started_at=draw(st.floats(NOW - 2 * DAY, NOW)),
        outcome=draw(st.sampled_from(["completed", "failed", "cancelled"])),
        model_used=draw(st.one_of(st.none(), models)),
        analysis=draw(st.sampled_from([None, analysis(), analysis(category="complex_coding", history_tokens=30)])),
        selection=draw(st.sampled_from([None, chosen("acme/large")])),
        attempts=calls,
        tools=tools,
        cost_microusd=sum(known) + sum(use.cost_microusd for use in tools) if len(known) == len(paid) else None,
        baseline_cost_microusd=draw(costs),
        latency_ms=draw(st.integers(0, 10**6)),
    )


def saved_by(one: RouteRecord) -> int | None:
    if one.cost_microusd is None:
        return None
    if one.outcome != "completed":
        return -one.cost_microusd
    return None if one.baseline_cost_microusd is None else one.baseline_cost_microusd - one.cost_microusd


def read_by_the_caller(one: RouteRecord) -> int:
    """Tokens of answers: not of tool rounds, and of nothing where the task did not end well."""
    answers = [call for call in one.attempts if call.outcome == "answered" and call.finish_reason != "tool_call"]
    return sum(call.usage.output_tokens for call in answers) if one.outcome == "completed" else 0


@shared_store
@given(written=st.lists(routes(), max_size=12), span=st.sampled_from([HOUR, DAY]), since=st.integers(998, 1_000))
async def test_the_sums_are_those_of_the_routes_one_by_one(
    store: AnyStore, written: list[RouteRecord], span: Span, since: int
) -> None:
    caller = new_handle("ses")
    written = [replace(one, route_id=new_handle("rte"), caller=caller) for one in written]
    await record(store, *written)

    sums = await usage_of(store, since * DAY, span, caller)

    within = [one for one in written if one.started_at >= since * DAY]
    calls = [call for one in within for call in one.attempts]
    saved = [saved_by(one) for one in within]
    known = [amount for amount in saved if amount is not None]
    assert sum(row.routes for row in sums.routes) == len(within)
    assert sum(row.completed for row in sums.routes) == sum(one.outcome == "completed" for one in within)
    assert sum(row.saved_microusd for row in sums.routes) == sum(known)
    assert sum(row.lost_microusd for row in sums.routes) == -sum(amount for amount in known if amount < 0)
    assert sum(row.losing for row in sums.routes) == sum(amount < 0 for amount in known)
    assert sum(row.uncompared for row in sums.routes) == saved.count(None)
    assert sum(row.tools_microusd for row in sums.routes) == sum(
        use.cost_microusd for one in within for use in one.tools
    )
    assert sum(row.cost_microusd for row in sums.attempts) == sum(call.cost_microusd or 0 for call in calls)
    assert sum(row.unpriced for row in sums.attempts) == sum(call.cost_microusd is None for call in calls)
    assert sum(row.input_tokens for row in sums.attempts) == sum(call.usage.input_tokens for call in calls)
    assert sum(row.answer_tokens for row in sums.attempts) == sum(read_by_the_caller(one) for one in within)
    assert sum(row.cache_read_tokens for row in sums.attempts) == sum(call.usage.cache_read_tokens for call in calls)
    assert sum(row.answered for row in sums.attempts) == sum(call.outcome == "answered" for call in calls)
    assert sum(row.routes for row in sums.spans) == len(within)
    assert sum(row.saved_microusd for row in sums.spans) == sum(known)
    assert sum(row.cost_microusd for row in sums.spans) == sum(row.tools_microusd for row in sums.routes) + sum(
        row.cost_microusd for row in sums.attempts
    )
    assert {row.start % span for row in sums.spans} <= {0}
    if not sums.routes or sums.attempts:
        assert {row.model_id for row in sums.attempts} == {call.model_id for call in calls}


def no_housekeeping(_: SqliteStore, connection: object) -> None:
    """As an older release, whose housekeeping knows nothing of sums."""


def copy_rows(source: Path, target: Path, *tables: str) -> None:
    """Copy what both files have columns for: the tables of a release of the past know less."""
    connection = apsw.Connection(str(target))
    connection.execute("ATTACH ? AS source", (str(source),))
    for table in tables:
        columns = ", ".join(f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})"))
        connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM source.{table}")  # noqa: S608 - the names are above
    connection.close()


async def test_the_routes_of_the_past_are_summed_when_the_tables_are_made(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = [
        route(started_at=float(NOW - 60 * number), latency_ms=number, cost_microusd=None if number == 3 else number)
        for number in range(50)
    ]
    before_reports = next(number for number, step in enumerate(MIGRATIONS) if "CREATE TABLE feedback" in step)
    async with opened(tmp_path / "new", clock) as new:
        await record(new, *past)
        expected = [await usage_of(new, None, span) for span in SPANS]
    with monkeypatch.context() as patch:
        patch.setattr("routing.state.sqlite.MIGRATIONS", MIGRATIONS[:before_reports])
        patch.setattr(SqliteStore, "_keep_house", no_housekeeping)
        async with opened(tmp_path / "old", clock):
            copy_rows(tmp_path / "new" / "store.db", tmp_path / "old" / "store.db", "routes", "attempts")

    async with opened(tmp_path / "old", clock) as migrated:
        found = [await usage_of(migrated, None, span) for span in SPANS]

    assert expected[0].routes
    assert found == expected


async def test_a_route_counts_in_the_hour_and_the_day_in_which_it_started(store: AnyStore) -> None:
    await record(store, route(started_at=NOW - 0.5), route(started_at=float(NOW)), route(started_at=NOW + 3_599.9))

    hours, days = await usage_of(store, None, HOUR), await usage_of(store, None, DAY)

    assert [(row.start, row.routes) for row in hours.spans] == [(NOW - HOUR, 1), (NOW, 2)]
    assert [(row.start, row.routes) for row in days.spans] == [(1_000 * DAY, 3)]


async def test_another_callers_routes_are_in_nobody_elses_sums(store: AnyStore) -> None:
    await record(store, route(caller=THEIRS))
    await store.feedback.record(THEIRS, (await store.ledger.recent(THEIRS, 1))[0].route_id, 0.1)

    sums = await usage_of(store)

    assert (sums.routes, sums.attempts, sums.spans, sums.latencies, sums.scores, sums.before) == ((),) * 6
    assert (sums.own_tools_microusd, sums.first_at) == (0, None)


async def test_what_the_caller_paid_for_its_own_tools_is_kept_apart(store: AnyStore) -> None:
    search = ToolUse(name="web_search", is_error=False, latency_ms=1, cost_microusd=5_000)
    for started_at in (NOW - DAY, NOW, NOW + 1):
        await store.ledger.record_tool(MINE, search, float(started_at))
    await store.ledger.record_tool(THEIRS, search, float(NOW))

    sums = await usage_of(store, 1_000 * DAY)

    assert sums.own_tools_microusd == 10_000
    assert (await report_on(store)).own_tools_microusd == 15_000


# Shadows, and who chose


def shadow(**changes: Any) -> ShadowAnswer:
    facts: dict[str, Any] = {
        "route_id": new_handle("rte"),
        "caller": MINE,
        "model_id": "zeta/other",
        "provider": "zeta",
        "category": "qa_retrieval",
        "started_at": float(NOW),
        "latency_ms": 12,
        "outcome": "answered",
        "usage": usage(100, 20),
        "cost_microusd": 30,
        "agreement": 0.5,
    }
    return ShadowAnswer(**{**facts, **changes})


async def test_savings_are_net_of_shadows_in_totals_groups_and_points(store: AnyStore) -> None:
    await record(store, route())
    failed = shadow(outcome="failed", cost_microusd=None, agreement=None)
    for one in (shadow(), shadow(cost_microusd=12, agreement=1.0), failed, shadow(caller=THEIRS)):
        await store.ledger.record_shadow(one)

    report = await report_on(store)

    shown = report.totals.shadows
    assert (shown.times, shown.answered, shown.cost_microusd, shown.agreement) == (3, 2, 42, 0.75)
    assert (report.totals.cost_microusd, report.totals.saved_microusd) == (7 + 42, 100 - 7 - 42)
    assert (report.totals.unpriced, report.totals.attempts) == (1, 1)
    for groups in report.groups.values():
        assert sum(group.figures.cost_microusd for group in groups) == 49
        assert sum(group.figures.shadows.times for group in groups) == 3
    assert [(point.routes, point.cost_microusd, point.saved_microusd) for point in report.points] == [(1, 49, 51)]
    by_model = {group.name: group.figures for group in report.groups["model"]}
    assert (by_model["zeta/other"].routes, by_model["zeta/other"].shadows.agreement) == (0, 0.75)


async def test_who_chose_is_counted_by_policy_and_period(store: AnyStore) -> None:
    learned = replace(chosen("acme/large"), policy="learned")
    await record(store, route(), route(selection=learned), route(selection=learned), route(selection=None))
    await record(store, route(started_at=float(NOW - DAY)), route(selection=learned, caller=THEIRS))

    assert (await report_on(store)).policies == {"matrix": 2, "learned": 2}
    assert {row.policy: row.routes for row in (await usage_of(store, NOW, HOUR)).policies} == {
        "learned": 2,
        "matrix": 1,
    }


# Latency


def nearest_rank(values: Sequence[int], percent: int) -> int:
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def two_digits(value: int) -> float:
    return float(f"{value:.1e}")


@shared_store
@given(latencies=st.lists(st.integers(0, 900_000), min_size=1, max_size=40))
async def test_percentiles_are_those_of_the_ledger_to_two_digits(store: AnyStore, latencies: list[int]) -> None:
    caller = new_handle("ses")
    await record(store, *(route(caller=caller, latency_ms=each) for each in latencies))

    sums = await usage_of(store, caller=caller)
    told = report_of(sums, window_of("all", NOW), tiers={}).totals.latency

    assert told.times == len(latencies)
    for percent, found in ((50, told.p50_ms), (95, told.p95_ms)):
        exact = nearest_rank(latencies, percent)
        assert found is not None
        assert found == exact if exact < 100 else abs(found - exact) <= exact * 0.05


async def test_latencies_are_summed_by_hour_by_day_and_over_all_time(store: AnyStore) -> None:
    await record(store, route(started_at=float(NOW - DAY)), route(started_at=float(NOW - HOUR)), route())

    hour, day = await usage_of(store, NOW, HOUR), await usage_of(store, 1_000 * DAY)
    found = [sum(row.times for row in one.latencies) // 2 for one in (hour, day, await usage_of(store))]

    assert found == [1, 2, 3]


@pytest.mark.parametrize(
    ("exact", "kept"),
    [(0, 0), (99, 99), (104, 100), (105, 110), (994, 990), (995, 1_000), (12_499, 12_000), (65_432, 65_000)],
)
async def test_a_latency_is_kept_to_two_digits(store: AnyStore, exact: int, kept: int) -> None:
    await record(store, route(latency_ms=exact, attempts=(attempt(latency_ms=exact, first_token_ms=exact),)))

    assert {(row.measure, row.latency_ms) for row in (await usage_of(store)).latencies} == {
        ("route", kept),
        ("attempt", kept),
        ("first_token", kept),
    }


# Feedback


async def test_the_last_score_counts_and_the_one_before_is_told(store: AnyStore, clock: Clock) -> None:
    await record(store, route("rte_1"))

    assert await store.feedback.record(MINE, "rte_1", 0.2, "wrong") is None
    assert await store.feedback.record(MINE, "rte_1", 0.9) == 0.2

    assert await store.feedback.scores(MINE, ["rte_1", "rte_2"]) == {"rte_1": 0.9}
    [row] = (await usage_of(store)).scores
    assert (row.model_id, row.category, row.scored, row.low, row.total) == ("acme/large", "qa_retrieval", 1, 0, 0.9)
    [line] = (await store.reports.export(MINE, since=None)).lines
    assert (line.score, line.note) == (0.9, None)


@pytest.mark.parametrize("owner", [THEIRS, "", "ALICE"])
async def test_another_callers_route_cannot_be_scored(store: AnyStore, owner: str) -> None:
    await record(store, route("rte_1"))

    with pytest.raises(UnknownHandle) as foreign:
        await store.feedback.record(owner, "rte_1", 1)
    with pytest.raises(UnknownHandle) as unknown:
        await store.feedback.record(MINE, "rte_2", 1)

    assert str(foreign.value) == str(unknown.value)
    assert await store.feedback.scores(MINE, ["rte_1"]) == {}
    assert await store.feedback.scores(owner, ["rte_1"]) == {}


async def test_a_route_that_was_not_answered_is_scored_for_the_model_that_was_chosen(store: AnyStore) -> None:
    await record(store, route("rte_1", outcome="failed", model_used=None, selection=chosen("acme/small")))
    await store.feedback.record(MINE, "rte_1", 0)

    assert [row.model_id for row in (await usage_of(store)).scores] == ["acme/small"]


# Experience


async def experience_of(store: AnyStore, caller: str = MINE, since: float = NOW - 3 * HOUR) -> Experience:
    return await store.feedback.experience(caller, half_life_seconds=DAY, since=since)


async def test_scores_are_summed_by_kind_of_task_and_model_and_fade_by_their_half_life(
    store: AnyStore, clock: Clock
) -> None:
    hard = analysis(complexity=5)
    await record(store, route("rte_1"), route("rte_2"), route("rte_3", analysis=hard), route("rte_4", caller=THEIRS))
    await store.feedback.record(MINE, "rte_1", 0.5)
    await store.feedback.record(MINE, "rte_3", 0.25)
    await store.feedback.record(THEIRS, "rte_4", 1)
    clock.now += DAY
    await store.feedback.record(MINE, "rte_2", 1)

    easy, tough = sorted((await experience_of(store)).scored, key=lambda one: one.complexity)

    assert (easy.category, easy.complexity, easy.model_id) == ("qa_retrieval", 2, "acme/large")
    assert (easy.weight, easy.good) == pytest.approx((1.5, 0.25 + 1))
    assert (tough.complexity, tough.weight, tough.good) == pytest.approx((5, 0.5, 0.125))


def checked(*findings: tuple[CheckName, bool], kind: Literal["answer", "repair"] = "answer") -> VerificationStep:
    made = tuple(Finding(check=name, passed=passed, detail="") for name, passed in findings)
    return VerificationStep(kind=kind, model_id="acme/large", findings=made, cost_microusd=7)


async def test_a_failed_check_counts_as_a_bad_score_passed_tests_as_a_good_one_and_other_passes_as_none(
    store: AnyStore,
) -> None:
    whole = checked(("complete", True), ("answered", True))
    formed = checked(("complete", True), ("schema", True))
    tested = checked(("complete", True), ("code", True), ("tests", True))
    wrong = checked(("complete", True), ("arithmetic", False))
    refused = checked(("complete", True), ("answered", False))
    await record(store, *(route(verification=(step,)) for step in (whole, formed, tested)))
    await record(store, route(verification=(wrong, tested)), route(verification=(refused,)), route(caller=THEIRS))

    [row] = (await usage_of(store)).checks
    [known] = (await experience_of(store)).scored

    assert (row.model_id, row.category, row.checked, row.failed, row.tested) == ("acme/large", "qa_retrieval", 5, 2, 2)
    assert (known.complexity, known.good / known.weight) == pytest.approx((2, 0.5))
    assert known.weight == pytest.approx(4, rel=0.5)  # by the day in which they were made
    figures = (await report_on(store)).totals.quality
    assert (figures.checked, figures.failed_checks) == (5, 0.4)


async def test_what_models_think_of_an_answer_is_no_check_and_nothing_is_learned_from_it(store: AnyStore) -> None:
    opinions: tuple[tuple[CheckName, bool], ...] = (("agreement", True), ("agreement", False), ("judged", False))
    await record(store, *(route(verification=(checked(("complete", True), one),)) for one in opinions))
    await record(store, route(verification=(checked(("tests", True), ("judged", False)),)))

    [row] = (await usage_of(store)).checks
    [known] = (await experience_of(store)).scored

    assert (row.checked, row.failed, row.tested) == (1, 0, 1)
    assert known.good == known.weight > 0


async def test_a_score_without_an_analysis_says_nothing_of_a_kind_of_task(store: AnyStore) -> None:
    await record(store, route("rte_1", analysis=None))
    await store.feedback.record(MINE, "rte_1", 1)

    assert (await experience_of(store)).scored == ()


async def test_calls_of_the_last_hours_are_summed_by_model_with_their_means(store: AnyStore) -> None:
    quick, slow = attempt(latency_ms=10, first_token_ms=4), attempt(latency_ms=30, usage=usage(100, 40))
    failed = attempt(outcome="failed", model_id="acme/broken", first_token_ms=None)
    await record(store, route(attempts=(quick, slow, failed)), route(started_at=float(NOW - DAY), attempts=(quick,)))
    await record(store, route(caller=THEIRS, attempts=(quick,)))

    broken, large = sorted((await experience_of(store)).runs, key=lambda one: one.model_id)

    assert (large.answered, large.failed, large.latency_ms, large.first_token_ms) == (2, 0, 20, 4)
    assert large.output_tokens == 30
    assert (broken.answered, broken.failed, broken.latency_ms, broken.output_tokens) == (0, 1, None, None)


# Retention


async def test_routes_go_after_their_days_and_their_sums_and_scores_stay(place: str, clock: Clock) -> None:
    async with store_at(place, wall_clock=clock, ledger_days=30) as store:
        await record(store, route("rte_old", started_at=float(NOW)), route("rte_new", started_at=float(NOW + 20 * DAY)))
        for route_id in ("rte_old", "rte_new"):
            await store.feedback.record(MINE, route_id, 0.5, f"note on {route_id}")
        await store.ledger.record_shadow(shadow(route_id="rte_old"))
        before = await usage_of(store)
        clock.now = NOW + 31 * DAY
        await store.sessions.start(MINE)  # housekeeping comes with a write

        await store.sessions.start(MINE)  # and has come when the next one is done
        with pytest.raises(UnknownHandle):
            await store.ledger.route("rte_old", MINE)
        assert (await store.ledger.route("rte_new", MINE)).attempts
        after = await usage_of(store)
        assert (after.routes, after.attempts, after.latencies, after.scores) == (
            before.routes,
            before.attempts,
            before.latencies,
            before.scores,
        )
        assert (after.policies, after.shadows) == (before.policies, before.shadows)
        assert (len(after.policies), len(after.shadows)) == (1, 1)


async def test_a_note_goes_with_its_route(tmp_path: Path, clock: Clock) -> None:
    async with opened(tmp_path, clock, ledger_days=30) as store:
        await record(store, route("rte_old", started_at=float(NOW)), route("rte_new", started_at=float(NOW + 20 * DAY)))
        for route_id in ("rte_old", "rte_new"):
            await store.feedback.record(MINE, route_id, 0.5, f"note on {route_id}")
        clock.now = NOW + 31 * DAY
        await store.sessions.start(MINE)  # housekeeping comes with a write
    kept = (tmp_path / "store.db").read_bytes()
    assert b"note on rte_new" in kept
    assert b"note on rte_old" not in kept


async def test_a_route_that_comes_after_all_others_have_gone_is_in_the_sums(place: str, clock: Clock) -> None:
    async with store_at(place, wall_clock=clock, ledger_days=1) as store:
        await record(store, *(route() for _ in range(3)))
        clock.now = NOW + 9 * DAY
        await store.sessions.start(MINE)
        await store.sessions.start(MINE)  # they are gone, and with them the highest number of a row
        await record(store, route(started_at=clock.now))

        assert sum(sums.routes for sums in (await usage_of(store)).routes) == 4


async def test_two_processes_that_report_at_once_add_no_route_twice(place: str, clock: Clock) -> None:
    async with (
        store_at(place, wall_clock=clock) as one,
        store_at(place, wall_clock=clock) as other,
        anyio.create_task_group() as tasks,
    ):
        for number in range(20):
            await record(other if number % 2 else one, route())
            tasks.start_soon(usage_of, one)
            tasks.start_soon(usage_of, other)

    async with store_at(place, wall_clock=clock) as store:
        assert [sums.routes for sums in (await usage_of(store)).routes] == [20]


async def test_without_a_number_of_days_routes_are_kept(place: str, clock: Clock) -> None:
    async with store_at(place, wall_clock=clock) as store:
        await record(store, route("rte_old"))
        clock.now = NOW + 10_000 * DAY
        await store.sessions.start(MINE)
        await store.sessions.start(MINE)

        assert (await store.ledger.route("rte_old", MINE)).attempts


async def test_sums_by_the_hour_go_after_three_days_and_those_by_the_day_stay(store: AnyStore, clock: Clock) -> None:
    await record(store, route())
    assert (await usage_of(store, 0, HOUR)).latencies
    clock.now = NOW + 4 * DAY
    await store.sessions.start(MINE)
    await store.sessions.start(MINE)

    hours = await usage_of(store, 0, HOUR)

    assert (hours.routes, hours.attempts, hours.latencies) == ((), (), ())
    assert (await usage_of(store)).routes


# Export


async def test_an_export_has_every_call_of_every_route_once_however_it_is_paged(store: AnyStore) -> None:
    written = [route(f"rte_{number}", attempts=(attempt(),) * (number % 3)) for number in range(20)]
    await record(store, *written, route(caller=THEIRS))
    expected = [
        (f"rte_{number}", position)
        for number in range(20)
        for position in (range(number % 3) if number % 3 else [None])
    ]

    for routes_a_page in (1, 7, 20, 1_000):
        found: list[tuple[str, int | None]] = []
        after: int | None = 0
        while after is not None:
            page = await store.reports.export(MINE, since=None, after=after, routes=routes_a_page)
            found += [(line.route_id, line.position) for line in page.lines]
            after = page.after
        assert found == expected


async def test_an_export_begins_where_it_is_told_to(store: AnyStore) -> None:
    await record(store, *(route(f"rte_{ago}", started_at=float(NOW - ago)) for ago in (2, 1, 0)))

    page = await store.reports.export(MINE, since=NOW - 1)

    assert [line.route_id for line in page.lines] == ["rte_1", "rte_0"]


@pytest.mark.parametrize("text", ["\x00", "\ud800", 'it\'s "quoted" \\ud800', "名前 🚂", "line\nbreak, comma"])
async def test_an_export_has_any_text_as_it_was(store: AnyStore, text: str) -> None:
    await record(
        store, route(error=text, selection=chosen("acme/large", text), attempts=(attempt(error=text),), prompt=text)
    )

    [line] = (await store.reports.export(MINE, since=None)).lines

    assert (line.error, line.reasoning, line.attempt_error, line.prompt) == (text, text, text, text)


async def test_the_lines_come_as_csv_and_as_json(store: AnyStore) -> None:
    await record(store, route("rte_1", error='=HYPERLINK("x")', cost_microusd=-0), route("rte_2", attempts=()))

    rows = list(
        csv.reader(io.StringIO("".join([text async for text in csv_rows(store.reports, MINE, None)]), newline=""))
    )
    objects = [json.loads(text) async for text in json_rows(store.reports, MINE, None)]

    assert rows[0] == list(COLUMNS)
    by_name = [dict(zip(COLUMNS, row, strict=True)) for row in rows[1:]]
    assert [row["route_id"] for row in by_name] == ["rte_1", "rte_2"]
    assert by_name[0]["error"].startswith("'=")  # a spreadsheet shows it instead of running it
    assert (by_name[0]["attempt_microusd"], by_name[0]["started_at"]) == ("7", "1972-09-27T10:00:00.000+00:00")
    assert by_name[1]["position"] == ""
    assert objects[0]["error"] == '=HYPERLINK("x")'
    assert (objects[0]["attempt_microusd"], objects[1]["position"]) == (7, None)
