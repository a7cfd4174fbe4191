from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.learning.policy import (
    FULL_PRICE,
    Calibration,
    Candidate,
    Measured,
    best_within,
    guard,
    loss_p_value,
    safe_allowance,
    within,
)

qualities = st.floats(min_value=0, max_value=1)
costs = st.one_of(st.none(), st.integers(min_value=0, max_value=100_000))
candidate_lists = st.lists(st.tuples(qualities, costs), max_size=8).map(
    lambda rows: [
        Candidate(model_id=f"m{place}", quality=quality, cost_microusd=cost)
        for place, (quality, cost) in enumerate(rows)
    ]
)

references = st.tuples(qualities, st.integers(min_value=0, max_value=100_000)).map(
    lambda row: Candidate(model_id="reference", quality=row[0], cost_microusd=row[1])
)
allowances = st.integers(min_value=0, max_value=100).map(lambda percent: percent / 100)

STRONG = Candidate(model_id="strong", quality=0.9, cost_microusd=1_000)
WEAK = Candidate(model_id="weak", quality=0.7, cost_microusd=100)
MIDDLING = Candidate(model_id="middling", quality=0.8, cost_microusd=500)
UNPRICED = Candidate(model_id="unpriced", quality=1.0, cost_microusd=None)


def price(candidate: Candidate) -> int:
    assert candidate.cost_microusd is not None
    return candidate.cost_microusd


@pytest.mark.parametrize(
    ("allowance", "chosen"), [(0.0, "strong"), (0.08, "strong"), (0.1, "middling"), (1.0, "middling")]
)
def test_a_cheaper_model_stands_in_for_the_reference_from_its_allowance_on(allowance: float, chosen: str) -> None:
    cheap = replace(WEAK, quality=0.7, cost_microusd=0)
    middling = replace(MIDDLING, quality=0.81)

    assert best_within([STRONG, cheap, middling], STRONG, allowance).model_id == chosen


def test_what_saves_less_than_its_quality_is_worth_is_not_taken() -> None:
    # for nothing at all a model may be worse by what the full price must buy, and no more
    assert best_within([replace(WEAK, quality=0.69, cost_microusd=0)], STRONG, 1.0) == STRONG
    assert best_within([replace(WEAK, quality=0.71, cost_microusd=0)], STRONG, 1.0).model_id == "weak"


def test_of_several_above_the_floor_the_best_value_is_taken() -> None:
    # the middling model costs 0.4 of the reference's price more than the cheap one: 0.08 of quality at 0.2 for all of it
    cheap = replace(WEAK, quality=0.74)

    assert best_within([cheap, replace(MIDDLING, quality=0.83)], STRONG, 0.2).model_id == "middling"
    assert best_within([cheap, replace(MIDDLING, quality=0.81)], STRONG, 0.2).model_id == "weak"


def test_a_model_as_good_as_the_reference_stands_in_for_it_only_if_it_costs_less() -> None:
    equal, cheaper = replace(STRONG, model_id="equal"), replace(STRONG, model_id="cheaper", cost_microusd=999)

    assert within([equal, cheaper, STRONG, WEAK, UNPRICED], STRONG, 0.0) == [cheaper, STRONG, equal]


def test_a_dearer_model_is_not_taken_however_good() -> None:
    assert best_within([replace(STRONG, cost_microusd=1_001, quality=1.0)], STRONG, 0.0) == STRONG


def test_beside_a_reference_that_costs_nothing_the_best_free_model_is_taken() -> None:
    free, better = (replace(one, cost_microusd=0) for one in (WEAK, STRONG))

    assert best_within([better, replace(UNPRICED, cost_microusd=1)], free, 0.5) == better


@settings(deadline=None)
@given(candidate_lists, references, allowances)
def test_an_unknown_price_is_never_chosen(candidates: list[Candidate], reference: Candidate, allowance: float) -> None:
    assert best_within([*candidates, UNPRICED], reference, allowance).cost_microusd is not None
    assert best_within(candidates, replace(reference, cost_microusd=None), allowance).model_id == "reference"


@settings(deadline=None)
@given(candidate_lists, references, allowances)
def test_a_choice_is_never_dearer_than_the_reference_nor_worse_by_more_than_the_allowance(
    candidates: list[Candidate], reference: Candidate, allowance: float
) -> None:
    chosen = best_within(candidates, reference, allowance)

    assert price(chosen) <= price(reference)
    assert chosen.quality >= reference.quality - allowance - 1e-9


@settings(deadline=None)
@given(candidate_lists, references, allowances, allowances)
def test_a_larger_allowance_never_chooses_a_dearer_model(
    candidates: list[Candidate], reference: Candidate, one: float, other: float
) -> None:
    careful, thrifty = (best_within(candidates, reference, allowance) for allowance in sorted((one, other)))

    assert price(thrifty) <= price(careful)


@settings(deadline=None)
@given(candidate_lists, candidate_lists, references, allowances)
def test_another_model_takes_the_choice_only_by_being_better_value(
    candidates: list[Candidate], more: list[Candidate], reference: Candidate, allowance: float
) -> None:
    renamed = [replace(one, model_id=f"another-{one.model_id}") for one in more]
    few, many = (
        best_within(candidates, reference, allowance),
        best_within([*candidates, *renamed], reference, allowance),
    )

    def value(one: Candidate) -> float:
        return one.quality - FULL_PRICE * price(one) / max(price(reference), 1)

    assert many == few or many in renamed
    assert value(many) >= value(few) - 1e-9


@settings(deadline=None)
@given(candidate_lists, references, allowances, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    candidates: list[Candidate], reference: Candidate, allowance: float, shuffle: Random
) -> None:
    shuffled = list(candidates)
    shuffle.shuffle(shuffled)

    assert best_within(shuffled, reference, allowance) == best_within(candidates, reference, allowance)


def losses(mean: float, count: int, seed: int) -> list[float]:
    draws = np.random.default_rng(seed)
    return [1.0 if draws.random() < mean else 0.0 for _ in range(count)]


def test_losses_at_the_limit_pass_the_test_one_time_in_twenty_at_most() -> None:
    passed = sum(loss_p_value(losses(0.10, 600, seed), 0.10) <= 0.05 for seed in range(300))

    assert passed <= 300 * 0.05 + 8  # two standard errors


def test_losses_well_below_the_limit_pass_the_test() -> None:
    passed = sum(loss_p_value(losses(0.04, 600, seed), 0.10) <= 0.05 for seed in range(50))

    assert passed >= 45


def test_a_handful_of_good_outcomes_proves_nothing() -> None:
    assert loss_p_value([0.0] * 10, 0.02) > 0.05
    assert loss_p_value([], 0.02) == 1


def test_the_largest_allowance_before_the_first_failure_is_kept() -> None:
    good, bad = [0.0] * 2_000, [1.0, 0.0] * 1_000

    assert safe_allowance({0.0: good, 0.1: good, 0.2: bad, 0.3: good}, max_loss=0.05) == 0.1
    assert safe_allowance({0.0: bad, 0.1: good}, max_loss=0.05) is None


@settings(deadline=None)
@given(st.lists(st.floats(min_value=-1, max_value=1), max_size=40), qualities, qualities)
def test_whoever_may_lose_more_is_never_allowed_less(values: list[float], one: float, other: float) -> None:
    strict, lax = (loss_p_value(values, max_loss) for max_loss in sorted((one * 0.99, other * 0.99)))

    assert lax <= strict + 1e-9


def calibration(table: dict[float, float]) -> Calibration:
    verdict = guard(measured("policy", [0.9] * 9, 5), [measured("fixed", [0.5] * 9, 5)])
    return Calibration(allowances=table, verdict=verdict, prompts=9, models=("fixed",))


@pytest.mark.parametrize(("max_loss", "allowance"), [(0.0, None), (0.01, 0.05), (0.019, 0.05), (0.02, 0.1), (1.0, 0.1)])
def test_an_allowance_is_that_of_the_largest_loss_that_is_not_above_the_one_asked_for(
    max_loss: float, allowance: float | None
) -> None:
    assert calibration({0.01: 0.05, 0.02: 0.1}).allowance(max_loss) == allowance


def test_where_no_loss_passed_there_is_no_allowance() -> None:
    assert calibration({}).allowance(1.0) is None


def measured(name: str, values: Sequence[float], cost: float) -> Measured:
    return Measured(name=name, qualities=values, costs=[cost] * len(values))


def test_a_policy_that_is_clearly_better_at_equal_cost_is_kept() -> None:
    verdict = guard(measured("policy", [0.9, 0.8] * 100, 5), [measured("cheap", [0.5, 0.4] * 100, 5)])

    assert (verdict.outcome, verdict.chosen) == ("policy", "policy")
    assert verdict.lowest > 0


def test_a_policy_that_wins_by_luck_collapses_to_the_fixed_model() -> None:
    draws = np.random.default_rng(3)
    policy, fixed = ([float(draws.random() < share) for _ in range(100)] for share in (0.55, 0.5))
    verdict = guard(measured("policy", policy, 5), [measured("fixed", fixed, 5), measured("dear", [1.0] * 100, 50)])

    assert (verdict.outcome, verdict.chosen) == ("fixed", "fixed")
    assert "not measured better" in verdict.reason


def test_only_models_that_cost_no_more_are_rivals() -> None:
    verdict = guard(
        measured("policy", [0.8] * 50, 5), [measured("cheap", [0.5] * 50, 4), measured("dear", [0.9] * 50, 6)]
    )

    assert verdict.rival == "cheap"


@settings(deadline=None)
@given(
    st.lists(st.tuples(qualities, qualities, qualities), min_size=2, max_size=60),
    st.tuples(*(st.floats(min_value=0.1, max_value=9) for _ in range(3))),
)
def test_the_guard_never_keeps_a_policy_that_it_measured_as_worse(
    rows: list[tuple[float, float, float]], prices: tuple[float, float, float]
) -> None:
    policy, *fixed = (
        measured(name, [row[place] for row in rows], prices[place]) for place, name in enumerate(("p", "a", "b"))
    )
    verdict = guard(policy, fixed)

    if verdict.outcome == "policy":
        affordable = [one for one in fixed if one.cost <= policy.cost]
        assert all(policy.quality >= one.quality - 1e-9 for one in affordable)


@pytest.mark.parametrize("seed", range(3))
def test_the_guard_says_the_same_every_time(seed: int) -> None:
    policy, fixed = measured("policy", losses(0.6, 80, seed), 5), measured("fixed", losses(0.5, 80, seed + 9), 5)

    assert guard(policy, [fixed]) == guard(policy, [fixed])
