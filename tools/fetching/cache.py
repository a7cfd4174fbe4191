"""Pages that were read a moment ago: whoever asks for the rest of one should get the rest of the same."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from tools.fetching.values import Page


class PageCache:
    """Pages by the address that was asked for, for ``seconds``; the one longest unused goes first."""

    def __init__(
        self,
        *,
        seconds: float = 900.0,
        most_pages: int = 64,
        most_chars: int = 8_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._most_pages = most_pages
        self._most_chars = most_chars
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Page]] = OrderedDict()

    def get(self, url: str) -> Page | None:
        """The page, unless it is too old or was never here."""
        self._drop_old()
        if url not in self._kept:
            return None
        self._kept.move_to_end(url)
        return self._kept[url][1]

    def put(self, url: str, page: Page) -> None:
        """Keep a page, at the cost of others where there is no room."""
        self._kept.pop(url, None)
        self._kept[url] = (self._clock(), page)
        while len(self._kept) > self._most_pages or self._chars() > self._most_chars:
            self._kept.popitem(last=False)

    def _chars(self) -> int:
        return sum(len(page.text) for _, page in self._kept.values())

    def _drop_old(self) -> None:
        latest = self._clock() - self._seconds
        for url in [url for url, (at, _) in self._kept.items() if at <= latest]:
            del self._kept[url]
