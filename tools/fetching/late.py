"""A fetcher that costs nothing until a page is wanted: making one imports 20 ms of HTTP, which a host would wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.fetching.addresses import Allowed
from tools.fetching.values import Page

if TYPE_CHECKING:
    from tools.fetching.fetch import Fetcher


class LateFetcher:
    """`tools.fetching.fetch.Fetcher`, made for the first page."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed
        self._fetcher: Fetcher | None = None

    async def get(self, url: str) -> Page:
        """Fetch and read a page; raises what `Fetcher.get` raises."""
        if self._fetcher is None:
            from tools.fetching.fetch import Fetcher  # noqa: PLC0415 - the purpose of this page

            self._fetcher = Fetcher(self._allowed)
        return await self._fetcher.get(url)

    async def aclose(self) -> None:
        """Close it, where one was made."""
        if self._fetcher is not None:
            await self._fetcher.aclose()
