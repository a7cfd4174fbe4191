"""Embeddings made on this machine, by the embedder that memories are found with too. It writes no text.

No wire: `Embedder` runs in this process. Texts are compared with each other, so all of them are embedded as queries.
https://huggingface.co/intfloat/multilingual-e5-small
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from routing.errors import ProviderRejected
from routing.types import ModelRequest, ModelResponse, OnText, Target, Usage


class Rows(Protocol):
    """A matrix of numbers, a row for each text."""

    def tolist(self) -> list[list[float]]: ...


class Embedder(Protocol):
    """What makes the vectors, and counts tokens as it reads them."""

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> Rows: ...

    async def count_tokens(self, text: str) -> int: ...


class Vectors:
    """A provider of vectors alone."""

    name = "vectors"

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:  # noqa: ARG002 - the Protocol's signature
        """Refuse: it writes no text."""
        raise ProviderRejected("it makes vectors, not text", provider=target.provider, model_id=target.model_id)

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:  # noqa: ARG002 - there is one model
        """Make vectors of the request's texts.

        Raises:
            AssetError: its weights are not here.

        """
        rows = await self._embedder.embed(request.texts, purpose="query")
        tokens = [await self._embedder.count_tokens(text) for text in request.texts]
        vectors = tuple(tuple(row) for row in rows.tolist())
        usage = Usage(input_tokens=sum(tokens), output_tokens=0)
        return ModelResponse(text="", finish_reason="stop", usage=usage, vectors=vectors)

    async def check(self, target: Target) -> None:
        """It is in this process: nothing to ask."""

    async def aclose(self) -> None:
        """Nothing to close."""
