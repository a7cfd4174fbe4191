"""Fitting on a handful of prompts: it learns them, and learns the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from routing.analyzer.learned import ENCODER, MEAN_SCALE, WEIGHTS
from routing.embedded.embedder_file import read_model
from training.fitting import Example, Fitting, Plan, _loss  # pyright: ignore[reportPrivateUsage]
from training.transformer import Layer, pooled

PLAN = Plan(layers=2, frozen=1, epochs=6, batch=8, rate=1e-3)


def examples() -> list[Example]:
    """Two kinds of token sequences, with opposite answers."""
    return [
        Example(
            tokens=[0, 100 + 40 * (row % 2) + row, 2],
            numbers=np.zeros(3, np.float32),
            answers=(row % 2, row % 2, row % 2, 0),
        )
        for row in range(16)
    ]


def fitted(plan: Plan = PLAN) -> Fitting:
    source = read_model(WEIGHTS / ENCODER)
    fitting = Fitting(source, source.words(np.arange(1_000)), plan, numbers=3)
    states = fitting.frozen_states([one.tokens for one in examples()])
    for _ in fitting.fit(examples(), states):
        pass
    return fitting


def test_it_learns_what_it_is_shown() -> None:
    fitting = fitted()
    states = fitting.frozen_states([one.tokens for one in examples()])
    hidden, mask = np.array(states, np.float32), np.ones((16, 3), np.float32)
    mean, _ = pooled(Layer(name="l1").forward(hidden, mask, fitting.rounded())[0], mask)
    inputs = np.concatenate([mean * MEAN_SCALE, np.zeros((16, 3), np.float32)], axis=1)
    outputs = inputs @ fitting.weights["heads.w"].T + fitting.weights["heads.b"]
    assert outputs[:, :8].argmax(1).tolist() == [row % 2 for row in range(16)]


def test_the_same_seed_gives_the_same_weights_and_another_does_not() -> None:
    short = replace(PLAN, epochs=2)
    first, again, other = fitted(short), fitted(short), fitted(replace(short, seed=1))
    assert all((first.weights[name] == again.weights[name]).all() for name in first.weights)
    assert not (first.weights["l1.fo.w"] == other.weights["l1.fo.w"]).all()


def test_frozen_layers_are_not_among_the_weights() -> None:
    assert {name.split(".")[0] for name in fitted(replace(PLAN, epochs=1)).weights} == {"l1", "heads"}


def test_a_texts_frozen_states_do_not_depend_on_its_neighbours() -> None:
    source = read_model(WEIGHTS / ENCODER)
    fitting = Fitting(source, source.words(np.arange(1_000)), PLAN, numbers=0)
    alone = fitting.frozen_states([[0, 5, 2]])[0]
    beside = fitting.frozen_states([[0, 5, 2], [0, *range(10, 60), 2]])[0]
    assert alone.astype(float) == pytest.approx(beside.astype(float), abs=5e-3)


def test_a_head_learns_nothing_from_an_answer_that_is_unknown() -> None:
    outputs = np.random.default_rng(0).normal(size=(2, 18)).astype(np.float32)
    _, slope = _loss(outputs, np.array([[3, -1, -1, -1], [3, 2, 1, 0]]))
    assert (slope[0, 8:] == 0).all()
    assert (slope[1] != 0).all()
    assert (slope[0, :8] != 0).all()
