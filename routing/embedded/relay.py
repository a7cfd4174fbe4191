"""Progress that never slows the work: a listener may be late, or fail; it then sees the newest report only."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio

from routing.types import OnProgress, Progress

logger = logging.getLogger(__name__)

LAST_WORD_SECONDS = 0.5

Report = Callable[[Progress], None]


class _Relay:
    """The newest report, on its way to one listener."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._newest: Progress | None = None
        self._news = anyio.Event()
        self.closing = False

    def report(self, progress: Progress) -> None:
        self._newest = progress
        self._news.set()

    def close(self) -> None:
        self.closing = True
        self._news.set()

    async def run(self) -> None:
        while not (self.closing and self._newest is None):
            await self._news.wait()
            self._news = anyio.Event()
            await self._tell()

    async def _tell(self) -> None:
        progress, self._newest = self._newest, None
        if progress is None:
            return
        try:
            await self._on_progress(progress)
        except Exception as failure:  # noqa: BLE001 - whatever ails the listener, the work goes on
            logger.debug("progress went unheard: %r", failure)


@asynccontextmanager
async def relayed(on_progress: OnProgress) -> AsyncGenerator[Report]:
    """Yield a function that reports to ``on_progress`` without waiting for it; the last report is given 0.5 s."""
    relay = _Relay(on_progress)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(relay.run)
        try:
            yield relay.report
        except Exception as raised:  # noqa: BLE001 - raised again below, outside the group, which would wrap it
            failure = raised
        group.cancel_scope.deadline = anyio.current_time() + LAST_WORD_SECONDS
        relay.close()
    if failure is not None:
        raise failure
