"""The learned half of the analyzer: what kind of task a prompt is, how hard, whether it needs tools, how long its answer is.

    prompt ─ encoder.bin: a multilingual encoder of 6 layers ─ mean ┐
    prompt ─ rules ─ learned_features ──────────────────────────────┴ heads.npz: four linear heads

The weights lie beside this file, with a manifest of what they were trained on (`training/train_classifier.py`). They are the
lower half of multilingual-e5-small (MIT), cut to 26,000 pieces of its vocabulary, its upper layers trained further on prompts
of our own; onnxruntime runs it in 8-bit integers, as it runs the embedder. Chosen in docs/adr/0012-task-classifier.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from routing.analyzer.learned_features import features_of, vector_of
from routing.analyzer.rules import Classification
from routing.embedded.embedder_engine import Engine
from routing.errors import AssetError
from routing.types import CATEGORIES, Category, Complexity

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("weights")
ENCODER, HEADS, MANIFEST = "encoder.bin", "heads.npz", "manifest.json"

MEAN_SCALE = 6.0
"""The mean has length 1; so scaled, its numbers are as large as those of the rules."""

OUTPUT_TOKENS = (40, 250, 1_500)
"""Tokens of a typical short (under 100), medium, and long (over 600) answer."""

_SPREAD_SHARE = 0.25
_FARTHEST = 4.0
_SIZES = (len(CATEGORIES), 5, 2, len(OUTPUT_TOKENS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Understanding:
    """What the weights make of a prompt. ``shares`` sum to 1; ``tools`` is the probability that the task needs one."""

    shares: Mapping[Category, float]
    complexity: Complexity
    tools: float
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The linear heads: ``weights`` (outputs, inputs), and how the rules' numbers, by name, are brought to one scale."""

    weights: Floats
    bias: Floats
    names: tuple[str, ...]
    means: Floats
    spreads: Floats
    temperature: float

    @property
    def width(self) -> int:
        """How many numbers the encoder's mean has."""
        return int(self.weights.shape[1]) - len(self.names)

    def scaled(self, numbers: Floats) -> Floats:
        """The rules' numbers as the heads want them."""
        away: Floats = np.clip((numbers - self.means) / self.spreads, -_FARTHEST, _FARTHEST)
        return away * np.float32(_SPREAD_SHARE)

    def outputs(self, mean: Floats, numbers: Floats) -> list[Floats]:
        """The log-odds of every head's answers: category, complexity, tools, length."""
        inputs = np.concatenate([mean * np.float32(MEAN_SCALE), self.scaled(numbers)])
        odds: Floats = self.weights @ inputs + self.bias
        return np.split(odds, np.cumsum(_SIZES)[:-1])


class LearnedClassifier:
    """Loaded weights. Threads may share it; a prompt takes a few milliseconds. Made by `load`."""

    def __init__(self, engine: Engine, heads: Heads) -> None:
        self._engine = engine
        self._heads = heads

    def understand(self, prompt: str, found: Classification) -> Understanding:
        """Judge a prompt, given what the rules made of it."""
        category, complexity, tools, length = self.odds(prompt, found)
        shares = _shares(category / self._heads.temperature)
        tokens = float(_shares(length) @ np.log(OUTPUT_TOKENS))
        return Understanding(
            shares=dict(zip(CATEGORIES, shares.tolist(), strict=True)),
            complexity=cast("Complexity", 1 + round(float(_shares(complexity) @ np.arange(5)))),
            tools=float(_shares(tools)[1]),
            output_tokens=round(math.exp(tokens)),
        )

    def odds(self, prompt: str, found: Classification) -> list[Floats]:
        """The log-odds of every head's answers, before calibration."""
        mean = np.empty((1, self._heads.width), np.float32)
        for _ in self._engine.embed([prompt], mean):
            pass
        return self._heads.outputs(mean[0], vector_of(features_of(prompt, found), self._heads.names))


def load(folder: Path = WEIGHTS, *, threads: int = 2) -> LearnedClassifier:
    """Load the weights: about half a second, in a worker thread. ``threads`` is how many of them a prompt takes.

    Raises:
        AssetError: they are missing, or not those that the manifest names.

    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        for name in (ENCODER, HEADS):
            _check(folder / name, str(manifest["files"][name]))
        return LearnedClassifier(Engine(folder / ENCODER, threads=threads), read_heads(folder / HEADS))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as problem:
        raise AssetError(
            f"the classifier's weights in {folder} cannot be used: {problem}. Install it again."
        ) from problem


def read_heads(path: Path) -> Heads:
    """Read `HEADS`; raises what `numpy.load` raises."""
    with np.load(path, allow_pickle=False) as stored:
        return Heads(
            weights=stored["weights"],
            bias=stored["bias"],
            names=tuple(stored["names"].tolist()),
            means=stored["means"],
            spreads=stored["spreads"],
            temperature=float(stored["temperature"]),
        )


def write_heads(path: Path, heads: Heads) -> None:
    """Write `HEADS`; the same heads give the same bytes."""
    np.savez(
        path,
        weights=heads.weights,
        bias=heads.bias,
        names=np.array(heads.names),
        means=heads.means,
        spreads=heads.spreads,
        temperature=np.float64(heads.temperature),
    )


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise ValueError(f"{path.name} is damaged")


def _shares(odds: Floats) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(odds.astype(np.float64) - odds.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares
