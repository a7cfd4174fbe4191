"""Verify, then escalate: an answer that fails a check is mended by its model, and then by stronger ones.

    answer ─▶ checks ─ failed ─▶ repair: the same model, told what is wrong ─ failed ─▶ escalation: a stronger one, afresh
                                                                                          │ failed: a stronger one still
    inspection.py makes the checks                                                        ▼ as often as the category allows

Every step runs under the task's own budget and deadline, and its calls are booked on the task's bill. The answer that passes
most is returned; a step that fails, or does not fit what is left of money or time, never takes away the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import anyio

from routing.dispatch.engine import Dispatch, DispatchEngine
from routing.errors import RoutingError
from routing.inspection import Inspector, RunTests
from routing.pricing import total_microusd
from routing.registry import CategoryFacts
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
    TaskAnalysis,
    ToolUse,
    VerificationStep,
)
from routing.verification import Verification
from routing.verification.modes import checks_of

_NOT_MENDED = frozenset[CheckName]({"complete", "answered", "agreement"})
"""What the same model would fail again: it declined, had nothing to say, or says something else each time."""

_SHARE_OF_TIME_LEFT = 0.8
"""Of what is left once there is an answer, for all that follows: the rest is for handing over the best that there is.

As much of that in turn is for one step, so that one which hangs leaves something to the next.
"""

_JUDGEMENT_TOKENS = 150

StepKind = Literal["answer", "repair", "escalation"]
Choose = Callable[[str], ModelSelection | None]
"""Chooses another model than the one it is given the id of; ``None`` where there is none."""


async def no_tests(_program: str) -> Finding | None:
    """Nothing can run them."""


def nobody(_model_id: str) -> ModelSelection | None:
    """There is none."""


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
    """An answer with what was found of it, and what its caller should know of how that went."""

    conversation: Conversation
    verification: Verification
    step: VerificationStep
    notices: tuple[str, ...]

    @property
    def failures(self) -> int:
        return len(self.verification.failed)


@dataclass(slots=True, kw_only=True)
class _Bill:
    """What the calls of one step cost; each of them goes on the task's bill too."""

    dispatch: Dispatch
    costs: list[int | None] = field(default_factory=list[int | None])

    def book(self, attempt: Attempt) -> None:
        self.costs.append(attempt.cost_microusd)
        self.dispatch.book(attempt)

    def book_tool(self, use: ToolUse) -> None:
        self.costs.append(use.cost_microusd)
        self.dispatch.book_tool(use)

    @property
    def total(self) -> int | None:
        return total_microusd(self.costs)


@dataclass(slots=True, kw_only=True)
class _Course:
    """One task on its way: what is asked, what its category allows, who else can be asked, and what became of it so far.

    ``until`` is when all of it ends, in seconds of the event loop's clock.
    """

    task: Task
    request: ModelRequest
    dispatch: Dispatch
    facts: CategoryFacts
    stronger: Choose
    judge: Choose
    steps: list[VerificationStep] = field(default_factory=list[VerificationStep])
    notices: list[str] = field(default_factory=list[str])
    until: float = math.inf

    def share(self) -> float:
        """Seconds that the next thing may take."""
        until = min(self.until, anyio.current_effective_deadline())
        return _SHARE_OF_TIME_LEFT * (until - anyio.current_time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Answers tasks with checked answers. ``run_tests`` runs the tests that a task states or its caller gives."""

    dispatcher: DispatchEngine
    run_tests: RunTests

    async def answer(
        self, task: Task, request: ModelRequest, dispatch: Dispatch, stronger: Choose, judge: Choose = nobody
    ) -> Checked:
        """Answer the task; ``stronger`` and ``judge`` choose a model that is better, or another one that is as good.

        Raises:
            RoutingError: what `DispatchEngine.dispatch` raises, for the first answer only.

        """
        if task.verify == "none" or task.texts:
            return Checked(conversation=await self.dispatcher.dispatch(request, dispatch))
        facts = dispatch.catalog.registry.categories[dispatch.analysis.category]
        course = _Course(task=task, request=request, dispatch=dispatch, facts=facts, stronger=stronger, judge=judge)
        best = first = await self._tried(course, "answer", request, dispatch.selection)
        for kind, selection in _ways(first, course):
            await dispatch.on_progress(Progress(message=f"{kind}: {best.verification.failed[0].detail}"))
            tried = await self._within_limits(course, kind, best, selection)
            best = tried if tried is not None and tried.failures < best.failures else best
            if not best.failures:
                break
        return Checked(
            conversation=best.conversation,
            steps=tuple(replace(step, returned=step is best.step) for step in course.steps),
            notices=(*course.notices, *best.notices, *_told(first, best)),
        )

    async def _within_limits(
        self, course: _Course, kind: StepKind, failed: _Tried, selection: ModelSelection
    ) -> _Tried | None:
        """Another try, unless money or time does not allow it."""
        request = _mending(course.request, failed) if kind == "repair" else course.request
        try:
            with anyio.move_on_after(course.share()):
                return await self._tried(course, kind, request, selection)
            course.notices.append(f"The {kind} of an answer that failed a check did not finish in time.")
        except RoutingError as problem:
            course.notices.append(f"The {kind} of an answer that failed a check was not possible: {problem}")
        return None

    async def _tried(self, course: _Course, kind: StepKind, request: ModelRequest, selection: ModelSelection) -> _Tried:
        """An answer and its inspection. Samples are of the first answer's model: a stronger one is asked once."""
        bill, checking = _Bill(dispatch=course.dispatch), _Bill(dispatch=course.dispatch)
        conversation = await self.dispatcher.dispatch(request, _under(bill, selection))
        if kind == "answer":
            course.until = anyio.current_time() + course.share()

        async def ask(request: ModelRequest, selection: ModelSelection) -> Conversation:
            is_sample = request is course.request
            analysis = course.dispatch.analysis if is_sample else _judging(course.dispatch.analysis)
            dispatch = replace(_under(checking, selection), analysis=analysis)
            return await self.dispatcher.dispatch(request, dispatch)

        inspector = Inspector(
            task=course.task,
            request=course.request,
            checks=checks_of(course.task, course.facts.verify),
            samples=course.task.samples or course.facts.samples,
            run_tests=self.run_tests,
            ask=ask,
            again=_only(conversation.answer.model_id, course.dispatch),
            judge=course.judge,
        )
        said = tuple(course.dispatch.purse.notices) if course.dispatch.purse else ()
        inspected = await inspector.inspect(conversation, sampling=kind == "answer", seconds=course.share())
        if course.dispatch.purse and checking.costs:
            course.dispatch.purse.notices[:] = said  # what it says of samples and judges is not said of the answer
        step = VerificationStep(
            kind=kind,
            model_id=conversation.answer.model_id,
            findings=inspected.verification.findings,
            cost_microusd=total_microusd([bill.total, checking.total]),
            checks_microusd=checking.total,
        )
        course.steps.append(step)
        return _Tried(
            conversation=inspected.conversation,
            verification=inspected.verification,
            step=step,
            notices=inspected.notices,
        )


def _ways(first: _Tried, course: _Course) -> Iterator[tuple[StepKind, ModelSelection]]:
    """What can be tried after the first answer, in order: a repair, and then stronger models, each than those before it."""
    answer = first.conversation.answer
    names = {finding.check for finding in first.verification.failed}
    if not names or answer.response.finish_reason == "length":
        return  # more of the same length would be cut as well; the caller is told of it
    if course.facts.repair and not names & _NOT_MENDED:
        yield "repair", _only(answer.model_id, course.dispatch)
    weak = answer.model_id
    for _ in range(course.facts.escalations):
        choice = course.stronger(weak)
        if choice is None:
            return
        before = len(course.steps)
        yield "escalation", choice
        weak = course.steps[-1].model_id if len(course.steps) > before else choice.primary_model


def _under(bill: _Bill, selection: ModelSelection) -> Dispatch:
    return replace(bill.dispatch, selection=selection, book=bill.book, book_tool=bill.book_tool)


def _judging(analysis: TaskAnalysis) -> TaskAnalysis:
    """A judge's question as a task: what is expected of its answer, and how hard it may think."""
    return replace(analysis, complexity=2, estimated_output_tokens=_JUDGEMENT_TOKENS)


def _only(model_id: str, dispatch: Dispatch) -> ModelSelection:
    """The selection of one model and nothing after it."""
    if dispatch.selection.candidates == (model_id,):
        return dispatch.selection
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
