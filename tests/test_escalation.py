"""Answers that fail a check are mended, or a stronger model is asked; and nothing that was there is lost by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from routing.budgets import Purse
from routing.catalog import Catalog
from routing.dispatch.engine import Dispatch, DispatchEngine
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryPolicy
from routing.dispatch.tool_loop import NoTools, ToolLoop
from routing.errors import AllModelsFailed, ProviderUnavailable
from routing.escalation import Checked, Escalation
from routing.selector import Selector
from routing.tokens import TokenCounter
from routing.types import Attempt, Finding, Message, ModelResponse, Task, ToolSpec
from tests.builders import CATEGORY, CATEGORY_NAMES, analysis, catalog, model
from tests.builders import request as request_of
from tests.fakes import FakeProvider, Heard, Script, reply

pytestmark = pytest.mark.anyio

CHEAP = model("acme/cheap", tier=4, prices={"input": 1, "output": 2})
STRONG = model("acme/strong", tier=2, prices={"input": 10, "output": 20})
BEST = model("acme/best", tier=1, prices={"input": 30, "output": 60})
CHECKS = ("schema", "arithmetic", "code", "tests")


def rows(**facts: Any) -> Catalog:
    """A catalog of three tiers whose categories have these facts."""
    return catalog(
        CHEAP, STRONG, BEST, categories={key: {**CATEGORY, "verify": CHECKS, **facts} for key in CATEGORY_NAMES}
    )


ROWS = rows()
WRONG, RIGHT = reply("12 * 7 = 86"), reply("12 * 7 = 84")
UNCHECKED = reply("Eighty-four.")
DOWN = ProviderUnavailable("server error (503): busy", provider="acme", model_id="acme/strong")
CHEAP_CALL, STRONG_CALL = 20 * 1 + 5 * 2, 20 * 10 + 5 * 20


@dataclass(slots=True, kw_only=True)
class Bench:
    """An escalation over scripted models, what it booked, and what it ran."""

    provider: FakeProvider
    booked: list[Attempt] = field(default_factory=list[Attempt])
    heard: Heard = field(default_factory=Heard)
    programs: list[str] = field(default_factory=list[str])
    finding: Finding | None = None
    catalog: Catalog = ROWS
    purse: Purse | None = None
    changes: dict[str, Any] = field(default_factory=dict[str, Any])

    async def run_tests(self, program: str) -> Finding | None:
        self.programs.append(program)
        return self.finding

    async def answer(self, tmp_path: Path, task: Task, forced: str | None = None) -> Checked:
        counter = TokenCounter(tmp_path / "vocabularies")
        pool = ProviderPool(cast("Any", None), cast("Any", None), self.provider.connect)
        engine = DispatchEngine(
            providers=pool,
            counter=counter,
            tool_loop=ToolLoop(toolbox=NoTools()),
            policy=RetryPolicy(most_retries=0),
        )
        found = analysis(complexity=1)
        wish = replace(task.constraints, force_model=forced)
        task = replace(task, constraints=wish)
        selector = Selector()
        dispatch = Dispatch(
            catalog=self.catalog,
            selection=replace(selector.select(task, found, self.catalog), fallback_models=()),
            analysis=found,
            book=self.booked.append,
            on_progress=self.heard,
            purse=self.purse,
        )

        def stronger(than: str) -> Any:
            choice = selector.stronger(task, found, self.catalog, than=than)
            return choice and replace(choice, fallback_models=())

        def judge(of: str) -> Any:
            return selector.judge(task, found, self.catalog, of=of)

        escalation = Escalation(dispatcher=engine, run_tests=self.run_tests)
        return await escalation.answer(task, request_of(task.prompt, **self.changes), dispatch, stronger, judge)


def bench(
    finding: Finding | None = None, facts: Mapping[str, Any] | None = None, **scripts: Script | list[Script]
) -> Bench:
    provider = FakeProvider({f"acme/{name}": one for name, one in scripts.items()})
    return Bench(provider=provider, finding=finding, catalog=rows(**facts) if facts else ROWS)


def text_of(checked: Checked) -> str:
    return checked.conversation.answer.response.text


SUM = Task(prompt="What is 12 * 7?")


async def test_an_answer_that_passes_is_returned_as_it_is(tmp_path: Path) -> None:
    it = bench(cheap=RIGHT)

    checked = await it.answer(tmp_path, SUM)

    [step] = checked.steps
    assert (step.kind, step.model_id, step.cost_microusd, step.returned) == ("answer", "acme/cheap", CHEAP_CALL, True)
    assert [finding.check for finding in step.findings] == ["complete", "answered", "arithmetic"]
    assert not checked.notices


async def test_a_failed_answer_is_mended_by_its_own_model_which_is_told_what_is_wrong(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, RIGHT])

    checked = await it.answer(tmp_path, SUM)

    assert text_of(checked) == "12 * 7 = 84"
    assert [(step.kind, step.returned) for step in checked.steps] == [("answer", False), ("repair", True)]
    assert "12 * 7 = 86" in it.provider.requests[1][1].messages[-1].content
    assert it.provider.requests[1][1].messages[-2].content == "12 * 7 = 86"
    assert "this is its repair" in checked.notices[0]
    assert len(it.booked) == 2


async def test_where_mending_fails_the_cheapest_stronger_model_is_asked_afresh(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, WRONG], strong=RIGHT)

    checked = await it.answer(tmp_path, SUM)

    assert text_of(checked) == "12 * 7 = 84"
    assert [step.model_id for step in checked.steps] == ["acme/cheap", "acme/cheap", "acme/strong"]
    assert checked.escalated
    assert [step.cost_microusd for step in checked.steps] == [CHEAP_CALL, CHEAP_CALL, STRONG_CALL]
    assert sum(step.cost_microusd or 0 for step in checked.steps) == sum(one.cost_microusd or 0 for one in it.booked)
    assert it.provider.requests[2][1].messages == it.provider.requests[0][1].messages


async def test_where_nobody_passes_the_first_answer_stands_and_the_caller_is_told(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, WRONG], strong=WRONG, best=WRONG)

    checked = await it.answer(tmp_path, SUM)

    assert [step.returned for step in checked.steps] == [True, False, False, False]
    assert [step.verdict for step in checked.steps] == ["failed"] * 4
    assert any(notice.startswith("Not passed: this does not add up") for notice in checked.notices)


async def test_what_cannot_be_checked_is_neither_verified_nor_escalated(tmp_path: Path) -> None:
    it = bench(cheap=UNCHECKED)

    checked = await it.answer(tmp_path, SUM)

    [step] = checked.steps
    assert {finding.check for finding in step.findings} == {"complete", "answered"}
    assert len(it.booked) == 1


async def test_nothing_is_checked_where_the_caller_wants_none(tmp_path: Path) -> None:
    checked = await bench(cheap=WRONG).answer(tmp_path, replace(SUM, verify="none"))

    assert text_of(checked) == "12 * 7 = 86"
    assert not checked.steps


async def test_a_refusal_goes_to_a_stronger_model_without_a_second_try(tmp_path: Path) -> None:
    it = bench(cheap=reply("I'm sorry, but I can't help with that."), strong=UNCHECKED)

    checked = await it.answer(tmp_path, SUM)

    assert [step.kind for step in checked.steps] == ["answer", "escalation"]
    assert text_of(checked) == "Eighty-four."


async def test_an_answer_cut_at_its_limit_is_left_to_the_caller(tmp_path: Path) -> None:
    cut = ModelResponse(text="Once upon", finish_reason="length", usage=None)
    it = bench(cheap=cut)

    checked = await it.answer(tmp_path, SUM)

    assert len(checked.steps) == 1
    assert not checked.notices


async def test_a_forced_model_may_mend_its_answer_and_is_never_replaced(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, WRONG])

    checked = await it.answer(tmp_path, SUM, forced="acme/cheap")

    assert [step.kind for step in checked.steps] == ["answer", "repair"]


async def test_a_stronger_model_that_fails_does_not_take_the_answer_away(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, WRONG], strong=DOWN, best=DOWN)

    checked = await it.answer(tmp_path, SUM)

    assert text_of(checked) == "12 * 7 = 86"
    assert any("was not possible" in notice for notice in checked.notices)
    assert [one.outcome for one in it.booked] == ["answered", "answered", "failed", "failed"]


async def test_the_first_answer_failing_is_the_tasks_own_failure(tmp_path: Path) -> None:
    with pytest.raises(AllModelsFailed):
        await bench(cheap=DOWN).answer(tmp_path, SUM)


async def test_a_repair_that_hangs_leaves_time_to_hand_over_the_first_answer(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, None], strong=WRONG, best=WRONG)

    with anyio.fail_after(1):
        checked = await it.answer(tmp_path, SUM)

    assert text_of(checked) == "12 * 7 = 86"
    assert any("did not finish in time" in notice for notice in checked.notices)


async def test_steps_that_hang_one_after_the_other_leave_a_fifth_of_the_time_together(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, None], strong=None, best=None)
    begun = anyio.current_time()

    with anyio.fail_after(1.5):
        checked = await it.answer(tmp_path, SUM)

    assert anyio.current_time() - begun < 1.4
    assert text_of(checked) == "12 * 7 = 86"
    assert [one.model_id for one in it.booked] == ["acme/cheap", "acme/cheap", "acme/strong", "acme/best"]


# Code

CODE = reply("```python\ndef double(x):\n    return 2 * x\n```")
DOUBLE = Task(prompt="Write double.\nassert double(2) == 4")


async def test_the_tests_that_a_task_states_are_run_on_its_code(tmp_path: Path) -> None:
    it = bench(cheap=CODE, finding=Finding(check="tests", passed=True, detail="the stated tests pass"))

    checked = await it.answer(tmp_path, DOUBLE)

    assert "assert double(2) == 4" in it.programs[0]
    assert [finding.check for finding in checked.steps[0].findings][-1] == "tests"


async def test_code_that_fails_its_tests_is_sent_back_with_what_failed(tmp_path: Path) -> None:
    it = bench(cheap=[CODE, CODE], strong=CODE, best=CODE)
    it.finding = Finding(check="tests", passed=False, detail="the stated tests fail: AssertionError")

    checked = await it.answer(tmp_path, DOUBLE)

    assert "AssertionError" in it.provider.requests[1][1].messages[-1].content
    assert [step.kind for step in checked.steps] == ["answer", "repair", "escalation", "escalation"]


async def test_without_a_sandbox_tests_say_nothing(tmp_path: Path) -> None:
    checked = await bench(cheap=CODE).answer(tmp_path, DOUBLE)

    assert [finding.check for finding in checked.steps[0].findings] == ["complete", "answered", "code"]


async def test_a_callers_tests_are_run_whatever_the_category_checks(tmp_path: Path) -> None:
    it = bench(Finding(check="tests", passed=True, detail="ok"), {"verify": []}, cheap=CODE)

    checked = await it.answer(tmp_path, Task(prompt="Write double.", tests="double(2) == 4"))

    assert it.programs[0].endswith("assert double(2) == 4\n")
    assert checked.steps[0].verdict == "verified"


async def test_tests_that_could_not_be_run_are_told_and_nothing_is_verified_by_them(tmp_path: Path) -> None:
    checked = await bench(cheap=CODE).answer(tmp_path, Task(prompt="Write double.", tests="double(2) == 4"))

    assert [finding.check for finding in checked.steps[0].findings] == ["complete", "answered", "code"]
    assert any(notice.startswith("The tests were not run") for notice in checked.notices)


# How far it goes


@pytest.mark.parametrize(("depth", "models"), [(0, []), (1, ["acme/strong"]), (2, ["acme/strong", "acme/best"])])
async def test_it_climbs_as_often_as_the_registry_says_and_each_time_higher(
    tmp_path: Path, depth: int, models: list[str]
) -> None:
    it = bench(facts={"escalations": depth}, cheap=[WRONG, WRONG], strong=WRONG, best=WRONG)

    checked = await it.answer(tmp_path, SUM)

    assert [step.model_id for step in checked.steps if step.kind == "escalation"] == models


async def test_a_category_may_go_without_repairs(tmp_path: Path) -> None:
    it = bench(facts={"repair": False}, cheap=WRONG, strong=RIGHT)

    checked = await it.answer(tmp_path, SUM)

    assert [step.kind for step in checked.steps] == ["answer", "escalation"]


# Samples of the cheap model


def labels(*texts: str) -> list[Script]:
    return [reply(text) for text in texts]


LABEL = Task(prompt="Is this invoice or complaint?", verify="self")


async def test_samples_that_agree_at_once_are_not_asked_further(tmp_path: Path) -> None:
    it = bench(cheap=labels("Invoice", "invoice."))

    checked = await it.answer(tmp_path, replace(LABEL, samples=3))

    [step] = checked.steps
    assert (step.verdict, step.findings[-1].detail) == ("agreed", "2 of 2 samples agree")
    assert (step.cost_microusd, step.checks_microusd) == (2 * CHEAP_CALL, CHEAP_CALL)
    assert len(it.booked) == 2


async def test_the_answer_is_what_most_samples_say(tmp_path: Path) -> None:
    it = bench(cheap=labels("complaint", "Invoice", "invoice"))

    checked = await it.answer(tmp_path, replace(LABEL, samples=3))

    assert text_of(checked) == "Invoice"
    assert checked.steps[0].findings[-1].detail == "2 of 3 samples agree"


async def test_samples_that_disagree_go_to_a_stronger_model_and_its_answer_is_not_called_checked(
    tmp_path: Path,
) -> None:
    it = bench(cheap=labels("complaint", "invoice", "receipt"), strong=reply("receipt"))

    checked = await it.answer(tmp_path, replace(LABEL, samples=3))

    assert [(step.kind, step.verdict) for step in checked.steps] == [("answer", "failed"), ("escalation", "unchecked")]
    assert text_of(checked) == "receipt"


@pytest.mark.parametrize("samples", [3, 5, 7])
async def test_no_more_samples_are_taken_than_were_asked_for(tmp_path: Path, samples: int) -> None:
    it = bench(facts={"escalations": 0}, cheap=labels(*(str(number % 2) for number in range(samples))))

    await it.answer(tmp_path, replace(LABEL, samples=samples))

    assert len(it.booked) <= samples


async def test_where_a_machine_can_check_no_samples_are_paid_for(tmp_path: Path) -> None:
    it = bench(cheap=RIGHT)

    checked = await it.answer(tmp_path, replace(SUM, verify="self"))

    assert checked.steps[0].verdict == "verified"
    assert len(it.booked) == 1


async def test_an_essay_is_not_compared_and_the_caller_is_told(tmp_path: Path) -> None:
    it = bench(cheap=reply("It depends on many things, of which I will name some. " * 4))

    checked = await it.answer(tmp_path, LABEL)

    assert checked.steps[0].verdict == "unchecked"
    assert any("nothing was checked" in notice for notice in checked.notices)
    assert len(it.booked) == 1


async def test_a_task_with_tools_is_not_done_several_times(tmp_path: Path) -> None:
    it = bench(cheap=reply("invoice"))
    it.changes = {"tools": (ToolSpec(name="web_search", description="Search.", input_schema={"type": "object"}),)}

    checked = await it.answer(tmp_path, LABEL)

    assert len(it.booked) == 1
    assert any("would act once more" in notice for notice in checked.notices)


async def test_a_sample_that_fails_leaves_the_answer_that_is_there(tmp_path: Path) -> None:
    it = bench(cheap=[reply("invoice"), DOWN])

    checked = await it.answer(tmp_path, LABEL)

    assert text_of(checked) == "invoice"
    assert checked.steps[0].verdict == "unchecked"
    assert any("could not be checked further" in notice for notice in checked.notices)


async def test_a_sample_that_hangs_leaves_time_to_hand_over_the_answer(tmp_path: Path) -> None:
    it = bench(cheap=[reply("invoice"), None])

    with anyio.fail_after(1):
        checked = await it.answer(tmp_path, LABEL)

    assert text_of(checked) == "invoice"
    assert "The checks of an answer did not finish in time." in checked.notices
    assert [one.outcome for one in it.booked] == ["answered", "cancelled"]


# A judge


GREETING = Task(prompt="Greet the customer.", verify="custom", criteria="It is polite.")
FINE, RUDE = reply('{"meets": true, "problems": []}'), reply('{"meets": false, "problems": ["It is rude."]}')


async def test_another_model_at_least_as_good_judges_by_the_callers_criteria(tmp_path: Path) -> None:
    it = bench(cheap=reply("Good morning!"), strong=FINE)

    checked = await it.answer(tmp_path, GREETING)

    [step] = checked.steps
    assert (step.verdict, step.findings[-1].detail) == ("judged", "acme/strong judged that it meets the criteria")
    assert (step.cost_microusd, step.checks_microusd) == (CHEAP_CALL + STRONG_CALL, STRONG_CALL)
    asked = it.provider.requests[1][1]
    assert "It is polite." in asked.messages[0].content
    assert "Good morning!" in asked.messages[0].content
    assert asked.response_schema is not None
    assert not asked.tools


async def test_what_the_judge_finds_wrong_is_mended_and_judged_again(tmp_path: Path) -> None:
    it = bench(cheap=labels("What?", "Good morning!"), strong=[RUDE, FINE])

    checked = await it.answer(tmp_path, GREETING)

    assert text_of(checked) == "Good morning!"
    assert [(step.kind, step.verdict) for step in checked.steps] == [("answer", "failed"), ("repair", "judged")]
    assert "It is rude." in it.provider.requests[2][1].messages[-1].content


async def test_the_judge_is_shown_the_conversation_that_the_task_goes_on_from(tmp_path: Path) -> None:
    it = bench(cheap=reply("Good morning!"), strong=FINE)
    earlier = Message(role="user", content="I am Ada."), Message(role="assistant", content="Hello, Ada.")
    it.changes = {"messages": (*earlier, Message(role="user", content=GREETING.prompt))}

    await it.answer(tmp_path, GREETING)

    assert "user: I am Ada." in it.provider.requests[1][1].messages[0].content


async def test_a_judge_who_is_not_there_is_stood_in_for(tmp_path: Path) -> None:
    checked = await bench(cheap=reply("Good morning!"), strong=DOWN, best=FINE).answer(tmp_path, GREETING)

    assert checked.steps[0].findings[-1].detail == "acme/best judged that it meets the criteria"


async def test_the_judge_is_not_asked_of_what_a_machine_found_wrong(tmp_path: Path) -> None:
    it = bench(cheap=[WRONG, RIGHT], strong=FINE)

    checked = await it.answer(tmp_path, replace(SUM, verify="custom", criteria="It is short."))

    assert [step.checks_microusd for step in checked.steps] == [0, STRONG_CALL]


async def test_the_best_model_has_nobody_to_judge_it_and_the_caller_is_told(tmp_path: Path) -> None:
    it = bench(best=reply("Good morning!"))

    checked = await it.answer(tmp_path, GREETING, forced="acme/best")

    assert checked.steps[0].verdict == "unchecked"
    assert any(notice.startswith("Nobody judged the answer") for notice in checked.notices)


@pytest.mark.parametrize("said", ["It looks fine to me.", ""])
async def test_a_judge_that_gives_no_verdict_has_not_judged(tmp_path: Path, said: str) -> None:
    checked = await bench(cheap=reply("Good morning!"), strong=reply(said)).answer(tmp_path, GREETING)

    assert checked.steps[0].verdict == "unchecked"
    assert any("no verdict" in notice for notice in checked.notices)
