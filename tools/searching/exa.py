"""Exa, a search by meaning over an index of its own.

Wire API: POST /search. https://exa.ai/docs/reference/search
It says what each search cost; highlights of up to 10 pages are included in the price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from routing.pricing import microusd
from tools.searching import variables
from tools.searching.cleaning import host_of, notices_of_cut, presentable, shortened
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.searching.results import Found, Freshness, SearchResults
from tools.searching.wire import Endpoint, Reply, Wire

_URL = "https://api.exa.ai/search"
_MOST_CHARACTERS = 2_000  # judgement: it documents no limit
_HIGHLIGHT_CHARACTERS = 1_000
_DAYS: Mapping[Freshness, int] = {"day": 1, "week": 7, "month": 31, "year": 365}


class _Page(Reply):
    url: str
    title: str | None = None
    publishedDate: str | None = None  # noqa: N815 - the wire's name
    highlights: tuple[str, ...] | None = None
    text: str | None = None


class _Cost(Reply):
    total: Annotated[Decimal, Field(ge=0, le=1_000)]


class _Reply(Reply):
    results: tuple[_Page, ...]
    costDollars: _Cost | None = None  # noqa: N815 - the wire's name


class Exa:
    """Exa with one key. ``now`` is the calendar that freshness is counted by."""

    name = "exa"

    def __init__(self, wire: Wire, key: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._wire = wire
        self._now = now
        self._endpoint = Endpoint(
            method="POST",
            url=_URL,
            key_variable=variables.EXA,
            headers={"x-api-key": key},
        )

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask once. Raises `EngineFailed`."""
        asked = query_of(query)
        reply = await self._wire.ask(self._endpoint, _Reply, json=params_of(asked, count, freshness, self._now()))
        return SearchResults(
            query=asked,
            engine=self.name,
            results=presentable(results_of(reply), count),
            cost_microusd=cost_of(reply),
            notices=notices_of_cut(self.name, query, asked),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()


def query_of(query: str) -> str:
    """The query within a limit that is ours."""
    return shortened(query, characters=_MOST_CHARACTERS)


def params_of(query: str, count: int, freshness: Freshness | None, now: datetime) -> dict[str, object]:
    """The question on the wire."""
    contents = {"highlights": {"maxCharacters": _HIGHLIGHT_CHARACTERS}}
    params: dict[str, object] = {"query": query, "numResults": count, "type": "auto", "contents": contents}
    if freshness is None:
        return params
    return {**params, "startPublishedDate": f"{now - timedelta(days=_DAYS[freshness]):%Y-%m-%dT%H:%M:%S.000Z}"}


def results_of(reply: _Reply) -> Iterable[Found]:
    """The pages as they were sent."""
    for page in reply.results:
        snippet = " … ".join(page.highlights or ()) or page.text or ""
        site = host_of(page.url)
        yield Found(title=page.title or page.url, url=page.url, snippet=snippet, age=page.publishedDate, source=site)


def cost_of(reply: _Reply) -> int:
    """What it says the search cost, in micro-dollars; the list price where it says nothing."""
    return microusd(reply.costDollars.total) if reply.costDollars else MICROUSD_PER_SEARCH[Exa.name]
