"""Circuit breakers: stop asking a model that does not answer, and look now and then whether it does again.

    closed ──failures in a row──▶ open ──after the rest──▶ half-open ──the probe answers──▶ closed
                                   ▲                           │
                                   └───── the probe fails, and the rest doubles ─────┘

Only what says that nobody is there trips one: no connection, a time-out, a 5xx. A 4xx is an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Literal

from routing.errors import ProviderError, ProviderTimeout, ProviderUnavailable

BreakerState = Literal["closed", "open", "half_open"]
_TRIPPING = (ProviderTimeout, ProviderUnavailable)


@dataclass(slots=True, kw_only=True)
class Breaker:
    """The breaker of one model at one address with one key. Times are seconds of a monotonic ``clock``."""

    clock: Callable[[], float] = time.monotonic
    failures_to_open: int = 5
    rest_seconds: float = 15.0
    longest_rest_seconds: float = 120.0
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
    def allows(self) -> bool:
        """Whether a call may be made: always when closed, and one at a time when half-open."""
        return self.state == "closed" or (self.state == "half_open" and not self._probing)

    def begin(self) -> None:
        """Take note of a call that starts; when half-open it is the probe."""
        self._probing = self._open_until is not None

    def succeeded(self) -> None:
        """Close: the model answers, and be it with a refusal."""
        self._failures, self._rest, self._open_until, self._probing = 0, 0.0, None, False

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
        self._probing = False

    def _open(self) -> None:
        self._rest = min(self.longest_rest_seconds, self._rest * 2 if self._rest else self.rest_seconds)
        self._open_until = self.clock() + self._rest
        self._probing = False


class Breakers:
    """A breaker per key, made on first use by ``make``."""

    def __init__(self, make: Callable[[], Breaker] = Breaker) -> None:
        self._make = make
        self._breakers: dict[Hashable, Breaker] = {}

    def of(self, *key: Hashable) -> Breaker:
        """The breaker of a key."""
        if key not in self._breakers:
            self._breakers[key] = self._make()
        return self._breakers[key]
