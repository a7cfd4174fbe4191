"""Waiting for what may hang: so long, and then no more, whatever it does.

Drivers may wait for a server even when they are cancelled (psycopg asks it to cancel the query), so nobody waits for that
either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def within(seconds: float, work: Coroutine[None, None, _T]) -> _T:
    """Wait so long for something that may hang, and leave it to itself where it is not done.

    Raises:
        TimeoutError: it is not done.

    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        abandon(task)
        raise
    if not done:
        abandon(task)
        raise TimeoutError(f"no answer within {seconds:g} s")
    return task.result()


def abandon(task: asyncio.Future[_T]) -> None:
    """Cancel, and do not care how it ends."""
    if not task.done():
        task.cancel()
    task.add_done_callback(_look_at)
    _abandoned.add(task)


def _look_at(task: asyncio.Future[_T]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # so that asyncio does not complain


_abandoned: set[asyncio.Future[Any]] = set()
"""Kept until they end: the event loop itself holds tasks only weakly."""
