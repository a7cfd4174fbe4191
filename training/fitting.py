# ruff: noqa: INP001 - a folder of programs, no package
"""Fitting the learned classifier: the top layers of the encoder and four linear heads, by AdamW.

    prompt ─ frozen layers ─ trained layers ─ mean ┐
    prompt ─ rules ─ numbers ───────────────────────┴ heads: category, complexity, tools, length of the answer

The frozen layers' result is computed once. The trained layers are shipped in blocks of 4 bits, in whose rounding small steps
would be lost; so every step sees the weights as rounded, and moves what they are rounded from (arXiv 1308.3432). A tenth of
the tokens, of the mean and of the numbers is left out at random, so that nothing leans on one word; the labels are smoothed a
little, so that the heads do not claim certainty. Deterministic for a seed, on one machine with one number of BLAS threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing.analyzer.learned import MEAN_SCALE
from routing.embedded.embedder_file import ModelFile
from training.encoder_file import rounded
from training.transformer import Floats, Layer, Weights, normalised, pooled, pooled_back

HEADS: Mapping[str, int] = {"category": 8, "complexity": 5, "tools": 2, "length": 3}
"""The heads and how many answers each has, in the order of the columns of the weights."""

HEAD_WEIGHT: Mapping[str, float] = {"category": 1.0, "complexity": 0.5, "tools": 0.4, "length": 0.3}
_LEFT_OUT = 0.1
_SMOOTHING = 0.05
_WARMUP, _LAST_RATE = 0.08, 0.02
_CLIP = 1.0
_DECAY = 0.01
_HEAD_RATE = 3e-3
_LENGTHS_SORTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt ready for fitting: token ids, the rules' numbers (scaled), and each head's right answer, below 0 if unknown."""

    tokens: Sequence[int]
    numbers: Floats
    answers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to fit: ``layers`` in all, the first ``frozen`` of them as they were."""

    layers: int = 6
    frozen: int = 3
    epochs: int = 4
    batch: int = 16
    rate: float = 3e-4
    seed: int = 7

    @property
    def of_rough(self) -> Plan:
        """How to go on with rough prompts: one round, in smaller steps."""
        return replace(self, epochs=1, rate=self.rate * 2 / 3)


class Fitting:
    """A classifier in training, over the layers of ``source``; ``begin`` has weights to begin with instead of its own."""

    def __init__(
        self, source: ModelFile, words: Floats, plan: Plan, numbers: int, begin: Weights | None = None
    ) -> None:
        self._plan = plan
        self._words = words
        self._original = _tensors_of(source, plan.layers)
        self._places: Floats = (
            source.floats("emb.pos").reshape(-1, source.width) + source.floats("emb.type")[: source.width]
        )
        trained = tuple(f"l{layer}." for layer in range(plan.frozen, plan.layers))
        self.weights: Weights = {
            name: value.copy() for name, value in self._original.items() if name.startswith(trained)
        }
        self.weights["heads.w"] = np.zeros((sum(HEADS.values()), source.width + numbers), np.float32)
        self.weights["heads.b"] = np.zeros(sum(HEADS.values()), np.float32)
        self.weights.update({name: value.copy() for name, value in (begin or {}).items() if name in self.weights})
        self._layers = [Layer(name=f"l{layer}") for layer in range(plan.frozen, plan.layers)]

    def frozen_states(self, tokens: Sequence[Sequence[int]]) -> list[NDArray[np.float16]]:
        """What the frozen layers make of each text, (tokens, width)."""
        states: list[NDArray[np.float16]] = [np.empty((0, 0), np.float16)] * len(tokens)
        order: list[int] = np.argsort([len(one) for one in tokens], kind="stable").tolist()
        for start in range(0, len(order), self._plan.batch):
            rows = order[start : start + self._plan.batch]
            hidden, mask = _padded([self._words[np.array(tokens[row])] for row in rows])
            hidden = hidden + self._places[: hidden.shape[1]]
            hidden, _ = normalised(hidden, self._original["emb.ln.w"], self._original["emb.ln.b"])
            for layer in range(self._plan.frozen):
                hidden, _ = Layer(name=f"l{layer}").forward(hidden, mask, self._original)
            for at, row in enumerate(rows):
                states[row] = hidden[at, : len(tokens[row])].astype(np.float16)
        return states

    def fit(self, examples: Sequence[Example], states: Sequence[NDArray[np.float16]]) -> Iterator[str]:
        """Train, and say after each round through the examples how it goes."""
        plan, random, begun = self._plan, np.random.default_rng(self._plan.seed), time.monotonic()
        steps = plan.epochs * math.ceil(len(examples) / plan.batch)
        moments: dict[str, tuple[Floats, Floats]] = {
            name: (np.zeros_like(value), np.zeros_like(value)) for name, value in self.weights.items()
        }
        step = 0
        for epoch in range(plan.epochs):
            losses = list[float]()
            for rows in _batches([len(state) for state in states], plan.batch, random):
                step += 1
                loss, gradients = self._gradients(
                    [examples[row] for row in rows], [states[row] for row in rows], random
                )
                self._descend(gradients, moments, step, _rate(step / steps))
                losses.append(loss)
            yield f"round {epoch + 1} of {plan.epochs}: loss {np.mean(losses):.3f}, {time.monotonic() - begun:.0f} s"

    def rounded(self) -> Weights:
        """The weights as the file will hold them."""
        return {name: rounded(value) if is_matrix(name) else value for name, value in self.weights.items()}

    def _gradients(
        self, examples: Sequence[Example], states: Sequence[NDArray[np.float16]], random: np.random.Generator
    ) -> tuple[float, Weights]:
        hidden, mask = _padded([state.astype(np.float32) for state in states])
        mask *= random.random(mask.shape) >= _LEFT_OUT
        mask[:, 0] = 1
        weights = self.rounded()
        kept = list[dict[str, Any]]()
        for layer in self._layers:
            hidden, needed = layer.forward(hidden, mask, weights)
            kept.append(needed)
        mean, length = pooled(hidden, mask)
        width = mean.shape[1]
        inputs = np.concatenate([mean * MEAN_SCALE, np.array([one.numbers for one in examples])], axis=1)
        shown = (random.random(inputs.shape) >= _LEFT_OUT).astype(np.float32) / np.float32(1 - _LEFT_OUT)
        inputs = inputs * shown
        outputs = inputs @ self.weights["heads.w"].T + self.weights["heads.b"]
        loss, slope = _loss(outputs, np.array([one.answers for one in examples]))
        gradients: Weights = {"heads.w": slope.T @ inputs, "heads.b": slope.sum(0)}
        by_mean: Floats = (slope @ self.weights["heads.w"] * shown)[:, :width] * MEAN_SCALE
        by_hidden = pooled_back(by_mean, length, mask)
        for layer, needed in zip(reversed(self._layers), reversed(kept), strict=True):
            by_hidden = layer.backward(by_hidden, needed, weights, gradients)
        return loss, gradients

    def _descend(
        self, gradients: Weights, moments: Mapping[str, tuple[Floats, Floats]], step: int, rate: float
    ) -> None:
        """One step of AdamW (arXiv 1711.05101), its gradient no longer than `_CLIP`."""
        length = math.sqrt(sum(float(np.vdot(slope, slope)) for slope in gradients.values()))
        shorter = np.float32(min(1.0, _CLIP / max(length, 1e-9)))
        for name, slope in gradients.items():
            first, second = moments[name]
            first += np.float32(0.1) * (slope * shorter - first)
            second += np.float32(0.001) * (np.square(slope * shorter) - second)
            pace = rate * (_HEAD_RATE if name.startswith("heads") else self._plan.rate)
            move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            self.weights[name] -= (pace * (move + _DECAY * self.weights[name])).astype(np.float32)


def _loss(outputs: Floats, answers: NDArray[np.int64]) -> tuple[float, Floats]:
    """Cross-entropy of the heads, weighted and averaged over the texts, and its gradient by the outputs."""
    slope, loss, start = np.zeros_like(outputs), 0.0, 0
    for at, (head, size) in enumerate(HEADS.items()):
        part = outputs[:, start : start + size]
        powers = np.exp(part - part.max(1, keepdims=True))
        shares = powers / powers.sum(1, keepdims=True)
        wanted = np.full_like(part, _SMOOTHING / size)
        wanted[np.arange(len(part)), answers[:, at]] += 1 - _SMOOTHING
        told = (answers[:, at] >= 0).astype(np.float32)[:, None] * np.float32(HEAD_WEIGHT[head] / len(part))
        loss -= float((told * wanted * np.log(shares + 1e-9)).sum())
        slope[:, start : start + size] = (shares - wanted) * told
        start += size
    return loss, slope


def _rate(share: float) -> float:
    """The learning rate's share of its highest: a short rise, then half a cosine."""
    if share < _WARMUP:
        return share / _WARMUP
    return _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (share - _WARMUP) / (1 - _WARMUP)))


def _batches(lengths: Sequence[int], size: int, random: np.random.Generator) -> list[list[int]]:
    """All rows in random batches, whose texts are of about one length."""
    order: list[int] = random.permutation(len(lengths)).tolist()
    batches = list[list[int]]()
    for start in range(0, len(order), size * _LENGTHS_SORTED):
        chunk = sorted(order[start : start + size * _LENGTHS_SORTED], key=lengths.__getitem__)
        batches += [chunk[at : at + size] for at in range(0, len(chunk), size)]
    random.shuffle(batches)
    return batches


def _padded(states: Sequence[Floats]) -> tuple[Floats, Floats]:
    longest = max(map(len, states))
    hidden = np.zeros((len(states), longest, states[0].shape[1]), np.float32)
    mask = np.zeros((len(states), longest), np.float32)
    for row, state in enumerate(states):
        hidden[row, : len(state)] = state
        mask[row, : len(state)] = 1
    return hidden, mask


def is_matrix(name: str) -> bool:
    """Whether the file holds this tensor in blocks of 4 bits."""
    return name.startswith("l") and name.endswith(".w") and "ln." not in name


def _tensors_of(source: ModelFile, layers: int) -> Weights:
    """The tensors of the layers as float32, matrices as (outputs, inputs)."""
    found: Weights = {}
    for name in source.tensors:
        if name.startswith(("emb.ln.", *(f"l{layer}." for layer in range(layers)))):
            rows = len(source.floats(f"{name[:-2]}.b")) if is_matrix(name) else 0
            found[name] = source.blocks(name, rows).floats() if rows else source.floats(name)
    return found
