"""The figures, on values that can be worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.labelled import Labelled
from training.scoring import Judged, calibration_error, figures_of, pairs_agree, paraphrases_agree, temperature_of


def judged(said: int, group: str = "", odds: float = 3.0, **changes: Any) -> Judged:
    """A prompt of the first category, judged to be of category ``said``."""
    labels: dict[str, Any] = {
        "prompt": "p", "category": "deep_reasoning", "complexity": 3, "tools": False, "length": 1, "style": "plain",
        "language": "en", "group": group, "source": "en-1",
    }  # fmt: skip
    row = np.zeros(8, np.float32)
    row[said] = odds
    return Judged(
        labelled=Labelled(**{**labels, **changes}),
        odds=row,
        complexity=4,
        tools=False,
        length=1,
        rules="embedding",
        rules_complexity=5,
    )


def test_sure_and_right_half_the_time_is_half_off() -> None:
    assert calibration_error(np.array([1.0, 1.0]), np.array([True, False])) == pytest.approx(0.5)
    assert calibration_error(np.array([0.75] * 4), np.array([True, True, True, False])) == pytest.approx(0)


def test_overconfident_odds_want_a_higher_temperature() -> None:
    often_wrong = [judged(0, odds=6)] * 6 + [judged(1, odds=6)] * 4
    always_right = [judged(0, odds=1)] * 10
    assert temperature_of(often_wrong) > 1 > temperature_of(always_right)


def test_paraphrases_agree_where_all_of_a_group_got_one_category() -> None:
    some = [judged(0, "a"), judged(0, "a"), judged(0, "b"), judged(1, "b"), judged(2, "alone")]
    assert sorted(paraphrases_agree(some)) == [False, True]


def test_of_three_paraphrases_one_of_which_stands_apart_one_pair_in_three_agrees() -> None:
    some = [judged(0, "a"), judged(0, "a"), judged(1, "a"), judged(2, "alone")]
    assert pairs_agree(some) == pytest.approx(1 / 3)
    assert pairs_agree([*some, judged(0, "b"), judged(0, "b")]) == pytest.approx(2 / 3)


def test_shares_come_with_their_interval_and_number() -> None:
    some = [judged(0, f"g{index}", language="en" if index % 2 else "de") for index in range(40)]
    figures = figures_of([*some, judged(1, "x"), judged(1, "y")])
    share, low, high, count = figures["category"]
    assert count == 42
    assert share == pytest.approx(40 / 42, abs=1e-4)
    assert low < share < high
    assert figures["complexity_within_one"][0] == 1
    assert figures["rules_category"][0] == figures["rules_complexity_within_one"][0] == 0
