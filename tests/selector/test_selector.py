from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import NoEligibleModel
from routing.registry import Model
from routing.selector import Selector
from routing.selector.constraints import Requirements, rejection
from routing.selector.matrix import cell_for, columns_for
from routing.types import Constraints, CostPreference, Role, Task
from tests.builders import analysis, catalog, model, task

FRONTIER = model("acme/frontier", tier=1, prices={"input": 10, "output": 40}, quality_index=80)
STRONG = model("acme/strong", tier=2, prices={"input": 1, "output": 4}, quality_index=74)
WORKHORSE = model("other/workhorse", provider="other", tier=3, prices={"input": 0.2, "output": 0.8}, quality_index=66)
LIGHT = model("other/light", provider="other", tier=4, prices={"input": 0.05, "output": 0.2}, quality_index=55)
ALL = (FRONTIER, STRONG, WORKHORSE, LIGHT)


def chosen(a_task: Task, *models: Model, matrix: dict[str, Any] | None = None, **facts: Any) -> str:
    rows = catalog(*(models or ALL), matrix=matrix or {"default": "acme/strong"})
    return Selector().select(a_task, analysis(**facts), rows).primary_model


def test_the_matrix_decides_where_its_model_can_take_the_task() -> None:
    assert chosen(task()) == "acme/strong"


@pytest.mark.parametrize(
    ("constraints", "facts", "columns"),
    [
        ({}, {}, ("default",)),
        ({"cost_preference": "cheapest"}, {}, ("cost_optimized", "default")),
        ({"cost_preference": "best_quality"}, {}, ("high_quality", "default")),
        ({}, {"complexity": 4}, ("high_complexity", "default")),
        ({}, {"requires_long_context": True}, ("long_context", "default")),
        ({"self_hosted_only": True, "cost_preference": "cheapest"}, {}, ("self_hosted", "cost_optimized", "default")),
        (
            {"cost_preference": "best_quality"},
            {"math_heavy": True, "complexity": 5},
            ("math_heavy", "high_complexity", "high_quality", "default"),
        ),
    ],
)
def test_the_most_specific_column_is_asked_first(
    constraints: dict[str, Any], facts: dict[str, Any], columns: tuple[str, ...]
) -> None:
    assert columns_for(task(**constraints), analysis(**facts)) == columns


def test_a_cell_kept_for_one_preference_is_passed_over_at_the_others() -> None:
    rows = catalog(
        *ALL,
        matrix={"default": "acme/strong", "high_complexity": {"model": "acme/frontier", "only_at": "best_quality"}},
    )
    row = rows.registry.policy("current").matrix["qa_retrieval"]

    assert cell_for(row, task(), analysis(complexity=4)) == ("default", "acme/strong")
    best = task(cost_preference="best_quality")
    assert cell_for(row, best, analysis(complexity=4)) == ("high_complexity", "acme/frontier")


def test_where_the_matrixs_model_is_not_configured_the_cheapest_good_enough_takes_over() -> None:
    rows = catalog(*ALL, configured={"other"}, matrix={"default": "acme/strong"})

    selection = Selector().select(task(), analysis(complexity=3), rows)

    assert selection.primary_model == "other/workhorse"
    assert (
        selection.reasoning
        == "Workhorse is the cheapest of tier 3 or better; acme/strong of the matrix is not available"
    )


def test_best_quality_on_a_hard_task_takes_a_tier_1_model_whatever_the_matrix_says() -> None:
    assert chosen(task(cost_preference="best_quality"), complexity=4) == "acme/frontier"
    assert chosen(task(cost_preference="best_quality"), complexity=3) == "acme/strong"


def test_a_task_that_the_analyzer_is_unsure_of_goes_to_tier_2_or_better() -> None:
    light = {"default": "other/light"}

    assert chosen(task(), matrix=light, confidence=0.9) == "other/light"
    assert chosen(task(), matrix=light, confidence=0.5) == "acme/strong"
    assert (
        chosen(task(cost_preference="cheapest"), matrix={"cost_optimized": "other/light"}, confidence=0.5)
        == "other/light"
    )


def test_the_first_fallback_is_at_another_provider() -> None:
    rows = catalog(*ALL, matrix={"default": "acme/strong", "fallback": "acme/frontier"})

    selection = Selector().select(task(), analysis(), rows)

    assert selection.fallback_models[0].startswith("other/")
    assert len(selection.fallback_models) == 3


def test_best_quality_on_a_hard_task_does_not_fall_back_to_a_weaker_tier_first() -> None:
    other = model("other/frontier", provider="other", tier=1, prices={"input": 9, "output": 9}, quality_index=79)
    rows = catalog(FRONTIER, STRONG, other, matrix={"default": "acme/frontier", "fallback": "acme/strong"})

    selection = Selector().select(task(cost_preference="best_quality"), analysis(complexity=5), rows)

    assert selection.candidates[:2] == ("acme/frontier", "other/frontier")


def test_a_superseded_model_is_chosen_only_where_a_policy_names_it() -> None:
    old = model("acme/old", tier=2, prices={"input": 0.01, "output": 0.01}, superseded_by="acme/strong")

    assert chosen(task(), old, STRONG, matrix={"default": "acme/strong"}) == "acme/strong"
    assert chosen(task(), old, STRONG, matrix={"default": "acme/old"}) == "acme/old"


def test_the_model_of_last_resort_is_used_alone_or_not_at_all() -> None:
    tiny = model("home/tiny", provider="home", tier=4, last_resort=True, prices={"input": 0, "output": 0})

    selection = Selector().select(task(), analysis(), catalog(STRONG, tiny))
    assert "home/tiny" not in selection.candidates

    alone = Selector().select(task(), analysis(), catalog(STRONG, tiny, configured={"home"}))
    assert alone.candidates == ("home/tiny",)
    assert "very small model" in alone.notices[0]


def test_every_model_is_a_candidate_or_has_a_reason() -> None:
    selection = Selector().select(task(), analysis(), catalog(*ALL))

    told = {*selection.candidates, *(rejection.model_id for rejection in selection.rejections)}
    assert told == {one.model_id for one in ALL}
    assert all(rejection.reason for rejection in selection.rejections)


# Properties

tiers = st.sampled_from([1, 2, 3, 4])
price = st.integers(1, 100).map(lambda cents: cents / 100)
quality = st.none() | st.integers(40, 90)


@st.composite
def some_models(draw: st.DrawFn) -> list[Model]:
    count = draw(st.integers(1, 6))
    return [
        model(
            f"p{index % 3}/m{index}",
            provider=f"p{index % 3}",
            tier=draw(tiers),
            prices={"input": draw(price), "output": draw(price)},
            quality_index=draw(quality),
            self_hosted=draw(st.booleans()),
            context_window=draw(st.sampled_from([500, 5_000, 50_000])),
            speed_tokens_per_sec=draw(st.none() | st.integers(10, 500)),
        )
        for index in range(count)
    ]


some_constraints = st.builds(
    Constraints,
    cost_preference=st.sampled_from(["cheapest", "balanced", "best_quality"]),
    self_hosted_only=st.booleans(),
    max_cost_microusd=st.none() | st.integers(0, 3_000),
    max_latency_ms=st.none() | st.integers(500, 20_000),
    min_quality=st.none() | st.integers(0, 100).map(float),
)
some_analyses = st.builds(
    analysis,
    complexity=st.integers(1, 5),
    confidence=st.floats(0, 1),
    estimated_input_tokens=st.integers(0, 10_000),
    math_heavy=st.booleans(),
    requires_long_context=st.booleans(),
)


def eligible(models: list[Model], constraints: Constraints, facts: Any) -> set[str]:
    rows = catalog(*models)
    needs = Requirements(
        task=Task(prompt="p", constraints=constraints),
        analysis=facts,
        catalog=rows,
        input_tokens=facts.estimated_input_tokens,
    )
    return {one.model_id for one in models if rejection(one, needs) is None}


@given(some_models(), some_constraints, some_analyses)
def test_what_is_chosen_meets_the_constraints_and_the_same_question_gets_the_same_answer(
    models: list[Model], constraints: Constraints, facts: Any
) -> None:
    a_task = Task(prompt="p", constraints=constraints)
    try:
        selection = Selector().select(a_task, facts, catalog(*models))
    except NoEligibleModel:
        assert not eligible(models, constraints, facts)
        return
    assert set(selection.candidates) <= eligible(models, constraints, facts)
    assert len(set(selection.candidates)) == len(selection.candidates)
    assert selection == Selector().select(a_task, facts, catalog(*models))


@given(some_models(), some_constraints, some_analyses, st.integers(0, 3_000), st.integers(0, 20_000))
def test_raising_a_limit_never_removes_an_eligible_model(
    models: list[Model], constraints: Constraints, facts: Any, more_cost: int, more_time: int
) -> None:
    raised = replace(
        constraints,
        max_cost_microusd=None if constraints.max_cost_microusd is None else constraints.max_cost_microusd + more_cost,
        max_latency_ms=None if constraints.max_latency_ms is None else constraints.max_latency_ms + more_time,
        min_quality=None if constraints.min_quality is None else constraints.min_quality / 2,
        self_hosted_only=False,
    )
    assert eligible(models, constraints, facts) <= eligible(models, raised, facts)


@given(some_models(), some_constraints, some_analyses)
def test_adding_a_measured_model_never_makes_an_eligible_one_disappear(
    models: list[Model], constraints: Constraints, facts: Any
) -> None:
    newcomer = model("p9/new", provider="p9", quality_index=90)
    assert eligible(models, constraints, facts) <= eligible([*models, newcomer], constraints, facts)


@given(some_models(), some_analyses)
def test_a_dearer_preference_never_takes_a_weaker_tier(models: list[Model], facts: Any) -> None:
    def tier(preference: Any) -> int:
        matrix = dict.fromkeys(("default", "cost_optimized", "self_hosted", "fallback"), "p0/m0")
        rows = catalog(*models, matrix=matrix)
        named = Selector().select(task(cost_preference=preference), facts, rows).primary_model
        return rows.models[named].tier

    try:
        assert tier("best_quality") <= tier("cheapest") or facts.complexity < 4
    except NoEligibleModel:
        assert not eligible(models, Constraints(), facts)


# Who is asked after the first answer


TWIN = model("zeta/light", api_model_id="other/light", provider="zeta", tier=3, prices={"input": 0.01, "output": 0.02})


def judge_of(author: str, *models: Model, **constraints: Any) -> str | None:
    choice = Selector().judge(task(**constraints), analysis(), catalog(*models), of=author)
    return choice.primary_model if choice else None


def test_the_judge_is_the_cheapest_other_model_that_is_at_least_as_good() -> None:
    assert judge_of("other/light", *ALL) == "other/workhorse"
    assert judge_of("other/workhorse", *ALL) == "acme/strong"
    assert judge_of("acme/strong", *ALL) == "acme/frontier"
    assert judge_of("acme/frontier", *ALL) is None


def test_the_same_model_at_another_provider_is_no_judge_and_no_stronger_one() -> None:
    assert judge_of("other/light", *ALL, TWIN) == "other/workhorse"
    stronger = Selector().stronger(task(), analysis(), catalog(*ALL, TWIN), than="other/light")
    assert stronger is not None
    assert "zeta/light" not in stronger.candidates


def test_a_judge_meets_the_callers_constraints_and_may_stand_beside_a_forced_model() -> None:
    assert judge_of("other/light", *ALL, denied_providers=frozenset({"other"})) == "acme/strong"
    assert judge_of("other/light", *ALL, force_model="other/light") == "other/workhorse"


@given(st.sampled_from([row.model_id for row in ALL]), st.sets(st.sampled_from(["acme", "other"]), max_size=1))
def test_a_judge_is_never_the_author_and_never_weaker(author: str, denied: set[str]) -> None:
    judge = judge_of(author, *ALL, denied_providers=frozenset(denied))

    if judge is not None:
        tiers = {row.model_id: row.tier for row in ALL}
        assert judge != author
        assert tiers[judge] <= tiers[author]


ROLES = {"planner": {"weakest": 1}, "worker": {"strongest": 3}, "synthesizer": {"strongest": 2, "weakest": 3}}


def in_role(role: Role | None, complexity: int, preference: CostPreference = "balanced", **denied: Any) -> str:
    rows = catalog(*ALL, matrix={"default": "acme/strong", "high_complexity": "acme/frontier"}, roles=ROLES)
    a_task = replace(task(cost_preference=preference, **denied), role=role)
    return Selector().select(a_task, analysis(complexity=complexity), rows).primary_model


@pytest.mark.parametrize(
    ("role", "complexity", "model_id"),
    [
        ("planner", 1, "acme/frontier"),
        ("planner", 5, "acme/frontier"),
        ("worker", 1, "other/light"),
        ("worker", 5, "other/workhorse"),
        ("synthesizer", 1, "acme/strong"),
        ("synthesizer", 5, "acme/strong"),
        ("optimizer", 2, "acme/strong"),
        (None, 5, "acme/frontier"),
    ],
)
def test_a_role_in_a_pattern_moves_the_tier_within_its_bounds_however_the_task_reads(
    role: Role | None, complexity: int, model_id: str
) -> None:
    assert in_role(role, complexity) == model_id


def test_a_worker_is_as_strong_as_may_be_where_the_caller_wants_the_best() -> None:
    assert in_role("worker", 3, "best_quality") == "acme/frontier"


def test_a_cheap_planner_is_the_cheapest_of_its_tier() -> None:
    assert in_role("planner", 1, "cheapest") == "acme/frontier"


def test_a_model_that_is_not_wanted_leaves_its_place_to_another() -> None:
    assert in_role("worker", 1, denied_models=frozenset({"other/light"})) == "other/workhorse"
