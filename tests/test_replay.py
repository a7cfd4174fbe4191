"""Replaying policies over rows of the ledger, and the guard's verdict on them."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.learning.policy import Measured, guard
from routing.pricing import cost_microusd
from routing.replay import FEWEST_SCORED, NAMED_POLICIES, chooser, ledger_verdict, replayed, verdict_on
from routing.state import Decided
from tests.builders import model, usage

MODELS = {
    "acme/dear": model("acme/dear", prices={"input": 10, "output": 50}),
    "acme/middle": model("acme/middle", prices={"input": 2, "output": 8}),
    "acme/cheap": model("acme/cheap", prices={"input": 1, "output": 2}),
}
PRICES = {name: one.prices for name, one in MODELS.items()}
few_examples = settings(max_examples=25, deadline=None)


def row(number: int = 0, **changes: Any) -> Decided:
    """A route that the matrix's dear model took, weighed against the other two."""
    facts: dict[str, Any] = {
        "route_id": f"rte_{number:04}",
        "started_at": float(number),
        "category": "qa_retrieval",
        "complexity": 2,
        "policy": "matrix",
        "chosen_model": "acme/dear",
        "reference_model": "acme/dear",
        "forecasts": {"acme/dear": 0.9, "acme/middle": 0.89, "acme/cheap": 0.6},
        "propensity": 1.0,
        "model_used": "acme/dear",
        "usages": (usage(100, 20),),
        "tools_microusd": 0,
        "cost_microusd": 2_000,
        "score": None,
    }
    return Decided(**{**facts, **changes})


def taken(one: Decided, model_id: str, **changes: Any) -> Decided:
    """The same route as if this model had taken it, at its price."""
    costs = [cost_microusd(used, PRICES[model_id]) or 0 for used in one.usages]
    cost = one.tools_microusd + sum(costs)
    return replace(one, chosen_model=model_id, model_used=model_id, cost_microusd=cost, **changes)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Decided]:
    """Routes of any kind, at costs that no price list explains."""
    quality = st.floats(0, 1)
    rows: list[Decided] = []
    for number in range(draw(st.integers(1, 25))):
        names = draw(st.sets(st.sampled_from([*PRICES, "gone/model"]), min_size=1))
        chosen = draw(st.sampled_from(sorted(names)))
        rows.append(
            row(
                number,
                policy=draw(st.sampled_from(["matrix", "learned", "explored", "forced"])),
                chosen_model=chosen,
                model_used=chosen,
                reference_model=draw(st.sampled_from([None, *sorted(names)])),
                forecasts=draw(st.fixed_dictionaries(dict.fromkeys(sorted(names), quality)))
                if draw(st.booleans())
                else {},
                propensity=draw(st.floats(0.01, 1)),
                usages=tuple(
                    usage(draw(st.integers(0, 10**6)), draw(st.integers(0, 10**5)))
                    for _ in range(draw(st.integers(0, 3)))
                ),
                tools_microusd=draw(st.integers(0, 10_000)),
                cost_microusd=draw(st.none() | st.integers(0, 10**9)),
                score=draw(st.none() | quality),
            )
        )
    return rows


@few_examples
@given(ledgers(), st.sampled_from([*NAMED_POLICIES, "acme/cheap"]))
def test_replaying_the_policy_that_chose_gives_exactly_the_logged_cost(rows: list[Decided], name: str) -> None:
    choose = chooser(name, PRICES)
    logged = [replace(one, chosen_model=choose(one) or one.chosen_model) for one in rows]

    [again] = replayed(logged, [name], PRICES).policies

    assert again.cost_microusd.value == sum(one.cost_microusd or 0 for one in logged)
    assert again.cost_difference_microusd.value == 0
    assert again.agreement == (1.0 if any(one.cost_microusd is not None for one in logged) else 0.0)


@few_examples
@given(ledgers(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(rows: list[Decided], chance: random.Random) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)

    assert replayed(shuffled, NAMED_POLICIES, PRICES) == replayed(rows, NAMED_POLICIES, PRICES)


@few_examples
@given(ledgers())
def test_the_same_choice_without_chance_earns_exactly_the_mean_score(rows: list[Decided]) -> None:
    sure = [replace(one, propensity=1.0, cost_microusd=1) for one in rows]
    scores = sorted(one.score for one in sure if one.score is not None)

    done = replayed(sure, [], PRICES).done

    assert done.scored == len(scores)
    if done.quality is not None:
        assert done.quality.value == pytest.approx(sum(scores) / len(scores), abs=1e-15)
        assert done.support == pytest.approx(len(scores))


@few_examples
@given(ledgers())
def test_no_row_is_lost_and_cheapest_never_costs_more_than_another_choice_at_the_same_prices(
    rows: list[Decided],
) -> None:
    at_price = [taken(one, one.chosen_model) if one.chosen_model in PRICES else one for one in rows]
    known = [one for one in at_price if set(one.forecasts) <= set(PRICES) and one.chosen_model in PRICES]

    result = replayed(known, ["cheapest", "best_quality", "learned"], PRICES, max_loss=0.1)

    costs = {one.policy: one.cost_microusd.value for one in result.policies}
    assert result.routes + result.unpriced == len(known)
    assert costs["cheapest"] <= costs["best_quality"]


def test_a_policy_costs_the_routes_own_tokens_at_the_other_models_prices_and_the_tools_as_they_were() -> None:
    rows = [
        row(usages=(usage(100, 20), usage(1_000, 50, cache_read_tokens=500)), tools_microusd=5_000, cost_microusd=9_999)
    ]

    [replay] = replayed(rows, ["acme/cheap"], PRICES).policies

    # 100 × 1 + 20 × 2, 1,000 × 1 + 50 × 2 (no price of cache reads: the input's), and the tools
    assert replay.cost_microusd.value == 140 + 1_100 + 5_000
    assert replay.cost_difference_microusd.value == 6_240 - 9_999


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("matrix", "acme/dear"),
        ("learned", "acme/middle"),
        ("cheapest", "acme/cheap"),
        ("best_quality", "acme/dear"),
        ("acme/cheap", "acme/cheap"),
    ],
)
def test_each_policy_chooses_among_what_was_weighed(name: str, chosen: str) -> None:
    explored = row(policy="explored", chosen_model="acme/cheap", propensity=0.02)

    assert chooser(name, PRICES)(explored) == chosen


def test_learned_is_what_it_chose_then_unless_another_loss_is_allowed() -> None:
    learned = row(policy="learned", chosen_model="acme/cheap")

    assert chooser("learned", PRICES)(learned) == "acme/cheap"
    assert chooser("learned", PRICES)(row()) == "acme/dear"  # it weighed the middle one, and was not sure enough of it
    assert chooser("learned", PRICES)(row(propensity=0.02)) == "acme/middle"  # the dear one was drawn by lot
    assert chooser("learned", PRICES, max_loss=0.5)(learned) == "acme/middle"
    assert chooser("learned", PRICES, max_loss=0.0)(learned) == "acme/dear"


@pytest.mark.parametrize("name", [*NAMED_POLICIES, "acme/cheap"])
def test_what_the_caller_forced_every_policy_obeys(name: str) -> None:
    assert chooser(name, PRICES)(row(policy="forced", chosen_model="acme/middle")) == "acme/middle"


@pytest.mark.parametrize("name", ["learned", "cheapest", "best_quality"])
def test_a_route_that_weighed_nothing_stays_as_it_was_and_is_counted(name: str) -> None:
    [replay] = replayed([row(forecasts={}, reference_model=None)], [name], PRICES).policies

    assert (replay.undecided, replay.cost_difference_microusd.value, replay.predicted) == (1, 0, None)


def test_a_model_that_could_not_take_the_task_does_not_take_it_in_replay() -> None:
    rows = [row(forecasts={"acme/dear": 0.9}), row(1, category="embedding", forecasts={}, reference_model=None)]

    [replay] = replayed(rows, ["acme/cheap"], PRICES).policies

    assert replay.undecided == 2


def test_a_model_that_the_registry_no_longer_has_is_named_and_never_chosen() -> None:
    rows = [
        row(forecasts={"acme/dear": 0.9, "gone/best": 0.99, "acme/cheap": 0.5}),
        row(1, reference_model="gone/matrix", policy="learned", chosen_model="acme/cheap"),
    ]

    result = replayed(rows, ["best_quality", "matrix", "gone/best"], PRICES)

    best, matrix, gone = result.policies
    assert result.gone == {"gone/best": 1, "gone/matrix": 1}
    assert (best.undecided, matrix.undecided, gone.undecided) == (0, 1, 2)
    assert best.predicted == pytest.approx((0.9 + 0.9) / 2)


def test_a_model_without_a_price_is_never_chosen_by_cost_or_quality() -> None:
    prices = {**PRICES, "acme/dear": model("acme/dear", prices={}).prices}

    assert chooser("best_quality", prices)(row()) == "acme/middle"
    assert chooser("cheapest", prices)(row()) == "acme/cheap"


def test_routes_of_unknown_cost_are_left_out_and_counted() -> None:
    result = replayed([row(cost_microusd=None), row(1)], ["matrix"], PRICES)

    assert (result.routes, result.unpriced) == (1, 1)
    assert result.done.cost_microusd.value == 2_000


def test_without_rows_there_is_nothing_to_say() -> None:
    result = replayed([], NAMED_POLICIES, PRICES)

    assert (result.routes, result.done.cost_microusd.value, result.done.quality) == (0, 0, None)


def test_without_scores_only_the_prediction_is_told() -> None:
    result = replayed([row(), row(1)], ["cheapest"], PRICES)

    assert result.scored == 0
    assert result.policies[0].predicted == pytest.approx(0.6)
    assert (result.policies[0].quality, result.policies[0].quality_difference) == (None, None)


def explored_ledger(rows: int, *, truth: dict[str, float], seed: int = 7) -> list[Decided]:
    """The dear model with 80 %, else one of the others; answers are good as often as ``truth`` says, forecasts are wrong."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    chances = {"acme/dear": 0.8, "acme/middle": 0.1, "acme/cheap": 0.1}
    found: list[Decided] = []
    for number in range(rows):
        [chosen] = chance.choices(list(chances), weights=list(chances.values()))
        good = float(chance.random() < truth[chosen])
        policy = "matrix" if chosen == "acme/dear" else "explored"
        found.append(taken(row(number), chosen, policy=policy, propensity=chances[chosen], score=good))
    return found


def test_the_estimate_of_a_policy_finds_the_truth_although_forecasts_are_wrong() -> None:
    truth = {"acme/dear": 0.7, "acme/middle": 0.5, "acme/cheap": 0.3}

    result = replayed(explored_ledger(4_000, truth=truth), ["acme/cheap", "acme/middle"], PRICES)

    for one, name in zip(result.policies, ("acme/cheap", "acme/middle"), strict=True):
        assert one.quality is not None
        assert one.quality.value == pytest.approx(truth[name], abs=0.06)
        assert one.quality.lowest < truth[name] < one.quality.highest
        assert one.quality_difference is not None
        assert one.quality_difference.highest < 0
        assert one.support == pytest.approx(400, abs=60)  # the tenth of the routes that it took itself


def test_caching_in_the_tokens_is_priced_as_the_other_model_prices_it() -> None:
    prices = {
        "acme/dear": PRICES["acme/dear"],
        "acme/cheap": model("acme/cheap", prices={"input": 4, "output": 2, "cache_read": 1}).prices,
    }

    [replay] = replayed([row(usages=(usage(100, 0, cache_read_tokens=50),))], ["acme/cheap"], prices).policies

    assert replay.cost_microusd.value == 50 * Decimal(4) + 50 * 1


# The guard


def scored_ledger(
    rows: int, *, learned: float, matrix: float, forecast: float = 0.9, share: float = 0.7, seed: int = 3
) -> list[Decided]:
    """Learned selection gave a share of the routes to the middle model, the others stayed with the dear one."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    found: list[Decided] = []
    for number in range(rows):
        by_learned = chance.random() < share
        model_id = "acme/middle" if by_learned else "acme/dear"
        good = float(chance.random() < (learned if by_learned else matrix))
        forecasts = {"acme/dear": forecast, "acme/middle": forecast - 0.01, "acme/cheap": 0.1}
        one = row(number, forecasts=forecasts, score=good)
        found.append(taken(one, model_id, policy="learned" if by_learned else "matrix"))
    return found


def test_below_a_hundred_scored_routes_the_guard_says_nothing() -> None:
    rows = scored_ledger(FEWEST_SCORED, learned=0.1, matrix=0.9)

    assert ledger_verdict(rows[:-1], PRICES) is None
    assert ledger_verdict(rows, PRICES) is not None


@pytest.mark.parametrize("forecast", [0.95, 0.6])
def test_learned_selection_that_is_as_good_for_less_is_kept_however_strict_the_scores_are(forecast: float) -> None:
    verdict = ledger_verdict(scored_ledger(600, learned=0.6, matrix=0.6, forecast=forecast), PRICES)

    assert verdict is not None
    assert (verdict.outcome, verdict.chosen, verdict.rival) == ("policy", "learned", "matrix")
    assert "not measured worse" in verdict.reason


def test_learned_selection_that_is_measured_worse_gives_way_to_the_matrix() -> None:
    verdict = ledger_verdict(scored_ledger(600, learned=0.3, matrix=0.9), PRICES)

    assert verdict is not None
    assert (verdict.outcome, verdict.chosen) == ("fixed", "matrix")
    assert verdict.highest < -0.02
    assert "matrix is taken for all" in verdict.reason


def test_what_the_caller_forced_and_what_weighed_nothing_is_no_evidence() -> None:
    forced = [row(number, policy="forced", score=0.0) for number in range(200)]
    unweighed = [row(number, forecasts={}, reference_model=None, score=0.0) for number in range(200)]

    assert ledger_verdict([*forced, *unweighed], PRICES) is None


def measured(name: str, cost: float, qualities: list[float]) -> Measured:
    return Measured(name=name, qualities=qualities, costs=[cost] * len(qualities))


@st.composite
def contests(draw: st.DrawFn) -> tuple[Measured, Measured, list[Measured]]:
    """Policies of any quality on the same 100 routes."""
    chance = draw(st.randoms(use_true_random=False))
    costs = st.integers(0, 100)

    def outcomes(good: float) -> list[float]:
        return [float(chance.random() < good) for _ in range(100)]

    def of(name: str) -> Measured:
        return measured(name, float(draw(costs)), outcomes(draw(st.sampled_from([0.0, 0.2, 0.5, 0.6, 1.0]))))

    return of("learned"), of("matrix"), [of(f"acme/{number}") for number in range(draw(st.integers(0, 3)))]


@few_examples
@given(contests(), st.sampled_from([0.0, 0.02, 0.1]))
def test_the_guard_never_picks_a_policy_that_it_measured_as_worse(
    contest: tuple[Measured, Measured, list[Measured]], max_loss: float
) -> None:
    learned, matrix, fixed = contest

    verdict = verdict_on(learned, matrix, fixed, max_loss=max_loss)

    every = {one.name: one for one in (learned, matrix, *fixed)}
    chosen = every[verdict.chosen]
    affordable = [one for one in fixed if one.cost <= learned.cost]
    best = [max(affordable, key=lambda one: one.quality)] if affordable else []
    for rival in [matrix, *best]:
        allowed = max_loss if chosen is learned and rival.cost > learned.cost else 0.0
        assert guard(chosen, [rival]).highest >= -allowed
    assert (verdict.outcome == "policy") == (chosen is learned)


def test_a_cheaper_fixed_model_that_is_measured_better_takes_the_place_of_learned_selection() -> None:
    half = [1.0, 0.0] * 50

    verdict = verdict_on(
        measured("learned", 10, half),
        measured("matrix", 20, half),
        [measured("acme/cheap", 5, [1.0] * 100)],
        max_loss=0.02,
    )

    assert (verdict.outcome, verdict.chosen) == ("fixed", "acme/cheap")
    assert verdict.gain == -0.5


def test_a_better_model_that_costs_more_is_no_reason_to_give_up_thrift() -> None:
    half = [1.0, 0.0] * 50

    verdict = verdict_on(
        measured("learned", 10, half),
        measured("matrix", 20, half),
        [measured("acme/dear", 30, [1.0] * 100)],
        max_loss=0.02,
    )

    assert verdict.outcome == "policy"
