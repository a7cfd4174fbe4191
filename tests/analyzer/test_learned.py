"""The shipped weights: what they know, and what becomes of damaged ones. `bench/classifier.py` measures how good they are."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.analyzer.learned import ENCODER, HEADS, MANIFEST, WEIGHTS, LearnedClassifier, Understanding, load
from routing.analyzer.learned_features import features_of, vector_of
from routing.analyzer.rules import classify
from routing.errors import AssetError
from routing.types import CATEGORIES

OBVIOUS = (
    ("complex_coding", "Write a Rust function that merges two sorted linked lists, and unit tests for it."),
    ("complex_coding", "¿Por qué esta consulta SQL devuelve filas duplicadas al hacer el LEFT JOIN con pedidos?"),
    ("complex_coding", "Напиши на Python декоратор, который повторяет вызов функции три раза при ошибке."),
    ("deep_reasoning", "Prove that the sum of two odd integers is even."),
    (
        "deep_reasoning",
        "Sollen wir unsere Bäckerei verkaufen oder expandieren? Wäge Risiken und Chancen über fünf Jahre ab.",
    ),
    ("deep_reasoning", "証明してください:√2 は無理数である。"),
    ("qa_retrieval", "What is the capital of Mongolia?"),
    ("qa_retrieval", "光合作用是什么?"),
    ("qa_retrieval", "ما هي عاصمة كندا؟"),
    ("text_generation", "Écris un poème de quatre vers sur la pluie en automne."),
    ("text_generation", "Scrivi una lettera di ringraziamento ai nostri vicini di casa."),
    ("text_generation", "मेरी दुकान के उद्घाटन के लिए एक छोटा निमंत्रण लिखिए।"),
    ("classification", "Is this review positive or negative? 'The soup was cold and the waiter rude.'"),
    ("classification", "Extraia o nome, o telefone e o e-mail deste texto: Ana Lopes, 912 345 678, ana@exemplo.pt"),
    ("embedding", "Embed these three sentences and give me the cosine similarity of each pair."),
    (
        "agentic_tool_use",
        "Search the web for the cheapest train to Vienna tomorrow, book it, and put it in my calendar.",
    ),
    (
        "long_document",
        "Compare the attached 80-page annual reports of both companies and synthesise how their risks differ.",
    ),
)


@cache
def shipped() -> LearnedClassifier:
    return load(threads=1)


def understood(prompt: str) -> Understanding:
    return shipped().understand(prompt, classify(prompt))


def test_obvious_tasks_are_known_in_ten_languages() -> None:
    mistaken = [
        prompt for category, prompt in OBVIOUS if max(CATEGORIES, key=understood(prompt).shares.__getitem__) != category
    ]
    assert len(mistaken) <= 1, mistaken


def test_a_proof_is_harder_than_a_greeting_and_its_answer_longer() -> None:
    proof, greeting = understood("Prove that there are infinitely many primes of the form 4k+3."), understood("hi!")
    assert proof.complexity > greeting.complexity
    assert proof.output_tokens > greeting.output_tokens


def test_booking_needs_tools_and_a_poem_does_not() -> None:
    assert understood("Find a table for four on Friday near the station and book it.").tools > 0.5
    assert understood("A four-line poem about rain.").tools < 0.5


@settings(max_examples=60, deadline=None)
@given(st.text(min_size=1, max_size=400))
def test_any_text_is_judged_and_always_alike(prompt: str) -> None:
    first = understood(prompt)
    assert first == understood(prompt)
    assert sum(first.shares.values()) == pytest.approx(1)
    assert 1 <= first.complexity <= 5
    assert 0 <= first.tools <= 1
    assert 1 <= first.output_tokens <= 64_000


def test_of_a_very_long_prompt_the_ends_decide() -> None:
    filler = "The committee met again. " * 20_000
    asked = "Translate the following minutes into Spanish.\n\n"
    shares = [understood(f"{asked}{filler[:size]}").shares for size in (200_000, 400_000)]
    assert shares[0]["text_generation"] == pytest.approx(shares[1]["text_generation"], abs=0.1)


def test_the_shipped_weights_are_small_and_say_what_they_were_trained_on() -> None:
    sizes = [(WEIGHTS / name).stat().st_size for name in (ENCODER, HEADS, MANIFEST)]
    assert sum(sizes) <= 13_000_000
    manifest = json.loads((WEIGHTS / MANIFEST).read_text("utf-8"))
    assert sum(file["rows"] for file in manifest["prompts"].values()) > 5_000
    assert manifest["held_out"]["category"][0] > manifest["held_out"]["rules_category"][0]


@pytest.mark.parametrize("name", [ENCODER, HEADS, MANIFEST])
def test_damaged_or_missing_weights_are_refused(tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(WEIGHTS, tmp_path / "weights"))
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2 :] = b"\0" * 40
    (folder / name).write_bytes(content)
    with pytest.raises(AssetError, match="cannot be used"):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(AssetError, match="cannot be used"):
        load(folder)


def test_a_cue_that_the_weights_do_not_know_is_passed_over_and_a_missing_one_is_zero() -> None:
    assert vector_of({"cue new": 1.0, "words": 2.0}, ["words", "cue gone"]).tolist() == [2.0, 0.0]


def test_what_the_rules_noticed_is_among_the_numbers() -> None:
    prompt = "Write a haiku about `parse_args`, please?"
    features = features_of(prompt, classify(prompt))
    assert features["cue write"] == 1.0
    assert features["a question"] == 1.0
    assert features["signal identifier"] == 1.0
    assert np.isfinite(list(features.values())).all()
