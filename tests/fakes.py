"""A provider without a network: answers, fails or hangs as it was told to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio

from routing.types import Access, ModelRequest, ModelResponse, OnText, Progress, Provider, Target, Usage

Script = ModelResponse | Exception | None
"""What a model does: answer, fail, or (``None``) write one word and hang."""


def reply(text: str = "Paris.", input_tokens: int = 20, output_tokens: int = 5) -> ModelResponse:
    """An answer that ended well."""
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return ModelResponse(text=text, finish_reason="stop", usage=usage)


@dataclass(slots=True)
class FakeProvider:
    """Plays ``scripts`` by model id, a list of them one after the other; a model without one answers "Paris."."""

    scripts: Mapping[str, Script | list[Script]] = field(default_factory=dict[str, Script | list[Script]])
    requests: list[tuple[str, ModelRequest]] = field(default_factory=list[tuple[str, ModelRequest]])
    cancelled: int = 0
    closed: bool = False
    name: str = "fake"

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        self.requests.append((target.model_id, request))
        script = self.scripts.get(target.model_id, reply())
        if isinstance(script, list):
            script = script.pop(0)
        if isinstance(script, Exception):
            raise script
        if script is None:
            return await self._hang(on_text)
        for word in script.text.split():
            await on_text(word)
        return script

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:
        """Vectors of two dimensions: how long a text is, and how many spaces it has."""
        self.requests.append((target.model_id, request))
        script = self.scripts.get(target.model_id)
        if isinstance(script, Exception):
            raise script
        vectors = tuple((float(len(text)), float(text.count(" "))) for text in request.texts)
        return ModelResponse(text="", finish_reason="stop", usage=None, vectors=vectors)

    async def _hang(self, on_text: OnText) -> ModelResponse:
        await on_text("Once")
        try:
            await anyio.sleep_forever()
        finally:
            self.cancelled += 1
        raise AssertionError

    async def check(self, target: Target) -> None:
        script = self.scripts.get(target.provider)
        if isinstance(script, Exception):
            raise script

    async def aclose(self) -> None:
        self.closed = True

    def connect(self, _access: Access) -> Provider:
        """Stand in for `routing.dispatch.providers.connect`."""
        return self


@dataclass(slots=True)
class Heard:
    """A listener to progress."""

    reports: list[Progress] = field(default_factory=list[Progress])

    async def __call__(self, progress: Progress) -> None:
        self.reports.append(progress)


@dataclass(slots=True)
class Clock:
    """A clock that moves when it is told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now
