"""When to try the same model again, and how long to wait: capped exponential backoff with full jitter, under a budget.

Full jitter (a uniform draw between zero and the cap of that retry) spreads clients that failed together; see "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015. The budget keeps retries from multiplying a provider's outage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from routing.errors import ProviderError, RateLimited


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waits in seconds. ``draw`` gives a number from 0 to 1."""

    most_retries: int = 2
    base_seconds: float = 0.5
    cap_seconds: float = 8.0
    draw: Callable[[], float] = random.random

    def wait_before(self, retry: int, failure: ProviderError) -> float | None:
        """How long to wait before retry number ``retry`` (from 0); ``None`` where another try is pointless."""
        if not failure.retryable or retry >= self.most_retries:
            return None
        if isinstance(failure, RateLimited) and failure.retry_after is not None:
            return failure.retry_after
        return self.draw() * min(self.cap_seconds, self.base_seconds * 2.0**retry)


@dataclass(slots=True, kw_only=True)
class RetryBudget:
    """At most a fifth of the calls under way may be retries, but three always may."""

    share: float = 0.2
    at_least: int = 3
    in_flight: int = field(default=0, init=False)
    retrying: int = field(default=0, init=False)

    @contextmanager
    def call(self) -> Generator[None]:
        """Count a call as under way while the block lasts."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    @property
    def allows_another(self) -> bool:
        """Whether one more retry is within the budget."""
        return self.retrying < max(self.at_least, self.share * self.in_flight)

    @contextmanager
    def retry(self) -> Generator[None]:
        """Count a retry, its wait included, while the block lasts."""
        self.retrying += 1
        try:
            yield
        finally:
            self.retrying -= 1
