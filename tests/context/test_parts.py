"""A text is cut at its natural borders, and nothing of it is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.context.parts import parts_of
from routing.tokens import TokenCounter

COUNTER = TokenCounter(Path("nowhere"))
_TEXT = st.lists(
    st.sampled_from(["word", "other. ", "\n\n", "\n", " ", "# Title\n", "日本語。", "x" * 200]), max_size=400
)


@settings(max_examples=60, deadline=None)
@given(_TEXT.map("".join), st.integers(30, 400))
def test_the_parts_are_the_text_and_none_is_too_long(text: str, most: int) -> None:
    parts = parts_of(text, most, COUNTER)

    assert "".join(parts) == text
    assert all(COUNTER.count(part).tokens <= most for part in parts)


@pytest.mark.parametrize("border", ["\n# Chapter\n", "\n\n", ". "])
def test_a_part_ends_at_the_best_border_there_is(border: str) -> None:
    sentence = "plain words that go on for a while without a stop of any kind in them at all"
    text = border.join([sentence] * 60)

    parts = parts_of(text, 200, COUNTER)

    assert len(parts) > 2
    assert all(part.rstrip().endswith(("all", "all.")) for part in parts)
    assert all(part.lstrip("# \n").startswith(("plain", "Chapter")) for part in parts)


def test_a_heading_goes_with_what_follows_it() -> None:
    text = "\n".join(["# One", "text\n\n" * 150, "# Two", "more\n\n" * 150])

    parts = parts_of(text, round(0.58 * COUNTER.count(text).tokens), COUNTER)

    assert any(part.startswith("# Two") for part in parts)


def test_a_wall_of_letters_is_cut_all_the_same() -> None:
    assert len(parts_of("x" * 10_000, 100, COUNTER)) > 10
