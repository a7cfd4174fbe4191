"""Who takes the place of the matrix's model, by what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from routing.registry import Model
from routing.selector import Selector
from routing.selector.outlook import NO_OUTLOOK, Forecast, Outlook, Speed, preferred
from routing.types import Constraints, ModelSelection
from tests.builders import analysis, catalog, model, task

DEAR = model("acme/dear", tier=1, prices={"input": 10, "output": 40})
NAMED = model("acme/named", tier=2, prices={"input": 2, "output": 8})
LIGHT = model("acme/light", tier=4, prices={"input": 0.1, "output": 0.4})
TINY = model("acme/tiny", tier=4, prices={"input": 0.01, "output": 0.04})
ALL = (DEAR, NAMED, LIGHT, TINY)
QUALITIES = st.floats(0, 1)


def forecast(quality: float, *, doubt: float = 0.0, prior: float | None = None, measured: bool = True) -> Forecast:
    sure = quality - 2 * doubt if measured else None
    return Forecast(quality=quality, doubt=doubt, prior=quality if prior is None else prior, sure=sure)


def outlook(**forecasts: Forecast) -> Outlook:
    return Outlook(forecasts={f"acme/{name}": one for name, one in forecasts.items()}, allowance=0.02)


def selection(an_outlook: Outlook, *, preference: str = "balanced", **facts: Any) -> ModelSelection:
    rows = catalog(*ALL, matrix={"default": "acme/named", "cost_optimized": "acme/named"})
    wish: Any = {"cost_preference": preference}
    return Selector().select(task(**wish), analysis(**facts), rows, outlook=an_outlook)


def test_without_an_outlook_the_matrix_decides_and_nothing_is_weighed() -> None:
    chosen = selection(NO_OUTLOOK)

    assert (chosen.primary_model, chosen.policy, chosen.propensity) == ("acme/named", "matrix", 1.0)
    assert chosen.reference_model is None
    assert not chosen.forecasts


def test_a_measured_model_that_does_as_well_for_less_takes_the_matrixs_place() -> None:
    chosen = selection(outlook(named=forecast(0.9), light=forecast(0.89), tiny=forecast(0.8)))

    assert (chosen.primary_model, chosen.policy, chosen.reference_model) == ("acme/light", "learned", "acme/named")
    assert chosen.fallback_models[0] == "acme/named"
    assert "clears the floor (0.88)" in chosen.reasoning
    assert chosen.forecasts == {"acme/light": 0.89, "acme/named": 0.9, "acme/tiny": 0.8}


def test_what_is_known_by_facts_alone_replaces_nobody() -> None:
    chosen = selection(outlook(named=forecast(0.9), light=forecast(0.95, measured=False)))

    assert (chosen.primary_model, chosen.policy) == ("acme/named", "matrix")
    assert chosen.reference_model == "acme/named"


def test_a_quality_counts_as_far_as_it_is_sure() -> None:
    few, many = forecast(0.95, doubt=0.1), forecast(0.95, doubt=0.02)

    assert selection(outlook(named=forecast(0.9), light=few)).primary_model == "acme/named"
    assert selection(outlook(named=forecast(0.9), light=many)).primary_model == "acme/light"


def test_a_reference_that_was_found_to_do_worse_gives_way_to_a_dearer_one_that_holds() -> None:
    failing = outlook(named=forecast(0.4, prior=0.9), dear=forecast(0.93))

    assert selection(failing).primary_model == "acme/dear"
    assert selection(outlook(named=forecast(0.4, prior=0.9))).primary_model == "acme/named"


def test_best_quality_is_never_traded() -> None:
    expected = outlook(named=forecast(0.5), light=forecast(0.99), dear=forecast(0.5), tiny=forecast(0.99))

    assert selection(expected, preference="best_quality").policy == "matrix"


def test_where_the_category_is_in_doubt_a_weaker_tier_replaces_nobody() -> None:
    expected = outlook(named=forecast(0.9), light=forecast(0.95))

    assert selection(expected, confidence=0.9).primary_model == "acme/light"
    assert selection(expected, confidence=0.3).primary_model == "acme/named"


def test_a_conversation_stays_where_it_is_cached_when_that_is_cheaper() -> None:
    cached = model("acme/cached", tier=2, prices={"input": 2, "output": 8, "cache_read": 0.02})
    slightly_cheaper = model("acme/other", tier=2, prices={"input": 1.8, "output": 7.9})
    rows = catalog(cached, slightly_cheaper, matrix={"default": "acme/cached"})
    expected = outlook(cached=forecast(0.9), other=forecast(0.9))
    facts = analysis(estimated_input_tokens=20_000, history_tokens=19_000)

    cold = Selector().select(task(), facts, rows, outlook=expected)
    warm = Selector().select(task(), facts, rows, outlook=replace(expected, warm_model="acme/cached"))

    assert (cold.primary_model, warm.primary_model) == ("acme/other", "acme/cached")
    assert warm.estimated_cost_microusd == 1_000 * 2 + 19_000 * 2 // 100 + 100 * 8


def test_how_fast_a_model_was_counts_for_the_latency_it_may_have() -> None:
    rows = catalog(NAMED, matrix={"default": "acme/named"})
    fast = Outlook(speeds={"acme/named": Speed(first_token_ms=300, per_token_ms=5)})

    chosen = Selector().select(task(max_latency_ms=1_000), analysis(), rows, outlook=fast)

    assert chosen.primary_model == "acme/named"


@pytest.mark.parametrize(
    ("instead", "chosen"), [(None, "acme/named"), ("acme/light", "acme/light"), ("x/gone", "acme/named")]
)
def test_where_the_ledgers_guard_gives_predictions_up_the_better_constant_is_taken_and_the_reason_says_so(
    instead: str | None, chosen: str
) -> None:
    expected = replace(outlook(named=forecast(0.9), tiny=forecast(0.99)), given_up="measured worse", instead=instead)

    taken = selection(expected)

    assert (taken.primary_model, taken.policy, taken.reference_model) == (chosen, "matrix", None)
    assert "measured worse" in taken.reasoning


# Exploration


def exploring(share: float, draw: float, **forecasts: Forecast) -> Outlook:
    return replace(outlook(**forecasts), exploration=share, draw=draw)


NEARLY_ALIKE = {
    "named": forecast(0.9, doubt=0.1, measured=False),
    "light": forecast(0.91, doubt=0.1),
    "tiny": forecast(0.92, doubt=0.2),
    "dear": forecast(0.95, doubt=0.3, measured=False),
}


def test_the_share_that_explores_is_the_share_asked_for_and_propensities_say_so() -> None:
    draws = [selection(exploring(0.2, (place + 0.5) / 1_000, **NEARLY_ALIKE)) for place in range(1_000)]
    counts = Counter(one.primary_model for one in draws)

    told = {one.primary_model: one.propensity for one in draws}
    assert {name: count / 1_000 for name, count in counts.items()} == pytest.approx(told, abs=0.002)
    assert sum(told.values()) == pytest.approx(1)
    assert counts["acme/tiny"] == pytest.approx(2 * counts["acme/light"], abs=2)
    assert {one.policy for one in draws} == {"matrix", "explored"}


def test_nothing_dearer_than_the_reference_and_nothing_below_the_floor_is_tried() -> None:
    below = {**NEARLY_ALIKE, "light": forecast(0.5, doubt=0.3)}
    tried = {selection(exploring(0.5, place / 100, **below)).primary_model for place in range(100)}

    assert tried == {"acme/named", "acme/tiny"}


def test_best_quality_does_not_explore() -> None:
    chosen = selection(exploring(0.5, 0.0, **NEARLY_ALIKE), preference="best_quality")

    assert (chosen.policy, chosen.propensity) == ("matrix", 1.0)


# Properties

forecasts = st.builds(
    Forecast, quality=QUALITIES, doubt=st.floats(0, 0.3), prior=QUALITIES, sure=st.one_of(st.none(), QUALITIES)
)
models = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 1_000), forecasts), min_size=1, max_size=6)
limits = st.one_of(st.none(), st.integers(0, 2_000))


def rows_of(drawn: list[tuple[int, int, Forecast]]) -> tuple[list[Model], dict[str, Forecast]]:
    made = [
        model(f"acme/m{place}", tier=tier, prices={"input": price / 100, "output": price / 100})
        for place, (tier, price, _) in enumerate(drawn)
    ]
    return made, {one.model_id: row[2] for one, row in zip(made, drawn, strict=True)}


def cost_of(one: Model) -> int | None:
    return round(one.prices.input * 1_000) if one.prices.input is not None else None


@given(drawn=models, allowance=st.floats(0, 1), lower=st.floats(0, 1))
def test_lowering_the_floor_leaves_nobody_without_a_choice_nor_with_a_dearer_one_than_the_reference(
    drawn: list[tuple[int, int, Forecast]], allowance: float, lower: float
) -> None:
    made, expected = rows_of(drawn)
    strict = Outlook(forecasts=expected, allowance=allowance)
    mild = replace(strict, allowance=allowance + lower)

    before, after = preferred(made[0], made, strict, cost_of), preferred(made[0], made, mild, cost_of)

    assert before is not None
    assert after is not None
    if expected[made[0].model_id].quality >= after.floor:
        assert (cost_of(after.model) or 0) <= (cost_of(made[0]) or 0)


@given(drawn=models, more=st.tuples(st.integers(1, 4), st.integers(1, 1_000), forecasts), allowance=st.floats(0, 1))
def test_another_model_never_leaves_a_task_with_one_that_does_not_clear_the_floor(
    drawn: list[tuple[int, int, Forecast]], more: tuple[int, int, Forecast], allowance: float
) -> None:
    made, expected = rows_of([*drawn, more])
    view = Outlook(forecasts=expected, allowance=allowance)

    before = preferred(made[0], made[:-1], view, cost_of)
    after = preferred(made[0], made, view, cost_of)

    assert before is not None
    assert after is not None
    assert after.model in (before.model, made[-1])


@given(drawn=models, limit=limits, more=st.integers(0, 2_000), allowance=st.floats(0, 1))
def test_raising_a_budget_never_leaves_a_task_without_a_model(
    drawn: list[tuple[int, int, Forecast]], limit: int | None, more: int, allowance: float
) -> None:
    assume(limit is not None)
    made, expected = rows_of(drawn)
    rows = catalog(*made)
    view = Outlook(forecasts=expected, allowance=allowance)

    def eligible(most: int) -> set[str]:
        wish = replace(task(), constraints=Constraints(max_cost_microusd=most))
        try:
            chosen = Selector().select(wish, analysis(), rows, outlook=view)
        except Exception:  # noqa: BLE001 - nothing fits
            return set()
        return {chosen.primary_model, *chosen.fallback_models}

    assert limit is not None
    assert not eligible(limit) or eligible(limit + more)


@given(drawn=models, share=st.floats(0.01, 0.5), allowance=st.floats(0, 1))
def test_propensities_are_probabilities_of_all_that_can_be_chosen(
    drawn: list[tuple[int, int, Forecast]], share: float, allowance: float
) -> None:
    made, expected = rows_of(drawn)
    view = Outlook(forecasts=expected, allowance=allowance, exploration=share)

    told: dict[str, float] = {}
    for draw in (*(share * (place + 0.5) / 200 for place in range(200)), 1.0):
        found = preferred(made[0], made, replace(view, draw=draw), cost_of)
        assert found is not None
        assert 0 < found.propensity <= 1
        told[found.model.model_id] = found.propensity

    assert sum(told.values()) == pytest.approx(1, abs=0.02)
