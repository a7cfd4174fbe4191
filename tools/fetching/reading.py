"""Reading documents in a process with a limit of time and memory.

    ──not running──read()──▶ child.py ──order, bytes──▶ ──title, text──▶ Document
                                 └─ too slow, or dead: ended, and started again for the next document

It is kept for the next document, because importing the parsers takes longer than reading a page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from routing.errors import ToolFailed
from tools.fetching.values import Document, Kind, Order, Unreadable

CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("child.py")))
_SECONDS = 10.0
_STARTUP_SECONDS = 30.0
_MOST_ANSWER_BYTES = 16_000_000
_BROKEN = (
    anyio.IncompleteRead,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.DelimiterNotFound,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    process: Process
    answers: BufferedByteReceiveStream

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class Reader:
    """Reads one document at a time, each in ``seconds`` at most. ``command`` is for tests."""

    def __init__(
        self,
        *,
        seconds: float = _SECONDS,
        startup_seconds: float = _STARTUP_SECONDS,
        command: Sequence[str] = CHILD_COMMAND,
    ) -> None:
        self._seconds = seconds
        self._startup_seconds = startup_seconds
        self._command = command
        self._turn = anyio.Lock()
        self._child: _Child | None = None

    async def read(self, body: bytes, kind: Kind, *, url: str, charset: str | None = None) -> Document:
        """Read a document that was fetched from ``url``.

        Raises:
            ToolFailed: it cannot be read, or not within the limits.

        """
        order = Order(kind=kind, charset=charset, url=url, length=len(body), seconds=self._seconds)
        async with self._turn:
            try:
                return await self._asked(order, body)
            except Unreadable as why:
                raise ToolFailed(f"the page cannot be read: {why}.") from why

    async def aclose(self) -> None:
        """End the process, if it runs, and whatever it is reading."""
        await self._end()

    async def _asked(self, order: Order, body: bytes) -> Document:
        """What the child read. After anything but an answer, also a cancellation, it is ended: it is out of step."""
        try:
            child = await self._running()
            with anyio.fail_after(self._seconds):
                return await _exchange(child, json.dumps(order).encode() + b"\n" + body)
        except Unreadable:
            raise
        except TimeoutError as late:
            await self._end()
            raise ToolFailed(f"the page takes longer than {self._seconds:g} s to read.") from late
        except _BROKEN as broken:
            await self._end()
            raise ToolFailed("the page cannot be read: its parser broke down over it.") from broken
        except BaseException:
            await self._end()
            raise

    async def _running(self) -> _Child:
        if self._child is None or not self._child.alive:
            await self._end()
            self._child = await self._started()
        return self._child

    async def _started(self) -> _Child:
        try:
            process = await anyio.open_process(self._command, stderr=subprocess.DEVNULL, env=_environment())
        except OSError as failure:
            raise ToolFailed(f"the process that reads documents cannot be started: {failure}.") from failure
        assert process.stdout is not None  # noqa: S101 - a pipe by default
        child = self._child = _Child(process=process, answers=BufferedByteReceiveStream(process.stdout))
        try:
            with anyio.fail_after(self._startup_seconds):
                await child.answers.receive_until(b"\n", _MOST_ANSWER_BYTES)
        except (TimeoutError, *_BROKEN) as failure:
            raise ToolFailed("the process that reads documents does not start.", retryable=True) from failure
        return child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                child.process.kill()
            await child.process.aclose()


async def _exchange(child: _Child, message: bytes) -> Document:
    assert child.process.stdin is not None  # noqa: S101 - a pipe by default
    await child.process.stdin.send(message)
    match json.loads(await child.answers.receive_until(b"\n", _MOST_ANSWER_BYTES)):
        case {"title": str() | None as title, "text": str(text), "truncated": bool(truncated)}:
            return Document(title=title, text=text, truncated=truncated)
        case {"error": str(why)}:
            raise Unreadable(why)
        case _:
            raise ValueError("no answer")


def _environment() -> dict[str, str] | None:
    """No keys, and the same libraries as ours. On Windows no program starts without what the system puts there."""
    return None if sys.platform == "win32" else {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
