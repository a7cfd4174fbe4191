"""Running code that nobody has looked at: behind walls, or not at all.

    types.py       the values: Limits, Backend, Launch, Verdict, Outcome
    guest.py       the program inside: runs the code, tells what came of it
    wire.py        the frames between the two, of which none is trusted
    guests.py      a guest seen from the host: begin, run, end
    probing.py     does a backend really isolate? A guest is started and tries to get out
    pool.py        guests that are warm before they are wanted, for one call each
    sessions.py    guests that are kept, with their variables
    backends.py    the backends, strongest first: bubblewrap.py, landlock.py, containers.py, …
    host.py        what they need to know of the host
    seccomp.py     system-call filters

`Sandbox` is the face of it. It fails closed: no code runs before a backend has been probed and held.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio

from routing.errors import ToolFailed
from tools.sandbox.guests import Guest, GuestFailed
from tools.sandbox.pool import GuestPool
from tools.sandbox.probing import probed
from tools.sandbox.sessions import CodeSessions, Session
from tools.sandbox.types import Backend, Limits, Outcome, Verdict

__all__ = ["NEW_SESSION", "Limits", "Outcome", "Sandbox", "Verdict"]

NEW_SESSION = "new"
"""The session id that begins a session."""
MOST_TIMEOUT_SECONDS = 60.0
_SECONDS_IN_LINE = 30.0
_OVER = 'The code session is over, and its variables are gone. Begin another with session_id "new".'
_NOT_BEGUN = "No code session was begun."
_ABSENT = Verdict(backend="none", problem="No sandbox is allowed: POINTSMAN_SANDBOX is off.")


class Sandbox:
    """Runs code in the strongest backend that holds on this host. Made once per server; `aclose` ends every guest."""

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        limits: Limits | None = None,
        variables: Mapping[str, str] | None = None,
        pool_size: int = 2,
        sessions: CodeSessions | None = None,
    ) -> None:
        self._backends = backends
        self._limits = limits or Limits()
        self._variables = variables or {}
        self._pool_size = pool_size
        self._sessions = sessions or CodeSessions()
        self._probing = anyio.Lock()
        self._verdicts: tuple[Verdict, ...] = ()
        self._pool: GuestPool | None = None
        self._at_once = anyio.CapacityLimiter(max(2, os.cpu_count() or 2))

    async def available(self) -> Verdict:
        """The verdict on the strongest backend that holds; where none does, on all of them in one. Probes once."""
        verdicts = await self.verdicts()
        if not verdicts or verdicts[-1].usable:
            return verdicts[-1] if verdicts else _ABSENT
        return Verdict(backend="none", problem=" ".join(f"{row.backend}: {row.problem}" for row in verdicts))

    @property
    def may_hold(self) -> bool:
        """Whether a backend holds, or, while none has been tried, whether there is one worth trying."""
        if self._verdicts:
            return self._verdicts[-1].usable
        return any(backend.missing() is None for backend in self._backends)

    async def verdicts(self) -> tuple[Verdict, ...]:
        """What is known of each backend, strongest first, down to the first that holds."""
        async with self._probing:
            if not self._verdicts:
                self._verdicts = tuple([verdict async for verdict in self._probe()])
            return self._verdicts

    async def run(
        self, code: str, *, caller: str, session_id: str | None = None, timeout_seconds: float = 10.0
    ) -> Outcome:
        """Run code: in a fresh namespace, in a new session (``"new"``), or in one of the caller's own.

        Raises:
            ToolFailed: there is no sandbox, it does not start, or too much code is running.
            UnknownHandle: the caller has no such session.

        """
        if session_id is None or session_id == NEW_SESSION:
            async with self._turn():
                return await self._run_afresh(code, caller, timeout_seconds, keep=session_id is not None)
        session = self._sessions.find(session_id, caller=caller)
        async with session.lock, self._turn():
            self._sessions.find(session_id, caller=caller)  # it may have ended while this call stood in line
            return await self._run_in(session, code, timeout_seconds)

    async def aclose(self) -> None:
        """End every guest."""
        await self._sessions.aclose()
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    async def _probe(self) -> AsyncGenerator[Verdict]:
        for backend in self._backends:
            verdict = await probed(backend, self._limits, self._variables)
            if verdict.usable:
                self._pool = GuestPool(backend, self._limits, size=self._pool_size)
            yield verdict
            if verdict.usable:
                return

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        """Wait until there is a processor for one more guest."""
        try:
            with anyio.fail_after(_SECONDS_IN_LINE):
                await self._at_once.acquire_on_behalf_of(turn := object())
        except TimeoutError as busy:
            raise ToolFailed("Too much code is running already.", retryable=True) from busy
        try:
            yield
        finally:
            self._at_once.release_on_behalf_of(turn)

    async def _run_afresh(self, code: str, caller: str, timeout_seconds: float, *, keep: bool) -> Outcome:
        guest, pool = await self._guest()
        pool.learn(code)
        kept = False
        try:
            outcome = await guest.run(code, timeout_seconds=timeout_seconds)
            if keep and not guest.is_ended:
                session = await self._sessions.keep(guest, caller=caller)
                self._sessions.touch(session)
                kept = True
                return replace(outcome, session_id=session.id)
            return replace(outcome, notices=(*outcome.notices, _NOT_BEGUN)) if keep else outcome
        finally:
            if not kept:
                await guest.end()
            await self._refill(pool)

    async def _run_in(self, session: Session, code: str, timeout_seconds: float) -> Outcome:
        self._sessions.hold(session)
        try:
            outcome = await session.guest.run(code, timeout_seconds=timeout_seconds)
        finally:
            if session.guest.is_ended:
                await self._sessions.forget(session)
            else:
                self._sessions.touch(session)
        if session.guest.is_ended:
            return replace(outcome, notices=(*outcome.notices, _OVER))
        return replace(outcome, session_id=session.id)

    async def _guest(self) -> tuple[Guest, GuestPool]:
        """A guest that is ready. Where none starts, the backends are probed again: the host may have changed."""
        try:
            pool = await self._current_pool()
            return await pool.take(), pool
        except GuestFailed:
            await self._start_over()
        try:
            pool = await self._current_pool()
            return await pool.take(), pool
        except GuestFailed as failure:
            raise ToolFailed(f"The sandbox does not start: {failure}", retryable=True) from failure

    async def _current_pool(self) -> GuestPool:
        verdict = await self.available()
        if self._pool is None:
            raise ToolFailed(f"Code cannot be run on this server, for nothing isolates it. {verdict.problem}")
        return self._pool

    async def _start_over(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()
        self._pool, self._verdicts = None, ()

    async def _refill(self, pool: GuestPool) -> None:
        """Begin the next guest; where that fails, the next call finds out why."""
        try:
            await pool.fill()
        except GuestFailed:
            await self._start_over()
