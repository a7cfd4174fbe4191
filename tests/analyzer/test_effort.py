"""How long an answer will be, and how hard the work."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.analyzer.effort import TYPICAL_OUTPUT, Demands, asked_length, complexity_of, output_tokens
from routing.types import CATEGORIES, Category, Complexity

COMPLEXITIES: tuple[Complexity, ...] = get_args(Complexity)
COUNTED = ("asked_chars", "given_chars", "hard", "large", "steps", "constraints", "questions")


def demands(category: Category = "text_generation", **counts: int) -> Demands:
    return Demands(
        category=category,
        asked_chars=counts.get("asked_chars", 100),
        given_chars=counts.get("given_chars", 0),
        hard=counts.get("hard", 0),
        easy=counts.get("easy", 0),
        large=counts.get("large", 0),
        steps=counts.get("steps", 0),
        constraints=counts.get("constraints", 0),
        questions=counts.get("questions", 0),
        math=False,
        trivial=False,
    )


@pytest.mark.parametrize(
    ("asked", "tokens"),
    [
        ("Write it in 500 words", 675),
        ("an essay of 1,200 words", 1_620),
        ("Resúmelo en dos frases", 54),
        ("Contesta en una sola palabra", 1),
        ("one sentence, please", 27),
        ("un texto de 80 palabras", 108),
        ("five short paragraphs", 675),
        ("in 3 bullet points", 90),
        ("ten name ideas", 450),
        ("write a haiku", 30),
        ("Answer yes or no.", 5),
        ("写200字", 200),
        ("auf zwei Seiten", 1_200),
    ],
)
def test_a_length_that_is_asked_for_is_understood(asked: str, tokens: int) -> None:
    assert asked_length(asked) == tokens


@pytest.mark.parametrize(
    "asked",
    [
        "Summarise this 300-page deposition",
        "I have a 300-page deposition",
        "Resume las 120 páginas",
        "draw a line chart",
        "the words in this sentence",
        "",
    ],
)
def test_the_length_of_what_is_given_is_not_taken_for_the_answers(asked: str) -> None:
    assert asked_length(asked) is None


@pytest.mark.parametrize("category", CATEGORIES)
def test_output_grows_with_complexity_within_the_typical_range(category: Category) -> None:
    lengths = [output_tokens(category, complexity) for complexity in COMPLEXITIES]
    assert (lengths[0], lengths[-1]) == TYPICAL_OUTPUT[category]
    assert all(shorter < longer for shorter, longer in pairwise(lengths))


def test_an_edited_text_comes_back_whole() -> None:
    assert output_tokens("text_generation", 2, "Proofread this", echoed_tokens=10_000) == 11_000


def test_no_answer_is_expected_to_be_absurdly_long_or_empty() -> None:
    assert output_tokens("text_generation", 2, "write 90000 words") == 64_000
    assert output_tokens("classification", 1, "one word") == 5


@given(
    st.sampled_from(CATEGORIES),
    st.dictionaries(st.sampled_from(COUNTED), st.integers(0, 50_000)),
    st.sampled_from(COUNTED),
    st.integers(1, 50_000),
)
def test_asking_for_more_never_lowers_complexity(
    category: Category, counts: dict[str, int], more: str, amount: int
) -> None:
    before = complexity_of(demands(category, **counts))
    after = complexity_of(demands(category, **{**counts, more: counts.get(more, 0) + amount}))
    assert 1 <= before <= after <= 5 or (more == "asked_chars" and more not in counts)


@given(st.sampled_from(CATEGORIES), st.integers(0, 5))
def test_calling_it_simple_never_raises_complexity(category: Category, easy: int) -> None:
    assert complexity_of(demands(category, easy=easy)) <= complexity_of(demands(category))


@pytest.mark.parametrize("demand", ["asked_chars", "constraints", "steps", "large", "questions"])
def test_no_single_demand_makes_a_note_frontier_work(demand: str) -> None:
    assert complexity_of(demands("text_generation", **{demand: 10_000})) <= 3
