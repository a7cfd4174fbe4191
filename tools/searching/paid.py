"""Searches that a host makes itself, paid from the budgets; those of a route are paid from its purse."""

from __future__ import annotations

from routing.budgets import Wallet, tool_quote
from routing.types import LOCAL_CALLER
from tools.searching.results import Freshness, SearchResults
from tools.searching.search import WebSearch


class PaidSearch(WebSearch):
    """The same search, cache and engines as ``inner``. Each call's dearest price is set aside before it is made."""

    def __init__(self, inner: WebSearch, wallet: Wallet, caller: str = LOCAL_CALLER) -> None:
        super().__init__(())
        self._inner = inner
        self._wallet = wallet
        self._caller = caller

    def paid_by(self, _caller: str) -> PaidSearch:
        """The same, from this caller's budgets."""
        return PaidSearch(self._inner, self._wallet, _caller)

    @property
    def engines(self) -> tuple[str, ...]:
        """The names of those that are asked, in order."""
        return self._inner.engines

    async def search(self, query: str, *, count: int, freshness: Freshness | None = None) -> SearchResults:
        """Search as `WebSearch.search` does.

        Raises:
            BudgetExceeded: a search does not fit what may be spent.
            ToolFailed: as it does.

        """
        purse = self._wallet.purse(self._caller, None)
        if purse is None:
            return await self._inner.search(query, count=count, freshness=freshness)
        hold = await purse.reserve(tool_quote("web_search", purse.tool_microusd.get("web_search", 0)))
        cost = 0
        try:
            found = await self._inner.search(query, count=count, freshness=freshness)
            cost = found.cost_microusd
        finally:
            purse.settle(hold, cost)
        return found
