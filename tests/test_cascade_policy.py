"""Whatever models answer, verify-then-escalate keeps to its depth, its budget and its deadline, and returns the best it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.budgets import Purse
from routing.errors import AllModelsFailed, BudgetExceeded, ProviderUnavailable
from routing.escalation import Checked
from routing.types import ModelResponse, Task
from tests.fakes import FakeProvider, Script, reply
from tests.test_escalation import Bench, rows

MODELS = {"acme/cheap": 4, "acme/strong": 2, "acme/best": 1}
TASK = Task(prompt="What is 12 * 7? Tell me in a sentence or as an equation, as you like it best, and nothing else.")
KINDS: dict[str, Script] = {
    "right": reply("12 * 7 = 84", 5, 5),
    "wrong": reply("12 * 7 = 86", 5, 5),
    "unchecked": reply("Eighty-four.", 5, 5),
    "refusal": reply("I'm sorry, but I can't help with that.", 5, 5),
    "empty": reply("", 5, 5),
    "cut": ModelResponse(text="12 * 7", finish_reason="length", usage=None),
    "down": ProviderUnavailable("busy", provider="acme", model_id="acme/cheap"),
    "fine": reply('{"meets": true, "problems": []}', 5, 5),
    "poor": reply('{"meets": false, "problems": ["It is curt."]}', 5, 5),
    "hangs": None,
}
ANSWERS = ("right", "wrong", "wrong", "wrong", "unchecked", "refusal", "empty", "cut", "down", "fine", "poor")
MOST_CALLS = 20
WISHES: tuple[dict[str, Any], ...] = (
    {},
    {"verify": "self", "samples": 3},
    {"verify": "self", "samples": 7},
    {"verify": "custom", "criteria": "It is friendly."},
    {"verify": "code"},
)


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("none")


@st.composite
def benches(draw: st.DrawFn, answers: Sequence[str] = ANSWERS) -> Bench:
    scripts: dict[str, Script | list[Script]] = {
        name: [
            KINDS[kind] for kind in draw(st.lists(st.sampled_from(answers), min_size=MOST_CALLS, max_size=MOST_CALLS))
        ]
        for name in MODELS
    }
    facts = {"escalations": draw(st.integers(0, 3)), "repair": draw(st.booleans())}
    cap = draw(st.none() | st.integers(0, 60_000))
    purse = None if cap is None else Purse(store=None, allowances=(), call_microusd=cap)
    return Bench(provider=FakeProvider(scripts), catalog=rows(**facts), purse=purse)


def failures(checked: Checked) -> list[int]:
    return [len(step.failed) for step in checked.steps]


def answered(it: Bench, task: Task, nowhere: Path) -> Checked | None:
    try:
        return anyio.run(partial(it.answer, nowhere, task))
    except (AllModelsFailed, BudgetExceeded):
        return None


@settings(max_examples=150, deadline=None)
@given(it=benches(), wish=st.sampled_from(WISHES))
def test_it_keeps_to_its_depth_and_its_budget_and_returns_the_best_it_has(
    vocabulary: Path, it: Bench, wish: dict[str, Any]
) -> None:
    checked = answered(it, replace(TASK, **wish), vocabulary)

    spent = sum(one.cost_microusd or 0 for one in it.booked)
    assert it.purse is None or spent <= (it.purse.call_microusd or 0)
    if checked is None:
        return
    facts = it.catalog.registry.categories["qa_retrieval"]
    kinds = [step.kind for step in checked.steps]
    assert kinds[0] == "answer"
    assert kinds.count("repair") <= facts.repair
    assert kinds.count("escalation") <= facts.escalations
    tiers = [MODELS[step.model_id] for step in checked.steps if step.kind != "repair"]
    assert tiers == sorted(set(tiers), reverse=True)
    [returned] = [step for step in checked.steps if step.returned]
    assert len(returned.failed) == min(failures(checked))
    assert 0 not in failures(checked)[:-1]
    assert sum(step.cost_microusd or 0 for step in checked.steps) <= spent


@settings(max_examples=100, deadline=None)
@given(it=benches(), wish=st.sampled_from(WISHES))
def test_only_an_answer_that_a_machine_found_right_is_called_verified(
    vocabulary: Path, it: Bench, wish: dict[str, Any]
) -> None:
    checked = answered(it, replace(TASK, **wish), vocabulary)

    if checked is None:
        return
    text = checked.conversation.answer.response.text
    [returned] = [step for step in checked.steps if step.returned]
    if returned.verdict == "verified":
        assert text == "12 * 7 = 84"
    if wish.get("verify", "auto") == "auto" and text == "Eighty-four.":
        assert returned.verdict == "unchecked"


@settings(max_examples=8, deadline=None)
@given(it=benches(("wrong", "unchecked", "hangs", "fine", "poor")), wish=st.sampled_from(WISHES))
def test_what_hangs_on_the_way_never_costs_the_answer_that_was_there(
    vocabulary: Path, it: Bench, wish: dict[str, Any]
) -> None:
    first = it.provider.scripts["acme/cheap"]
    assert isinstance(first, list)
    first[0] = KINDS["wrong"]
    it.purse = None

    async def within_its_deadline() -> Checked:
        with anyio.fail_after(1):
            return await it.answer(vocabulary, replace(TASK, **wish))

    assert anyio.run(within_its_deadline).conversation.answer.response.text
