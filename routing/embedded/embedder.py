"""Text → vectors on this machine: multilingual-e5-small, with 4-bit weights, on onnxruntime.

    embedder.py        when it is there, and when it is loaded; imports nothing heavy
      embedder_engine.py   text → tokens → vectors
      embedder_graph.py    the encoder as onnxruntime wants it
      embedder_file.py     what stands in the file

Model: https://huggingface.co/intfloat/multilingual-e5-small (MIT), which wants to be told which of the texts are questions. Its
similarities lie close together: about 0.75 between unrelated texts, 0.85 and more between related ones.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from anyio import to_thread

from routing.embedded.assets import MULTILINGUAL_E5_SMALL, Asset, found
from routing.errors import AssetError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routing.embedded.embedder_engine import Engine

Purpose = Literal["query", "passage"]

DIMENSIONS = 384
_COMPUTATION = 1
"""Part of the name: to be raised when the same file gives other vectors than before."""

_MOST_THREADS = 4


class LocalEmbedder:
    """The `routing.state.Embedder` over the weights in ``folder``; it is loaded (about 2 s) with the first text."""

    dimensions = DIMENSIONS

    def __init__(self, folder: Path, *, threads: int | None = None, asset: Asset = MULTILINGUAL_E5_SMALL) -> None:
        self.name = f"multilingual-e5-small-q4-{asset.sha256[:8]}-{_COMPUTATION}"
        self._folder = folder
        self._asset = asset
        self._threads = threads or min(_MOST_THREADS, os.cpu_count() or 1)
        self._engine: Engine | None = None
        self._refused: int | None = None
        self._loading = threading.Lock()

    def available(self) -> bool:
        """Whether its weights are here, as far as a look at the folder tells."""
        return self._engine is not None or self._seen() not in (None, self._refused)

    async def embed(self, texts: Sequence[str], *, purpose: Purpose) -> NDArray[np.float32]:
        """One vector of length 1 for each text, (texts, `dimensions`).

        Of a text that is longer than the window of 512 tokens, the beginning and the last 128 tokens are read. Cancelling ends
        it within a quarter of a second.

        Raises:
            AssetError: the weights are not here, or not the right ones.

        """
        import numpy as np  # noqa: PLC0415 - importing this module must stay cheap

        engine = await self._loaded()
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        runs = engine.embed([f"{purpose}: {text}" for text in texts], vectors)
        ended = object()
        while await to_thread.run_sync(next, runs, ended) is not ended:
            pass
        return vectors

    async def count_tokens(self, text: str) -> int:
        """How many tokens the text has for this model, window or not.

        Raises:
            AssetError: the weights are not here, or not the right ones.

        """
        engine = await self._loaded()
        return await to_thread.run_sync(engine.count_tokens, text)

    async def _loaded(self) -> Engine:
        return self._engine if self._engine is not None else await to_thread.run_sync(self._load)

    def _load(self) -> Engine:
        with self._loading:
            if self._engine is None:
                seen = self._seen()
                path = found(self._asset, self._folder)
                if path is None:
                    self._refused = seen
                    raise AssetError(f"{self._asset.name} is not in {self._folder}. Run `python server.py pull`.")
                from routing.embedded.embedder_engine import Engine  # noqa: PLC0415 - onnxruntime takes 0.3 s

                self._engine = Engine(path, threads=self._threads)
            return self._engine

    def _seen(self) -> int | None:
        """When a file of the right name and size was last changed."""
        try:
            file = (self._folder / self._asset.file_name).stat()
        except OSError:
            return None
        return file.st_mtime_ns if file.st_size == self._asset.size else None
