"""How much is sent to one provider at a time: requests and tokens a minute, calls at once, and a bounded queue.

The limits are the registry's where it has any, and what the provider's own headers say of what is left. Where too many wait
already, a call is turned away with a hint when to come back, so that it can go to a fallback instead of a time-out.

A `Flow` holds the limits of a minute: `LocalFlow` those of this process alone, `sharing.SharedFlow` those of several.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from routing.errors import RateLimited
from routing.types import Headroom, Target

MINUTE = 60.0
Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A token bucket: ``per_minute`` flow in evenly, and at most that many are kept."""

    per_minute: int
    clock: Clock = time.monotonic
    _level: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._level, self._at = float(self.per_minute), self.clock()

    def take(self, amount: int) -> float:
        """Take an amount, and say how many seconds to wait until it has flowed in.

        More than a minute's worth is let through once the bucket is full: it could never fit.
        """
        now = self.clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / MINUTE)
        self._at = now
        self._level -= min(amount, self.per_minute)
        return max(0.0, -self._level * MINUTE / self.per_minute)

    def give_back(self, amount: int) -> None:
        """Undo a `take` of that amount."""
        self._level += min(amount, self.per_minute)

    def note(self, amount: int) -> None:
        """Take an amount that is allowed elsewhere: it leaves no debt."""
        self.take(amount)
        self._level = max(0.0, self._level)


class Flow(Protocol):
    """What flows to one provider in a minute. Each call takes one request and the tokens of its input."""

    async def take(self, tokens: int, *, patience: float) -> float:
        """Take a call's amounts, and say how many seconds to wait; where that is over ``patience``, nothing was taken."""
        ...

    def give_back(self, tokens: int) -> None:
        """Undo a `take`. It does not wait."""
        ...


class LocalFlow:
    """The limits as far as this process keeps them; ``None`` is no limit."""

    def __init__(
        self, *, requests_per_minute: int | None, tokens_per_minute: int | None, clock: Clock = time.monotonic
    ) -> None:
        limits = ((requests_per_minute, False), (tokens_per_minute, True))
        self._buckets = [
            (Bucket(per_minute=limit, clock=clock), limit, counts_tokens) for limit, counts_tokens in limits if limit
        ]

    async def take(self, tokens: int, *, patience: float) -> float:
        amounts = [(bucket, tokens if counts_tokens else 1) for bucket, _, counts_tokens in self._buckets]
        wait = max((bucket.take(amount) for bucket, amount in amounts), default=0.0)
        if wait > patience:
            self.give_back(tokens)
        return wait

    def give_back(self, tokens: int) -> None:
        for bucket, _, counts_tokens in self._buckets:
            bucket.give_back(tokens if counts_tokens else 1)

    def note(self, tokens: int) -> None:
        """Count a call that was let through by others' leave."""
        for bucket, _, counts_tokens in self._buckets:
            bucket.note(tokens if counts_tokens else 1)

    def divide_by(self, processes: int) -> None:
        """Keep to the share of one of so many processes, at least one a minute."""
        for bucket, limit, _ in self._buckets:
            bucket.per_minute = max(1, limit // processes)


def alone(_seconds: float) -> None:
    """Nobody else is to be told."""


@dataclass(slots=True, kw_only=True)
class Gate:
    """The way to one provider. ``most_at_once`` calls are under way, ``most_waiting`` more may wait.

    ``flow`` holds the limits of a minute, by default `LocalFlow`; ``tell_blocked`` passes on what the provider said.
    """

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    most_at_once: int = 64
    most_waiting: int = 256
    longest_wait_seconds: float = 30.0
    clock: Clock = time.monotonic
    sleep: Sleep = anyio.sleep
    flow: Flow | None = None
    tell_blocked: Callable[[float], None] = alone
    headroom: Headroom | None = field(default=None, init=False)
    _flow: Flow = field(init=False)
    _places: anyio.Semaphore = field(init=False)
    _waiting: int = field(default=0, init=False)
    _blocked_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._flow = self.flow or LocalFlow(
            requests_per_minute=self.requests_per_minute, tokens_per_minute=self.tokens_per_minute, clock=self.clock
        )
        self._places = anyio.Semaphore(self.most_at_once)

    @asynccontextmanager
    async def entered(self, target: Target, tokens: int) -> AsyncGenerator[None]:
        """Wait for a place and for the limits, and hold the place while the block lasts.

        Raises:
            RateLimited: too many wait already, or the wait would be too long; ``retry_after`` says when to come back.

        """
        await self._wait(await self._seconds_to_wait(tokens, target), tokens, target)
        try:
            yield
        finally:
            self._places.release()

    def blocked(self, seconds: float) -> None:
        """Send nothing for this long: the provider said so."""
        self.heard_blocked(seconds)
        self.tell_blocked(seconds)

    def heard_blocked(self, seconds: float) -> None:
        """Send nothing for this long: the provider said so to another process."""
        self._blocked_until = max(self._blocked_until, self.clock() + seconds)

    def learn(self, headroom: Headroom) -> None:
        """Take note of what the provider says is left; where nothing is, wait until it is renewed."""
        self.headroom = headroom
        spent = 0 in (headroom.requests_left, headroom.tokens_left)
        if spent and headroom.renewed_in_seconds is not None:
            self.blocked(headroom.renewed_in_seconds)

    async def _wait(self, seconds: float, tokens: int, target: Target) -> None:
        """Sit out a wait and take a place, at once where both are to be had."""
        if not seconds and self._places.value:
            self._places.acquire_nowait()
            return
        if self._waiting >= self.most_waiting:
            self._flow.give_back(tokens)
            raise self._turned_away(target, f"{self._waiting} calls wait already", max(seconds, 1.0))
        self._waiting += 1
        try:
            if seconds:
                await self.sleep(seconds)
            await self._places.acquire()
        except BaseException:  # cancelled while waiting: nothing was sent
            self._flow.give_back(tokens)
            raise
        finally:
            self._waiting -= 1

    async def _seconds_to_wait(self, tokens: int, target: Target) -> float:
        wait = max(0.0, self._blocked_until - self.clock())
        if wait <= self.longest_wait_seconds:
            wait = max(wait, await self._flow.take(tokens, patience=self.longest_wait_seconds))
        if wait > self.longest_wait_seconds:
            raise self._turned_away(target, "its rate limit is reached", wait)
        return wait

    @staticmethod
    def _turned_away(target: Target, why: str, seconds: float) -> RateLimited:
        message = f"not sent to {target.provider}: {why}; try again in {seconds:.0f} s"
        return RateLimited(message, provider=target.provider, model_id=target.model_id, retry_after=seconds)
