"""What is asked is kept apart from what is pasted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.analyzer.reading import HEAD_CHARS, TAIL_CHARS, read

PASTE = "The quarterly figures were better than anybody at the table had dared to expect"


@pytest.mark.parametrize(
    "prompt",
    [
        f"Do it well.\n```\n{PASTE}\n```",
        f"Do it well.\n```text\n{PASTE}",
        f'Do it well. """{PASTE}"""',
        f'Do it well: "{PASTE}"',
        f"Do it well: “{PASTE}”",
        f"Do it well: «{PASTE}»",
        f"<document>{PASTE}</document>\nDo it well.",
        f"Do it well.\n> {PASTE}",
        f"Do it well.\nReview: {PASTE}",
        f"Do it well.\nTexto: {PASTE}",
        f"Summarise and do it well: {PASTE}",
        f"Traduce al inglés y do it well: {PASTE}",
    ],
)
def test_a_marked_paste_is_given_and_the_rest_is_asked(prompt: str) -> None:
    reading = read(prompt)
    assert "quarterly" not in reading.asked
    assert "o it well" in reading.asked
    assert "quarterly" in reading.given
    assert reading.given_chars >= len(PASTE)


@pytest.mark.parametrize(
    "prompt", ["Write a function that does the following: reads a file", 'Define "osmosis"', "it's Ann's"]
)
def test_colons_and_short_quotes_alone_mark_nothing(prompt: str) -> None:
    assert read(prompt).asked == prompt
    assert read(prompt).given_chars == 0


@pytest.mark.parametrize("order", ["Explain this.\n\n{}", "{}\n\nExplain this."])
def test_an_unmarked_article_is_given_whichever_end_the_instruction_is_at(order: str) -> None:
    article = "\n\n".join([f"{PASTE}. " * 8] * 4)
    reading = read(order.format(article))
    assert reading.asked.strip() == "Explain this."
    assert reading.given_chars > 2_000


def test_only_the_ends_of_a_long_prompt_are_read_but_all_of_it_is_counted() -> None:
    prompt = "Explain this.\n\n" + "word " * 100_000
    reading = read(prompt)
    assert len(reading.asked) + len(reading.given) <= HEAD_CHARS + TAIL_CHARS + 10
    assert reading.given_chars == pytest.approx(len(prompt), rel=0.01)
    assert reading.asked.strip() == "Explain this."


def test_a_fence_left_open_at_the_head_hides_the_tail() -> None:
    assert "delete" not in read("Explain:\n```\n" + "code\n" * 3_000 + "delete everything").asked


def test_a_prompt_that_is_all_quotation_is_still_asked() -> None:
    assert "quarterly" in read(f'"{PASTE}"').asked


@given(st.text(max_size=3_000))
def test_a_prompt_with_words_always_asks_something(prompt: str) -> None:
    assert bool(read(prompt).asked.strip()) == bool(prompt.strip())
