"""How far two answers agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.agreement import agreement


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Paris.", "  paris"),
        ("a\n b", "A b"),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}'),
        ("42", "The answer is 42."),
        ("Altogether 3 × 14 = 42", "42."),
        ("1,000", "1000"),
        ("", " "),
    ],
)
def test_answers_that_say_the_same_agree_wholly(first: str, second: str) -> None:
    assert agreement(first, second) == 1.0


@pytest.mark.parametrize(
    ("first", "second"), [("42", "The answer is 41."), ("42", "Many"), ("yes", "no"), ("", "Paris"), ("寿司", "Paris")]
)
def test_answers_that_have_nothing_in_common_do_not_agree(first: str, second: str) -> None:
    assert agreement(first, second) == 0.0


def test_else_it_is_the_f1_of_words_and_signs() -> None:
    # 3 pieces and 5, of which "paris", "is" and "it" are shared
    assert agreement("It is Paris", "Paris, I think it is") == pytest.approx(2 * 3 / (3 + 6))
    assert agreement("a + b", "a - b") == pytest.approx(2 / 3)
    assert 0 < agreement("東京は日本の首都です", "日本の首都は東京です") < 1


@given(st.text(st.characters()), st.text(st.characters()))
def test_agreement_is_the_same_from_both_sides_and_between_0_and_1(first: str, second: str) -> None:
    assert agreement(first, second) == agreement(second, first)
    assert 0 <= agreement(first, second) <= 1
    assert agreement(first, first) == 1
