"""Writing the smaller encoder, with the shipped one as the larger."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from routing.analyzer.learned import ENCODER, WEIGHTS
from routing.embedded.embedder_engine import Engine
from routing.embedded.embedder_file import ModelFile, read_model
from training.encoder_file import rounded, write_encoder


@pytest.fixture(scope="module")
def source() -> ModelFile:
    return read_model(WEIGHTS / ENCODER)


def smaller(source: ModelFile, path: Path, **trained: NDArray[np.float32]) -> ModelFile:
    write_encoder(path, source, pieces=range(len(source.pieces)), layers=2, window=64, trained=trained)
    return read_model(path)


def test_what_is_kept_is_kept_as_it_was(source: ModelFile, tmp_path: Path) -> None:
    pieces = [0, 1, 2, 3, 500, 7_000]
    write_encoder(tmp_path / "small", source, pieces=pieces, layers=2, window=64, trained={})
    small = read_model(tmp_path / "small")
    assert small.pieces == tuple(source.pieces[piece] for piece in pieces)
    assert small.replacements == source.replacements
    assert (small.layers, small.window, small.epsilon) == (2, 64, source.epsilon)
    assert (small.words(np.arange(6)) == source.words(np.array(pieces))).all()
    assert (small.floats("l1.fo.b") == source.floats("l1.fo.b")).all()
    assert (small.blocks("l1.q.w", 384).floats() == source.blocks("l1.q.w", 384).floats()).all()
    assert not any(name.startswith("l2.") for name in small.tensors)


def test_what_was_trained_takes_its_place(source: ModelFile, tmp_path: Path) -> None:
    bias = np.arange(384, dtype=np.float32)
    matrix = np.random.default_rng(0).normal(size=(384, 384)).astype(np.float32)
    small = smaller(source, tmp_path / "small", **{"l0.q.b": bias, "l0.q.w": matrix})
    assert (small.floats("l0.q.b") == bias).all()
    away = small.blocks("l0.q.w", 384).floats() - matrix
    assert np.sqrt((away**2).mean()) < 0.1


def test_the_smaller_encoder_embeds(source: ModelFile, tmp_path: Path) -> None:
    smaller(source, tmp_path / "small")
    vectors = np.empty((2, 384), np.float32)
    for _ in Engine(tmp_path / "small", threads=1).embed(["a cat", "عصفور"], vectors):
        pass
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-3)


@given(st.lists(st.integers(-4_000, 4_000), min_size=32, max_size=32))
def test_no_weight_is_off_by_more_than_a_step_and_rounding_again_changes_nothing(thousandths: list[int]) -> None:
    weights = np.array([thousandths], np.float32) / np.float32(1000)
    once = rounded(weights)
    step = float(np.abs(weights).max()) / 8
    assert np.abs(once - weights).max() <= 1.01 * step
    assert (rounded(once) == once).all()


def test_what_is_packed_is_what_rounding_gives(source: ModelFile, tmp_path: Path) -> None:
    matrix = np.random.default_rng(1).normal(size=(384, 384)).astype(np.float32)
    small = smaller(source, tmp_path / "small", **{"l1.v.w": matrix})
    assert (small.blocks("l1.v.w", 384).floats() == rounded(matrix)).all()
