"""How the HTTP server ends: calls under way first, then the streams they are answered through."""

from __future__ import annotations

from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from sse_starlette.sse import AppStatus
from uvicorn.lifespan.off import LifespanOff

import serving
from access.limits import Admission, Limits

pytestmark = pytest.mark.anyio
LIMITS = Limits(concurrency=2, queue=0)


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's switch for streams is the process's own; put it back."""
    monkeypatch.setattr(AppStatus, "should_exit", False)
    monkeypatch.setattr(AppStatus, "enable_automatic_graceful_drain", True)


class Nothing:
    """A lifespan that is not held."""

    services = None


def draining(admission: Admission, seconds: float) -> serving.Draining:
    config = uvicorn.Config(cast("Any", None), log_config=None, timeout_graceful_shutdown=1)
    served = serving.Served(mcp=cast("Any", None), lifespan=cast("Any", Nothing()), admission=admission)
    server = serving.Draining(config, served, seconds)
    server.servers, server.lifespan = [], LifespanOff(config)
    return server


async def test_a_stream_is_not_cut_at_the_signal_but_once_its_call_has_ended() -> None:
    admission, until, ended = Admission(), anyio.Event(), anyio.Event()
    server = draining(admission, 60)
    assert not AppStatus.enable_automatic_graceful_drain

    async def call() -> None:
        async with admission.turn("ann", LIMITS):
            await until.wait()

    async def shutdown() -> None:
        await server.shutdown()
        ended.set()

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(shutdown)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert admission.is_closing
        assert not AppStatus.should_exit
        assert not ended.is_set()
        until.set()
        with anyio.fail_after(10):
            await ended.wait()
    assert AppStatus.should_exit


@pytest.mark.parametrize("why", ["the time is over", "Ctrl-C came twice"])
async def test_a_call_that_does_not_end_is_not_waited_for_for_ever(why: str) -> None:
    admission, until = Admission(), anyio.Event()
    server = draining(admission, 0.01 if why == "the time is over" else 60)
    server.force_exit = why == "Ctrl-C came twice"

    async def call() -> None:
        async with admission.turn("ann", LIMITS):
            await until.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(10):
            await server.shutdown()
        until.set()
    assert AppStatus.should_exit
