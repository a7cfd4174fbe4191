"""A route with steps: each a route of its own, under one bill, one budget and one deadline.

    Tree.plan     steps that will be asked for, so that those which were never begun can be told
    Tree.ask      one step: its answer, or the `RoutingError` that it failed with
    Tree.attempt  the same, where the others go on without it
    Tree.answer   what the pattern has so far: the last one said is what the caller gets

A step is booked on the tree whatever becomes of it, so that the sum of the steps is what was paid.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import anyio

from routing.budgets import Purse
from routing.errors import RoutingError
from routing.recorder import OpenRoute
from routing.router import Router, validate
from routing.state import new_handle
from routing.types import (
    NO_USAGE,
    Answer,
    Conversation,
    ModelResponse,
    OnProgress,
    PatternStep,
    Progress,
    Role,
    RouteRecord,
    StepStatus,
    Task,
)

MOST_AT_ONCE = 4
"""Steps of one route that run side by side."""

LONGEST_INNER_TOKENS = 4_000
"""What a plan or a verdict may take, reasoning included."""

_LONGEST_WRITE_SECONDS = 10
_log = logging.getLogger(__name__)
Keep = Callable[[RouteRecord], Awaitable[None]]


async def unkept(_: RouteRecord) -> None:
    """Nobody will ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step is to do.

    The caller's own wishes (system prompt, tools, length) hold for every step but ``inner`` ones, whose answers only the
    pattern reads. A step that ``sees_task`` is given the conversation and the pictures too. ``other_than`` are models that it
    should not go to, if there is another.
    """

    name: str
    prompt: str
    role: Role
    schema: Mapping[str, object] | None = None
    inner: bool = False
    sees_task: bool = True
    other_than: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The answer of a step."""

    name: str
    text: str
    model_id: str
    conversation: Conversation


@dataclass(slots=True, kw_only=True)
class Tree:
    """A route while its steps run. ``task`` is the caller's, with the history of its session."""

    router: Router
    route: OpenRoute
    task: Task
    purse: Purse | None
    on_progress: OnProgress
    keep: Keep = unkept
    steps: list[PatternStep] = field(default_factory=list[PatternStep])
    limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(MOST_AT_ONCE))
    _planned: dict[str, PatternStep] = field(default_factory=dict[str, PatternStep])
    _failures: list[RoutingError] = field(default_factory=list[RoutingError])

    @property
    def is_answered(self) -> bool:
        """Whether there is something for the caller."""
        return self.route.conversation is not None

    def plan(self, role: Role, *names: str, unless: str = "") -> None:
        """Announce steps of a role; ``unless`` is why they would not be begun."""
        for name in names:
            self._planned[name] = PatternStep(name=name, role=role, status="skipped", detail=unless)

    def drop(self, name: str) -> None:
        """Say that a planned step is not needed after all."""
        self._planned.pop(name, None)

    def all_steps(self) -> tuple[PatternStep, ...]:
        """The steps that were begun, in the order in which they ended, and those that never were."""
        begun = {step.name for step in self.steps}
        return (*self.steps, *(step for name, step in self._planned.items() if name not in begun))

    def answer(self, written: Written, text: str | None = None, made_of: Sequence[Written] = ()) -> None:
        """Let this be the answer, unless a better one follows; ``text`` where it is put together of several."""
        images = tuple(image for part in made_of for image in part.conversation.images)
        if text is None:
            self.route.conversation = replace(written.conversation, images=images or written.conversation.images)
            return
        response = ModelResponse(text=text, finish_reason="stop", usage=None)
        answer = Answer(model_id=written.model_id, response=response, usage=NO_USAGE)
        self.route.conversation = Conversation(answer=answer, images=images)

    def notice(self, text: str) -> None:
        """Tell the caller something about the answer."""
        self.route.notices.append(text)

    def amend(self, name: str, detail: str, status: StepStatus = "completed") -> None:
        """Say of the last step of a name what was found out of it later."""
        place = max(place for place, step in enumerate(self.steps) if step.name == name)
        self.steps[place] = replace(self.steps[place], detail=detail, status=status)

    async def attempt(self, work: Work) -> Written | None:
        """Ask where the others go on without it; ``None`` where it failed, which its step tells."""
        async with self.limiter:
            try:
                return await self.ask(work)
            except RoutingError as failure:
                self._failures.append(failure)
                return None

    def give_up(self) -> RoutingError:
        """The error of a pattern of which no step was answered."""
        return self._failures[0]

    async def ask(self, work: Work) -> Written:
        """Have a step answered, and book it whatever becomes of it.

        Raises:
            RoutingError: what `Router.route` raises.

        """
        await self._tell(work, "begins")
        opened: list[OpenRoute] = []
        status: StepStatus = "cancelled"
        detail = ""
        try:
            written = await self._answered(work, opened)
            status = "completed"
        except Exception as failure:
            status, detail = "failed", str(failure)
            raise
        finally:
            self._book(work, opened, status, detail)
        await self._tell(work, f"answered by {written.model_id}")
        return written

    async def _answered(self, work: Work, opened: list[OpenRoute]) -> Written:
        task = await self._by_another(self._task_of(work), work)
        validate(task)
        await self.router.admit()
        purse = None if self.purse is None else self.purse.another()
        async with self.router.recorder.recording(task, new_handle("rte")) as route:
            opened.append(route)
            route.session_id, route.new_session_id = self.route.session_id, self.route.new_session_id
            await self.router.answer(task, route, self._heard(work), purse)
        assert route.record is not None  # noqa: S101 - recording() leaves it where the block ended well
        assert route.conversation is not None  # noqa: S101 - as above
        await self._keep(route.record)
        model_id = route.conversation.answer.model_id
        return Written(name=work.name, text=route.text, model_id=model_id, conversation=route.conversation)

    async def _keep(self, record: RouteRecord) -> None:
        """What was paid for is handed on, even where the store is broken."""
        try:
            with anyio.fail_after(_LONGEST_WRITE_SECONDS, shield=True):
                await self.keep(record)
        except Exception:  # noqa: BLE001 - the store may fail in any way
            _log.exception("the answer of step %s could not be kept", record.route_id)

    def _task_of(self, work: Work) -> Task:
        limits = self.task.constraints
        constraints = replace(
            limits,
            deadline_seconds=None,  # it is over when the tree's is
            max_cost_microusd=self.purse.left_microusd if self.purse else None,
            max_tokens=LONGEST_INNER_TOKENS if work.inner else limits.max_tokens,
        )
        task = replace(
            self.task,
            prompt=work.prompt,
            role=None if work.role == "single" else work.role,
            parent_id=self.route.route_id,
            session_id=None,
            response_schema=work.schema,
            constraints=constraints,
        )
        if work.inner:
            task = replace(task, system=None, tools=())
        return task if work.sees_task else replace(task, history=None, images=())

    async def _by_another(self, task: Task, work: Work) -> Task:
        """The task for another model than those that should not have it, if there is one that can take it."""
        if not work.other_than:
            return task
        other = replace(task, constraints=replace(task.constraints, denied_models=work.other_than))
        try:
            await self.router.decide(other)
        except RoutingError:
            self.notice(f"{work.name}: no other model than {', '.join(sorted(work.other_than))} could take it.")
            return task
        return other

    def _book(self, work: Work, opened: Sequence[OpenRoute], status: StepStatus, detail: str) -> None:
        step = PatternStep(name=work.name, role=work.role, status=status, detail=detail)
        record = opened[0].record if opened else None
        if record is not None:
            self.route.notices += record.notices
            step = replace(
                step,
                route_id=record.route_id,
                model_used=record.model_used,
                text=record.text,
                latency_ms=record.latency_ms,
                usage=record.usage,
                cost_microusd=record.cost_microusd,
                baseline_model=record.baseline_model,
                baseline_cost_microusd=record.baseline_cost_microusd,
            )
        self.steps.append(step)

    def _heard(self, work: Work) -> OnProgress:
        async def on_progress(progress: Progress) -> None:
            await self.on_progress(replace(progress, message=f"{work.name}: {progress.message}"))

        return on_progress

    async def _tell(self, work: Work, message: str) -> None:
        done = len({step.name for step in self.steps})
        total = len({*self._planned, *(step.name for step in self.steps)})
        said = f"{work.name} ({work.role}) {message}; {done} of {total} steps done"
        await self.on_progress(Progress(message=said, done=done, total=total))
