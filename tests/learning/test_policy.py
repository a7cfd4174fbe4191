from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.learning.policy import Candidate, Measured, best_value, cheapest_above, guard, loss_p_value, safe_thrift

qualities = st.floats(min_value=0, max_value=1)
costs = st.one_of(st.none(), st.integers(min_value=0, max_value=100_000))
candidate_lists = st.lists(st.tuples(qualities, costs), max_size=8).map(
    lambda rows: [
        Candidate(model_id=f"m{place}", quality=quality, cost_microusd=cost)
        for place, (quality, cost) in enumerate(rows)
    ]
)

STRONG = Candidate(model_id="strong", quality=0.9, cost_microusd=1_000)
WEAK = Candidate(model_id="weak", quality=0.7, cost_microusd=100)
UNPRICED = Candidate(model_id="unpriced", quality=1.0, cost_microusd=None)


def price(candidate: Candidate) -> int:
    assert candidate.cost_microusd is not None
    return candidate.cost_microusd


def test_the_cheapest_model_that_clears_the_floor_is_taken() -> None:
    assert cheapest_above([STRONG, WEAK], 0.6) == WEAK
    assert cheapest_above([STRONG, WEAK], 0.8) == STRONG
    assert cheapest_above([STRONG, WEAK], 0.95) is None


def test_a_margin_asks_for_more_than_the_floor() -> None:
    assert cheapest_above([STRONG, WEAK], 0.65, margin=0.1) == STRONG


def test_an_unknown_price_is_never_the_cheapest() -> None:
    assert cheapest_above([UNPRICED, STRONG], 0.5) == STRONG
    assert best_value([UNPRICED], 1_000, 0.1) is None


def test_of_equally_cheap_models_the_better_is_taken() -> None:
    better = replace(WEAK, model_id="better", quality=0.8)

    assert cheapest_above([WEAK, better], 0.5) == better
    assert best_value([WEAK, better], 1_000, 0.1) == better


def test_thrift_is_the_quality_that_the_references_price_must_buy() -> None:
    assert best_value([STRONG, WEAK], 1_000, 0.0) == STRONG
    assert best_value([STRONG, WEAK], 1_000, 0.22) == STRONG
    assert best_value([STRONG, WEAK], 1_000, 0.23) == WEAK


@given(candidate_lists, qualities, qualities)
def test_lowering_the_floor_never_makes_the_choice_dearer_or_disappear(
    candidates: list[Candidate], one: float, other: float
) -> None:
    high, low = cheapest_above(candidates, max(one, other)), cheapest_above(candidates, min(one, other))

    if high is not None:
        assert low is not None
        assert price(low) <= price(high)


@given(candidate_lists, candidate_lists, qualities)
def test_adding_a_model_never_makes_the_choice_dearer_or_disappear(
    candidates: list[Candidate], more: list[Candidate], floor: float
) -> None:
    few, many = cheapest_above(candidates, floor), cheapest_above([*candidates, *more], floor)

    if few is not None:
        assert many is not None
        assert price(many) <= price(few)


@given(candidate_lists, st.floats(min_value=0, max_value=1), st.floats(min_value=0, max_value=1))
def test_more_thrift_never_chooses_a_dearer_model(candidates: list[Candidate], one: float, other: float) -> None:
    lavish, thrifty = (best_value(candidates, 10_000, thrift) for thrift in (min(one, other), max(one, other)))

    if lavish is not None and thrifty is not None:
        assert price(thrifty) <= price(lavish) or abs(one - other) * 10 < 1e-9


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


def test_the_largest_thrift_before_the_first_failure_is_kept() -> None:
    good, bad = [0.0] * 2_000, [1.0, 0.0] * 1_000

    assert safe_thrift({0.0: good, 0.1: good, 0.2: bad, 0.3: good}, max_loss=0.05) == 0.1
    assert safe_thrift({0.0: bad, 0.1: good}, max_loss=0.05) is None


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
