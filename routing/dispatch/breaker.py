"""Circuit breakers: stop asking a model that does not answer, and look now and then whether it does again.

    closed ──failures in a row──▶ open ──after the rest──▶ half-open ──the probe answers──▶ closed
                                   ▲                           │
                                   └───── the probe fails, and the rest doubles ─────┘

Only what says that nobody is there trips one: no connection, a time-out, a 5xx. A 4xx is an answer.

Where several processes share a `Board`, each has breakers of its own and tells the others when one opens or closes; the
probe of a half-open one is theirs in common.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import astuple, dataclass, field, is_dataclass
from typing import Literal, Protocol

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


@dataclass(slots=True, kw_only=True)
class Breaker:
    """The breaker of one model at one address with one key. Times are seconds of a monotonic ``clock``.

    ``tell`` is told what becomes of it, and how long it rests; ``ask_to_probe`` says whether the probe is this process's.
    """

    clock: Callable[[], float] = time.monotonic
    failures_to_open: int = 5
    rest_seconds: float = 15.0
    longest_rest_seconds: float = 120.0
    tell: Callable[[Turn, float], None] = untold
    ask_to_probe: Callable[[], Awaitable[bool]] = granted
    _failures: int = field(default=0, init=False)
    _rest: float = field(default=0.0, init=False)
    _open_until: float | None = field(default=None, init=False)
    _probing: bool = field(default=False, init=False)

    @property
    def state(self) -> BreakerState:
        """What it is now."""
        if self._open_until is None:
            return "closed"
        return "half_open" if self._probing or self.clock() >= self._open_until else "open"

    @property
    def rests_for(self) -> float:
        """How much of its rest is left."""
        return 0.0 if self._open_until is None else max(0.0, self._open_until - self.clock())

    @property
    def allows(self) -> bool:
        """Whether a call may be made: always when closed, and one at a time when half-open."""
        return self.state == "closed" or (self.state == "half_open" and not self._probing)

    async def is_probed_elsewhere(self) -> bool:
        """Whether another process has the probe; where this returns false for a half-open one, this process has it."""
        return self.state == "half_open" and not self._probing and not await self.ask_to_probe()

    def begin(self) -> None:
        """Take note of a call that starts; when half-open it is the probe."""
        self._probing = self._open_until is not None

    def succeeded(self) -> None:
        """Close: the model answers, and be it with a refusal."""
        was_open = self._open_until is not None
        self.heard_closed()
        if was_open:
            self.tell("closed", 0.0)

    def failed(self, failure: ProviderError) -> None:
        """Take note of how a call ended that was not answered."""
        if not isinstance(failure, _TRIPPING):
            self.succeeded()
            return
        self._failures += 1
        if self._probing or self._failures >= self.failures_to_open:
            self._open()

    def abandoned(self) -> None:
        """Take note of a call that was cancelled: it says nothing, and leaves the place of the probe free."""
        if self._probing:
            self._probing = False
            self.tell("released", 0.0)

    def heard_open(self, seconds: float, rest: float) -> None:
        """Rest for so long: another process found out that nobody is there, and rested for ``rest`` in all."""
        self._open_until, self._rest = self.clock() + seconds, rest

    def heard_closed(self) -> None:
        """Close: another process was answered."""
        self._failures, self._rest, self._open_until, self._probing = 0, 0.0, None, False

    def _open(self) -> None:
        self._rest = min(self.longest_rest_seconds, self._rest * 2 if self._rest else self.rest_seconds)
        self._open_until = self.clock() + self._rest
        self._probing = False
        self.tell("opened", self._rest)


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
