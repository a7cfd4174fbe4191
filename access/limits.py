"""How much one caller may have under way, so that another is answered as on a quiet day.

    Admission    the middleware: a call runs, waits in its caller's own line, or is sent away with the time to come back

It counts calls of tools that come over HTTP; the one host of a stdio server has nobody to share with.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp_types import CallToolResult, TextContent

from routing.settings import Settings
from tools.base import Services, caller_of_request

LONGEST_WAIT_SECONDS = 30.0
"""A call that stood in line for so long is sent away: its host gives up soon."""

_MINUTE = 60.0
_WEIGHT = 0.2
"""Of the latest call in the running mean of how long calls take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of each caller: calls that run, calls that wait, and calls begun in a minute (``None``: as many as it likes)."""

    concurrency: int
    queue: int
    calls_per_minute: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those of the settings."""
        return cls(
            concurrency=settings.caller_concurrency,
            queue=settings.caller_queue,
            calls_per_minute=settings.caller_calls_per_minute,
        )


class TurnedAway(Exception):  # noqa: N818 - named for what happened, as all of ours
    """The caller has too much under way; ``seconds`` is when to come back, ``spoken`` what the caller is told."""

    def __init__(self, why: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        self.spoken = f"The call was not made: {why} Try again in {self.seconds} s."
        super().__init__(self.spoken)


@dataclass(slots=True, kw_only=True)
class _Line:
    """A caller's calls. ``allowance`` is how many more may begin, as of ``counted_at``."""

    turns: anyio.Semaphore
    allowance: float
    counted_at: float
    running: int = 0
    waiting: int = 0
    mean_seconds: float = field(default=1.0)

    @property
    def is_empty(self) -> bool:
        return not (self.running or self.waiting)


class Admission(ServerMiddleware[Any]):
    """Admits calls of tools within the limits of the settings.

    ``clock`` is monotonic, in seconds; ``spread``, from 0 to 1, keeps who were sent away together from coming back together.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, spread: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._lines: dict[str, _Line] = {}
        self.is_closing = False
        self._emptied = anyio.Event()

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass a call on in its turn, or tell its caller when to come back."""
        services: object = ctx.lifespan_context
        if ctx.method != "tools/call" or ctx.request is None or not isinstance(services, Services):
            return await call_next(ctx)
        try:
            async with self.turn(caller_of_request(ctx.request), Limits.of(services.settings)):
                return await call_next(ctx)
        except TurnedAway as refusal:
            return CallToolResult(content=[TextContent(text=refusal.spoken)], is_error=True)

    @property
    def callers(self) -> int:
        """How many callers are known: those with calls under way, or counted in this minute."""
        return len(self._lines)

    def refusal(self, caller: str, limits: Limits) -> TurnedAway:
        """What to tell a caller of whose calls no more can be let in."""
        line = self._lines.get(caller)
        if line is None:
            return TurnedAway("too many of your calls come at once.", 1 + self._spread())
        wait = line.mean_seconds * (line.waiting + 1) / limits.concurrency
        why = f"{line.running:,} of your calls run and {line.waiting:,} wait, which is the most."
        return TurnedAway(why, wait * (1 + 2 * self._spread()))

    @asynccontextmanager
    async def turn(self, caller: str, limits: Limits) -> AsyncGenerator[None]:
        """Wait for a turn, and hold it while the block runs.

        Raises:
            TurnedAway: too many wait already, too many began in this minute, or the server is about to end.

        """
        line = self._line(caller, limits)
        try:
            self._check(caller, line, limits)
            await self._wait(line, limits)
        except BaseException:
            self._leave(caller, line, limits)
            raise
        line.running += 1
        began = self._clock()
        try:
            yield
        finally:
            line.running -= 1
            line.mean_seconds += _WEIGHT * (self._clock() - began - line.mean_seconds)
            line.turns.release()
            self._leave(caller, line, limits)

    async def close(self) -> None:
        """Admit nothing any more, and wait until what was admitted has ended."""
        self.is_closing = True
        if not all(line.is_empty for line in self._lines.values()):
            await self._emptied.wait()

    def _line(self, caller: str, limits: Limits) -> _Line:
        now = self._clock()
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(
                turns=anyio.Semaphore(limits.concurrency), allowance=float(limits.calls_per_minute or 0), counted_at=now
            )
        if limits.calls_per_minute is not None:
            earned = (now - line.counted_at) * limits.calls_per_minute / _MINUTE
            line.allowance = min(float(limits.calls_per_minute), line.allowance + earned)
        line.counted_at = now
        return line

    def _check(self, caller: str, line: _Line, limits: Limits) -> None:
        if self.is_closing:
            raise TurnedAway("the server is about to end.", 5)
        if limits.calls_per_minute is not None and line.allowance < 1:
            wait = (1 - line.allowance) * _MINUTE / limits.calls_per_minute
            raise TurnedAway(f"you may begin {limits.calls_per_minute:,} calls a minute, and have.", wait)
        if line.running + line.waiting >= limits.concurrency + limits.queue:
            raise self.refusal(caller, limits)
        if limits.calls_per_minute is not None:
            line.allowance -= 1

    async def _wait(self, line: _Line, limits: Limits) -> None:
        line.waiting += 1
        try:
            with anyio.fail_after(LONGEST_WAIT_SECONDS):
                await line.turns.acquire()
        except TimeoutError:
            wait = line.mean_seconds * line.waiting / limits.concurrency
            raise TurnedAway(f"it waited {LONGEST_WAIT_SECONDS:g} s behind others of yours.", wait) from None
        finally:
            line.waiting -= 1

    def _leave(self, caller: str, line: _Line, limits: Limits) -> None:
        """Forget a line that holds nothing, unless it tells how much its caller may begin."""
        if line.is_empty and (limits.calls_per_minute is None or line.allowance >= limits.calls_per_minute):
            self._lines.pop(caller, None)
        if self.is_closing and all(other.is_empty for other in self._lines.values()):
            self._emptied.set()
