"""Circuit breakers: stop asking a model that does not answer, and look now and then whether it does again.

    closed ──failures in a row──▶ open ──after the rest──▶ half-open ──the probe answers──▶ closed
                                   ▲                           │
                                   └───── the probe fails, and the rest doubles ─────┘

Only what says that nobody is there trips one: no connection, a time-out, a 5xx. A 4xx is an answer. What becomes of a call
counts only if the breaker neither opened nor closed since it began: of many calls that were under way when their model went
down, the first few open it, and the others say nothing new.

Until something is heard of a model, and again after a failure, no more calls are under way to it than would open its breaker;
the next ones wait for the first sign of life. Otherwise a crowd that comes at once would find out one by one.

Where several processes share a `Board`, each has breakers of its own and tells the others when one opens or closes; the
probe of a half-open one is theirs in common.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field, is_dataclass
from typing import Literal, Protocol

import anyio

from routing.errors import ProviderError, ProviderTimeout, ProviderUnavailable

BreakerState = Literal["closed", "open", "half_open"]
Turn = Literal["opened", "closed", "released"]
"""What others should know of a breaker; ``released`` where the place of its probe is free again."""

_TRIPPING = (ProviderTimeout, ProviderUnavailable)


def untold(_turn: Turn, _seconds: float) -> None:
    """Nobody else is to know."""


async def granted() -> bool:
    """Nobody else would probe."""
    return True


class NotAsked(Exception):  # noqa: N818 - named for what happened, as in routing.errors
    """The model is left alone: it does not answer others, or another call looks whether it does again."""


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One call: the era of the breaker in which it began (one ends as it opens or closes), and whether it is the probe."""

    era: int
    is_probe: bool


@dataclass(slots=True, kw_only=True)
class Breaker:
    """The breaker of one model at one address with one key. Times are seconds of a monotonic ``clock``.

    ``tell`` is told what becomes of it, and how long it rests; ``ask_to_probe`` says whether the probe is this process's.
    """

    clock: Callable[[], float] = time.monotonic
    failures_to_open: int = 5
    rest_seconds: float = 15.0
    longest_rest_seconds: float = 120.0
    longest_wait_seconds: float = 2.0
    tell: Callable[[Turn, float], None] = untold
    ask_to_probe: Callable[[], Awaitable[bool]] = granted
    _failures: int = field(default=0, init=False)
    _rest: float = field(default=0.0, init=False)
    _open_until: float | None = field(default=None, init=False)
    _era: int = field(default=0, init=False)
    _probe: Trial | None = field(default=None, init=False)
    _was_heard: bool = field(default=False, init=False)
    _unheard: set[Trial] = field(default_factory=set["Trial"], init=False)
    _news: anyio.Event | None = field(default=None, init=False)

    @property
    def state(self) -> BreakerState:
        """What it is now."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._probe or self.clock() >= self._open_until else "open"

    @property
    def rests_for(self) -> float:
        """How much of its rest is left."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self.clock())

    @property
    def allows(self) -> bool:
        """Whether a call may be made: always when closed, and one at a time when half-open."""
        return self.state == "closed" or (self.state == "half_open" and not self._probe)

    @property
    def is_crowded(self) -> bool:
        """Whether nothing was heard yet of so many calls that they would open it, should they fail."""
        is_unsure = self._open_until is None and not self._was_heard
        return is_unsure and self._failures + len(self._unheard) >= self.failures_to_open

    @asynccontextmanager
    async def trial(self, *, at_any_rate: bool = False) -> AsyncGenerator[Trial]:
        """Make a call in the block; it was cancelled where neither `succeeded` nor `failed` is told of it by the end.

        Raises:
            NotAsked: the call may not be made, unless it is to be made ``at_any_rate``.

        """
        if self.is_crowded:
            await self._wait_for_news()
        if not (at_any_rate or self.allows):
            raise NotAsked
        trial = Trial(era=self._era, is_probe=self.state == "half_open" and not self._probe)
        if trial.is_probe:
            await self._take_probe(trial, at_any_rate=at_any_rate)
        self._unheard.add(trial)
        try:
            yield trial
        finally:
            self._unheard.discard(trial)
            if self._probe is trial:
                self._probe = None
                self.tell("released", 0.0)
            self._spread()

    def heard(self, trial: Trial) -> None:
        """Take note of a first sign of life: the model is writing, however that will end."""
        self._unheard.discard(trial)
        self._was_heard = True
        self._spread()

    def succeeded(self, trial: Trial) -> None:
        """Close: the model answers, and be it with a refusal."""
        if trial.era != self._era:
            return
        was_open = self._open_until is not None
        self.heard_closed()
        if was_open:
            self.tell("closed", 0.0)

    def failed(self, trial: Trial, failure: ProviderError) -> None:
        """Take note of how a call ended that was not answered."""
        if not isinstance(failure, _TRIPPING):
            self.succeeded(trial)
        elif trial.era == self._era and (self._open_until is None or trial.is_probe):
            self._failures += 1
            self._was_heard = False
            if trial.is_probe or self._failures >= self.failures_to_open:
                self._open()

    def heard_open(self, seconds: float, rest: float) -> None:
        """Rest for so long: another process found out that nobody is there, and rested for ``rest`` in all."""
        self._turn(self.clock() + seconds, rest)

    def heard_closed(self) -> None:
        """Close: another process was answered."""
        self._failures, self._was_heard, self._probe = 0, True, None
        self._turn(None, 0.0)

    def _open(self) -> None:
        rest = min(self.longest_rest_seconds, self._rest * 2 if self._rest else self.rest_seconds)
        self._probe = None
        self._turn(self.clock() + rest, rest)
        self.tell("opened", rest)

    def _turn(self, open_until: float | None, rest: float) -> None:
        if (open_until is None) != (self._open_until is None):
            self._era += 1
        self._open_until, self._rest = open_until, rest
        self._spread()

    async def _take_probe(self, trial: Trial, *, at_any_rate: bool) -> None:
        self._probe = trial
        is_ours = at_any_rate
        try:
            is_ours = is_ours or await self.ask_to_probe()
        finally:
            if not is_ours and self._probe is trial:
                self._probe = None
        if not is_ours:
            raise NotAsked

    async def _wait_for_news(self) -> None:
        with anyio.move_on_after(self.longest_wait_seconds):
            while self.is_crowded:
                self._news = self._news or anyio.Event()
                await self._news.wait()

    def _spread(self) -> None:
        """Wake those who wait for news."""
        if self._news is not None:
            self._news.set()
            self._news = None


class Board(Protocol):
    """Where processes tell each other of their breakers."""

    def join(self, name: str, breaker: Breaker) -> None:
        """Have a breaker hear of the others of its name, and them of it."""
        ...


class Breakers:
    """A breaker per key, made on first use by ``make``; each joins the ``board``, where there is one."""

    def __init__(self, make: Callable[[], Breaker] = Breaker, board: Board | None = None) -> None:
        self._make = make
        self._board = board
        self._breakers: dict[Hashable, Breaker] = {}

    def of(self, *key: Hashable) -> Breaker:
        """The breaker of a key."""
        if key not in self._breakers:
            self._breakers[key] = self._make()
            if self._board is not None:
                self._board.join(name_of(key), self._breakers[key])
        return self._breakers[key]


def name_of(key: tuple[Hashable, ...]) -> str:
    """A name for a key that is the same in every process and gives nothing of it away: a model's access holds a secret."""
    parts = [repr(astuple(part)) if is_dataclass(part) and not isinstance(part, type) else repr(part) for part in key]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
