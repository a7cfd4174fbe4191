"""A model file of 200 KB in the layout of the real one, and the encoder once more, plainly, in float32."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from routing.embedded.assets import Asset
from routing.embedded.embedder_file import ModelFile
from routing.embedded.mirrors import UrlMirror

WIDTH, LAYERS, HEADS, INNER, WINDOW = 384, 2, 12, 128, 160
EPSILON = 1e-6
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581", "\u2581query", "\u2581passage", ":", "\u2581tea", "\u2581car", "s"]
REPLACEMENTS = {ord("\n"): " ", ord("ﾞ"): "\u3099", 0x07: ""}

Floats = NDArray[np.float32]


def write_model(path: Path, seed: int = 0) -> Asset:
    """Write a model with random weights; the asset that it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_content(np.random.default_rng(seed)))
    content = path.read_bytes()
    return Asset(
        name="the tiny model",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        file_name=path.name,
        licence="MIT",
        mirrors=(UrlMirror(url="https://mirror.test/model"),),
    )


def _content(random: np.random.Generator) -> bytes:
    head = b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, LAYERS, HEADS, INNER, len(PIECES), WINDOW, 2, EPSILON, 32)
    names = [piece.encode() for piece in PIECES]
    borders = np.cumsum([0, *map(len, names)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *range(-5, -5 - len(PIECES) + 4, -1)], "<f4")
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(b"".join(names)))
    head += borders.tobytes() + scores.tobytes() + b"".join(names)
    rows = b"".join(
        struct.pack("<IB", character, len(text)) + struct.pack(f"<{len(text)}I", *map(ord, text))
        for character, text in REPLACEMENTS.items()
    )
    head += struct.pack("<iI", len(REPLACEMENTS), len(rows)) + rows
    tensors = _tensors(random)
    start = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    directory = struct.pack("<i", len(tensors))
    for name, content in tensors.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 0, len(content), start, len(content))
        start += len(content)
    return head + directory + b"".join(tensors.values())


def _tensors(random: np.random.Generator) -> dict[str, bytes]:
    def floats(count: int, mean: float = 0.0) -> bytes:
        return (mean + 0.1 * random.standard_normal(count)).astype("<f4").tobytes()

    def blocks(rows: int, columns: int) -> bytes:
        count = rows * columns // 32
        scales = (0.01 + 0.01 * random.random((count, 1))).astype("<f2").view(np.uint8)
        return np.concatenate([scales, random.integers(0, 256, (count, 16), np.uint8)], axis=1).tobytes()

    table = {"emb.word": blocks(len(PIECES), WIDTH), "emb.pos": floats(WINDOW * WIDTH), "emb.type": floats(2 * WIDTH)}
    table |= {"emb.ln.w": floats(WIDTH, 1), "emb.ln.b": floats(WIDTH)}
    for layer in range(LAYERS):
        shapes = dict.fromkeys(("q", "k", "v", "ao"), (WIDTH, WIDTH)) | {"fi": (INNER, WIDTH), "fo": (WIDTH, INNER)}
        for part, (rows, columns) in shapes.items():
            table |= {f"l{layer}.{part}.w": blocks(rows, columns), f"l{layer}.{part}.b": floats(rows)}
        for part in ("aln", "oln"):
            table |= {f"l{layer}.{part}.w": floats(WIDTH, 1), f"l{layer}.{part}.b": floats(WIDTH)}
    return table


def plain_vector(file: ModelFile, ids: list[int]) -> Floats:
    """What the encoder makes of tokens: BERT, written out from its paper (https://arxiv.org/abs/1810.04805)."""
    length = len(ids)
    places: Floats = file.floats("emb.pos").reshape(WINDOW, WIDTH)[:length] + file.floats("emb.type")[:WIDTH]
    hidden = _normalized(file, np.add(file.words(np.array(ids)), places, dtype=np.float32), "emb.ln")
    for layer in range(LAYERS):
        name = f"l{layer}"
        q, k, v = (_split(_product(file, hidden, f"{name}.{part}")) for part in ("q", "k", "v"))
        weights: Floats = np.exp(q @ k.transpose(0, 2, 1) / np.float32((WIDTH / HEADS) ** 0.5))
        attended: Floats = (weights / weights.sum(-1, keepdims=True)) @ v
        joined: Floats = attended.transpose(1, 0, 2).reshape(length, WIDTH)
        hidden = _normalized(file, hidden + _product(file, joined, f"{name}.ao"), f"{name}.aln")
        raised: Floats = _gelu(_product(file, hidden, f"{name}.fi"))
        hidden = _normalized(file, hidden + _product(file, raised, f"{name}.fo"), f"{name}.oln")
    mean: Floats = hidden.mean(axis=0)
    return np.divide(mean, np.float32(np.linalg.norm(mean)))


def _split(rows: Floats) -> Floats:
    return rows.reshape(len(rows), HEADS, WIDTH // HEADS).transpose(1, 0, 2)


def _product(file: ModelFile, rows: Floats, name: str) -> Floats:
    shift = file.floats(f"{name}.b")
    weights = file.blocks(f"{name}.w", len(shift)).floats()
    product: Floats = rows @ weights.transpose()
    return product + shift


def _normalized(file: ModelFile, rows: Floats, name: str) -> Floats:
    centred: Floats = rows - rows.mean(axis=-1, keepdims=True)
    spread: Floats = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
    scaled: Floats = centred / spread
    return scaled * file.floats(f"{name}.w") + file.floats(f"{name}.b")


def _gelu(values: Floats) -> Floats:
    """By erf, to 1e-7 (https://en.wikipedia.org/wiki/Error_function#Numerical_approximations)."""
    x = np.abs(values) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * x)
    tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    share: Floats = 0.5 * (1 + np.sign(values) * (1 - tail * np.exp(-x * x)))
    return np.multiply(values, share)
