"""Which of the known kinds of work a prompt looks like: a probability for each source of outcomes.

One ridge regression per source against all others, sharpened by a softmax. Which model does best differs by kind of work far
more than by prompt, so that mean scores by source, weighed by these probabilities, are the firmest ground for a prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.learning.features import BUCKETS, SHAPE, Features
from routing.learning.ridge import Floats, Rows, Settings, Space, solved

_SETTINGS = Settings(penalty=3, shape_scale=0.2)
_SHARPNESS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recogniser:
    """Fitted regressions, a row of ``weights`` and an intercept for each of ``sources``."""

    sources: tuple[str, ...]
    space: Space
    weights: Floats
    intercepts: Floats

    def predict(self, features: Sequence[Features]) -> Floats:
        """Probabilities (prompts, sources); each row sums to 1."""
        if not features:
            return np.zeros((0, len(self.sources)))
        rows = Rows.of(features, self.space, _SETTINGS)
        likeness = np.array([rows.times(weights) for weights in self.weights]).T + self.intercepts
        raised = np.exp(_SHARPNESS * (likeness - likeness.max(axis=1, keepdims=True)))
        probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
        return probabilities

    def likeness(self, features: Sequence[Features], sources: Sequence[str]) -> Floats:
        """How probable it is of each prompt that it comes from one of these sources."""
        wanted = np.array([source in sources for source in self.sources], float)
        chance: Floats = self.predict(features) @ wanted
        return chance

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What is to be stored; only the buckets that count."""
        kept = np.flatnonzero(self.space.idf)
        return {
            "sources/buckets": kept.astype(np.uint16),
            "sources/idf": self.space.idf[kept].astype(np.float32),
            "sources/words": self.weights[:, kept].astype(np.float16),
            "sources/shape": np.vstack([self.space.mean, self.space.spread, self.weights[:, BUCKETS:]]).astype(
                np.float32
            ),
            "sources/intercepts": self.intercepts.astype(np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]], sources: Sequence[str]) -> Recogniser:
        """What `arrays` stored. A missing or misshapen array is a KeyError, IndexError or ValueError."""
        kept = arrays["sources/buckets"].astype(np.int64)
        mean, spread, *shape_weights = arrays["sources/shape"].astype(float).reshape(2 + len(sources), len(SHAPE))
        idf, words = np.zeros(BUCKETS), np.zeros((len(sources), BUCKETS))
        idf[kept] = arrays["sources/idf"].astype(float)
        words[:, kept] = arrays["sources/words"].astype(float)
        return cls(
            sources=tuple(sources),
            space=Space(idf=idf, mean=mean, spread=spread),
            weights=np.hstack([words, np.array(shape_weights)]),
            intercepts=arrays["sources/intercepts"].astype(float).reshape(len(sources)),
        )


def fit_recogniser(features: Sequence[Features], sources: Sequence[str]) -> Recogniser:
    """Learn to tell the sources of these prompts apart."""
    names = tuple(sorted(set(sources)))
    own = np.array([[float(source == name) for source in sources] for name in names])
    space = Space.of(features)
    rows = Rows.of(features, space, _SETTINGS)
    intercepts = own.mean(axis=1)
    counted = np.ones(len(sources))
    weights = np.array(
        [solved(rows, one - mean, counted, _SETTINGS.penalty) for one, mean in zip(own, intercepts, strict=True)]
    )
    stored = np.hstack([weights[:, :BUCKETS].astype(np.float16), weights[:, BUCKETS:].astype(np.float32)])
    return Recogniser(
        sources=names,
        space=space,
        weights=stored.astype(float),
        intercepts=intercepts.astype(np.float32).astype(float),
    )
