"""The vectors of one caller's memories, all in one matrix, so that the nearest are found exactly by one product.

At 100,000 vectors of 384 dimensions it is 154 MB, and the product takes about 6 ms: the time to read it once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_LEAST_ROOM = 1_024
_AT_ONCE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """``count`` rows of ``ids`` and ``vectors``, which have room for more; a reader sees these and no later ones."""

    ids: Ids
    vectors: Floats
    count: int


class VectorIndex:
    """Vectors by id. Readers need no lock; ``lock`` is for those who bring it up to date.

    ``change`` and ``forgotten`` say how far that has come; they are the store's.
    """

    def __init__(self, dimensions: int) -> None:
        self.lock = threading.Lock()
        self.change = 0
        self.forgotten = 0
        self._rows = _Rows(ids=np.empty(0, np.int64), vectors=np.empty((0, dimensions), np.float32), count=0)

    def __len__(self) -> int:
        return self._rows.count

    def add(self, ids: Sequence[int], vectors: Floats) -> None:
        """Put new ones at the end."""
        rows = self._with_room(self._rows.count + len(ids))
        grown = slice(rows.count, rows.count + len(ids))
        rows.ids[grown], rows.vectors[grown] = ids, vectors
        self._rows = _Rows(ids=rows.ids, vectors=rows.vectors, count=grown.stop)

    def keep(self, ids: Ids) -> None:
        """Forget all but these."""
        rows = self._rows
        kept = np.isin(rows.ids[: rows.count], ids)
        self._rows = _Rows(
            ids=rows.ids[: rows.count][kept], vectors=rows.vectors[: rows.count][kept], count=int(kept.sum())
        )

    def nearest(self, query: Floats, most: int) -> Iterator[list[tuple[int, float]]]:
        """The ids with their similarities, nearest first: the first ``most``, and then all others."""
        rows = self._rows
        ids, similarities = rows.ids[: rows.count], rows.vectors[: rows.count] @ query
        top = _top(similarities, most)
        yield _pairs_of(ids, similarities, top)
        if rows.count > most:
            yield _pairs_of(ids, similarities, np.argsort(-similarities, kind="stable")[most:])

    def alike(self, ids: Sequence[int], least: float) -> dict[int, list[tuple[int, float]]]:
        """For each of the ids the lower ids whose vectors are that similar to its own, the most similar first."""
        rows = self._rows
        known, vectors = rows.ids[: rows.count], rows.vectors[: rows.count]
        places = np.flatnonzero(np.isin(known, np.array(ids)))
        found: dict[int, list[tuple[int, float]]] = {}
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            for place, similarities in zip(some, vectors[some] @ vectors.T, strict=True):
                others = np.flatnonzero(similarities >= least)
                others = others[known[others] < known[place]]
                ordered = others[np.argsort(-similarities[others], kind="stable")]
                found[int(known[place])] = _pairs_of(known, similarities, ordered)
        return found

    def _with_room(self, count: int) -> _Rows:
        rows = self._rows
        if count <= len(rows.ids):
            return rows
        room = max(_LEAST_ROOM, count, rows.count * 3 // 2)
        ids, vectors = np.empty(room, np.int64), np.empty((room, rows.vectors.shape[1]), np.float32)
        ids[: rows.count], vectors[: rows.count] = rows.ids[: rows.count], rows.vectors[: rows.count]
        return _Rows(ids=ids, vectors=vectors, count=rows.count)


def _top(similarities: Floats, most: int) -> NDArray[np.intp]:
    """The places of the greatest, in order; of equals the first come first, as in a sort of all."""
    if most >= len(similarities):
        return np.argsort(-similarities, kind="stable")
    least = np.partition(similarities, len(similarities) - most)[len(similarities) - most]
    places = np.flatnonzero(similarities >= least)
    return places[np.argsort(-similarities[places], kind="stable")][:most]


def _pairs_of(ids: Ids, similarities: Floats, places: NDArray[np.intp]) -> list[tuple[int, float]]:
    return list(zip(ids[places].tolist(), similarities[places].tolist(), strict=True))
