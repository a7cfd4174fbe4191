"""The matrix against a plain comparison of every pair."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from routing.state.vectors import VectorIndex

DIMENSIONS = 4
VECTORS = st.lists(st.lists(st.integers(-2, 2), min_size=DIMENSIONS, max_size=DIMENSIONS), max_size=30)


def index_of(vectors: list[list[int]], *, batch: int) -> VectorIndex:
    index = VectorIndex(DIMENSIONS)
    for start in range(0, len(vectors), batch):
        some = vectors[start : start + batch]
        index.add(range(start + 1, start + 1 + len(some)), np.array(some, np.float32))
    return index


def product(left: list[int], right: list[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


@given(vectors=VECTORS, batch=st.integers(1, 7), most=st.integers(1, 40), gone=st.sets(st.integers(1, 30)))
def test_all_that_are_left_come_nearest_first_and_of_equals_the_oldest(
    vectors: list[list[int]], batch: int, most: int, gone: set[int]
) -> None:
    query = [1, 2, 0, -1]
    index = index_of(vectors, batch=batch)
    left = [row_id for row_id in range(1, len(vectors) + 1) if row_id not in gone]
    if gone:
        index.keep(np.array(left, np.int64))

    chunks = list(index.nearest(np.array(query, np.float32), most))

    expected = sorted(((row_id, product(vectors[row_id - 1], query)) for row_id in left), key=lambda pair: -pair[1])
    assert list(chain.from_iterable(chunks)) == expected
    assert len(chunks[0]) == min(most, len(left))
    assert len(index) == len(left)


@given(vectors=VECTORS, asked=st.sets(st.integers(1, 30)))
def test_what_is_alike_is_told_of_earlier_ones_only(vectors: list[list[int]], asked: set[int]) -> None:
    index = index_of(vectors, batch=5)

    found = index.alike(sorted(asked), 3.0)

    known = [row_id for row_id in asked if row_id <= len(vectors)]
    assert sorted(found) == sorted(known)
    for row_id in known:
        pairs = [(other, product(vectors[row_id - 1], vectors[other - 1])) for other in range(1, row_id)]
        assert found[row_id] == sorted((pair for pair in pairs if pair[1] >= 3), key=lambda pair: -pair[1])


def test_what_is_added_after_some_were_dropped_is_found() -> None:
    index = index_of([[1, 0, 0, 0]] * 2_000, batch=999)
    index.keep(np.array([1, 2_000], np.int64))
    index.add([2_001], np.array([[2, 0, 0, 0]], np.float32))

    [pairs] = index.nearest(np.array([1, 0, 0, 0], np.float32), 10)

    assert pairs == [(2_001, 2.0), (1, 1.0), (2_000, 1.0)]
