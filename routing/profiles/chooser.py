"""A linear scorer of messages, fitted to the profiles' examples and keywords: ridge regression.

Every profile counts the same, however many examples it brings. A keyword is an example of itself too, so that one which stands
in no example counts all the same.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from routing.profiles.wording import Keywords, Space, says_nothing, words_of
from routing.registry import Profile

Floats = NDArray[np.float64]

_PENALTY = 0.3
_TOLERANCE = 1e-2
_MOST_STEPS = 200
_KEYWORD_WEIGHT = 0.3
"""What a keyword counts as an example of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chooser:
    """Chooses among ``names``, the ``fallback`` where nothing can be told of a message.

    ``weights`` has a row for each feature of ``places``, and a column for each name.
    """

    names: tuple[str, ...]
    fallback: str | None
    space: Space
    places: Mapping[str, int]
    weights: Floats

    def choose(self, text: str) -> str:
        """The profile that a message is for. The same message gives the same profile."""
        words = words_of(text)
        if self.fallback is not None and says_nothing(text, words):
            return self.fallback
        return self.names[int(self.scores(text, words).argmax())]

    def scores(self, text: str, words: Sequence[str]) -> Floats:
        """How much a message of these words is like those of each profile; comparable with one another only."""
        places: list[int] = []
        values: list[float] = []
        for feature, value in self.space.features(text, words).items():
            place = self.places.get(feature)
            if place is not None:
                places.append(place)
                values.append(value)
        scores: Floats = np.dot(values, self.weights.take(places, axis=0))
        return scores


Material = tuple[str, tuple[str, ...], tuple[str, ...]]
"""A profile's name, its examples and its keywords."""


def fitted(profiles: Mapping[str, Profile]) -> Chooser:
    """Fit a scorer to the profiles' examples and keywords; the same ones are fitted once. A fifth of a second."""
    fallback = next((name for name, row in profiles.items() if row.fallback), None)
    return _fitted(tuple((name, row.examples, row.keywords) for name, row in profiles.items()), fallback)


@functools.lru_cache(maxsize=4)
def _fitted(material: tuple[Material, ...], fallback: str | None) -> Chooser:
    names = tuple(name for name, _, _ in material)
    rows = list(_rows(material))
    space = Space(
        keywords=Keywords.of({name: keywords for name, _, keywords in material}),
        examples_with=Counter(word for text, _, _ in rows for word in set(words_of(text))),
    )
    features = [space.features(text, words_of(text), seen=1) for text, _, _ in rows]
    places = {key: place for place, key in enumerate(dict.fromkeys(key for row in features for key in row))}
    labels = np.array([names.index(name) for _, name, _ in rows])
    given = np.array([weight for _, _, weight in rows])
    per_name = np.bincount(labels, given, minlength=len(names))
    given = given * (per_name.sum() / len(names) / per_name)[labels]
    matrix = _Rows.of(features, places)
    columns = [_solved(matrix, (labels == column) - 1 / len(names), given) for column in range(len(names))]
    weights = np.column_stack(columns)
    return Chooser(names=names, fallback=fallback, space=space, places=places, weights=weights)


def _rows(material: Sequence[Material]) -> Iterator[tuple[str, str, float]]:
    """Each example and keyword with its profile and what it counts."""
    for name, examples, keywords in material:
        yield from ((text, name, 1.0) for text in examples)
        yield from ((text.replace("*", ""), name, _KEYWORD_WEIGHT) for text in keywords)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Examples as a sparse matrix: the entries' rows, their features' places and their values."""

    row: NDArray[np.int64]
    place: NDArray[np.int64]
    value: NDArray[np.float64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, features: Sequence[Mapping[str, float]], places: Mapping[str, int]) -> _Rows:
        """The rows of these examples."""
        entries = [(row, places[key], value) for row, values in enumerate(features) for key, value in values.items()]
        row, place, value = zip(*entries, strict=True)
        return cls(row=np.array(row), place=np.array(place), value=np.array(value), shape=(len(features), len(places)))

    def times(self, weights: Floats) -> Floats:
        """A score for each example."""
        return np.bincount(self.row, self.value * weights[self.place], self.shape[0]).astype(np.float64)

    def transposed_times(self, scores: Floats) -> Floats:
        """A sum for each feature."""
        return np.bincount(self.place, self.value * scores[self.row], self.shape[1]).astype(np.float64)


def _solved(rows: _Rows, wanted: Floats, given: Floats) -> Floats:
    """The weights that come nearest to what is ``wanted`` of each example, by conjugate gradients."""
    weights = np.zeros(rows.shape[1])
    residual = rows.transposed_times(given * wanted)
    direction, square = residual.copy(), float(residual @ residual)
    enough = square * _TOLERANCE**2
    for _ in range(_MOST_STEPS):
        if square <= enough:
            break
        moved = rows.transposed_times(given * rows.times(direction)) + _PENALTY * direction
        step = square / float(direction @ moved)
        weights += step * direction
        residual -= step * moved
        square, before = float(residual @ residual), square
        direction = residual + square / before * direction
    return weights
