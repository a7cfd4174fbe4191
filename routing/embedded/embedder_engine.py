"""The embedder at work: text → tokens → vectors, on onnxruntime. Imported only when a text is to be embedded.

Texts of the same number of tokens share a run, so nothing is padded. The order of the steps before the encoder, of the model's
own tokenizer: characters are replaced, runs of spaces become one, a space is put in front, the likeliest pieces are found.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs] - it ships none
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace

from routing.embedded.embedder_file import Floats, ModelFile, read_model
from routing.embedded.embedder_graph import INPUT, OUTPUT, encoder

TAIL_TOKENS = 128
_RUN_TOKENS = 2_048
"""Most tokens in one run: about 0.25 s on two cores, and 50 MB."""

_HEAD_CHARS = 16_384
_TAIL_CHARS = 8_192
_SPACES = re.compile(" {2,}")


class _Session(Protocol):
    def run(self, outputs: Sequence[str], inputs: dict[str, Floats]) -> list[Floats]: ...


class Engine:
    """A loaded model. Threads may share it. ``threads`` is how many of them one run takes."""

    def __init__(self, path: Path, *, threads: int) -> None:
        file = read_model(path)
        self._tokenizer = _tokenizer_of(file)
        self._file = replace(file, pieces=())  # 50 MB that the tokenizer has of its own now
        self._session = _session_of(encoder(self._file), threads)
        places = self._file.floats("emb.pos").reshape(-1, self._file.width)
        self._places: Floats = places + self._file.floats("emb.type")[: self._file.width]

    def count_tokens(self, text: str) -> int:
        """How many tokens the model would read of the text if its window were endless, the two that frame it included."""
        return len(self._tokenizer.encode(self._normalized(text)).ids) + 2

    def embed(self, texts: Sequence[str], vectors: Floats) -> Iterator[None]:
        """Fill ``vectors``, a row for each text; every step of the iterator is one run of the encoder."""
        tokens = [self._tokens(text) for text in texts]
        for rows in _runs([len(one) for one in tokens]):
            vectors[rows] = self._embedded(np.array([tokens[row] for row in rows]))
            yield

    def _embedded(self, tokens: NDArray[np.int64]) -> Floats:
        texts, length = tokens.shape
        words = self._file.words(tokens.reshape(-1)).reshape(texts, length, -1)
        [means] = self._session.run([OUTPUT], {INPUT: words + self._places[:length]})
        lengths: Floats = np.linalg.norm(means, axis=1, keepdims=True)
        return np.divide(means, lengths)

    def _tokens(self, text: str) -> list[int]:
        """The text within the window: of a longer one the beginning and the last `TAIL_TOKENS`."""
        if len(text) > _HEAD_CHARS + _TAIL_CHARS:
            text = f"{text[:_HEAD_CHARS]} {text[-_TAIL_CHARS:]}"
        ids: list[int] = self._tokenizer.encode(self._normalized(text)).ids
        room = self._file.window - 2
        if len(ids) > room:
            ids = ids[: room - TAIL_TOKENS] + ids[-TAIL_TOKENS:]
        return [self._file.begin, *ids, self._file.end]

    def _normalized(self, text: str) -> str:
        # The table knows single characters only; what it leaves in parts, such as a letter and its accent, NFC joins.
        valid = text.encode("utf-8", "replace").decode()
        return _SPACES.sub(" ", unicodedata.normalize("NFC", valid.translate(self._file.replacements)))


def _runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """The rows of each run: texts of one length, as many as `_RUN_TOKENS` allow; a long text has a run of its own."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for row, length in enumerate(lengths):
        by_length[length].append(row)
    for length, rows in sorted(by_length.items()):
        most = max(1, _RUN_TOKENS // length)
        yield from (rows[start : start + most] for start in range(0, len(rows), most))


def _tokenizer_of(file: ModelFile) -> Tokenizer:
    tokenizer = Tokenizer(Unigram(list(file.pieces), unk_id=file.unknown, byte_fallback=False))
    tokenizer.pre_tokenizer = cast("Any", Metaspace(replacement="\u2581", prepend_scheme="always"))
    return tokenizer


def _session_of(model: bytes, threads: int) -> _Session:
    runtime = cast("Any", onnxruntime)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = (
        runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    )  # more would fuse what is faster apart
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # two busy cores are worse off for it
    return cast("_Session", runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
