"""The model's server on loopback: started on first use, started again if it died, ended with us.

    ──not running──base_url()──▶ weights ──▶ child.py ──▶ /health answers ──▶ "http://127.0.0.1:PORT/v1"

The server is a process of its own (`child.py`), so that a crash in native code, or its memory, is not ours. It asks
every caller for `api_key`, so that no other user of this machine can talk to it; the key travels over the child's stdin
and stands in no list of processes.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO

import anyio
import httpx2 as httpx
from anyio import to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from routing.embedded.child import Config
from routing.embedded.relay import relayed
from routing.errors import AssetError
from routing.types import OnProgress, Progress

MODEL_ID = "local"
"""What the server calls its one model."""

WeightsSource = Callable[[OnProgress], Awaitable[Path]]
"""Has the weights' file ready, or raises `AssetError`: `assets.fetch` with its asset and folder filled in."""

CHILD_COMMAND = (sys.executable, "-P", str(Path(__file__).with_name("child.py")))
_STARTUP_SECONDS = 60.0
_GRACE_SECONDS = 3.0
_SLEEP_SECONDS = 300
_HEALTH_INTERVAL_SECONDS = 0.05
_ANSWER_BYTES = 65_536
_LOG_TAIL_BYTES = 600
_MOST_THREADS = 4
_OTHER_WAYS = "Other ways to a model: run Ollama on this machine, or set the API key of a provider."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    process: Process
    address: str

    @property
    def alive(self) -> bool:
        return self.process.returncode is None


class EmbeddedRuntime:
    """An OpenAI-compatible server of one GGUF file, for this process alone.

    ``log_path`` takes what llama.cpp prints, and is begun anew at each start. ``threads`` defaults to
    `default_threads`. After five minutes without a request the server gives its memory back (about 600 MB) until the
    next one, which then takes a second longer. ``command`` and ``startup_seconds`` are for tests.
    """

    def __init__(
        self,
        weights: WeightsSource,
        *,
        log_path: Path,
        threads: int | None = None,
        context_tokens: int = 8192,
        startup_seconds: float = _STARTUP_SECONDS,
        command: Sequence[str] = CHILD_COMMAND,
    ) -> None:
        self._weights = weights
        self._log_path = log_path
        self._threads = threads
        self._context_tokens = context_tokens
        self._startup_seconds = startup_seconds
        self._command = command
        self._api_key = secrets.token_urlsafe(32)
        self._starting = anyio.Lock()
        self._child: _Child | None = None

    @property
    def api_key(self) -> str:
        """The key that the server asks for. It is made anew for each `EmbeddedRuntime`."""
        return self._api_key

    async def base_url(self, on_progress: OnProgress) -> str:
        """Return where the server listens (``http://127.0.0.1:PORT/v1``), after starting it if it does not run.

        Raises:
            AssetError: the weights are not to be had, or the server does not start; the message says why.

        """
        child = self._child
        if child is None or not child.alive:
            weights = await self._weights(on_progress)  # outside the lock, so that each caller sees its progress
            async with relayed(on_progress) as report, self._starting:
                report(Progress(message="starting the local model"))
                child = await self._started(weights)
        return f"{child.address}/v1"

    async def aclose(self) -> None:
        """End the server, if it runs; it gets 3 s to go by itself."""
        async with self._starting:
            child, self._child = self._child, None
            if child is not None:
                await _end(child.process)

    async def _started(self, weights: Path) -> _Child:
        if self._child is None or not self._child.alive:
            self._child = await self._start(weights)
        return self._child

    async def _start(self, weights: Path) -> _Child:
        try:
            with await to_thread.run_sync(_new_log, self._log_path) as log:
                process = await anyio.open_process(self._command, stderr=log)
        except OSError as failure:
            raise AssetError(f"the local model's server cannot be started: {failure}. {_OTHER_WAYS}") from failure
        try:
            return await self._connect(process, weights)
        except BaseException:
            await _end(process)
            raise

    async def _connect(self, process: Process, weights: Path) -> _Child:
        try:
            with anyio.fail_after(self._startup_seconds):
                address = await _address_from(process, self._config(weights))
                await _wait_for_health(address)
        except TimeoutError as failure:
            raise AssetError(self._obituary(f"nothing was heard in {self._startup_seconds:g} s")) from failure
        except (anyio.IncompleteRead, anyio.BrokenResourceError, json.JSONDecodeError) as failure:
            raise AssetError(self._obituary("it broke down")) from failure
        except _ChildFailed as failure:
            raise AssetError(self._obituary(str(failure))) from failure
        return _Child(process=process, address=address)

    def _config(self, weights: Path) -> bytes:
        config: Config = {
            "model_path": str(weights),
            "api_key": self._api_key,
            "threads": self._threads or default_threads(),
            "context_tokens": self._context_tokens,
            "sleep_seconds": _SLEEP_SECONDS,
        }
        return json.dumps(config).encode() + b"\n"

    def _obituary(self, cause: str) -> str:
        last_words = self._log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()
        what = f"the local model's server did not start: {cause.rstrip('.')}. {_OTHER_WAYS}"
        return f"{what} Its log, {self._log_path}, ends: {last_words}"


class _ChildFailed(Exception):  # noqa: N818 - private, and never leaves this module
    """The child said why it cannot serve."""


async def _address_from(process: Process, config: bytes) -> str:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - both are pipes by default
    await process.stdin.send(config)
    answer = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", _ANSWER_BYTES)
    match json.loads(answer):
        case {"address": str(address)}:
            return address
        case {"error": str(error)}:
            raise _ChildFailed(error)
        case other:
            raise _ChildFailed(f"it answered {other!r}")


async def _wait_for_health(address: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        while not await _is_healthy(http, address):  # noqa: ASYNC110 - another process cannot set our Event
            await anyio.sleep(_HEALTH_INTERVAL_SECONDS)


async def _is_healthy(http: httpx.AsyncClient, address: str) -> bool:
    try:
        return (await http.get(f"{address}/health")).status_code == HTTPStatus.OK
    except httpx.HTTPError:
        return False


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            with anyio.move_on_after(_GRACE_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def _new_log(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def default_threads() -> int:
    """How many threads to compute with: one for each physical core that is ours, at most 4.

    llama.cpp's threads wait for each other by spinning, so one more than there are free cores makes all of them slow.
    """
    if sys.platform == "linux":
        cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
        return min(len(cores), _MOST_THREADS)
    return min(os.cpu_count() or 1, _MOST_THREADS)


def _siblings(cpu: int) -> str:
    """Name the core that a logical CPU belongs to."""
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return topology.read_text() if topology.exists() else str(cpu)
