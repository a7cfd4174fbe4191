"""All that can be found out about one answer: by machine, by tests in the sandbox, by samples, by a judge.

    machine ─▶ tests ─▶ nothing said of it, and verify is self? ─▶ samples ─▶ verify is custom? ─▶ judge

What fails ends it: nobody is paid to look at what is known to be wrong. Samples and judges are calls like any other, under the
task's budget and on its bill; where one is not possible, a notice says so and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from routing.analyzer.reading import read
from routing.errors import RoutingError
from routing.types import CheckName, Conversation, Finding, Message, ModelRequest, ModelSelection, Task
from routing.verification import Verification, verify
from routing.verification.code import given_tests, program_of
from routing.verification.work import Work

_LONG_CHARS = 20_000
"""What is longer is checked in a thread."""

_NO_SANDBOX = "The tests were not run: no sandbox of this server can, or too much code is running."
_NO_CODE = "The tests were not run: the answer has no Python code."
_NO_RESULT = (
    "Samples were not compared, and nothing was checked: the answer is no number, label, yes or no, short text or JSON."
)
_NO_SAMPLES_WITH_TOOLS = "Samples were not compared: the task has tools, which would act once more for each of them."
_NO_JUDGE = "Nobody judged the answer: no other configured model that is at least as good may see the task."
_TOO_LONG = "Nobody judged the answer: it is too long to be judged as a whole."
_NO_VERDICT = "Nobody judged the answer: the judge gave no verdict in the form that was asked for."

RunTests = Callable[[str], Awaitable[Finding | None]]
"""Runs a program that raises where a test fails; ``None`` where nothing can run it."""

Ask = Callable[[ModelRequest, ModelSelection], Awaitable[Conversation]]
"""Sends a request and books it on the step whose answer is inspected. Raises what `DispatchEngine.dispatch` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """The answer (of several samples, the first that says what most say), what was found of it, and what could not be."""

    conversation: Conversation
    verification: Verification
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspector:
    """Inspects the answers of one task.

    ``again`` is the selection of the answering model alone, ``judge`` that of another one, given the answering one's id;
    ``samples`` is how many answers are compared.
    """

    task: Task
    request: ModelRequest
    checks: Collection[CheckName]
    samples: int
    run_tests: RunTests
    ask: Ask
    again: ModelSelection
    judge: Callable[[str], ModelSelection | None]

    async def inspect(self, conversation: Conversation, *, sampling: bool, seconds: float) -> Inspected:
        """Make the checks of an answer, within ``seconds``; it is compared with others of its model where ``sampling``.

        Raises nothing: what cannot be checked is told.
        """
        look = _Look(inspector=self, conversation=conversation, verification=await self._by_machine(conversation))
        try:
            with anyio.move_on_after(seconds) as limit:
                await look.further(sampling=sampling)
            if limit.cancelled_caught:
                look.notices.append("The checks of an answer did not finish in time.")
        except RoutingError as problem:
            look.notices.append(f"An answer could not be checked further: {problem}")
        return Inspected(conversation=look.conversation, verification=look.verification, notices=tuple(look.notices))

    async def _by_machine(self, conversation: Conversation) -> Verification:
        work = self.work_of(conversation)
        if len(work.answer) + len(work.given) > _LONG_CHARS:
            return await anyio.to_thread.run_sync(verify, work, self.checks)
        return verify(work, self.checks)

    def work_of(self, conversation: Conversation) -> Work:
        """The answer as the checks see it."""
        response, task = conversation.answer.response, self.task
        asked = read(task.prompt).asked
        return Work(
            asked=asked,
            given=task.prompt if len(task.prompt) > len(asked) else "",
            answer=response.text,
            finish_reason=response.finish_reason,
            schema=task.response_schema,
            tests=(given_tests(task.tests) or "") if task.tests else "",
            wants_code=bool(task.tests) or task.verify == "code",
        )


@dataclass(slots=True, kw_only=True)
class _Look:
    """One answer under inspection, and what is known of it so far."""

    inspector: Inspector
    conversation: Conversation
    verification: Verification
    notices: list[str] = field(default_factory=list[str])

    async def further(self, *, sampling: bool) -> None:
        """The checks that take more than looking."""
        it = self.inspector
        if "tests" in it.checks and not self.verification.failed:
            await self._test()
        if sampling and it.task.verify == "self" and not (self.verification.failed or self.verification.says_something):
            await self._compare()
        if it.task.verify == "custom" and not self.verification.failed:
            await self._judge()

    def _found(self, finding: Finding) -> None:
        self.verification = Verification(findings=(*self.verification.findings, finding))

    async def _test(self) -> None:
        it = self.inspector
        program = program_of(it.work_of(self.conversation))
        finding = await it.run_tests(program) if program else None
        if finding is not None:
            self._found(finding)
        elif it.task.tests or program:
            self.notices.append(_NO_SANDBOX if program else _NO_CODE)

    async def _compare(self) -> None:
        """Ask for as many more samples as could settle it, until enough of them agree or no longer can."""
        from routing.verification.agreement import most_common, quorum, result_of  # noqa: PLC0415 - few tasks ask for it

        it = self.inspector
        if it.request.tools:
            self.notices.append(_NO_SAMPLES_WITH_TOOLS)
            return
        taken = [self.conversation]
        results = [result_of(self.conversation.answer.response.text)]
        if results[0] is None:
            self.notices.append(_NO_RESULT)
            return
        needed = quorum(it.samples)
        result, votes = most_common(results)
        while votes < needed <= votes + it.samples - len(taken):
            more = await _side_by_side(needed - votes, lambda: it.ask(it.request, it.again))
            taken += more
            results += [result_of(one.answer.response.text) for one in more]
            result, votes = most_common(results)
        agreed = votes >= needed
        if agreed:
            self.conversation = taken[results.index(result)]
        detail = f"{votes} of {len(taken)} samples agree" + (
            "" if agreed else f"; {needed} of {it.samples} would have to"
        )
        self._found(Finding(check="agreement", passed=agreed, detail=detail))

    async def _judge(self) -> None:
        from routing.verification.judging import MOST_CHARS, question, verdict_of  # noqa: PLC0415 - few tasks ask for it

        it = self.inspector
        answer = self.conversation.answer
        selection = it.judge(answer.model_id)
        told = it.task.prompt if len(it.request.messages) == 1 else _spoken(it.request.messages)
        if len(told) + len(answer.response.text) > MOST_CHARS:
            self.notices.append(_TOO_LONG)
        elif selection is None:
            self.notices.append(_NO_JUDGE)
        else:
            asked = question(told, answer.response.text, it.task.criteria, it.task.images)
            said = (await it.ask(asked, selection)).answer
            finding = verdict_of(said.response.text, said.model_id)
            self._found(finding) if finding else self.notices.append(_NO_VERDICT)


def _spoken(messages: Sequence[Message]) -> str:
    """A conversation as one text."""
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


async def _side_by_side(times: int, ask: Callable[[], Awaitable[Conversation]]) -> list[Conversation]:
    """So many answers at once.

    Raises:
        RoutingError: one of them failed; the others were cancelled.

    """
    answers: list[Conversation] = []
    failures: list[RoutingError] = []

    async def one() -> None:
        try:
            answers.append(await ask())
        except RoutingError as failure:
            failures.append(failure)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(times):
            group.start_soon(one)
    if failures:
        raise failures[0]
    return answers
