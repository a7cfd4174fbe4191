"""How able each model is and how hard each prompt: one scale for all data sets (Rasch 1960, item response theory).

The chance that a model of ability θ answers a prompt of difficulty b well is 1 / (1 + exp(b − θ)). Data sets meet on this scale
through the models that they share, which they spell differently: `canonical` is the one spelling.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.learning.outcomes import Outcome

Floats = NDArray[np.float64]

_ROUNDS = 60
_VARIANCE = 4.0
"""Of the normal priors on either side: a prompt that everybody solved is easy, not infinitely so."""

_LONGEST_STEP = 1.0

_HOST = re.compile(r"@.*$|^.*/")
_NOISE = re.compile(
    r"-(?:instruct|inst|chat|it|hf|preview|latest|exp|fp8|v0\.1|\d{4}-\d{2}-\d{2}|\d{8}|\d\d-\d\d-\d\d|\d{4})(?=-|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Abilities by canonical name; per outcome its difficulty, and how much is known of it (0 nothing to 1)."""

    abilities: Mapping[str, float]
    difficulties: Floats
    certainty: Floats


@functools.lru_cache(maxsize=4096)
def canonical(model: str) -> str:
    """A model's name without vendor, host, date and ``instruct``: ``openai/gpt-4o-2024-05-13`` is ``gpt-4o``."""
    name = _HOST.sub("", model.lower().strip().replace("_", "-").replace(" ", "-"))
    return _NOISE.sub("", name.removeprefix("meta-").removeprefix("open-")) or name


def fit_scale(outcomes: Sequence[Outcome]) -> Scale:
    """Abilities and difficulties that fit the scores best, by damped Newton steps on both sides in turn."""
    names = sorted({canonical(model) for outcome in outcomes for model in outcome.scores})
    tried = _Tried.of(outcomes, {name: place for place, name in enumerate(names)})
    ability, difficulty = np.zeros(len(names)), np.zeros(len(outcomes))
    for _ in range(_ROUNDS):
        difficulty -= tried.step(tried.item, ability, difficulty, difficulty, -1)
        ability += tried.step(tried.model, ability, difficulty, ability, 1)
    chance = sigmoid(ability[tried.model] - difficulty[tried.item])
    known = np.bincount(tried.item, chance * (1 - chance), minlength=len(outcomes))
    return Scale(
        abilities={name: round(float(ability[place]), 4) for place, name in enumerate(names)},
        difficulties=difficulty,
        certainty=known / (known + 1 / _VARIANCE),
    )


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(−x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """One entry for each time that a model was tried on a prompt: number of the prompt, number of the model, score."""

    item: NDArray[np.int64]
    model: NDArray[np.int64]
    score: Floats

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], number: Mapping[str, int]) -> _Tried:
        return cls(
            item=np.repeat(np.arange(len(outcomes)), [len(outcome.scores) for outcome in outcomes]),
            model=np.array([number[canonical(name)] for outcome in outcomes for name in outcome.scores], np.int64),
            score=np.array([value for outcome in outcomes for value in outcome.scores.values()], float),
        )

    def step(self, side: NDArray[np.int64], ability: Floats, difficulty: Floats, now: Floats, sign: int) -> Floats:
        """How far to move each ability up (``sign`` 1), or each difficulty down (−1)."""
        chance = sigmoid(ability[self.model] - difficulty[self.item])
        slope = np.bincount(side, self.score - chance, minlength=len(now)) - sign * now / _VARIANCE
        bend = np.bincount(side, chance * (1 - chance), minlength=len(now)) + 1 / _VARIANCE
        return np.clip(slope / bend, -_LONGEST_STEP, _LONGEST_STEP)
