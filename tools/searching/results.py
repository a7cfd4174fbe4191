"""What a search gives, and how one engine is asked: the values and the seam of this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from routing.errors import ToolFailed

Freshness = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page. All of it but ``url`` is text that a stranger wrote.

    ``age`` is what the engine says of it, in its own words or as a date; ``source`` is the site's or the engine's name.
    """

    title: str
    url: str
    snippet: str
    age: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResults:
    """An engine's answer, which may be empty. ``notices`` is what the caller should be told about how it came about."""

    query: str
    engine: str
    results: tuple[Found, ...]
    cost_microusd: int
    notices: tuple[str, ...] = ()


class EngineFailed(ToolFailed):
    """One engine could not answer. Where it wants fewer requests, it is left alone for ``rest_seconds``."""

    def __init__(self, message: str, *, retryable: bool = False, rest_seconds: float = 0.0) -> None:
        super().__init__(message, retryable=retryable)
        self.rest_seconds = rest_seconds


class Engine(Protocol):
    """The one seam to a search engine. ``search`` raises nothing but `EngineFailed` (and lets cancellation through)."""

    @property
    def name(self) -> str: ...

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults: ...

    async def aclose(self) -> None: ...
