"""The layers' gradients, compared with what a small change of a weight does."""

from __future__ import annotations

import numpy as np
import pytest

from training.transformer import Floats, Layer, Weights, pooled, pooled_back

WIDTH = 24
LAYER = Layer(name="l0")
SHAPES = {"q": (1, 1), "k": (1, 1), "v": (1, 1), "ao": (1, 1), "fi": (4, 1), "fo": (1, 4)}
STEP = 1e-5


def weights(random: np.random.Generator) -> Weights:
    made: Weights = {}
    for part, (outputs, inputs) in SHAPES.items():
        made[f"l0.{part}.w"] = random.normal(size=(outputs * WIDTH, inputs * WIDTH)) * 0.3
        made[f"l0.{part}.b"] = random.normal(size=outputs * WIDTH) * 0.1
    for norm in ("aln", "oln"):
        made[f"l0.{norm}.w"] = 1 + random.normal(size=WIDTH) * 0.1
        made[f"l0.{norm}.b"] = random.normal(size=WIDTH) * 0.1
    return made


@pytest.fixture
def made() -> tuple[Weights, Floats, Floats, Floats]:
    """Weights, hidden states, a mask that hides the end of the second text, and the direction that is measured along."""
    random = np.random.default_rng(0)
    mask = np.ones((2, 5))
    mask[1, 3:] = 0
    return weights(random), random.normal(size=(2, 5, WIDTH)), mask, random.normal(size=(2, WIDTH))


def measured(given: Weights, hidden: Floats, mask: Floats, along: Floats) -> float:
    result, _ = LAYER.forward(hidden, mask, given)
    return float((pooled(result, mask)[0] * along).sum())


@pytest.mark.parametrize("part", [*(f"{part}.{kind}" for part in (*SHAPES, "aln", "oln") for kind in "wb")])
def test_the_gradient_by_a_weight_is_what_a_small_change_does(
    made: tuple[Weights, Floats, Floats, Floats], part: str
) -> None:
    given, hidden, mask, along = made
    result, kept = LAYER.forward(hidden, mask, given)
    sums: Weights = {}
    LAYER.backward(pooled_back(along, pooled(result, mask)[1], mask), kept, given, sums)
    name = f"l0.{part}"
    place = np.unravel_index(int(np.abs(sums[name]).argmax()), sums[name].shape)
    ends = list[float]()
    for step in (STEP, -STEP):
        moved = {**given, name: given[name].copy()}
        moved[name][place] += step
        ends.append(measured(moved, hidden, mask, along))
    assert sums[name][place] == pytest.approx((ends[0] - ends[1]) / (2 * STEP), rel=1e-4, abs=1e-8)


def test_the_gradient_by_the_input_is_what_a_small_change_does(
    made: tuple[Weights, Floats, Floats, Floats],
) -> None:
    given, hidden, mask, along = made
    result, kept = LAYER.forward(hidden, mask, given)
    back = LAYER.backward(pooled_back(along, pooled(result, mask)[1], mask), kept, given, {})
    moved = hidden.copy()
    moved[0, 1, 2] += STEP
    change = (measured(given, moved, mask, along) - measured(given, hidden, mask, along)) / STEP
    assert back[0, 1, 2] == pytest.approx(change, rel=1e-3)


def test_what_the_mask_hides_changes_nothing(made: tuple[Weights, Floats, Floats, Floats]) -> None:
    given, hidden, mask, along = made
    other = hidden.copy()
    other[1, 4] += 7
    assert measured(given, other, mask, along) == pytest.approx(measured(given, hidden, mask, along), abs=1e-12)
