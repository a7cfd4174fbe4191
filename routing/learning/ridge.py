"""Ridge regression on the features of prompts: the one learner that all parts of the quality model are made of.

A prompt's row is its bucket counts × idf at length 1, beside its shape, standardised and scaled down by ``shape_scale``.
Solved by conjugate gradients on the sparse rows: stopped early, and without a matrix that fills the memory. What else was tried
(kernels on embeddings, nearest neighbours) and did no better is in docs/adr/0013.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.learning.features import BUCKETS, SHAPE, Features

Floats = NDArray[np.float64]

_FEWEST_PROMPTS = 2
"""A word that only one prompt of the training set has says nothing about others."""

_FURTHEST = 3.0
"""Standard deviations at which a shape is cut off: an odd prompt must not outweigh all words."""

_MOST_STEPS = 300
_TOLERANCE = 1e-2
"""Of the first residual: predictions then agree with the exact ones to a correlation of 0.9997, in a third of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``penalty`` is ridge's λ, per training set; ``shape_scale`` weighs the shape against the words."""

    penalty: float
    shape_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What turns features into rows, as the training set had it: idf of each bucket, mean and spread of each shape."""

    idf: Floats
    mean: Floats
    spread: Floats

    @classmethod
    def of(cls, features: Sequence[Features]) -> Space:
        """The space of a training set."""
        prompts = np.bincount(np.concatenate([one.buckets for one in features]), minlength=BUCKETS)
        idf = np.where(prompts >= _FEWEST_PROMPTS, np.log(len(features) / np.maximum(prompts, 1)), 0.0)
        shapes = np.array([one.shape for one in features], float)
        return cls(
            idf=_stored(idf), mean=_stored(shapes.mean(axis=0)), spread=_stored(np.maximum(shapes.std(axis=0), 1e-3))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Many prompts in a space: entries (row, bucket, value) of the sparse part, and the dense part (rows, shape)."""

    row: NDArray[np.int64]
    bucket: NDArray[np.int64]
    value: Floats
    shape: Floats

    @classmethod
    def of(cls, features: Sequence[Features], space: Space, settings: Settings) -> Rows:
        """The rows of these prompts."""
        row = np.repeat(np.arange(len(features)), [len(one.buckets) for one in features])
        bucket = np.concatenate([one.buckets for one in features]).astype(np.int64)
        value = np.concatenate([one.counts for one in features]) * space.idf[bucket]
        length = np.sqrt(np.bincount(row, value * value, minlength=len(features)))
        shapes = (np.array([one.shape for one in features], float) - space.mean) / space.spread
        return cls(
            row=row,
            bucket=bucket,
            value=value / np.maximum(length, 1e-9)[row],
            shape=np.clip(shapes, -_FURTHEST, _FURTHEST) * settings.shape_scale,
        )

    def times(self, weights: Floats) -> Floats:
        """Rows × weights: one number a row."""
        words = np.bincount(self.row, self.value * weights[self.bucket], minlength=len(self.shape)).astype(float)
        dense: Floats = np.einsum("rs,s->r", self.shape, weights[BUCKETS:])
        return words + dense

    def transposed_times(self, values: Floats) -> Floats:
        """Rows transposed × one value a row."""
        words = np.bincount(self.bucket, self.value * values[self.row], minlength=BUCKETS).astype(float)
        return np.concatenate([words, np.einsum("rs,r->s", self.shape, values)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ridge:
    """A fitted regression: features → one number."""

    space: Space
    settings: Settings
    weights: Floats
    intercept: float

    def predict(self, features: Sequence[Features]) -> Floats:
        """One number for each prompt."""
        if not features:
            return np.zeros(0)
        return self.intercept + Rows.of(features, self.space, self.settings).times(self.weights)

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """What is to be stored, under names that begin with ``name``; only the buckets that count."""
        kept = np.flatnonzero(self.space.idf)
        return {
            f"{name}/buckets": kept.astype(np.uint16),
            f"{name}/idf": self.space.idf[kept].astype(np.float32),
            f"{name}/words": self.weights[kept].astype(np.float32),
            f"{name}/shape": np.stack([self.space.mean, self.space.spread, self.weights[BUCKETS:]]).astype(np.float32),
            f"{name}/numbers": np.array([self.intercept, self.settings.penalty, self.settings.shape_scale]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], name: str) -> Ridge:
        """What `arrays` stored. A missing or misshapen array is a KeyError, IndexError or ValueError."""
        kept = arrays[f"{name}/buckets"].astype(np.int64)
        mean, spread, shape_weights = arrays[f"{name}/shape"].astype(float).reshape(3, len(SHAPE))
        intercept, penalty, shape_scale = (float(number) for number in arrays[f"{name}/numbers"].astype(float))
        idf, words = np.zeros(BUCKETS), np.zeros(BUCKETS)
        idf[kept] = arrays[f"{name}/idf"].astype(float)
        words[kept] = arrays[f"{name}/words"].astype(float)
        return cls(
            space=Space(idf=idf, mean=mean, spread=spread),
            settings=Settings(penalty=penalty, shape_scale=shape_scale),
            weights=np.concatenate([words, shape_weights]),
            intercept=intercept,
        )


def fit(
    features: Sequence[Features], targets: Floats, settings: Settings, sample_weights: Floats | None = None
) -> Ridge:
    """Fit one regression. ``sample_weights`` says how much each row counts (1 where it is left out)."""
    counted = np.ones(len(targets)) if sample_weights is None else sample_weights
    space = Space.of(features)
    rows = Rows.of(features, space, settings)
    intercept = float(np.average(targets, weights=counted))
    weights = solved(rows, targets - intercept, counted, settings.penalty)
    return Ridge(space=space, settings=settings, weights=_stored(weights), intercept=intercept)


def out_of_fold(features: Sequence[Features], targets: Floats, folds: NDArray[np.int64], settings: Settings) -> Floats:
    """Each row as predicted by a regression that did not see its fold."""
    predicted = np.zeros(len(targets))
    for fold in np.unique(folds):
        seen = [row for row, own in enumerate(folds) if own != fold]
        unseen = [row for row, own in enumerate(folds) if own == fold]
        ridge = fit([features[row] for row in seen], targets[seen], settings)
        predicted[unseen] = ridge.predict([features[row] for row in unseen])
    return predicted


def solved(rows: Rows, targets: Floats, counted: Floats, penalty: float) -> Floats:
    """Conjugate gradients on (XᵀCX + λ)w = XᵀCy."""
    residual = rows.transposed_times(counted * targets)
    weights, direction = np.zeros_like(residual), residual.copy()
    size = first = _dot(residual, residual)
    for _ in range(_MOST_STEPS):
        if size <= _TOLERANCE**2 * first:
            break
        image = rows.transposed_times(counted * rows.times(direction)) + penalty * direction
        step = size / _dot(direction, image)
        weights += step * direction
        residual -= step * image
        size, before = _dot(residual, residual), size
        direction = residual + (size / before) * direction
    return weights


def _dot(first: Floats, second: Floats) -> float:
    """The scalar product, summed in one order: BLAS's depends on the number of threads, and the weights' bytes with it."""
    return float(np.sum(first * second))


def _stored(values: Floats) -> Floats:
    """The values as the file keeps them, so that a model behaves the same before and after it was stored."""
    return values.astype(np.float32).astype(np.float64)
