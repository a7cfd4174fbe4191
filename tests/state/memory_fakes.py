"""An embedder that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import anyio
import numpy as np
from numpy.typing import NDArray


class WordEmbedder:
    """Texts are as near as they share words. ``words_of`` may say that two words mean the same.

    While ``gate`` is not set it embeds no passages; ``asked`` keeps those that it embedded.
    """

    def __init__(
        self, name: str = "words-1", *, synonyms: dict[str, str] | None = None, dimensions: int = 4_096
    ) -> None:
        self.name = name
        self.dimensions = dimensions
        self.is_here = True
        self.asked: list[str] = []
        self.gate = anyio.Event()
        self.gate.set()
        self._synonyms = synonyms or {}

    def available(self) -> bool:
        return self.is_here

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> NDArray[np.float32]:
        if purpose == "passage":
            await self.gate.wait()
            self.asked += texts
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        vector = np.zeros(self.dimensions, np.float32)
        for word in text.lower().split():
            meaning = self._synonyms.get(word, word)
            vector[crc32(meaning.encode("utf-8", "surrogatepass")) % self.dimensions] += 1
        length: float = float(np.linalg.norm(vector))
        return vector / np.float32(length or 1)
