# ruff: noqa: INP001 - a folder of programs, no package
"""A smaller encoder in the embedder's file format: fewer words, fewer layers, a shorter window.

What was not trained is copied byte by byte; what was is packed into blocks of 4 bits again. The format is described in
`routing.embedded.embedder_file`, which reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routing.embedded.embedder_file import BLOCK, MAGIC, ModelFile

Floats = NDArray[np.float32]

_VERSION = 1
_FLOATS, _BLOCKS = 0, 1
_MIDDLE, _HIGHEST = 8, 15


def write_encoder(
    path: Path,
    source: ModelFile,
    *,
    pieces: Sequence[int],
    layers: int,
    window: int,
    trained: Mapping[str, Floats],
) -> None:
    """Write the first ``layers`` of ``source`` with these of its pieces; ``trained`` replaces tensors by name."""
    tensors = _tensors(source, pieces, layers, window, trained)
    head = _head(source, pieces, layers, window)
    start = len(head) + len(_directory(tensors, 0))
    path.write_bytes(head + _directory(tensors, start) + b"".join(content for content, _ in tensors.values()))


def packed(weights: Floats) -> bytes:
    """A matrix as blocks of 32: a scale and the codes."""
    scales, codes = _blocks_of(weights)
    layout = np.zeros(len(scales), [("scale", "<f2"), ("codes", "u1", BLOCK // 2)])
    packed_codes = codes.astype(np.uint8)
    layout["scale"], layout["codes"] = scales[:, 0], packed_codes[:, : BLOCK // 2] | packed_codes[:, BLOCK // 2 :] << 4
    return layout.tobytes()


def rounded(weights: Floats) -> Floats:
    """A matrix as it is after packing; one that was packed before stays as it is."""
    scales, codes = _blocks_of(weights)
    return ((codes - _MIDDLE) * scales).reshape(weights.shape)


def _blocks_of(weights: Floats) -> tuple[Floats, Floats]:
    """The scale of each block, which makes its largest weight code 0, and its codes: llama.cpp's Q4_0."""
    blocks = weights.reshape(-1, BLOCK)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[:, None], -1)
    scales = (largest / -_MIDDLE).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint(blocks / np.where(scales == 0, 1, scales)) + _MIDDLE, 0, _HIGHEST)
    return scales, codes


def _tensors(
    source: ModelFile, pieces: Sequence[int], layers: int, window: int, trained: Mapping[str, Floats]
) -> dict[str, tuple[bytes, int]]:
    """The content of each tensor, and its kind."""
    width = source.width
    word = _bytes(source, "emb.word").reshape(-1, width // BLOCK * (2 + BLOCK // 2))
    kept = {
        "emb.word": (word[np.array(pieces)].tobytes(), _BLOCKS),
        "emb.pos": (_bytes(source, "emb.pos")[: 4 * width * window].tobytes(), _FLOATS),
    }
    names = [name for name in source.tensors if name.startswith(("emb.", *(f"l{layer}." for layer in range(layers))))]
    for name in names:
        if name not in kept:
            kind = _BLOCKS if name.endswith(".w") and "ln." not in name else _FLOATS
            kept[name] = (_bytes(source, name).tobytes(), kind)
    for name, weights in trained.items():
        content = packed(weights) if kept[name][1] == _BLOCKS else weights.astype("<f4").tobytes()
        kept[name] = (content, kept[name][1])
    return kept


def _bytes(source: ModelFile, name: str) -> NDArray[np.uint8]:
    start, length = source.tensors[name]
    return np.asarray(source.content[start : start + length])


def _head(source: ModelFile, pieces: Sequence[int], layers: int, window: int) -> bytes:
    names = [source.pieces[piece][0].encode() for piece in pieces]
    borders = np.cumsum([0, *map(len, names)]).astype("<u4")
    place = {piece: at for at, piece in enumerate(pieces)}
    inner = 4 * source.width
    sizes = struct.pack(
        "<7ifi", source.width, layers, source.heads, inner, len(pieces), window, 1, source.epsilon, BLOCK
    )
    begin, end, unknown = place[source.begin], place[source.end], place[source.unknown]
    special = struct.pack("<5iQ", len(pieces), begin, end, begin, unknown, sum(map(len, names)))
    scores = np.array([source.pieces[piece][1] for piece in pieces], "<f4").tobytes()
    return (
        MAGIC + struct.pack("<I", _VERSION) + sizes + special
        + borders.tobytes() + scores + b"".join(names) + _replacements(source.replacements)
    )  # fmt: skip


def _replacements(table: Mapping[int, str]) -> bytes:
    rows = [struct.pack(f"<IB{len(text)}I", character, len(text), *map(ord, text)) for character, text in table.items()]
    return struct.pack("<iI", len(rows), sum(map(len, rows))) + b"".join(rows)


def _directory(tensors: Mapping[str, tuple[bytes, int]], start: int) -> bytes:
    rows = list[bytes]()
    for name, (content, kind) in tensors.items():
        weights = len(content) // 4 if kind == _FLOATS else len(content) // (2 + BLOCK // 2) * BLOCK
        rows.append(
            struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, weights, start, len(content))
        )
        start += len(content)
    return struct.pack("<i", len(rows)) + b"".join(rows)
