"""DuckDuckGo without a key, through the `ddgs` package: it reads the result page meant for people.

Wire API: none; ``html.duckduckgo.com`` as ``ddgs.engines.duckduckgo`` parses it. https://github.com/deedy5/ddgs
The engine's class is used and not ``DDGS().text``, which answers "no results" both where there are none and where
DuckDuckGo turned a robot away. It works in a thread, which has its own time limit: a thread cannot be cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

import anyio
import anyio.to_thread

from tools.searching.cleaning import host_of, notices_of_cut, presentable, shortened
from tools.searching.prices import MICROUSD_PER_SEARCH
from tools.searching.results import EngineFailed, Found, Freshness, SearchResults
from tools.searching.wire import LONGEST_SECONDS

EXTRA = "duckduckgo"
_MOST_CHARACTERS = 450  # judgement: DuckDuckGo cuts queries at about 500
_SECONDS_OF_REQUEST = 10
_FRESHNESS: Mapping[Freshness, str] = {"day": "d", "week": "w", "month": "m", "year": "y"}
_REST_WHERE_TURNED_AWAY = 60.0


class _Params(TypedDict):
    query: str
    region: str
    timelimit: str | None


class DuckDuckGo:
    """DuckDuckGo as everybody sees it."""

    name = "duckduckgo"

    def __init__(self, *, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest_seconds = longest_seconds

    async def search(self, query: str, count: int, freshness: Freshness | None) -> SearchResults:
        """Ask once. Raises `EngineFailed`."""
        asked = query_of(query)
        try:
            with anyio.fail_after(self._longest_seconds):
                rows = await anyio.to_thread.run_sync(_rows, params_of(asked, freshness), abandon_on_cancel=True)
        except TimeoutError as error:
            raise EngineFailed(f"no answer within {self._longest_seconds:.0f} s", retryable=True) from error
        return SearchResults(
            query=asked,
            engine=self.name,
            results=presentable(results_of(rows), count),
            cost_microusd=MICROUSD_PER_SEARCH[self.name],
            notices=notices_of_cut(self.name, query, asked),
        )

    async def aclose(self) -> None:
        """Nothing stays open between two searches."""


def query_of(query: str) -> str:
    """The query within its limit."""
    return shortened(query, characters=_MOST_CHARACTERS)


def params_of(query: str, freshness: Freshness | None) -> _Params:
    """The arguments of ``ddgs``; its region ``wt-wt`` is the whole world."""
    return {"query": query, "region": "wt-wt", "timelimit": _FRESHNESS[freshness] if freshness else None}


def results_of(rows: Iterable[tuple[str, str, str]]) -> Iterable[Found]:
    """The pages as they were read."""
    for title, url, snippet in rows:
        yield Found(title=title, url=url, snippet=snippet, source=host_of(url))


def _rows(params: _Params) -> list[tuple[str, str, str]]:
    from ddgs.engines.duckduckgo import Duckduckgo  # noqa: PLC0415 - an optional extra; it loads every engine it has
    from ddgs.exceptions import TimeoutException  # noqa: PLC0415 - as above

    try:
        engine = Duckduckgo(timeout=_SECONDS_OF_REQUEST)
        pages = engine.search(params["query"], region=params["region"], timelimit=params["timelimit"])
    except TimeoutException as error:
        raise EngineFailed(f"no answer within {_SECONDS_OF_REQUEST} s", retryable=True) from error
    except Exception as error:  # reading a page made for people goes wrong in as many ways as pages change
        raise EngineFailed(f"it cannot be reached or read ({type(error).__name__})", retryable=True) from error
    if pages is None:
        raise EngineFailed("it turned the request away", retryable=True, rest_seconds=_REST_WHERE_TURNED_AWAY)
    return [(page.title, page.href, page.body) for page in pages]
