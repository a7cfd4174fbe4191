"""Prompts said more roughly keep their labels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.types import Category
from training.labelled import Labelled
from training.roughen import roughened

LONG = "Compare the two offers, and say which is the better one. "


def labelled(
    prompt: str, *, language: str = "en", style: str = "plain", category: Category = "qa_retrieval"
) -> Labelled:
    return Labelled(
        prompt=prompt,
        category=category,
        complexity=2,
        tools=0,
        length=1,
        style=style,
        language=language,
        group="g",
        source="en",
    )


@pytest.mark.parametrize("language", ["en", "es", "fr", "de", "pt", "it", "zh", "ja", "hi", "ar", "ru", "fi"])
def test_only_the_words_and_the_style_change(language: str) -> None:
    for number in range(20):
        one = labelled(f"Où est la gare, s'il vous plaît? {number}", language=language)
        rough = roughened(one, number)
        assert replace(rough, prompt=one.prompt, style=one.style) == one
        assert rough.prompt != one.prompt
        assert rough.prompt.strip()


def test_it_is_the_same_each_time() -> None:
    one = labelled("What is the capital of France?")
    assert roughened(one) == roughened(one)
    assert len({roughened(one, number).prompt for number in range(20)}) > 10


def test_a_long_prompt_is_written_in_a_hurry_and_given_no_more_words() -> None:
    one = labelled(LONG * 20, style="longwinded")
    assert all(len(roughened(one, number).prompt) <= 1.1 * len(one.prompt) for number in range(20))


def test_the_halves_of_the_surroundings_have_nothing_in_common() -> None:
    one = labelled("Zzz")
    halves = [{roughened(one, number, half=half).prompt for number in range(300)} for half in (0, 1)]
    framed = [{text for text in half if len(text) > 20} for half in halves]
    assert framed[0]
    assert framed[1]
    assert not framed[0] & framed[1]


def test_code_keeps_its_punctuation() -> None:
    one = labelled("Mend this:\n```\nfor x in y:\n    f(x);\n```", style="pasted")
    assert all("f(x);" in roughened(one, number).prompt for number in range(20))
