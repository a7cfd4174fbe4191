"""Many tasks in one call, a few at once, each with its own answer or error, and one total.

What is done is kept task by task: a batch that was interrupted, or some of whose tasks failed, is resumed by its id, and what
was answered is not asked (nor paid) again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import anyio

from routing.errors import InvalidTask, RoutingError, UnknownHandle
from routing.jobs import unheard
from routing.pricing import saved_microusd, total_microusd
from routing.router import Router
from routing.state import BatchItem, BatchPlan, Jobs, KeptBatch, Ledger, new_handle
from routing.types import Constraints, OnProgress, Progress, Task
from routing.verification.modes import check_request

MOST_TASKS = 500
LONGEST_ITEM_TOKENS = 5_000
"""What is shown of a longer answer among the others; the rest of it is kept for `JobRunner.answer`."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """How a batch stands: what is done of ``total`` tasks, in their order."""

    batch_id: str
    total: int
    items: tuple[BatchItem, ...]
    running: bool

    @property
    def failed(self) -> int:
        """Tasks that ended without an answer; the same batch_id tries them again."""
        return sum(item.error is not None for item in self.items)

    @property
    def cost_microusd(self) -> int | None:
        """What all of them cost, failed ones too."""
        return total_microusd([item.cost_microusd for item in self.items])

    @property
    def saved_microusd(self) -> int | None:
        """What the answered ones saved against the baseline."""
        return total_microusd([item.saved_microusd for item in self.items if item.error is None])


def prompts_of(prompts: Sequence[str] | None, template: str | None, items: Sequence[object] | None) -> tuple[str, ...]:
    """The prompts: those given, or the template with ``{item}``, or an item's own fields, filled in for each item.

    Raises:
        InvalidTask: neither or both ways are used, there are none or too many, or a template and an item do not fit.

    """
    if (prompts is None) == (template is None or items is None):
        raise InvalidTask("give prompts, or template and items.")
    filled = (_filled(template or "", item, place) for place, item in enumerate(items or ()))
    found = tuple(filled if prompts is None else prompts)
    if not 0 < len(found) <= MOST_TASKS:
        raise InvalidTask(f"a batch has 1 to {MOST_TASKS} tasks; these are {len(found)}.")
    if empty := [place for place, prompt in enumerate(found) if not prompt.strip()]:
        raise InvalidTask(f"prompt {empty[0]} is empty. Say what is to be done.")
    return found


def _filled(template: str, item: object, place: int) -> str:
    """The template with the fields of the item. Braces that hold no plain word, or none of its fields, stay as they are."""
    if not isinstance(item, (str, Mapping)):
        raise InvalidTask(f"item {place} is neither text nor an object.")
    fields = {"item": item} if isinstance(item, str) else cast("Mapping[str, object]", item)
    if not set(_PLACEHOLDER.findall(template)) & fields.keys():
        raise InvalidTask(f"the template has no {{{next(iter(fields), 'item')}}} for the items to go into.")
    return _PLACEHOLDER.sub(lambda found: str(fields.get(found[1], found[0])), template)


class BatchRunner:
    """Runs batches, ``concurrency`` tasks of each at once."""

    def __init__(self, router: Router, store: Jobs, ledger: Ledger, *, concurrency: int = 5) -> None:
        self._router = router
        self._store = store
        self._ledger = ledger
        self._concurrency = concurrency
        self._running: dict[str, asyncio.Task[None]] = {}

    async def open(self, caller: str, plan: BatchPlan) -> str:
        """Take note of what is to be done, and return its id; nothing runs yet.

        Raises:
            InvalidTask: its tasks ask to be verified by what they do not bring.

        """
        check_request(_task_of(plan, 0, caller))
        return await self._store.open_batch(caller, plan)

    async def run(self, caller: str, batch_id: str, on_progress: OnProgress, *, deadline_seconds: float) -> BatchState:
        """Do what is not done yet, or wait where it is under way, and return how it stands; after the deadline it goes on.

        A caller who goes away within the deadline ends it.

        Raises:
            UnknownHandle: this caller has no such batch, or it has expired.

        """
        kept = await self._store.batch(batch_id, caller)
        work = self._running.get(batch_id)
        if work is None and _open_places(kept) and await self._store.take_batch(batch_id):
            work = self._running[batch_id] = asyncio.create_task(self._work(caller, batch_id, kept, on_progress))
            work.add_done_callback(_look_at)
        if work is not None:
            await self._wait(work, deadline_seconds)
        return _state(batch_id, await self._store.batch(batch_id, caller))

    async def aclose(self) -> None:
        """End what runs; it can be resumed."""
        works = list(self._running.values())
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works)

    async def _wait(self, work: asyncio.Task[None], seconds: float) -> None:
        try:
            await asyncio.wait([work], timeout=seconds)
        except asyncio.CancelledError:
            work.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([work])
            raise

    async def _work(self, caller: str, batch_id: str, kept: KeptBatch, on_progress: OnProgress) -> None:
        places = iter(_open_places(kept))
        run = _Run(batch_id=batch_id, plan=kept.plan, on_progress=on_progress, done=_answered(kept))

        async def work_off() -> None:
            for place in places:
                await self._do(caller, run, place)

        try:
            async with anyio.create_task_group() as group:
                for _ in range(self._concurrency):
                    group.start_soon(work_off)
        finally:
            del self._running[batch_id]
            with anyio.CancelScope(shield=True):
                await self._store.leave_batch(batch_id)

    async def _do(self, caller: str, run: _Run, place: int) -> None:
        route_id = new_handle("rte")
        try:
            record = await self._router.route(_task_of(run.plan, place, caller), unheard, route_id)
            if len(record.text.encode(errors="replace")) > LONGEST_ITEM_TOKENS:  # no token is shorter than a byte
                await self._store.finish(route_id, caller, record=record, error=None)
            item = BatchItem(
                position=place,
                route_id=route_id,
                text=record.text,
                model_used=record.model_used,
                cost_microusd=record.cost_microusd,
                saved_microusd=saved_microusd(record),
            )
        except RoutingError as error:
            cost = await self._cost_of(route_id, caller)
            item = BatchItem(position=place, route_id=route_id, error=str(error), cost_microusd=cost)
        await self._store.finish_item(run.batch_id, item)
        await run.tell_done()

    async def _cost_of(self, route_id: str, caller: str) -> int | None:
        """What a failed task had cost; nothing where it was refused before it became a route."""
        try:
            return (await self._ledger.route(route_id, caller)).cost_microusd
        except UnknownHandle:
            return 0


@dataclass(slots=True, kw_only=True)
class _Run:
    """A batch under way, and how many of its tasks are done."""

    batch_id: str
    plan: BatchPlan
    on_progress: OnProgress
    done: int

    async def tell_done(self) -> None:
        self.done += 1
        total = len(self.plan.prompts)
        message = f"{self.batch_id}: {self.done} of {total} done"
        try:
            await self.on_progress(Progress(message=message, done=self.done, total=total))
        except Exception:  # noqa: BLE001 - whoever listened went away, and the transport may fail in any way
            self.on_progress = unheard


def _task_of(plan: BatchPlan, place: int, caller: str) -> Task:
    return Task(
        prompt=plan.prompts[place],
        system=plan.system,
        caller=caller,
        verify=plan.verify,
        tests=plan.tests,
        criteria=plan.criteria,
        samples=plan.samples,
        constraints=Constraints(
            cost_preference=plan.cost_preference,
            self_hosted_only=plan.self_hosted_only,
            force_model=plan.force_model,
            max_tokens=plan.max_tokens,
            max_cost_microusd=plan.max_cost_microusd,
        ),
    )


def _open_places(kept: KeptBatch) -> Collection[int]:
    """The tasks that are not answered yet, failed ones included."""
    done = {place for place, item in kept.items.items() if item.error is None}
    return [place for place in range(len(kept.plan.prompts)) if place not in done]


def _answered(kept: KeptBatch) -> int:
    return len(kept.plan.prompts) - len(_open_places(kept))


def _state(batch_id: str, kept: KeptBatch) -> BatchState:
    return BatchState(
        batch_id=batch_id,
        total=len(kept.plan.prompts),
        items=tuple(item for _, item in sorted(kept.items.items())),
        running=kept.running,
    )


def _look_at(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and (error := work.exception()):
        _log.error("a batch ended unexpectedly", exc_info=error)
