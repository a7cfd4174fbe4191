"""Tavily, a search made for models: its snippets are the sentences that answer the query.

Wire API: POST /search. https://docs.tavily.com/documentation/api-reference/endpoint/search
Its limit is 400 characters a query; a basic search costs one credit.
"""

from __future__ import annotations

from collections.abc import Iterable

from tools.searching import variables
from tools.searching.cleaning import host_of, notices_of_cut, presentable, shortened
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.searching.results import Found, Freshness, SearchResults
from tools.searching.wire import Endpoint, Reply, Wire

_URL = "https://api.tavily.com/search"
_MOST_CHARACTERS = 400
_NO_CREDIT = "the plan's credits of the key in {key_variable} are used up ({status})"
_MEANINGS = {432: _NO_CREDIT, 433: _NO_CREDIT}


class _Page(Reply):
    title: str
    url: str
    content: str | None = None
    published_date: str | None = None


class _Reply(Reply):
    results: tuple[_Page, ...]


class Tavily:
    """Tavily with one key."""

    name = "tavily"

    def __init__(self, wire: Wire, key: str) -> None:
        self._wire = wire
        self._endpoint = Endpoint(
            method="POST",
            url=_URL,
            key_variable=variables.TAVILY,
            headers={"Authorization": f"Bearer {key}"},
            meanings=_MEANINGS,
        )

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask once. Raises `EngineFailed`."""
        asked = query_of(query)
        reply = await self._wire.ask(self._endpoint, _Reply, json=params_of(asked, count, freshness))
        return SearchResults(
            query=asked,
            engine=self.name,
            results=presentable(results_of(reply), count),
            cost_microusd=MICROUSD_PER_SEARCH[self.name],
            notices=notices_of_cut(self.name, query, asked),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()


def query_of(query: str) -> str:
    """The query within its limit."""
    return shortened(query, characters=_MOST_CHARACTERS)


def params_of(query: str, count: int, freshness: Freshness | None) -> dict[str, object]:
    """The question on the wire."""
    params: dict[str, object] = {"query": query, "max_results": count, "search_depth": "basic"}
    return {**params, "time_range": freshness} if freshness else params


def results_of(reply: _Reply) -> Iterable[Found]:
    """The pages as they were sent."""
    for page in reply.results:
        site = host_of(page.url)
        yield Found(title=page.title, url=page.url, snippet=page.content or "", age=page.published_date, source=site)
