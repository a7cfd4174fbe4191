"""Verify, then escalate: an answer that fails a check is mended by its model, and then by a stronger one.

    answer ─▶ checks ─ failed ─▶ repair: the same model, told what is wrong ─ failed ─▶ escalation: a stronger one, afresh

Every step runs under the task's own budget and deadline, and its calls are booked on the task's bill. The answer that passes
most is returned; a step that fails, or does not fit what is left of money or time, never takes away the one before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import anyio
import anyio.to_thread

from routing.analyzer.reading import read
from routing.dispatch.engine import Dispatch, DispatchEngine
from routing.errors import RoutingError
from routing.pricing import total_microusd
from routing.types import (
    Attempt,
    CheckName,
    Conversation,
    Finding,
    Message,
    ModelRequest,
    ModelSelection,
    Progress,
    Task,
    ToolUse,
    VerificationStep,
)
from routing.verification import Verification, verify
from routing.verification.code import program_of
from routing.verification.work import Work

_SHARE_OF_TIME_LEFT = 0.8
"""Of what is left before the deadline: the rest is for handing over the answer that is there."""

_LONG_CHARS = 20_000
"""What is longer is checked in a thread."""

_NOT_MENDED = frozenset[CheckName]({"complete", "answered"})
"""What the same model would fail again: it declined, or had nothing to say."""

StepKind = Literal["answer", "repair", "escalation"]
RunTests = Callable[[str], Awaitable[Finding | None]]
"""Runs a program that raises where a test fails; ``None`` where nothing can run it."""


async def no_tests(_program: str) -> Finding | None:
    """Nothing can run them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What came of a task: the answer that is returned, and every answer that was checked on the way to it."""

    conversation: Conversation
    steps: tuple[VerificationStep, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def escalated(self) -> bool:
        """Whether a stronger model's answer took the place of the first."""
        return any(step.returned and step.kind == "escalation" for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """An answer with what was found of it."""

    conversation: Conversation
    verification: Verification
    step: VerificationStep

    @property
    def failures(self) -> int:
        return len(self.verification.failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """One task on its way: what is asked, which checks its category has, and what became of it so far."""

    task: Task
    request: ModelRequest
    dispatch: Dispatch
    checks: Sequence[CheckName]
    steps: list[VerificationStep] = field(default_factory=list[VerificationStep])
    notices: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Answers tasks with checked answers. ``run_tests`` runs the tests that a task states."""

    dispatcher: DispatchEngine
    run_tests: RunTests

    async def answer(
        self,
        task: Task,
        request: ModelRequest,
        dispatch: Dispatch,
        stronger: Callable[[str], ModelSelection | None],
    ) -> Checked:
        """Answer the task; ``stronger`` chooses a stronger model than the one it is given.

        Raises:
            RoutingError: what `DispatchEngine.dispatch` raises, for the first answer only.

        """
        if task.verify == "none" or task.texts:
            return Checked(conversation=await self.dispatcher.dispatch(request, dispatch))
        checks = dispatch.catalog.registry.categories[dispatch.analysis.category].verify
        course = _Course(task=task, request=request, dispatch=dispatch, checks=checks)
        best = first = await self._tried(course, "answer", request, dispatch.selection)
        for kind, selection in _ways(first, dispatch, stronger):
            if best.failures:
                await dispatch.on_progress(Progress(message=f"{kind}: {best.verification.failed[0].detail}"))
                tried = await self._within_limits(course, kind, best, selection)
                best = tried if tried is not None and tried.failures < best.failures else best
        return Checked(
            conversation=best.conversation,
            steps=tuple(replace(step, returned=step is best.step) for step in course.steps),
            notices=(*course.notices, *_told(first, best)),
        )

    async def _within_limits(
        self, course: _Course, kind: StepKind, failed: _Tried, selection: ModelSelection
    ) -> _Tried | None:
        """Another try, unless money or time does not allow it."""
        request = _mending(course.request, failed) if kind == "repair" else course.request
        left = anyio.current_effective_deadline() - anyio.current_time()
        try:
            with anyio.move_on_after(left * _SHARE_OF_TIME_LEFT):
                return await self._tried(course, kind, request, selection)
            course.notices.append(f"The {kind} of an answer that failed a check did not finish in time.")
        except RoutingError as problem:
            course.notices.append(f"The {kind} of an answer that failed a check was not possible: {problem}")
        return None

    async def _tried(self, course: _Course, kind: StepKind, request: ModelRequest, selection: ModelSelection) -> _Tried:
        attempts: list[Attempt] = []
        used: list[ToolUse] = []

        def book(attempt: Attempt) -> None:
            attempts.append(attempt)
            course.dispatch.book(attempt)

        def book_tool(use: ToolUse) -> None:
            used.append(use)
            course.dispatch.book_tool(use)

        dispatch = replace(course.dispatch, selection=selection, book=book, book_tool=book_tool)
        conversation = await self.dispatcher.dispatch(request, dispatch)
        verification = await self._verified(course, conversation)
        costs = [*(one.cost_microusd for one in attempts), *(use.cost_microusd for use in used)]
        step = VerificationStep(
            kind=kind,
            model_id=conversation.answer.model_id,
            findings=verification.findings,
            cost_microusd=total_microusd(costs),
        )
        course.steps.append(step)
        return _Tried(conversation=conversation, verification=verification, step=step)

    async def _verified(self, course: _Course, conversation: Conversation) -> Verification:
        work = _work_of(course.task, conversation)
        if len(work.answer) + len(work.given) > _LONG_CHARS:
            found = await anyio.to_thread.run_sync(verify, work, course.checks)
        else:
            found = verify(work, course.checks)
        program = program_of(work) if "tests" in course.checks and not found.failed else None
        ran = await self.run_tests(program) if program else None
        return found if ran is None else Verification(findings=(*found.findings, ran))


def _ways(
    first: _Tried, dispatch: Dispatch, stronger: Callable[[str], ModelSelection | None]
) -> Sequence[tuple[StepKind, ModelSelection]]:
    """What can be tried after the first answer, in order."""
    answer = first.conversation.answer
    names = {finding.check for finding in first.verification.failed}
    if not names or answer.response.finish_reason == "length":
        return ()  # more of the same length would be cut as well; the caller is told of it
    ways: list[tuple[StepKind, ModelSelection]] = []
    if not names & _NOT_MENDED:
        ways.append(("repair", _only(answer.model_id, dispatch)))
    if (choice := stronger(answer.model_id)) is not None:
        ways.append(("escalation", choice))
    return ways


def _work_of(task: Task, conversation: Conversation) -> Work:
    response = conversation.answer.response
    asked = read(task.prompt).asked
    return Work(
        asked=asked,
        given=task.prompt if len(task.prompt) > len(asked) else "",
        answer=response.text,
        finish_reason=response.finish_reason,
        schema=task.response_schema,
    )


def _only(model_id: str, dispatch: Dispatch) -> ModelSelection:
    """The selection of one model and nothing after it."""
    provider = dispatch.catalog.models[model_id].provider
    return replace(dispatch.selection, primary_model=model_id, provider=provider, fallback_models=())


def _mending(request: ModelRequest, failed: _Tried) -> ModelRequest:
    response = failed.conversation.answer.response
    turn = (
        Message(role="assistant", content=response.text, native=response.native),
        Message(role="user", content=failed.verification.request),
    )
    return replace(request, messages=(*request.messages, *turn))


def _told(first: _Tried, best: _Tried) -> list[str]:
    """What the caller should know: that another answer was mended or replaced, and what failed still."""
    notices: list[str] = []
    if best is not first:
        problems = "; ".join(finding.detail for finding in first.verification.failed)
        notices.append(
            f"{first.step.model_id}'s first answer failed a check ({problems}); this is its {best.step.kind}."
        )
    notices += [f"Not passed: {finding.detail}." for finding in best.verification.failed if finding.check != "complete"]
    return notices
