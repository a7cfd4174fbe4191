"""A guest, seen from the host: started, given code, ended with all that it started."""

from __future__ import annotations

import base64
import contextlib
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process

from tools.sandbox import seccomp
from tools.sandbox.types import Backend, ExitReason, Launch, Limits, Outcome, StreamName
from tools.sandbox.wire import BrokenProtocol, Done, Figure, FrameReader, Output, Ready, encoded

SECONDS_TO_START = 20.0
_SECONDS_TO_DIE = 5.0
_MOST_CALL_BYTES = 32 << 20
"""All frames of one call: more than an honest guest sends for full streams and ten figures."""


class GuestFailed(Exception):  # noqa: N818 - says what happened, as the rest of our errors do
    """A guest did not start; the message is what its backend wrote about it."""


@dataclass(slots=True, kw_only=True)
class _Collected:
    """What a call has sent so far; what is over a bound is dropped, whatever the guest says."""

    limits: Limits
    text: dict[StreamName, list[str]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    room: dict[StreamName, int] = field(default_factory=dict[StreamName, int])
    figures: list[bytes] = field(default_factory=list[bytes])
    received_bytes: int = 0

    def add(self, frame: Output | Figure) -> None:
        match frame:
            case Output():
                room = self.room.setdefault(frame.stream, self.limits.stream_bytes)
                self.text[frame.stream].append(frame.text[:room])
                self.room[frame.stream] = room - len(self.text[frame.stream][-1])
            case Figure():
                if len(self.figures) < self.limits.most_figures and len(frame.png) <= self.limits.figure_bytes:
                    self.figures.append(frame.png)

    def outcome(self, reason: ExitReason, started: float, value: str | None, notices: Sequence[str]) -> Outcome:
        return Outcome(
            stdout="".join(self.text["stdout"]),
            stderr="".join(self.text["stderr"]),
            value=value,
            exit_reason=reason,
            duration_ms=round((time.monotonic() - started) * 1000),
            figures=tuple(self.figures),
            notices=tuple(notices),
        )


class Guest:
    """One guest process. `begin` starts it, `ready` waits for it, `run` runs code in it, `end` ends it."""

    def __init__(self, process: Process, launch: Launch, limits: Limits) -> None:
        self._process = process
        self._launch = launch
        self._limits = limits
        self._frames = FrameReader(cast("ByteReceiveStream", process.stdout))
        self._is_ready = False
        self._killed = False
        self._ended = False

    @classmethod
    async def begin(
        cls, backend: Backend, limits: Limits, *, imports: Sequence[str] = (), later: Sequence[str] = ()
    ) -> Guest:
        """Start a guest, and do not wait for it: it imports ``imports`` before it is ready, ``later`` when it is idle.

        Raises:
            GuestFailed: it cannot be started.

        """
        launch = backend.launch(limits)
        try:
            process = await anyio.open_process(
                launch.argv, env=dict(launch.env), pass_fds=launch.pass_fds, start_new_session=True, cwd="/"
            )
        except OSError as problem:
            await anyio.to_thread.run_sync(launch.end)
            raise GuestFailed(f"{launch.argv[0]} cannot be started: {problem.strerror}") from problem
        finally:
            launch.close()
        guest = cls(process, launch, limits)
        await guest._set_up(encoded(imports=list(imports), later=list(later), seccomp=_second_filter()))
        return guest

    @property
    def is_ended(self) -> bool:
        """Whether it can run nothing more."""
        return self._killed or self._process.returncode is not None

    @property
    def _stdin(self) -> ByteSendStream:
        return cast("ByteSendStream", self._process.stdin)

    async def ready(self) -> None:
        """Wait until it takes code.

        Raises:
            GuestFailed: it is dead, or not ready in time; it is ended.

        """
        if self._is_ready:
            return
        try:
            with anyio.fail_after(SECONDS_TO_START):
                frame, _ = await self._frames.next()
            if not isinstance(frame, Ready):
                raise BrokenProtocol("a guest that is not ready")  # noqa: TRY301 - ends it as the others do
            self._is_ready = True
        except (TimeoutError, BrokenProtocol, anyio.IncompleteRead) as problem:
            said = await self._last_words()
            raise GuestFailed(said or f"the guest did not start: {problem or type(problem).__name__}") from problem
        finally:
            if not self._is_ready:
                await self.end()

    async def run(self, code: str, *, timeout_seconds: float) -> Outcome:
        """Run code. After any exit reason but ``finished``, ``error`` and ``memory`` the guest is ended.

        Raises:
            GuestFailed: as `ready`.

        """
        await self.ready()
        started = time.monotonic()
        collected = _Collected(limits=self._limits)
        lives_on = False
        try:
            with anyio.fail_after(timeout_seconds):
                await self._stdin.send(encoded(code=code, cpu_seconds=timeout_seconds))
                done = await self._collect(collected)
            lives_on = True
            return collected.outcome(done.reason, started, done.value, done.notices)
        except TimeoutError:
            return collected.outcome("timeout", started, None, [f"The time of {timeout_seconds:g} s was over."])
        except (BrokenProtocol, anyio.IncompleteRead, anyio.BrokenResourceError) as problem:
            reason, notice = await self._cause_of_death(problem)
            return collected.outcome(reason, started, None, [notice])
        finally:
            if not lives_on:
                await self.end()

    async def _set_up(self, frame: bytes) -> None:
        try:
            await self._stdin.send(frame)
        except anyio.BrokenResourceError:
            return  # it is dead already; `ready` finds out why
        except BaseException:
            await self.end()
            raise

    async def _collect(self, collected: _Collected) -> Done:
        while True:
            frame, size = await self._frames.next()
            collected.received_bytes += size
            if collected.received_bytes > _MOST_CALL_BYTES:
                raise BrokenProtocol("more frames than a call has")
            match frame:
                case Done():
                    return frame
                case Ready():
                    raise BrokenProtocol("ready twice")
                case _:
                    collected.add(frame)

    async def _cause_of_death(self, problem: Exception) -> tuple[ExitReason, str]:
        """Why a call got no answer, as the exit status tells it."""
        if isinstance(problem, BrokenProtocol):
            return "killed", f"The code wrote to the sandbox's own channel ({problem}), and was ended."
        with anyio.move_on_after(_SECONDS_TO_DIE):
            await self._process.wait()
        number = _signal_of(self._process.returncode)
        if number == signal.SIGXCPU:
            return "cpu", "The code used more processor time than it is allowed."
        if number is None:
            return "killed", "The code ended its own process."
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return "killed", f"The process died of {name}: too much memory, or a fault in compiled code."

    async def end(self) -> None:
        """Kill it and all that it started, and wait until it is gone."""
        if self._ended:
            return
        self._ended = True
        with anyio.CancelScope(shield=True):
            self.kill()
            with anyio.move_on_after(_SECONDS_TO_DIE):
                await self._drained()
            await self._process.aclose()
            await anyio.to_thread.run_sync(self._launch.end)  # it may have a folder to empty

    def kill(self) -> None:
        """Kill its process group; where it has namespaces, they end with their first process. `end` has still to follow."""
        self._killed = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _drained(self) -> None:
        """Wait until nobody holds the other end of the channel: until the last process of the guest is gone."""
        with contextlib.suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                await cast("ByteReceiveStream", self._process.stdout).receive()

    async def _last_words(self) -> str:
        """What a guest that did not start wrote to stderr."""
        self.kill()
        with anyio.move_on_after(_SECONDS_TO_DIE), contextlib.suppress(anyio.EndOfStream):
            said = await cast("ByteReceiveStream", self._process.stderr).receive(2000)
            return " ".join(said.decode("utf-8", "replace").split())
        return ""


def _second_filter() -> str | None:
    """The filter that a guest puts itself under once it runs: it starts no other program."""
    if sys.platform != "linux" or not seccomp.supported(platform.machine()):
        return None
    return base64.b64encode(seccomp.no_exec()).decode()


def _signal_of(status: int | None) -> int | None:
    """The signal that ended a process, directly or as a shell and bwrap report it: 128 and its number."""
    if status is None or 0 <= status <= 128:  # noqa: PLR2004 - as above
        return None
    return -status if status < 0 else status - 128
