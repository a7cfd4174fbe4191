"""Patterns over the whole pipeline: real router, engine and store; what is scripted is the wire."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from routing.budgets import Wallet
from routing.catalog import CatalogSource
from routing.errors import (
    AllModelsFailed,
    BudgetExceeded,
    DeadlineExceeded,
    InvalidTask,
    PatternStopped,
    ProviderUnavailable,
)
from routing.patterns import Patterns, parse
from routing.patterns.chain import filled
from routing.patterns.gates import refusal
from routing.patterns.specs import FORMS, KINDS, Gate
from routing.recorder import OpenRoute
from routing.shadow import Shadows
from routing.types import ModelRequest, ModelResponse, OnText, RouteRecord, Target, Task
from tests.builders import catalog, model
from tests.fakes import FakeProvider, Heard, reply
from tests.test_router import FixedCatalog, House, house

pytestmark = pytest.mark.anyio

FRONTIER = model("acme/frontier", tier=1, prices={"input": 10, "output": 50})
SECOND = model("zeta/second", provider="zeta", tier=1, prices={"input": 12, "output": 60})
CHEAP = model("acme/cheap", tier=4, prices={"input": 1, "output": 2})
MODELS = (CHEAP, FRONTIER, SECOND)
ROLES: dict[str, Any] = {
    "planner": {"strongest": 1, "weakest": 1},
    "evaluator": {"strongest": 1, "weakest": 1},
    "synthesizer": {"strongest": 2, "weakest": 3},
    "worker": {"strongest": 3, "weakest": 4},
}
TASK = Task(prompt="Compare rust and go for a small web service.")
DOWN = ProviderUnavailable("busy", provider="acme", model_id="acme/cheap")
Answering = Callable[[str], str | Exception | None]
"""What is answered to a prompt; an exception fails the call, ``None`` leaves it hanging."""


async def at_once() -> None:
    """Nothing is waited for."""


@dataclass(slots=True)
class Scripted(FakeProvider):
    """Answers by what it is asked, after what is waited for ``before``; of so many ``tokens`` in, and at most out."""

    answering: Answering = field(default=lambda prompt: prompt)
    tokens: tuple[int, int] = (20, 5)
    before: Callable[[], Awaitable[None]] = at_once

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        await self.before()
        answer = self.answering(request.messages[-1].content)
        script = reply(answer, *self.billed(request)) if isinstance(answer, str) else answer
        self.scripts = {**self.scripts, target.model_id: script}
        return await FakeProvider.send(self, request, target, on_text)

    def billed(self, request: ModelRequest) -> tuple[int, int]:
        return self.tokens[0], min(self.tokens[1], request.max_output_tokens)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(model_id, request.messages[-1].content) for model_id, request in self.requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    it: House
    patterns: Patterns
    provider: Scripted
    heard: Heard = field(default_factory=Heard)

    async def run(self, spec: dict[str, object], task: Task = TASK, **constraints: Any) -> RouteRecord:
        task = replace(task, verify=constraints.pop("verify", task.verify))
        task = replace(task, constraints=replace(task.constraints, **constraints))
        return await self.patterns.run(parse(spec), task, self.heard)

    async def booked(self) -> tuple[RouteRecord, list[RouteRecord]]:
        """The parent and its steps as the ledger has them, in the order in which they began."""
        routes = sorted(await self.it.store.ledger.recent("local", 100), key=lambda route: route.started_at)
        [parent] = [route for route in routes if route.parent_id is None]
        return parent, [route for route in routes if route.parent_id == parent.route_id]


@asynccontextmanager
async def site(tmp_path: Path, answering: Answering | Scripted, **wallet: Any) -> AsyncGenerator[Site]:
    provider = answering if isinstance(answering, Scripted) else Scripted(answering=answering)
    async with house(tmp_path, provider, MODELS) as it:
        source = cast("CatalogSource", FixedCatalog(catalog(*MODELS, roles=ROLES)))
        it.router = replace(it.router, catalog=source, wallet=Wallet(store=it.store.budgets, **wallet))
        yield Site(it=it, patterns=Patterns(router=it.router), provider=provider)


def echo(prompt: str) -> str:
    return f"<{prompt}>"


@dataclass(slots=True)
class Meeting:
    """Where calls wait until so many are there, and how many ever were."""

    expected: int
    there: int = 0
    most: int = 0
    full: anyio.Event = field(default_factory=anyio.Event)

    async def arrive(self) -> None:
        self.there += 1
        self.most = max(self.most, self.there)
        if self.there == self.expected:
            self.full.set()
        with anyio.fail_after(5):
            await self.full.wait()


def chain(*steps: object) -> dict[str, object]:
    return {"kind": "chain", "steps": [{"prompt": step} if isinstance(step, str) else step for step in steps]}


async def test_a_chain_hands_each_answer_to_the_next_step(tmp_path: Path) -> None:
    answers = {f"Outline: {TASK.prompt}": "A, B", "Write A, B": "text", "Cut\n\ntext": "short"}
    async with site(tmp_path, answers.__getitem__) as one:
        record = await one.run(chain("Outline: {input}", "Write {previous}", "Cut"))

    assert (record.text, record.outcome, record.is_partial) == ("short", "completed", False)
    assert [(step.name, step.status, step.text) for step in record.steps] == [
        ("step 1", "completed", "A, B"),
        ("step 2", "completed", "text"),
        ("step 3", "completed", "short"),
    ]


async def test_each_step_is_a_route_of_its_own_and_the_parent_adds_nothing_to_the_bill(tmp_path: Path) -> None:
    async with site(tmp_path, echo) as one:
        record = await one.run(chain("one", "two"))
        parent, steps = await one.booked()
        totals = await one.it.store.ledger.totals("local")
        sums = await one.it.store.reports.usage("local", since=None, span=86400)
        history = await one.it.store.sessions.history(record.session_id, "local")

    assert (parent.attempts, parent.cost_microusd, parent.pattern) == ((), 0, "prompt_chaining")
    assert {step.analysis.pattern for step in steps if step.analysis} == {"prompt_chaining"}
    assert [step.route_id for step in steps] == [step.route_id for step in record.steps]
    assert record.cost_microusd == sum(step.cost_microusd or 0 for step in steps) == totals.cost_microusd > 0
    assert record.baseline_cost_microusd == sum(step.baseline_cost_microusd or 0 for step in steps)
    assert totals.routes == sum(row.routes for row in sums.routes) == 2
    assert totals.cost_microusd == sum(row.cost_microusd for row in sums.attempts)
    assert [message.content for message in history] == [TASK.prompt, record.text]


def test_what_is_put_into_a_template_is_no_template() -> None:
    values = {"input": "{previous} {x}", "previous": "{input}"}
    assert filled("{input}|{previous}|{y}", values, otherwise="") == "{previous} {x}|{input}|{y}"
    assert filled("Cut", values, otherwise="this") == "Cut\n\nthis"


GATED = [
    ({"contains": ["risk"]}, "a RISK", "none"),
    ({"lacks": ["sorry"]}, "fine", "Sorry, no"),
    ({"matches": r"^\d+$"}, "42", "forty-two"),
    ({"schema": {"type": "object", "required": ["a"]}}, '{"a": 1}', '{"b": 1}'),
    ({"checks": ["arithmetic"]}, "2 + 2 = 4", "2 + 2 = 5"),
]


@pytest.mark.parametrize(("gate", "good", "bad"), GATED)
async def test_an_answer_that_does_not_pass_its_gate_is_asked_for_again_with_the_reason(
    tmp_path: Path, gate: dict[str, object], good: str, bad: str
) -> None:
    def answering(prompt: str) -> str:
        return good if "was not accepted" in prompt or "did not pass" in prompt else bad

    async with site(tmp_path, answering) as one:
        record = await one.run(chain({"prompt": "Look", "gate": gate}, "Go on: {previous}"), verify="none")

    assert [(step.name, step.status) for step in record.steps][:2] == [("step 1", "rejected"), ("step 1", "completed")]
    assert record.steps[0].detail
    assert not record.is_partial
    assert one.provider.asked[-1][1] == f"Go on: {good}"


async def test_a_chain_ends_at_a_gate_that_holds_twice_with_what_came_before_it(tmp_path: Path) -> None:
    async with site(tmp_path, echo) as one:
        record = await one.run(chain("one", {"prompt": "two", "gate": {"lacks": ["two"]}}, "three", "four"))

    assert record.text.startswith("<one")
    assert record.is_partial
    assert [step.status for step in record.steps] == ["completed", "rejected", "rejected", "skipped", "skipped"]
    assert any("did not pass its gate twice" in notice for notice in record.notices)
    assert record.cost_microusd == sum(step.cost_microusd or 0 for step in record.steps)


async def test_an_expression_that_never_ends_is_no_match_within_its_time(tmp_path: Path) -> None:
    gate = Gate.model_validate({"matches": r"(a|aa)+$"})
    with anyio.fail_after(10):
        assert await refusal(gate, "", "a" * 200 + "b") == "it does not match (a|aa)+$"


async def test_sections_are_done_side_by_side_and_put_one_after_the_other(tmp_path: Path) -> None:
    meeting = Meeting(2)
    async with site(tmp_path, echo) as one:
        one.provider.before = meeting.arrive
        record = await one.run({"kind": "sections", "sections": ["Security of: {input}", "Speed"]})

    assert meeting.most == 2
    assert record.text.startswith("## 1. Security of: {input}\n\n<Security of: Compare rust")
    assert "## 2. Speed\n\n<Speed" in record.text
    assert {step.role for step in record.steps} == {"worker"}


async def test_a_section_that_fails_takes_nothing_from_the_others_and_the_merger_is_told(tmp_path: Path) -> None:
    def answering(prompt: str) -> str | Exception:
        return DOWN if prompt.startswith("B") else f"<{prompt}>"

    async with site(tmp_path, answering) as one:
        record = await one.run({"kind": "sections", "sections": ["A", "B", "C"], "merge": "Merge"})

    assert {step.name: step.status for step in record.steps} == {
        "section 1": "completed",
        "section 2": "failed",
        "section 3": "completed",
        "merge": "completed",
    }
    assert "## 2. B\n\n(This part is missing" in record.text
    assert record.is_partial
    assert record.outcome == "completed"


async def test_where_every_section_fails_the_error_is_that_of_a_section(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: DOWN) as one:
        with pytest.raises(AllModelsFailed):
            await one.run({"kind": "sections", "sections": ["A", "B"]})
        parent, steps = await one.booked()

    assert parent.outcome == "failed"
    assert [step.outcome for step in steps] == ["failed", "failed"]


async def test_the_answer_that_most_samples_give_is_taken(tmp_path: Path) -> None:
    answers = iter(["41", "42", "The answer is 42.", "7"])
    async with site(tmp_path, lambda _: next(answers)) as one:
        record = await one.run({"kind": "best_of", "samples": 4})

    assert record.text in {"42", "The answer is 42."}
    assert sorted(step.detail for step in record.steps) == [
        "0 of 3 others say the same",
        "0 of 3 others say the same",
        "1 of 3 others say the same",
        "1 of 3 others say the same",
    ]


async def test_a_judge_who_wrote_none_of_them_chooses_among_samples_that_differ(tmp_path: Path) -> None:
    def answering(prompt: str) -> str:
        return json.dumps({"best": 2, "why": "shorter"}) if "Answer 1:" in prompt else f"sample {next(numbers)}"

    numbers = iter(range(1, 4))
    async with site(tmp_path, answering) as one:
        record = await one.run({"kind": "best_of", "samples": 3, "choose": "judge", "criteria": ["short"]})

    [judge] = [step for step in record.steps if step.role == "evaluator"]
    assert record.text == "sample 2"
    assert judge.model_used == "acme/frontier"
    assert judge.detail == "sample 2 is the best: shorter"


async def test_samples_that_are_all_the_same_need_no_judge(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: "same") as one:
        record = await one.run({"kind": "best_of", "samples": 3, "choose": "judge"})

    assert [step.role for step in record.steps] == ["worker"] * 3
    assert not record.is_partial


def planned(*parts: tuple[str, list[int]]) -> str:
    return json.dumps({"subtasks": [{"task": task, "needs": needs} for task, needs in parts]})


ORCHESTRATE: dict[str, object] = {"kind": "orchestrate", "subtasks": 4}


async def test_a_plan_by_the_best_tier_is_worked_off_by_cheap_models_as_what_they_need_is_done(tmp_path: Path) -> None:
    def answering(prompt: str) -> str:
        if prompt.startswith("Divide"):
            return planned(("rust facts", []), ("go facts", []), ("compare", [1, 2]))
        return "final" if prompt.startswith("Answer the task") else f"did {prompt.splitlines()[-1]}"

    async with site(tmp_path, answering) as one:
        record = await one.run(ORCHESTRATE)

    assert record.text == "final"
    assert [(step.name, step.role, step.model_used) for step in record.steps] == [
        ("plan", "planner", "acme/frontier"),
        ("part 1", "worker", "acme/cheap"),
        ("part 2", "worker", "acme/cheap"),
        ("part 3", "worker", "acme/cheap"),
        ("synthesis", "synthesizer", "acme/frontier"),
    ]
    [third] = [prompt for _, prompt in one.provider.asked if prompt.endswith("nothing else:\ncompare")]
    assert "did rust facts" in third
    assert "did go facts" in third


async def test_a_part_whose_needs_failed_is_skipped_and_the_others_are_put_together(tmp_path: Path) -> None:
    def answering(prompt: str) -> str | Exception:
        if prompt.startswith("Divide"):
            return planned(("one", []), ("two", []), ("three", [2]))
        return DOWN if prompt.endswith("two") else f"<{prompt}>"

    async with site(tmp_path, answering) as one:
        record = await one.run(ORCHESTRATE)

    steps = {step.name: step for step in record.steps}
    assert [steps[name].status for name in ("part 1", "part 2", "part 3")] == ["completed", "failed", "skipped"]
    assert steps["part 3"].detail == "it needs part 2, which was not done"
    assert record.text.count("This part is missing") == 2
    assert record.is_partial


async def test_a_plan_that_cannot_be_worked_off_is_asked_for_again_and_then_taken_without_what_is_wrong(
    tmp_path: Path,
) -> None:
    def answering(prompt: str) -> str:
        if prompt.startswith("Divide"):
            return planned(("one", [2]), ("two", [9]), ("  ", []))
        return f"<{prompt}>"

    async with site(tmp_path, answering) as one:
        record = await one.run(ORCHESTRATE)

    assert "sub-task 1 needs 2, which is not before it" in record.steps[0].detail
    assert [step.status for step in record.steps[:2]] == ["rejected", "completed"]
    assert {step.name for step in record.steps} == {"plan", "part 1", "part 2", "synthesis"}
    assert any(notice.startswith("The plan was taken without") for notice in record.notices)


async def test_no_plan_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: "I would rather not.") as one:
        with pytest.raises(PatternStopped, match="did not answer in its form"):
            await one.run(ORCHESTRATE, replace(TASK, verify="none"))


def scored(*scores: int) -> Answering:
    """Drafts that are numbered, and these scores for them."""
    drafts, verdicts = iter(range(1, 10)), iter(scores)

    def answering(prompt: str) -> str:
        if prompt.startswith("Judge"):
            return json.dumps({"score": next(verdicts), "feedback": "say more"})
        return f"draft {next(drafts)}"

    return answering


EVALUATE: dict[str, object] = {"kind": "evaluate", "criteria": ["it is short", "it is true"], "rounds": 3}


async def test_drafts_are_judged_by_another_model_until_one_is_good_enough(tmp_path: Path) -> None:
    async with site(tmp_path, scored(4, 9)) as one:
        record = await one.run(EVALUATE)

    assert record.text == "draft 2"
    assert [step.name for step in record.steps] == ["draft 1", "verdict 1", "draft 2", "verdict 2"]
    drafters = {step.model_used for step in record.steps if step.role == "optimizer"}
    judges = {step.model_used for step in record.steps if step.role == "evaluator"}
    assert not drafters & judges
    assert "say more" in one.provider.asked[2][1]
    assert not record.is_partial


async def test_the_best_draft_is_kept_though_later_ones_are_worse(tmp_path: Path) -> None:
    async with site(tmp_path, scored(3, 6, 5)) as one:
        record = await one.run(EVALUATE)

    assert record.text == "draft 2"
    assert "No draft was good enough: the best of 3 scored 6 of 10, wanted were 8." in record.notices
    assert record.model_used == record.steps[2].model_used


async def test_a_forced_model_judges_itself_and_the_caller_is_told(tmp_path: Path) -> None:
    async with site(tmp_path, scored(9)) as one:
        record = await one.run(EVALUATE, force_model="acme/cheap")

    assert {step.model_used for step in record.steps} == {"acme/cheap"}
    assert any("no other model than acme/cheap" in notice for notice in record.notices)


async def test_a_verdict_that_fails_leaves_the_draft_as_a_partial_answer(tmp_path: Path) -> None:
    async with site(tmp_path, lambda prompt: DOWN if prompt.startswith("Judge") else "draft") as one:
        record = await one.run(EVALUATE)

    assert record.text == "draft"
    assert record.is_partial
    assert [step.status for step in record.steps] == ["completed", "failed"]


async def test_a_deadline_hands_over_what_is_done_and_cancels_what_is_under_way(tmp_path: Path) -> None:
    async with site(tmp_path, lambda prompt: None if prompt.startswith("two") else "first") as one:
        record = await one.run(chain("one", "two", "three"), deadline_seconds=0.3)
        parent, steps = await one.booked()

    assert record.text == "first"
    assert [step.status for step in record.steps] == ["completed", "cancelled", "skipped"]
    assert one.provider.cancelled == 1
    assert parent.outcome == "completed"
    assert [step.outcome for step in steps] == ["completed", "cancelled"]
    assert record.cost_microusd == sum(step.cost_microusd or 0 for step in steps)


async def test_a_deadline_before_the_first_answer_is_an_error(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: None) as one:
        with pytest.raises(DeadlineExceeded, match="no step was answered"):
            await one.run(chain("one", "two"), deadline_seconds=0.1)


async def test_cancelling_ends_every_step_and_books_them(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: None) as one:
        with anyio.move_on_after(0.3):
            await one.run({"kind": "sections", "sections": ["A", "B", "C"]})
        parent, steps = await one.booked()

    assert one.provider.cancelled == 3
    assert parent.outcome == "cancelled"
    assert [step.outcome for step in steps] == ["cancelled"] * 3


async def test_a_budget_that_runs_out_keeps_what_is_done(tmp_path: Path) -> None:
    async with site(tmp_path, lambda _: "word " * 20) as one:
        one.provider.tokens = (20, 900)  # 1,820 micro-dollars on the cheap model
        record = await one.run(
            chain(*[f"step {number}" for number in range(6)]), max_cost_microusd=5_000, max_tokens=900
        )

    statuses = [step.status for step in record.steps]
    assert statuses[0] == "completed"
    assert "failed" in statuses
    assert statuses[-1] == "skipped"
    assert record.text
    assert 0 < (record.cost_microusd or 0) <= 5_000


async def test_steps_side_by_side_wait_for_the_money_that_others_have_set_aside(tmp_path: Path) -> None:
    """Each may cost 2,000 micro-dollars and costs 30: together they fit, though their worst cases do not."""
    async with site(tmp_path, lambda _: "done") as one:

        async def until_two_have_asked() -> None:
            with anyio.fail_after(5):
                while sum("asking" in report.message for report in one.heard.reports) < 2:
                    await anyio.lowlevel.checkpoint()

        one.provider.before = until_two_have_asked
        record = await one.run({"kind": "sections", "sections": list("ABCDE")}, max_cost_microusd=2_500, max_tokens=900)

    assert [step.status for step in record.steps] == ["completed"] * 5
    assert (record.cost_microusd or 0) <= 2_500


async def test_all_steps_are_booked_on_the_budget_of_the_session(tmp_path: Path) -> None:
    async with site(tmp_path, echo, session_microusd=1_000_000) as one:
        record = await one.run(chain("one", "two"))
        await one.it.store.budgets.sweep()
        [standing] = await one.it.router.wallet.standings("local", record.session_id)

    assert standing.spent_microusd == record.cost_microusd
    assert standing.reserved_microusd == 0


async def test_nothing_that_was_done_is_a_refusal_for_money_as_of_any_task(tmp_path: Path) -> None:
    async with site(tmp_path, echo, hour_microusd=1) as one:
        with pytest.raises(BudgetExceeded) as refusal:
            await one.run(chain("one", "two"))

    assert refusal.value.negotiable


async def test_progress_tells_each_step_and_how_many_are_done(tmp_path: Path) -> None:
    async with site(tmp_path, echo) as one:
        await one.run(chain("one", "two"))

    told = [
        (report.message, report.done, report.total) for report in one.heard.reports if "steps done" in report.message
    ]
    assert told[0] == ("step 1 (single) begins; 0 of 2 steps done", 0, 2)
    assert told[-1] == ("step 2 (single) answered by acme/cheap; 2 of 2 steps done", 2, 2)


async def test_a_session_goes_on_with_a_pattern(tmp_path: Path) -> None:
    async with site(tmp_path, echo) as one:
        first = await one.it.ask("My name is Ada.")
        record = await one.run(chain("one", "two"), replace(TASK, session_id=first.session_id))

    asked = [[message.content for message in request.messages] for _, request in one.provider.requests]
    assert record.session_id == first.session_id
    assert "My name is Ada." in asked[1]
    assert "My name is Ada." not in asked[2]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "Unable to extract tag"),
        ({"kind": "loop"}, "'chain', 'sections', 'best_of', 'orchestrate', 'evaluate'"),
        ({"kind": "chain", "steps": []}, "steps: "),
        ({"kind": "chain", "steps": [{"prompt": "x"}] * 11}, "at most 10"),
        ({"kind": "chain", "steps": [{"prompt": "x", "gate": {"contain": ["y"]}}]}, "steps.0.gate.contain: "),
        ({"kind": "sections", "sections": ["a"]}, "at least 2"),
        ({"kind": "best_of", "samples": 8}, "less than or equal to 7"),
        ({"kind": "best_of", "samples": "3"}, "valid integer"),
        ({"kind": "orchestrate", "subtasks": 9}, "less than or equal to 8"),
        ({"kind": "evaluate", "criteria": ["x"], "rounds": 6}, "less than or equal to 5"),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_is_wrong_and_the_forms(document: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidTask) as refusal:
        parse(document)

    assert said in str(refusal.value)
    assert FORMS in str(refusal.value)


def test_every_form_that_is_told_is_one() -> None:
    forms = [line.split(" or ")[0] for line in FORMS.splitlines() if line.startswith("{")]
    assert {parse(json.loads(form)).kind for form in forms} == {
        "chain",
        "sections",
        "best_of",
        "orchestrate",
        "evaluate",
    }


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"matches": "("}, "no regular expression"),
        ({"schema": {"type": "nonsense"}}, "no JSON schema"),
        ({"schema": {"items": [{"$ref": "http://127.0.0.1/x"}]}}, r"no JSON schema|refers to http://127\.0\.0\.1/x"),
        ({"schema": {"allOf": [{"$ref": "file:///etc/passwd"}]}}, "refers to file:///etc/passwd"),
    ],
)
async def test_a_gate_that_nothing_could_be_held_against_is_refused_before_anything_is_asked(
    tmp_path: Path, gate: dict[str, object], said: str
) -> None:
    async with site(tmp_path, echo) as one:
        with pytest.raises(InvalidTask, match=said):
            await one.run(chain("one", {"prompt": "two", "gate": gate}))
        assert one.provider.requests == []


async def test_a_schema_that_leads_nowhere_lets_nothing_through() -> None:
    gate = Gate.model_validate({"schema": {"$ref": "#/nowhere"}})
    assert await refusal(gate, "", "1") == "its schema cannot be held against an answer"


async def test_what_a_pattern_cannot_do_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    async with site(tmp_path, echo) as one:
        with pytest.raises(InvalidTask, match="Give them a merge"):
            await one.run(
                {"kind": "sections", "sections": ["a", "b"]}, replace(TASK, response_schema={"type": "object"})
            )
        with pytest.raises(InvalidTask, match="embedding"):
            await one.run(chain("x"), replace(TASK, texts=("cats",)))
        assert one.provider.requests == []


def test_every_pattern_of_the_guide_is_one() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/patterns.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", guide, re.DOTALL)

    assert {parse(json.loads(block)).kind for block in blocks} == KINDS


async def test_an_answer_that_cannot_be_kept_is_handed_on_all_the_same(tmp_path: Path) -> None:
    async def broken(_: RouteRecord) -> None:
        raise OSError("no space left")

    async with site(tmp_path, echo) as one:
        record = await replace(one, patterns=replace(one.patterns, keep=broken)).run(chain("one"))

    assert [step.status for step in record.steps] == ["completed"]


async def test_steps_have_no_shadows_whose_bill_the_budget_of_the_tree_would_not_know(tmp_path: Path) -> None:
    considered: list[str] = []

    class Watching:
        def consider(self, route: OpenRoute, *_: object) -> None:
            considered.append(route.route_id)

    async with site(tmp_path, echo) as one:
        router = replace(one.it.router, shadows=cast("Shadows", Watching()))
        await replace(one, patterns=Patterns(router=router)).run(chain("one", "two"))
        single = await router.route(TASK, one.heard)

    assert considered == [single.route_id]
