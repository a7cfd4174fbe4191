from __future__ import annotations

import numpy as np
import pytest

from routing.learning.features import BUCKETS, features_of
from routing.learning.quality import Gap
from routing.learning.recogniser import Recogniser, fit_recogniser
from routing.learning.ridge import Ridge, Rows, Settings, Space, fit, out_of_fold, solved

SETTINGS = Settings(penalty=2, shape_scale=0.1)
COOKING = [f"Boil the {food} for {minutes} minutes" for food in ("egg", "rice", "bean") for minutes in range(5, 15)]
SAILING = [f"Hoist the {sail} in {knots} knots of wind" for sail in ("jib", "genoa", "main") for knots in range(5, 15)]
FEATURES = [features_of(prompt) for prompt in (*COOKING, *SAILING)]
TARGETS = np.array([1.0] * len(COOKING) + [0.0] * len(SAILING))


def constant(value: float) -> Ridge:
    return fit(FEATURES, np.full(len(FEATURES), value), SETTINGS)


def test_the_solution_is_that_of_the_normal_equations() -> None:
    rows = Rows.of(FEATURES, Space.of(FEATURES), SETTINGS)
    dense = np.zeros((len(FEATURES), BUCKETS))
    np.add.at(dense, (rows.row, rows.bucket), rows.value)
    used = np.flatnonzero(np.abs(dense).sum(axis=0))
    matrix = np.hstack([dense[:, used], rows.shape])
    counted, centred = np.linspace(0.5, 2, len(TARGETS)), TARGETS - TARGETS.mean()
    curvature = matrix.T @ (counted[:, None] * matrix) + SETTINGS.penalty * np.eye(matrix.shape[1])
    found = solved(rows, centred, counted, SETTINGS.penalty)
    weights = np.concatenate([found[used], found[BUCKETS:]])

    assert np.allclose(curvature @ weights, matrix.T @ (counted * centred), atol=0.05)


def test_a_row_has_length_one_whatever_the_prompts_length() -> None:
    rows = Rows.of([FEATURES[0], features_of(" ".join(COOKING))], Space.of(FEATURES), SETTINGS)

    assert np.bincount(rows.row, rows.value**2) == pytest.approx([1, 1])


def test_a_word_that_one_prompt_alone_has_counts_nothing() -> None:
    odd = features_of("zyzzyva")
    space = Space.of([*FEATURES, odd])

    assert not space.idf[odd.buckets].any()


def test_rows_that_count_more_pull_harder() -> None:
    heavy = np.where(TARGETS == 1, 10.0, 1.0)

    assert fit(FEATURES, TARGETS, SETTINGS, heavy).intercept > fit(FEATURES, TARGETS, SETTINGS).intercept


def test_no_row_is_predicted_by_a_regression_that_saw_its_fold() -> None:
    draws = np.random.default_rng(0)
    noise, folds = draws.normal(size=len(FEATURES)), np.arange(len(FEATURES)) % 3
    loose = Settings(penalty=0.01, shape_scale=0.1)
    seen = fit(FEATURES, noise, loose).predict(FEATURES)

    assert np.corrcoef(seen, noise)[0, 1] > 0.5
    assert np.corrcoef(out_of_fold(FEATURES, noise, folds, loose), noise)[0, 1] < 0.5


def test_the_kind_of_work_is_recognised() -> None:
    recogniser = fit_recogniser(FEATURES, ["cooking"] * len(COOKING) + ["sailing"] * len(SAILING))
    prompts = [features_of("Boil the rice for 20 minutes"), features_of("Hoist the jib in 20 knots of wind")]
    found = recogniser.predict(prompts)

    assert found.sum(axis=1) == pytest.approx([1, 1])
    assert found[0, 0] > 0.9
    assert found[1, 1] > 0.9
    assert recogniser.likeness(prompts, ["sailing"]) == pytest.approx(found[:, 1])
    again = Recogniser.from_arrays(recogniser.arrays(), recogniser.sources)
    assert np.allclose(again.predict(prompts), found)


def test_a_gap_is_judged_by_the_form_of_the_prompt() -> None:
    recogniser = fit_recogniser(FEATURES, ["cooking"] * len(COOKING) + ["sailing"] * len(SAILING))
    gap = Gap(choice=constant(0.5), open=constant(0.3), kind=constant(0.1), familiar=("cooking",))
    prompts = ["Which?\nA. this\nB. that", "Boil the egg for 20 minutes", "Hoist the jib in 20 knots of wind"]
    features = [features_of(prompt) for prompt in prompts]

    assert gap.predict(features, recogniser) == pytest.approx([0.5, 0.3, 0.1])
    without = Gap(choice=None, open=None, kind=constant(0.1))
    assert without.predict(features, recogniser) == pytest.approx([0.1, 0.1, 0.1])
