"""What this process holds by lease: ids whose rows say for how long they count, renewed while the process lives.

A process that was killed renews nothing, so others may free what it held once the lease is over. No process is ever asked
whether it is alive: that works across machines and needs no pids.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from routing.state import LEASE_SECONDS

_SECONDS_BETWEEN_RENEWALS = LEASE_SECONDS / 3
_log = logging.getLogger(__name__)


class Leases:
    """The ids that are held; ``renew`` writes a new lease for all of them, three times in `LEASE_SECONDS`."""

    def __init__(self, renew: Callable[[Collection[str]], Awaitable[object]]) -> None:
        self._renew = renew
        self._held: set[str] = set()
        self._renewing: asyncio.Task[None] | None = None

    def hold(self, name: str) -> None:
        """Renew the lease of ``name`` from now on."""
        self._held.add(name)
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._go_on())

    def let_go(self, name: str) -> bool:
        """Leave ``name`` alone from now on; false where it was not held."""
        held = name in self._held
        self._held.discard(name)
        return held

    async def renew(self) -> None:
        """Renew what is held."""
        if self._held:
            await self._renew(frozenset(self._held))

    async def aclose(self) -> None:
        """Stop renewing."""
        renewing, self._renewing = self._renewing, None
        if renewing is not None:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_RENEWALS)
            try:
                await self.renew()
            except Exception:  # noqa: BLE001 - it is tried again before the lease is over
                _log.exception("leases could not be renewed")
