"""Guests that are kept: a session is a guest of one caller, with the variables of the calls before.

Their number and their idle time are bounded. A session that is unknown, over, or somebody else's answers alike.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import anyio

from routing.errors import ToolFailed, UnknownHandle
from routing.state.handles import new_handle
from tools.sandbox.guests import Guest

MOST_SESSIONS = 8
IDLE_SECONDS = 600.0


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """A kept guest; ``lock`` lets one call at a time in."""

    id: str
    caller: str
    guest: Guest
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    timer: asyncio.TimerHandle | None = None


class CodeSessions:
    """The sessions of all callers, least recently used first."""

    def __init__(self, *, most: int = MOST_SESSIONS, idle_seconds: float = IDLE_SECONDS) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._kept: dict[str, Session] = {}

    async def keep(self, guest: Guest, *, caller: str) -> Session:
        """Begin a session with a guest; where there are too many, the one that was not used for longest ends.

        Raises:
            ToolFailed: all of them are in use this moment.

        """
        if len(self._kept) >= self._most:
            await self.forget(self._dispensable(caller))
        session = Session(id=new_handle("py"), caller=caller, guest=guest)
        self._kept[session.id] = session
        return session

    def find(self, session_id: str, *, caller: str) -> Session:
        """The caller's session.

        Raises:
            UnknownHandle: there is none of that id.

        """
        session = self._kept.get(session_id)
        if session is None or session.caller != caller or session.guest.is_ended:
            raise UnknownHandle(
                f'There is no code session {session_id!r}: {_WHY_NONE} Begin another with session_id "new".'
            )
        return session

    def touch(self, session: Session) -> None:
        """Note that a session was used: it is kept for its idle time from now on."""
        self.hold(session)
        self._kept[session.id] = self._kept.pop(session.id)
        session.timer = asyncio.get_running_loop().call_later(self._idle_seconds, session.guest.kill)

    def hold(self, session: Session) -> None:
        """Keep a session that is in use from ending for idleness."""
        if session.timer is not None:
            session.timer.cancel()
            session.timer = None

    async def forget(self, session: Session) -> None:
        """End a session."""
        self.hold(session)
        self._kept.pop(session.id, None)
        await session.guest.end()

    async def aclose(self) -> None:
        """End all sessions."""
        for session in list(self._kept.values()):
            await self.forget(session)

    def _dispensable(self, caller: str) -> Session:
        """The session to end for a new one: a dead one, else the caller's own oldest, else the oldest of all."""
        idle = [session for session in self._kept.values() if not session.lock.locked()]
        if not idle:
            raise ToolFailed(f"All {self._most} code sessions are in use.", retryable=True)
        return min(idle, key=lambda session: (not session.guest.is_ended, session.caller != caller))


_WHY_NONE = "it timed out, was idle too long, or never was."
