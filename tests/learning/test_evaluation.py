from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.learning.evaluation import Panel, apgr, cpt, curve, with_interval
from routing.learning.policy import FULL_PRICE, Candidate, best_within

WEAK = np.array([1.0, 0.0] * 50)
STRONG = np.ones(100)


def test_the_curve_runs_from_no_strong_call_to_all() -> None:
    shares, quality = curve(np.arange(100.0), WEAK, STRONG)

    assert (shares[0], shares[-1]) == (0, 1)
    assert (quality[0], quality[-1]) == (0.5, 1)
    assert len(shares) == 11


def test_a_score_that_knows_the_gap_recovers_it_with_half_of_the_calls() -> None:
    # up to x = 0.5 the quality rises from 0.5 to 1, from there on it is 1: (0.75 · 0.5 + 1 · 0.5 − 0.5) / 0.5
    assert apgr(STRONG - WEAK, WEAK, STRONG) == pytest.approx(0.75, abs=0.01)
    assert cpt(STRONG - WEAK, WEAK, STRONG, 0.5) == pytest.approx(0.25, abs=0.01)
    assert cpt(STRONG - WEAK, WEAK, STRONG, 0.8) == pytest.approx(0.4, abs=0.01)


def test_a_score_that_is_upside_down_recovers_as_much_less_than_half() -> None:
    assert apgr(WEAK - STRONG, WEAK, STRONG) == pytest.approx(0.25, abs=0.01)


def test_a_constant_score_is_chance_because_ties_are_broken_at_random() -> None:
    values = [apgr(np.zeros(100), WEAK, STRONG, seed=seed) for seed in range(40)]

    assert np.mean(values) == pytest.approx(0.5, abs=0.03)
    assert len(set(values)) > 1


def test_a_threshold_that_is_never_reached_takes_every_call() -> None:
    assert cpt(np.arange(100.0), WEAK, STRONG, 1.5) == 1


def test_an_interval_holds_the_figure_and_narrows_with_more_prompts() -> None:
    values = np.random.default_rng(1).random(1_000)
    few = with_interval(lambda rows: float(values[:50][rows].mean()), 50)
    many = with_interval(lambda rows: float(values[rows].mean()), 1_000)

    assert few.lowest < few.value < few.highest
    assert many.highest - many.lowest < few.highest - few.lowest


def test_a_panel_measures_what_the_choice_earns_and_costs() -> None:
    panel = Panel(
        models=("cheap", "dear"),
        predicted=np.array([[0.8, 0.9], [0.75, 0.9]]),
        quality=np.array([[1.0, 1.0], [0.0, 1.0]]),
        cost=np.array([[10, 100], [10, 100]]),
    )
    measured = panel.measured("policy", panel.within(1, 0.12))

    assert (measured.quality, measured.cost) == (1.0, 55.0)
    assert panel.losses(1, 0.12) == [0.0, 0.0]
    assert panel.losses(1, 0.2) == [0.0, 1.0]
    assert [(one.name, one.quality) for one in panel.fixed()] == [("cheap", 0.5), ("dear", 1.0)]
    assert panel.best_fixed() == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 100)] * 3, *[st.integers(0, 500)] * 3), min_size=1, max_size=8),
    st.integers(0, 2),
    st.integers(0, 100),
)
def test_a_panel_chooses_as_the_policy_does(rows: list[tuple[int, ...]], reference: int, percent: int) -> None:
    predicted, cost = np.array([row[:3] for row in rows]) / 100, np.array([row[3:] for row in rows])
    panel = Panel(models=("a", "b", "c"), predicted=predicted, quality=predicted, cost=cost)

    def value(row: int, place: int) -> float:
        return float(predicted[row, place] - FULL_PRICE * cost[row, place] / max(cost[row, reference], 1))

    for row, place in enumerate(panel.within(reference, percent / 100)):
        candidates = [
            Candidate(model_id=str(each), quality=predicted[row, each], cost_microusd=int(cost[row, each]))
            for each in range(3)
        ]
        chosen = best_within(candidates, candidates[reference], percent / 100)
        assert cost[row, place] <= cost[row, reference]
        assert value(row, place) == pytest.approx(value(row, int(chosen.model_id)))
