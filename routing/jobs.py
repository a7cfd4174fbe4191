"""Routes that may outlive the call which asked for them.

    JobRunner.route     a task; what is not answered within the deadline goes on, and `Running` is returned
    JobRunner.answer    what became of it: from this process, from another one, or from before a restart

A route runs in a task of its own. Its caller's cancellation ends it, unless it is detached or the caller has already been told
that it runs. Only what outlives its call, is detached or is too long for one call is written to the store: the usual answer
costs no write here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace

import anyio

from routing.errors import RoutingError, ToolFailed
from routing.router import Router, validate
from routing.state import Jobs, new_handle
from routing.types import OnProgress, Progress, RouteRecord, Task

LONGEST_JOB_SECONDS = 1_800.0
MOST_UNDER_WAY = 256
"""Routes of one caller at once: those that outlive their calls are not bounded by how many calls may be open."""

GRACE_SECONDS = 30.0
"""How long detached work is waited for when the server ends."""

_SECONDS_BETWEEN_LOOKS = 0.25
_STOPPED = "the server was stopped before it was answered. Ask again to get an answer."
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A route that goes on."""

    route_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A route that ended without an answer after its call was over."""

    route_id: str
    error: str


Work = Callable[[Task, OnProgress, str], Awaitable[RouteRecord]]
"""How a task is answered, under the route_id that its caller was told: `Router.route`, or a pattern."""


async def unheard(_: Progress) -> None:
    """Nobody listens."""


@dataclass(slots=True, kw_only=True)
class _Job:
    """A route under way. ``kept`` where its outcome goes to the store; ``detached`` where nobody's going away ends it."""

    route_id: str
    task: Task
    answer: Work
    on_progress: OnProgress
    detached: bool
    kept: bool = False
    work: asyncio.Task[RouteRecord] = field(init=False)

    async def tell(self, progress: Progress) -> None:
        """Report to whoever listens; one who went away must not end the work."""
        try:
            await self.on_progress(progress)
        except Exception:  # noqa: BLE001 - a transport may fail in any way
            self.on_progress = unheard


class JobRunner:
    """Runs routes, and keeps those that outlive their call."""

    def __init__(self, router: Router, store: Jobs) -> None:
        self._router = router
        self._store = store
        self._jobs: dict[str, _Job] = {}
        self._is_drained = False

    async def route(
        self,
        task: Task,
        on_progress: OnProgress,
        *,
        deadline_seconds: float,
        detach: bool = False,
        work: Work | None = None,
    ) -> RouteRecord | Running:
        """Answer a task within the deadline, or say that it runs; by ``work`` where that is not the router itself.

        Raises:
            ToolFailed: the caller has `MOST_UNDER_WAY` routes under way.
            RoutingError: what `Router.route` raises.

        """
        validate(task)
        if sum(job.task.caller == task.caller for job in self._jobs.values()) >= MOST_UNDER_WAY:
            raise ToolFailed(f"{MOST_UNDER_WAY} of your tasks are under way. Wait until one has ended.", retryable=True)
        job = self._begun(task, on_progress, work or self._router.route, detach=detach)
        try:
            if detach:
                await self._keep(job)
            if await _ended(job, deadline_seconds):
                return job.work.result()
            await self._keep(job)
        except asyncio.CancelledError:
            await self._left(job)
            raise
        finally:
            job.on_progress = unheard
        return Running(route_id=job.route_id)

    async def answer(self, route_id: str, caller: str, *, wait_seconds: float) -> RouteRecord | Running | Failed:
        """What became of a route, waited for up to ``wait_seconds``.

        Raises:
            UnknownHandle: this caller has no such answer, or it is kept no more.

        """
        job = self._jobs.get(route_id)
        if job is not None and job.task.caller == caller:
            await self._keep(job)
            if not await _ended(job, wait_seconds):
                return Running(route_id=route_id)
        until = anyio.current_time() + wait_seconds
        while (kept := await self._store.find(route_id, caller)).status == "running":
            if anyio.current_time() >= until:
                return Running(route_id=route_id)
            await anyio.sleep(_SECONDS_BETWEEN_LOOKS)  # another process has it, and cannot wake us
        return kept.record or Failed(route_id=route_id, error=kept.error or "")

    async def keep(self, record: RouteRecord) -> None:
        """Have a finished answer at hand for `answer`."""
        await self._store.finish(record.route_id, record.caller, record=record, error=None)

    async def drain(self, seconds: float) -> None:
        """Let detached work finish within ``seconds``; `aclose` then waits for it no more."""
        self._is_drained = True
        if detached := [job.work for job in self._jobs.values() if job.detached]:
            await asyncio.wait(detached, timeout=seconds)

    async def aclose(self) -> None:
        """End what runs; detached work has `GRACE_SECONDS` to finish, unless it was waited for before."""
        if not self._is_drained:
            await self.drain(GRACE_SECONDS)
        jobs = list(self._jobs.values())
        for job in jobs:
            job.work.cancel()
        if jobs:
            await asyncio.wait([job.work for job in jobs])

    def _begun(self, task: Task, on_progress: OnProgress, answer: Work, *, detach: bool) -> _Job:
        limit = min(task.constraints.deadline_seconds or LONGEST_JOB_SECONDS, LONGEST_JOB_SECONDS)
        task = replace(task, constraints=replace(task.constraints, deadline_seconds=limit))
        job = _Job(route_id=new_handle("rte"), task=task, answer=answer, on_progress=on_progress, detached=detach)
        self._jobs[job.route_id] = job
        job.work = asyncio.create_task(self._work(job))
        job.work.add_done_callback(_look_at)
        return job

    async def _work(self, job: _Job) -> RouteRecord:
        try:
            record = await job.answer(job.task, job.tell, job.route_id)
            await self._finished(job, record, None)
        except RoutingError as error:
            await self._finished(job, None, f"{type(error).__name__}: {error}")
            raise
        except BaseException as error:
            is_stopped = isinstance(error, asyncio.CancelledError)
            await self._finished(job, None, _STOPPED if is_stopped else "an unexpected error, which the log tells of")
            raise
        finally:
            del self._jobs[job.route_id]
        return record

    async def _keep(self, job: _Job) -> None:
        """Have the outcome written. The row is queued before the work can end, so it never comes behind the outcome."""
        if not job.kept:
            job.kept = True
            await self._store.begin(job.route_id, job.task.caller)

    async def _finished(self, job: _Job, record: RouteRecord | None, error: str | None) -> None:
        if job.kept:
            await self._store.finish(job.route_id, job.task.caller, record=record, error=error)

    async def _left(self, job: _Job) -> None:
        """The caller went away: end the work and wait until it is booked, unless it is detached."""
        if job.detached:
            return
        job.work.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([job.work])


async def _ended(job: _Job, seconds: float) -> bool:
    done: Collection[asyncio.Task[RouteRecord]] = (await asyncio.wait([job.work], timeout=seconds))[0]
    return bool(done)


def _look_at(work: asyncio.Task[RouteRecord]) -> None:
    """Take note of how it ended, so that asyncio does not complain where nobody else did."""
    if not work.cancelled() and (error := work.exception()) and not isinstance(error, RoutingError):
        _log.error("a route failed unexpectedly", exc_info=error)
