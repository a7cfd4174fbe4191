"""What answers come down to, so that samples of them can be compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.verification.agreement import most_common, quorum, result_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "The answer is 42."),
        ("1,000.50", "= $1000.5"),
        ("6.02e23", "602000000000000000000000"),
        ("Step 1: add.\nTherefore, x = 7", r"\boxed{7}"),
        ("Billing", "**Label:** billing."),
        ("yes", "Yes, because the sum is even and so on, for a whole long sentence that goes on beyond what is short."),
        ("Sí.", "yes"),
        ("No", "false"),
        ('{"a": 1, "b": 2}', '```json\n{"b": 2, "a": 1}\n```'),
        ("The Eiffel Tower", "eiffel tower."),
    ],
)
def test_answers_that_say_the_same_come_down_to_the_same(one: str, other: str) -> None:
    assert result_of(one) == result_of(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("42", "43"),
        ("yes", "no"),
        ("billing", "technical"),
        ("1.5", "15"),
        ("1" + "0" * 40, "1" + "0" * 39 + "1"),
        ('{"a": 1}', '{"a": 2}'),
    ],
)
def test_answers_that_differ_do_not(one: str, other: str) -> None:
    assert result_of(one) != result_of(other)


@pytest.mark.parametrize(
    "answer", ["", "It depends on many things, " * 10, "{broken", "No further proof of this exists, " * 9]
)
def test_of_an_essay_nothing_can_be_told(answer: str) -> None:
    assert result_of(answer) is None


def test_what_cannot_be_told_agrees_with_nothing() -> None:
    assert most_common([None, "4", None, None]) == ("4", 1)
    assert most_common([None]) == (None, 0)
    assert most_common(["4", "5", "5"]) == ("5", 2)


def test_two_thirds_must_agree() -> None:
    assert [quorum(samples) for samples in (3, 4, 5, 6, 7)] == [2, 3, 4, 4, 5]


@given(st.text(st.characters(), max_size=200))
def test_no_answer_breaks_it_and_white_space_round_it_changes_nothing(answer: str) -> None:
    assert result_of(answer) == result_of(f"\n {answer} \n")
