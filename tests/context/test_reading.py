"""A prompt longer than every window is read in parts; what was hidden in it is found, paid for, and what was missed is told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from routing.errors import AllModelsFailed, DeadlineExceeded, NoEligibleModel
from routing.router import Router
from routing.types import Constraints, RouteRecord, Task
from tests.builders import model
from tests.context.reading_house import (
    CHEAP,
    FACTS,
    QUESTION,
    STRONG,
    house,
    is_reading,
    looks_it_up,
    report,
)
from tests.fakes import Heard
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
LONG = Task(prompt=f"{QUESTION}\n\n{report()}", verify="none", constraints=Constraints(cost_preference="best_quality"))
SHORTER = replace(LONG, prompt=f"{QUESTION}\n\n{report(34_000)}")


async def routed(router: Router, task: Task = LONG, heard: Heard | None = None) -> RouteRecord:
    return await router.route(task, heard or Heard())


async def test_a_document_of_300000_tokens_is_answered_by_models_with_windows_of_128000(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script = looks_it_up
    heard = Heard()
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router, heard=heard)

    assert record.analysis is not None
    assert record.analysis.estimated_input_tokens > 300_000
    assert all(fact in record.text for fact in FACTS)
    assert record.model_used == "acme/strong"
    readings = [request for request in upstream.requests if is_reading(request.body)]
    assert len(readings) >= 10
    assert {request.body["model"] for request in readings} == {"cheap"}
    assert max(len(str(request.body)) for request in upstream.requests) < 128_000 * 4
    assert "is read in" not in record.text
    assert any("fits the window of no model" in notice for notice in record.notices)
    assert any(report.total == len(readings) for report in heard.reports)


async def test_every_call_is_booked_on_the_one_route_and_the_baseline_is_the_whole_prompts(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script = looks_it_up
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router)

    assert len(record.attempts) == len(upstream.requests)
    costs = [attempt.cost_microusd for attempt in record.attempts]
    assert record.cost_microusd == sum(cost or 0 for cost in costs)
    assert record.baseline_cost_microusd is not None
    assert record.baseline_cost_microusd > 300_000 * 10
    assert record.selection is not None
    assert record.selection.estimated_cost_microusd is not None


async def test_a_part_whose_first_reading_fails_is_read_again(tmp_path: Path, upstream: Upstream) -> None:
    failing = iter([3, 7])
    due = next(failing)
    count = itertools.count(1)

    def script(body: dict[str, Any]) -> str | int:
        nonlocal due
        if is_reading(body) and next(count) == due:
            due = next(failing, 0)
            return 503
        return looks_it_up(body)

    upstream.script = script
    async with house(tmp_path, upstream.url, (CHEAP,)) as router:
        record = await routed(router, replace(LONG, constraints=Constraints()))

    assert all(fact in record.text for fact in FACTS)
    assert [attempt.outcome for attempt in record.attempts].count("failed") == 2
    assert not any("Not read" in notice for notice in record.notices)


async def test_a_part_that_nobody_can_read_is_told_and_the_rest_is_answered(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = lambda body: 400 if is_reading(body) and "Quito" in str(body) else looks_it_up(body)
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router)

    assert FACTS[0] in record.text
    assert FACTS[2] not in record.text
    [told] = [notice for notice in record.notices if notice.startswith("Not read")]
    assert "not in the answer: part " in told


async def test_where_nothing_can_be_read_the_reason_is_raised(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = lambda body: 400 if is_reading(body) else "Made up."
    async with house(tmp_path, upstream.url) as router:
        with pytest.raises(AllModelsFailed):
            await routed(router)


async def test_long_notes_are_merged_in_levels_until_they_fit(tmp_path: Path, upstream: Upstream) -> None:
    def talkative(body: dict[str, Any]) -> str:
        padding = " ".join(["and so on"] * 2_500) if is_reading(body) and "Part " in str(body["messages"]) else ""
        return f"{looks_it_up(body)} {padding}"

    upstream.script = talkative
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router)

    merges = [one for one in upstream.requests if "Group of notes" in str(one.body["messages"])]
    assert merges
    assert all(fact in record.text for fact in FACTS)


async def test_what_is_expected_to_cost_more_than_the_caller_allows_is_not_begun(
    tmp_path: Path, upstream: Upstream
) -> None:
    wishes = Constraints(cost_preference="best_quality", max_cost_microusd=5_000)
    async with house(tmp_path, upstream.url) as router:
        with pytest.raises(NoEligibleModel):
            await routed(router, replace(LONG, constraints=wishes))

    assert not upstream.requests


async def test_the_purse_is_never_passed_while_parts_are_read_side_by_side(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = looks_it_up
    wishes = Constraints(max_cost_microusd=60_000)
    async with house(tmp_path, upstream.url, (CHEAP,)) as router:
        record = await routed(router, replace(LONG, constraints=wishes))

    assert record.cost_microusd is not None
    assert record.cost_microusd <= 60_000


async def test_the_deadline_holds_over_all_of_it(tmp_path: Path, upstream: Upstream) -> None:
    upstream.hangs = True
    wishes = replace(LONG.constraints, deadline_seconds=2.0)
    async with house(tmp_path, upstream.url) as router:
        with pytest.raises(DeadlineExceeded):
            await routed(router, replace(LONG, constraints=wishes))


async def test_a_forced_model_reads_the_parts_itself(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = looks_it_up
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router, replace(LONG, constraints=Constraints(force_model="acme/strong")))

    assert {request.body["model"] for request in upstream.requests} == {"strong"}
    assert all(fact in record.text for fact in FACTS)


@pytest.mark.parametrize("reason", ["setting", "translation", "another constraint"])
async def test_what_is_not_to_be_read_in_parts_is_refused_as_before(
    reason: str, tmp_path: Path, upstream: Upstream
) -> None:
    task = LONG
    if reason == "translation":
        task = replace(LONG, prompt=f"Translate the following text to Spanish:\n\n{report()}")
    if reason == "another constraint":
        task = replace(LONG, constraints=Constraints(self_hosted_only=True))
    async with house(tmp_path, upstream.url, overflow=reason != "setting") as router:
        with pytest.raises(NoEligibleModel):
            await routed(router, task)

    assert not upstream.requests


async def test_what_fits_is_sent_whole(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = looks_it_up
    async with house(tmp_path, upstream.url) as router:
        record = await routed(router, SHORTER)

    assert len(upstream.requests) == 1
    assert record.text


async def test_what_fits_the_chosen_model_is_sent_whole_and_never_to_a_fallback_that_it_may_not_fit(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script = looks_it_up
    roomy = model("acme/strong", tier=1, context_window=400_000, prices={"input": 10, "output": 50})
    tight = replace(LONG, prompt=f"{QUESTION}\n\n{report(99_500)}")
    async with house(tmp_path, upstream.url, (roomy, CHEAP)) as router:
        record = await routed(router, tight)

    assert [request.body["model"] for request in upstream.requests] == ["strong"]
    assert record.selection is not None
    assert record.analysis is not None
    assert 0.95 * 128_000 < record.analysis.estimated_input_tokens < 128_000
    assert record.selection.fallback_models == ()


async def test_above_the_threshold_a_cheap_model_reads_what_a_dear_one_would_have_been_sent(
    tmp_path: Path, upstream: Upstream
) -> None:
    upstream.script = looks_it_up
    async with house(tmp_path, upstream.url, compress_above=30_000) as router:
        record = await routed(router, SHORTER)

    assert [request.body["model"] for request in upstream.requests] == ["cheap", "cheap", "strong"]
    assert all(fact in record.text for fact in FACTS)
    assert any("Expected: $" in notice for notice in record.notices)
    assert record.baseline_cost_microusd is not None
    assert record.cost_microusd is not None
    assert record.cost_microusd < record.baseline_cost_microusd


async def test_above_the_threshold_nothing_is_compressed_that_does_not_pay(tmp_path: Path, upstream: Upstream) -> None:
    upstream.script = looks_it_up
    one_price = model("acme/dear", context_window=128_000, prices={"input": 0.11, "output": 0.4})
    async with house(tmp_path, upstream.url, (one_price, CHEAP), compress_above=30_000) as router:
        await routed(router, SHORTER)

    assert len(upstream.requests) == 1


async def test_a_plan_is_told_before_it_is_paid_for(tmp_path: Path, upstream: Upstream) -> None:
    async with house(tmp_path, upstream.url, (STRONG, CHEAP)) as router:
        decision = await router.decide(LONG)

    assert not upstream.requests
    assert any("parts" in notice for notice in decision.selection.notices)
    assert (decision.selection.estimated_cost_microusd or 0) > 300_000 // 10
