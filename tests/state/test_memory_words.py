from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.state.words import MOST_TERMS, indexed, terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tea, please!", "Tea please"),
        ("寿司屋", "寿 寿司 司 司屋 屋"),
        ("猫", "猫"),
        ("JR東京駅2番", "JR 東 東京 京 京駅 駅 2 番"),
        ("nul\x00 half\ud800 done", "nul half done"),
        ("हिन्दी", "हिन्दी"),
    ],
)
def test_a_text_is_indexed_as_words_and_runs_without_spaces_as_characters_and_pairs(text: str, words: str) -> None:
    assert " ".join(indexed(text).split()) == words


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Tea, tea PLEASE", ("tea", "please")),
        ("寿司屋", ("寿司", "司屋")),
        ("猫", ("猫",)),
        ('" OR * NEAR(', ("or", "near")),
        ("\x00\ud800 --", ()),
    ],
)
def test_a_query_is_its_different_words(query: str, words: tuple[str, ...]) -> None:
    assert terms(query) == words


@given(text=st.text(st.characters(), max_size=60))
def test_every_word_of_a_query_is_indexed_in_a_text_that_is_the_same(text: str) -> None:
    assert set(terms(text)) <= set(indexed(text).lower().split())


def test_a_long_query_is_cut() -> None:
    assert len(terms(" ".join(f"word{n}" for n in range(1_000)))) == MOST_TERMS
    assert len(terms("x" * 1_000_000)[0]) == 2_000
