"""Guests that are started before they are wanted, each for one use.

Starting one is a matter of a few milliseconds, and it makes itself ready on its own: so the pool needs no task of its own, it
only begins the next guest when one is taken.
"""

from __future__ import annotations

from collections import deque

from tools.sandbox.guests import Guest
from tools.sandbox.types import Backend, Limits

_FIRST = ("numpy",)
_HEAVY = {
    "matplotlib": ("PIL.Image", "matplotlib", "matplotlib.font_manager", "matplotlib.pyplot"),
    "pandas": ("pandas",),
}
"""What costs most of a second to import: guests do so in advance once code has asked for it."""


class GuestPool:
    """At most ``size`` guests in waiting."""

    def __init__(self, backend: Backend, limits: Limits, *, size: int) -> None:
        self._backend = backend
        self._limits = limits
        self._size = size
        self._waiting: deque[Guest] = deque()
        self._outdated: list[Guest] = []
        self._wanted: dict[str, None] = {}
        self._closed = False

    def learn(self, code: str) -> None:
        """See what code imports: from now on guests do so in advance, and those that did not are replaced."""
        if new := [name for name in _HEAVY if name in code and name not in self._wanted]:
            self._wanted.update(dict.fromkeys(new))
            self._outdated += self._waiting
            self._waiting.clear()

    async def take(self) -> Guest:
        """A guest that is ready: a warm one, else one that is started now, and imports only what its code does.

        Raises:
            GuestFailed: none can be started.

        """
        while self._waiting:
            guest = self._waiting.popleft()
            if not guest.is_ended:
                break
            await guest.end()
        else:
            guest = await Guest.begin(self._backend, self._limits)
        await guest.ready()
        return guest

    async def fill(self) -> None:
        """Begin guests until enough are waiting.

        Raises:
            GuestFailed: one cannot be started.

        """
        await self._end(self._outdated)
        while len(self._waiting) < self._size and not self._closed:
            self._waiting.append(await self._begun_warm())

    async def aclose(self) -> None:
        """End the guests in waiting."""
        self._closed = True
        await self._end(self._outdated)
        await self._end(self._waiting)

    async def _end(self, guests: deque[Guest] | list[Guest]) -> None:
        while guests:
            await guests.pop().end()

    async def _begun_warm(self) -> Guest:
        later = [module for name in self._wanted for module in _HEAVY[name]]
        return await Guest.begin(self._backend, self._limits, imports=_FIRST, later=later)
