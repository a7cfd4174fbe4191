"""The guard on the ledger: whether learned selection pays for a caller, asked of the caller's own scored routes.

It is worked out at most once an hour for each caller, in a thread, from the routes of the last 90 days; `routing.replay`
says how.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from routing.catalog import Catalog, CatalogSource
from routing.learning.policy import Verdict
from routing.state import Decided, Reports

if TYPE_CHECKING:
    from routing.replay import Prices

VERDICT_LASTS_SECONDS = 3_600.0
EVIDENCE_SECONDS = 90 * 86_400.0
"""Older routes no longer count: models and work change, and what was given up for them gets another chance."""

_MOST_CALLERS = 1_000
_log = logging.getLogger(__name__)


async def decided(
    reports: Reports, caller: str, since: float | None, *, scored: bool = False
) -> AsyncIterator[Decided]:
    """All of a caller's completed routes from ``since`` on, oldest first, page by page."""
    after: int | None = 0
    while after is not None:
        page = await reports.decisions(caller, since=since, after=after, scored=scored)
        for row in page.decided:
            yield row
        after = page.after


def prices_of(catalog: Catalog) -> Prices:
    """The prices of every model that the registry has."""
    return {model_id: model.prices for model_id, model in catalog.models.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A verdict, and when it was worked out."""

    verdict: Verdict | None
    at: float


class LedgerGuard:
    """Says what the ledger has to say of learned selection. ``clock`` is Unix time, in seconds."""

    def __init__(
        self,
        reports: Reports,
        catalog: CatalogSource,
        *,
        max_loss: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reports = reports
        self._catalog = catalog
        self._max_loss = max_loss
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._working = anyio.Lock()

    async def verdict(self, caller: str) -> Verdict | None:
        """The verdict of the last hour, ``None`` where too little was scored. What goes wrong is logged, and never raised."""
        if (kept := self._fresh(caller)) is not None:
            return kept.verdict
        async with self._working:
            if (kept := self._fresh(caller)) is None:
                kept = _Kept(verdict=await self._worked_out(caller), at=self._clock())
                self._kept[caller] = kept
                self._kept.move_to_end(caller)
            if len(self._kept) > _MOST_CALLERS:
                self._kept.popitem(last=False)
        return kept.verdict

    def _fresh(self, caller: str) -> _Kept | None:
        kept = self._kept.get(caller)
        return kept if kept is not None and self._clock() - kept.at < VERDICT_LASTS_SECONDS else None

    async def _worked_out(self, caller: str) -> Verdict | None:
        """A new verdict; the old one where it cannot be had."""
        from routing.replay import ledger_verdict  # noqa: PLC0415 - a host that waits for its tools needs none of it

        try:
            since = self._clock() - EVIDENCE_SECONDS
            rows = [row async for row in decided(self._reports, caller, since, scored=True)]
            prices = prices_of(await self._catalog.current())
            return await anyio.to_thread.run_sync(partial(ledger_verdict, rows, prices, max_loss=self._max_loss))
        except Exception:  # noqa: BLE001 - the store may fail in any way, and no route is to fail of it
            _log.exception("the ledger could not be asked whether learned selection pays")
            kept = self._kept.get(caller)
            return kept.verdict if kept else None
