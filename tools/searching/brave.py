"""Brave Search, an index of its own.

Wire API: GET /res/v1/web/search. https://api-dashboard.search.brave.com/documentation
Its limits are 400 characters and 50 words a query; ``web`` is absent where nothing was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from routing.dispatch.faults import retry_after
from tools.searching import variables
from tools.searching.cleaning import host_of, notices_of_cut, presentable, shortened
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.searching.results import Found, Freshness, SearchResults
from tools.searching.wire import Endpoint, Reply, Wire

_URL = "https://api.search.brave.com/res/v1/web/search"
_MOST_CHARACTERS, _MOST_WORDS = 400, 50
_FRESHNESS: Mapping[Freshness, str] = {"day": "pd", "week": "pw", "month": "pm", "year": "py"}
_MEANINGS = {422: "request refused (422), which is also what it answers to a wrong key: check {key_variable}"}


class _Site(Reply):
    name: str | None = None
    hostname: str | None = None


class _Page(Reply):
    title: str
    url: str
    description: str | None = None
    age: str | None = None
    page_age: str | None = None
    profile: _Site | None = None
    meta_url: _Site | None = None


class _Web(Reply):
    results: tuple[_Page, ...] = ()


class _Reply(Reply):
    type: str
    web: _Web | None = None


class Brave:
    """Brave with one key."""

    name = "brave"

    def __init__(self, wire: Wire, key: str) -> None:
        self._wire = wire
        self._endpoint = Endpoint(
            method="GET",
            url=_URL,
            key_variable=variables.BRAVE,
            headers={"X-Subscription-Token": key, "Accept": "application/json"},
            meanings=_MEANINGS,
            rest_of=rest_of,
        )

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask once. Raises `EngineFailed`."""
        asked = query_of(query)
        reply = await self._wire.ask(self._endpoint, _Reply, params=params_of(asked, count, freshness))
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
    """The query within its limits."""
    return shortened(query, characters=_MOST_CHARACTERS, words=_MOST_WORDS)


def params_of(query: str, count: int, freshness: Freshness | None) -> dict[str, str | int]:
    """The question on the wire."""
    params: dict[str, str | int] = {"q": query, "count": count, "result_filter": "web", "text_decorations": "false"}
    return {**params, "freshness": _FRESHNESS[freshness]} if freshness else params


def results_of(reply: _Reply) -> Iterable[Found]:
    """The pages as they were sent."""
    for page in reply.web.results if reply.web else ():
        site = (page.profile and page.profile.name) or (page.meta_url and page.meta_url.hostname) or host_of(page.url)
        age = page.age or page.page_age
        yield Found(title=page.title, url=page.url, snippet=page.description or "", age=age, source=site)


def rest_of(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limits that are used up are renewed.

    ``X-RateLimit-Remaining: 0, 1000`` and ``X-RateLimit-Reset: 1, 1419704`` speak of a second and of a month.
    """
    left, renewed = (headers.get(f"x-ratelimit-{name}", "").split(",") for name in ("remaining", "reset"))
    spent = [seconds.strip() for number, seconds in zip(left, renewed, strict=False) if number.strip() == "0"]
    return max((float(seconds) for seconds in spent if seconds.isdecimal()), default=retry_after(headers))
