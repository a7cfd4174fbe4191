"""A search: the engines in turn until one answers, a cache in front of them, one call for the same question.

    query ─▶ cache ─▶ a call under way for the same ─▶ engine 1 ─failed─▶ engine 2 ─failed─▶ …

An empty answer is an answer. An engine that wants fewer requests rests, and is not asked until it has rested.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import anyio

from routing.errors import ToolFailed
from tools.searching.configured import VARIABLES
from tools.searching.results import Engine, EngineFailed, Freshness, SearchResults

MOST_RESULTS = 20
NONE_CONFIGURED = (
    f"no search engine is configured. Set one of {', '.join(VARIABLES)}, or install the extra pointsman[duckduckgo], "
    "which needs no key; POINTSMAN_SEARCH_ORDER, where it is set, must name the engine."
)
_Key = tuple[str, int, Freshness | None]


@dataclass(slots=True, kw_only=True)
class Cache:
    """Answers by question, each for ``ttl_seconds``, at most ``most`` of them; the oldest goes first."""

    clock: Callable[[], float] = time.monotonic
    ttl_seconds: float = 900.0
    most: int = 256
    _kept: OrderedDict[_Key, tuple[float, SearchResults]] = field(
        default_factory=OrderedDict[_Key, tuple[float, SearchResults]], init=False
    )

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: _Key) -> SearchResults | None:
        """The answer, free of charge and with its age in the notices; ``None`` where there is none, or it is too old."""
        at, answer = self._kept.get(key, (0.0, None))
        age = self.clock() - at
        if answer is None or age >= self.ttl_seconds:
            return None
        return replace(answer, cost_microusd=0, notices=(*answer.notices, f"found {age:.0f} s ago, from the cache"))

    def put(self, key: _Key, answer: SearchResults) -> None:
        """Keep an answer."""
        self._kept.pop(key, None)
        self._kept[key] = (self.clock(), answer)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)


@dataclass(slots=True)
class _Flight:
    """A call under way. Where ``outcome`` is still missing when it is ``over``, it was cancelled."""

    over: anyio.Event = field(default_factory=anyio.Event)
    outcome: SearchResults | ToolFailed | None = None


class WebSearch:
    """The web, by whichever of these engines answers first in their order. ``longest_seconds`` is for all together."""

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        clock: Callable[[], float] = time.monotonic,
        cache: Cache | None = None,
        longest_seconds: float = 40.0,
    ) -> None:
        self._engines = engines
        self._clock = clock
        self._cache = Cache(clock=clock) if cache is None else cache
        self._longest_seconds = longest_seconds
        self._rested_at: dict[str, float] = {}
        self._flights: dict[_Key, _Flight] = {}

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of those that are asked, in order."""
        return tuple(engine.name for engine in self._engines)

    def paid_by(self, _caller: str) -> WebSearch:
        """The same search for a caller; whoever uses this one pays otherwise, or not at all."""
        return self

    async def search(self, query: str, *, count: int, freshness: Freshness | None = None) -> SearchResults:
        """At most ``count`` (1 to 20) pages for a query, from the last day, week, month or year where one is named.

        Raises:
            ToolFailed: nothing to ask or nobody to ask, or every engine failed: each is named with its reason.

        """
        key = (" ".join(query.split()), count, freshness)
        _check(key, self._engines)
        while True:
            if answer := self._cache.get(key):
                return answer
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(key)
            await flight.over.wait()
            match flight.outcome:
                case SearchResults() as answer:
                    return replace(answer, cost_microusd=0)
                case ToolFailed() as failure:
                    raise ToolFailed(str(failure), retryable=failure.retryable) from failure
                case None:  # whoever asked was cancelled: the next one asks
                    continue

    async def aclose(self) -> None:
        """Close the engines' connections."""
        for engine in self._engines:
            await engine.aclose()

    async def _lead(self, key: _Key) -> SearchResults:
        """Ask for everybody who has the same question meanwhile; the cost is booked once, here."""
        flight = self._flights[key] = _Flight()
        try:
            answer = flight.outcome = await self._ask_in_turn(*key)
            self._cache.put(key, answer)
        except ToolFailed as failure:
            flight.outcome = failure
            raise
        finally:
            del self._flights[key]
            flight.over.set()
        return answer

    async def _ask_in_turn(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        failures: list[str] = []
        retryable, asked = False, ""
        with anyio.move_on_after(self._longest_seconds) as scope:
            for engine in self._engines:
                asked = engine.name
                try:
                    answer = await self._ask(engine, query, count, freshness)
                except EngineFailed as failure:
                    failures.append(f"{asked}: {failure}")
                    retryable = retryable or failure.retryable
                else:
                    return replace(answer, notices=(*failures, *answer.notices))
        if scope.cancelled_caught:
            failures.append(f"{asked}: the {self._longest_seconds:.0f} s for a whole search were over")
        raise ToolFailed(
            f"no search engine answered. {'; '.join(failures)}.", retryable=retryable or scope.cancelled_caught
        )

    async def _ask(self, engine: Engine, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask one engine, unless it rests; and let it rest where it says so."""
        rest = self._rested_at.get(engine.name, 0.0) - self._clock()
        if rest > 0:
            raise EngineFailed(f"its rate limit was reached, it is asked again in {math.ceil(rest)} s", retryable=True)
        try:
            return await engine.search(query, count, freshness)
        except EngineFailed as failure:
            if failure.rest_seconds:
                self._rested_at[engine.name] = self._clock() + failure.rest_seconds
            raise


def _check(key: _Key, engines: Sequence[Engine]) -> None:
    query, count, _ = key
    if not query:
        raise ToolFailed("the query is empty. Say what to search for.")
    if not 1 <= count <= MOST_RESULTS:
        raise ToolFailed(f"count is {count}. Ask for 1 to {MOST_RESULTS} results.")
    if not engines:
        raise ToolFailed(NONE_CONFIGURED)
