# ruff: noqa: INP001 - a folder of programs, no package
"""The encoder's layers with their gradients, in numpy: enough of one to train the top of a small BERT on a CPU.

Shapes: texts B, tokens T, width W. Weights are (outputs, inputs), as in the encoder's file. `Layer.forward` keeps what
`Layer.backward` needs; a test compares the gradients with finite differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]
"""Float32; float64 in the test of the gradients."""
Weights = dict[str, Floats]

HEADS = 12
EPSILON = 1e-12
_MASKED = -1e9
_ROOT_TWO = math.sqrt(2)
_ROOT_TWO_PI = math.sqrt(2 * math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer of a BERT encoder (arXiv 1810.04805, normalised after each half), whose weights begin with ``name``."""

    name: str

    def forward(self, hidden: Floats, mask: Floats, weights: Mapping[str, Floats]) -> tuple[Floats, dict[str, Any]]:
        """What the layer makes of ``hidden`` (B, T, W), and what its gradient needs; ``mask`` (B, T) is 0 where nothing is."""
        named = _Named(weights, self.name)
        queries, keys, values = (_split(_linear(hidden, named, part)) for part in ("q", "k", "v"))
        scores = queries @ keys.swapaxes(-1, -2) / math.sqrt(queries.shape[-1])
        attention = _softmax(scores + np.where(mask > 0, 0, _MASKED).astype(hidden.dtype)[:, None, None, :])
        mixed = _joined(attention @ values)
        middle, norm1 = normalised(hidden + _linear(mixed, named, "ao"), named["aln.w"], named["aln.b"])
        raised = _linear(middle, named, "fi")
        bent, slope = _gelu(raised)
        result, norm2 = normalised(middle + _linear(bent, named, "fo"), named["oln.w"], named["oln.b"])
        kept = {
            "hidden": hidden, "q": queries, "k": keys, "v": values, "attention": attention, "mixed": mixed,
            "middle": middle, "bent": bent, "slope": slope, "norm1": norm1, "norm2": norm2,
        }  # fmt: skip
        return result, kept

    def backward(self, gradient: Floats, kept: dict[str, Any], weights: Mapping[str, Floats], sums: Weights) -> Floats:
        """The gradient by the layer's input, from that by its result; those by its weights are put into ``sums``."""
        named, into = _Named(weights, self.name), _Into(sums, self.name)
        gradient = _normalised_back(gradient, kept["norm2"], named["oln.w"], into, "oln")
        middle = gradient + _linear_back(
            _linear_back(gradient, kept["bent"], named, into, "fo") * kept["slope"], kept["middle"], named, into, "fi"
        )
        middle = _normalised_back(middle, kept["norm1"], named["aln.w"], into, "aln")
        mixed = _split(_linear_back(middle, kept["mixed"], named, into, "ao"))
        attention, values = kept["attention"], kept["v"]
        slopes = mixed @ values.swapaxes(-1, -2)
        scores = attention * (slopes - (slopes * attention).sum(-1, keepdims=True)) / math.sqrt(values.shape[-1])
        parts = {
            "q": scores @ kept["k"],
            "k": scores.swapaxes(-1, -2) @ kept["q"],
            "v": attention.swapaxes(-1, -2) @ mixed,
        }
        for part, by_part in parts.items():
            middle = middle + _linear_back(_joined(by_part), kept["hidden"], named, into, part)
        return middle


def normalised(hidden: Floats, scale: Floats, shift: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """Layer normalisation over the last axis, and what its gradient needs."""
    centred = hidden - hidden.mean(-1, keepdims=True)
    spread = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + EPSILON)
    unit = centred * spread
    return unit * scale + shift, (unit, spread)


def pooled(hidden: Floats, mask: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """The mean over the tokens, of length 1, and what its gradient needs."""
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    return mean / length, (mean / length, length)


def pooled_back(gradient: Floats, kept: tuple[Floats, Floats], mask: Floats) -> Floats:
    """The gradient by the hidden states from that by the pooled vector."""
    unit, length = kept
    by_mean = (gradient - unit * (gradient * unit).sum(-1, keepdims=True)) / length
    by_token: Floats = (by_mean / mask.sum(1, keepdims=True))[:, None, :] * mask[..., None]
    return by_token


@dataclass(frozen=True, slots=True)
class _Named:
    weights: Mapping[str, Floats]
    layer: str

    def __getitem__(self, part: str) -> Floats:
        return self.weights[f"{self.layer}.{part}"]


@dataclass(frozen=True, slots=True)
class _Into:
    sums: Weights
    layer: str

    def __setitem__(self, part: str, gradient: Floats) -> None:
        self.sums[f"{self.layer}.{part}"] = gradient


def _linear(inputs: Floats, named: _Named, part: str) -> Floats:
    return inputs @ named[f"{part}.w"].T + named[f"{part}.b"]


def _linear_back(gradient: Floats, inputs: Floats, named: _Named, into: _Into, part: str) -> Floats:
    flat = gradient.reshape(-1, gradient.shape[-1])
    into[f"{part}.w"] = flat.T @ inputs.reshape(-1, inputs.shape[-1])
    into[f"{part}.b"] = flat.sum(0)
    return gradient @ named[f"{part}.w"]


def _normalised_back(gradient: Floats, kept: tuple[Floats, Floats], scale: Floats, into: _Into, part: str) -> Floats:
    unit, spread = kept
    into[f"{part}.w"] = (gradient * unit).sum((0, 1))
    into[f"{part}.b"] = gradient.sum((0, 1))
    by_unit = gradient * scale
    along = (by_unit * unit).mean(-1, keepdims=True)
    by_input: Floats = (by_unit - by_unit.mean(-1, keepdims=True) - unit * along) * spread
    return by_input


def _split(hidden: Floats) -> Floats:
    texts, tokens, width = hidden.shape
    return np.ascontiguousarray(hidden.reshape(texts, tokens, HEADS, width // HEADS).swapaxes(1, 2))


def _joined(parts: Floats) -> Floats:
    texts, heads, tokens, size = parts.shape
    return parts.swapaxes(1, 2).reshape(texts, tokens, heads * size)


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Floats = powers / powers.sum(-1, keepdims=True)
    return shares


def _gelu(value: Floats) -> tuple[Floats, Floats]:
    """The value times the normal distribution's share below it, and the slope; erf by Abramowitz and Stegun 7.1.26."""
    bell = np.exp(-0.5 * value * value)
    near = 1 / (1 + 0.3275911 * np.abs(value) / _ROOT_TWO)
    tail = (
        (((1.061405429 * near - 1.453152027) * near + 1.421413741) * near - 0.284496736) * near + 0.254829592
    ) * near
    below = 0.5 * (1 + np.sign(value) * (1 - tail * bell))
    return value * below, below + value * bell / _ROOT_TWO_PI
