"""What the rules noticed of a prompt, as numbers: the half of the learned classifier's input that no encoder sees.

Each number has a name, and the shipped weights say which names they know. So a cue that is new in the lexicon is passed over
until the next training, and one that is gone counts as not found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from routing.analyzer.rules import PLACE_SHARE, Classification
from routing.analyzer.signals import signals_in
from routing.analyzer.wording import LEXICON

Floats = NDArray[np.float32]

_LEAST_SHARE = 1e-4
_QUESTION_MARKS = ("?", "\uff1f", "؟")


def features_of(prompt: str, found: Classification) -> dict[str, float]:
    """The numbers by name; those that are zero may be missing."""
    return {**_judged(found), **_counted(prompt, found), **_noticed(found)}


def vector_of(features: Mapping[str, float], names: Sequence[str]) -> Floats:
    """The numbers in the order of ``names``; what is not there is zero."""
    return np.array([features.get(name, 0.0) for name in names], np.float32)


def _judged(found: Classification) -> dict[str, float]:
    shares = {f"share {category}": share for category, share in found.shares.items()}
    logs = {f"log share {category}": math.log(max(_LEAST_SHARE, share)) for category, share in found.shares.items()}
    return {**shares, **logs, "complexity": found.complexity}


def _counted(prompt: str, found: Classification) -> dict[str, float]:
    demands, asked = found.demands, found.reading.asked
    return {
        "characters": math.log1p(len(prompt)),
        "words": math.log1p(len(prompt.split())),
        "lines": math.log1p(prompt.count("\n")),
        "characters asked": math.log1p(len(asked)),
        "characters given": math.log1p(found.reading.given_chars),
        "something given": float(found.reading.given_chars > 0),
        "a question": float(any(mark in asked for mark in _QUESTION_MARKS)),
        "questions": demands.questions,
        "hard words": demands.hard,
        "easy words": demands.easy,
        "large words": demands.large,
        "steps": demands.steps,
        "constraints": demands.constraints,
        "a digit": float(any(map(str.isdigit, asked))),
        "a capital first": float(prompt[:1].isupper()),
        "a fence": float("```" in prompt),
        "a tag": float("<" in prompt and ">" in prompt),
        "a brace": float("{" in prompt),
    }


def _noticed(found: Classification) -> dict[str, float]:
    words = {
        f"cue {cue.cue.label}": PLACE_SHARE[cue.place] if cue.cue.leads else 1.0
        for cue in LEXICON.find(found.reading.asked).values()
    }
    signals = {f"signal {signal.label}": 1.0 for signal in signals_in(found.reading)}
    traits = {f"trait {trait}": 1.0 for trait in found.traits}
    tools = {f"tool {name}": 1.0 for name in found.tools_named}
    return {**words, **signals, **traits, **tools}
