from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.learning.features import BUCKETS, SHAPE, features_of, question_of

ROOT = Path(__file__).resolve().parents[2]
CHOICE = "Which planet is the largest?\nA. Mars\nB. Jupiter\nC. Venus\nD. Earth\nAnswer:"


def shape_of(prompt: str) -> dict[str, float]:
    return dict(zip(SHAPE, features_of(prompt).shape.tolist(), strict=True))


def test_a_multiple_choice_prompt_is_parted_into_question_and_options() -> None:
    question = question_of(CHOICE)

    assert question.text == "Which planet is the largest?"
    assert question.options == ("Mars", "Jupiter", "Venus", "Earth")
    assert features_of(CHOICE).choice


@pytest.mark.parametrize("prompt", ["A. Lincoln was born when?", "Compare:\nB. this\nC. that", "Solve x + 1 = 2."])
def test_letters_that_are_no_list_of_options_make_no_multiple_choice(prompt: str) -> None:
    assert not features_of(prompt).choice


def test_a_word_counts_apart_in_question_and_options() -> None:
    asked = features_of("Is Mars red?\nA. yes\nB. no")
    offered = features_of("Which one is red?\nA. Mars\nB. no")

    assert len(set(asked.buckets.tolist()) & set(features_of("mars").buckets.tolist())) == 2
    assert len(set(offered.buckets.tolist()) & set(features_of("mars").buckets.tolist())) == 1


def test_numbers_count_by_how_long_they_are() -> None:
    assert set(features_of("17 cows").buckets.tolist()) == set(features_of("42 cows").buckets.tolist())
    assert set(features_of("17 cows").buckets.tolist()) != set(features_of("417 cows").buckets.tolist())


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("persona", "Pretend to be a judge."),
        ("program", "Debug this Python function."),
        ("solve", "Calculate the sum."),
        ("literary", "I want a poem."),
        ("blanks", "Water is ___ at night."),
        ("fractions", "He ate half of it."),
        ("latex", r"Let \frac{1}{2} be given."),
        ("numeric_options", "How many?\nA. 12\nB. 14"),
    ],
)
def test_the_shape_tells_what_is_asked_for(name: str, prompt: str) -> None:
    assert shape_of(prompt)[name] > 0
    assert shape_of("The sea is calm tonight")[name] == 0


def test_chinese_is_read_character_by_character() -> None:
    shared = set(features_of("写一首诗").buckets.tolist()) & set(features_of("请写诗").buckets.tolist())

    assert shared


def test_another_process_with_another_hash_seed_reads_the_same() -> None:
    program = (
        f"from routing.learning.features import features_of; print(sorted(features_of({CHOICE!r}).buckets.tolist()))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert found == {f"{sorted(features_of(CHOICE).buckets.tolist())}\n"}


@given(st.text(max_size=300))
def test_any_text_gives_finite_numbers_within_bounds(prompt: str) -> None:
    features = features_of(prompt)

    assert features.shape.shape == (len(SHAPE),)
    assert np.isfinite(features.shape).all()
    assert np.isfinite(features.counts).all()
    assert all(0 <= bucket < BUCKETS for bucket in features.buckets.tolist())


def test_of_a_very_long_prompt_both_ends_are_read_and_the_middle_is_not() -> None:
    filler = "so " * 20_000
    whole = set(features_of(f"alpha {filler} omega").buckets.tolist())

    assert set(features_of("alpha").buckets.tolist()) <= whole
    assert set(features_of("omega").buckets.tolist()) <= whole
    assert whole == set(features_of(f"alpha {filler} middle {filler} omega").buckets.tolist())


def test_a_hostile_prompt_takes_no_longer_than_its_length_allows() -> None:
    started = time.perf_counter()
    for prompt in ("$" * 200_000, "A. \n" * 50_000, "(" * 200_000, "1," * 100_000, "\\" * 100_000, "select " * 30_000):
        features_of(prompt)

    assert time.perf_counter() - started < 2
