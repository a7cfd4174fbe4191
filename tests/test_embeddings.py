"""Which texts a prompt means, and what their vectors say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.embeddings import Wanted, embeddings_of, spoken, texts_in, wanted_of
from routing.types import Task, Vector

PROMPTS: dict[str, tuple[str, ...]] = {
    "Embed these sentences:\n- cats purr\n- dogs bark": ("cats purr", "dogs bark"),
    "Group by meaning:\na) printer broken\nb) no ink\nc) holiday": ("printer broken", "no ink", "holiday"),
    'Vectors, please: ["x one", "y two"]': ("x one", "y two"),
    "Erzeuge Einbettungen für: Der Hund bellt; Die Katze miaut": ("Der Hund bellt", "Die Katze miaut"),
    "把下面的句子转换成向量\uff1a\n猫在叫\n狗在跑": ("猫在叫", "狗在跑"),
    'Rank these by similarity to "refunds": "money back", "lost parcel"': ("money back", "lost parcel"),
    "Create an embedding of the sentence 'the quick fox'": ("the quick fox",),
    "Explain what embeddings are": (),
    "What is [a list] in Python?": (),
}


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_texts_that_a_prompt_lists_are_found(prompt: str) -> None:
    assert texts_in(prompt) == PROMPTS[prompt]


@pytest.mark.parametrize(
    ("prompt", "texts", "form", "query"),
    [
        ("Embed these", ("a", "b"), "vectors", None),
        ("refund policy", ("a", "b"), "ranking", "refund policy"),
        ("Which is nearest to “my parcel is lost”?", ("a", "b"), "ranking", "my parcel is lost"),
        ("Find duplicates", ("a", "b"), "pairs", None),
        ("Agrupa por significado", ("a", "b"), "pairs", None),
        ("Find duplicates", ("a",), "ranking", "Find duplicates"),
        ("ベクトルにしてください", ("a",), "vectors", None),
    ],
)
def test_the_prompt_says_what_is_wanted_of_the_texts(
    prompt: str, texts: tuple[str, ...], form: str, query: str | None
) -> None:
    wanted = wanted_of(Task(prompt=prompt, texts=texts))

    assert (wanted.form, wanted.query) == (form, query)


def test_texts_inside_the_prompt_are_not_taken_for_the_query() -> None:
    prompt = "Embed:\n- “cats purr”\n- “dogs bark”"

    assert wanted_of(Task(prompt=prompt, texts=texts_in(prompt))).form == "vectors"


def test_a_ranking_puts_the_text_nearest_to_the_query_first() -> None:
    wanted = Wanted(form="ranking", texts=("across", "along", "against"), query="q")

    found = embeddings_of(wanted, [(1, 0), (0, 2), (3, 0), (-1, 0)])

    assert [(row.text, row.similarity) for row in found.similarities] == [(1, 1.0), (0, 0.0), (2, -1.0)]
    assert spoken(found).splitlines() == ["1. 1.000 along", "2. 0.000 across", "3. -1.000 against"]


def test_pairs_are_each_named_once_the_most_alike_first() -> None:
    found = embeddings_of(Wanted(form="pairs", texts=("a", "b", "c")), [(1, 0), (0, 1), (2, 0.1)])

    assert [(row.text, row.other) for row in found.similarities] == [(0, 2), (1, 2), (0, 1)]
    assert spoken(found).startswith("0.999 a ~ c")


def test_vectors_are_handed_over_as_the_model_gave_them() -> None:
    found = embeddings_of(Wanted(form="vectors", texts=("a",)), [(3.0, 4.0)])

    assert found.vectors == ((3.0, 4.0),)
    assert "1 vectors of 2 dimensions" in spoken(found)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=6))
def test_every_cosine_lies_between_its_bounds_and_no_vector_breaks_it(vectors: list[Vector]) -> None:
    texts = tuple(map(str, range(len(vectors) - 1)))

    found = embeddings_of(Wanted(form="ranking", texts=texts, query="q"), vectors)

    assert sorted(row.text for row in found.similarities) == list(range(len(texts)))
    assert all(-1.000001 <= row.similarity <= 1.000001 for row in found.similarities)
