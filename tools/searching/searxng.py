"""SearXNG, a metasearch server of the user's own.

Wire API: GET /search with ``format=json``. https://docs.searxng.org/dev/search_api.html
It has no number of results to ask for, and its own engines fail one by one: none of them answering is a failure,
which looks almost like nothing found.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

import httpx2 as httpx

from routing.errors import SettingsError
from routing.settings import full_address
from tools.searching import variables
from tools.searching.cleaning import notices_of_cut, presentable, shortened
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.searching.results import EngineFailed, Found, Freshness, SearchResults
from tools.searching.wire import Endpoint, Reply, Wire

_MOST_CHARACTERS = 2_000  # judgement: its engines have limits of their own
_MEANINGS = {
    401: "it wants a user and a password ({status}): put them into {key_variable}, before the host",
    403: "it refused ({status}): most likely its settings.yml does not list json among search.formats",
    404: "there is no SearXNG at the address in {key_variable} ({status})",
}


class _Page(Reply):
    url: str
    title: str | None = None
    content: str | None = None
    engine: str | None = None
    engines: tuple[str, ...] = ()
    publishedDate: str | None = None  # noqa: N815 - the wire's name


class _Reply(Reply):
    results: tuple[_Page, ...]
    unresponsive_engines: tuple[object, ...] = ()


class SearXNG:
    """SearXNG at one address, which the settings name and no caller."""

    name = "searxng"

    def __init__(self, wire: Wire, address: str) -> None:
        url, auth = address_of(address)
        self._wire = wire
        self._endpoint = Endpoint(
            method="GET",
            url=url,
            key_variable=variables.SEARXNG,
            auth=auth,
            meanings=_MEANINGS,
        )

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask once. Raises `EngineFailed`."""
        asked = query_of(query)
        reply = await self._wire.ask(self._endpoint, _Reply, params=params_of(asked, freshness))
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


def address_of(address: str) -> tuple[str, httpx.BasicAuth | None]:
    """Where to ask, and the credentials that stand in front of the host: apart, so that no message can show them.

    Raises:
        SettingsError: it is no address.

    """
    wrong = SettingsError(f"{variables.SEARXNG} is no address of a server. It begins with http:// or https://.")
    try:
        parts = urlsplit(address)
        host = parts.hostname and parts.netloc.rpartition("@")[2]
        usable = parts.scheme in ("http", "https") and host and parts.port != 0
        url = full_address(str(httpx.URL(f"{parts.scheme}://{host}{parts.path}")), "/search")
    except (ValueError, httpx.InvalidURL):
        raise wrong from None  # its text shows the address, and with it the password
    if not usable:
        raise wrong
    if parts.username is None:
        return url, None
    return url, httpx.BasicAuth(unquote(parts.username), unquote(parts.password or ""))


def query_of(query: str) -> str:
    """The query within a limit that is ours."""
    return shortened(query, characters=_MOST_CHARACTERS)


def params_of(query: str, freshness: Freshness | None) -> dict[str, str | int]:
    """The question on the wire."""
    params: dict[str, str | int] = {"q": query, "format": "json"}
    return {**params, "time_range": freshness} if freshness else params


def results_of(reply: _Reply) -> Iterable[Found]:
    """The pages as they were sent. Raises `EngineFailed` where there are none because its engines did not answer."""
    if not reply.results and reply.unresponsive_engines:
        count = len(reply.unresponsive_engines)
        raise EngineFailed(f"none of its own engines answered ({count} failed)", retryable=True)
    for page in reply.results:
        engines = ", ".join(page.engines) or page.engine
        title = page.title or page.url
        yield Found(title=title, url=page.url, snippet=page.content or "", age=page.publishedDate, source=engines)
