"""Answers are given again to the same question in the same circumstances, at no cost, and never where they could be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from routing.answers import AnswerCache, key_of, may_be_kept
from routing.pricing import saved_microusd
from routing.state.sqlite import SqliteStore
from routing.types import (
    Answer,
    Constraints,
    Conversation,
    Finding,
    Image,
    Message,
    Task,
    ToolCall,
    Usage,
    VerificationStep,
)
from tests.builders import analysis, catalog, model
from tests.fakes import FakeProvider, reply
from tests.test_router import CHEAP, House, house

CAPITAL = "What is the capital of France?"
ROWS = catalog(CHEAP)


@dataclass
class Meaning:
    """An embedder for which texts with the same first three letters mean the same, and others nearly nothing alike."""

    name: str = "first-letters"
    dimensions: int = 8
    asked: list[str] = field(default_factory=list[str])

    def available(self) -> bool:
        return True

    async def embed(self, texts: Sequence[str], *, purpose: Literal["query", "passage"]) -> NDArray[np.float32]:
        self.asked += texts
        rows = [np.random.default_rng(sum(text[:3].encode())).normal(size=8) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], np.float32)

    async def count_tokens(self, text: str) -> int:
        return len(text)


def caching(it: House, mode: Literal["exact", "semantic"] = "exact", **changes: Any) -> House:
    """The same house, whose router gives answers again."""
    cache = AnswerCache(store=it.store.answers, mode=mode, embedder=Meaning(), **changes)
    it.router = replace(it.router, answers=cache)
    return it


@pytest.mark.anyio
async def test_the_same_question_gets_its_answer_again_at_no_cost_and_what_the_call_would_have_cost_is_saved(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as it:
        caching(it)
        first, again = await it.ask(CAPITAL), await it.ask(CAPITAL)
        booked = await it.booked()

    assert len(it.provider.requests) == 1
    assert (first.cached, again.cached) == (None, "exact")
    assert (again.text, again.model_used, again.finish_reason) == ("Paris.", "acme/cheap", "stop")
    assert (again.attempts, again.cost_microusd, again.usage.input_tokens) == ((), 0, 0)
    assert (again.baseline_model, saved_microusd(again)) == ("acme/cheap", first.cost_microusd)
    assert any("gave this answer before" in notice for notice in again.notices)
    assert booked == replace(again, text="")


@pytest.mark.anyio
async def test_nothing_is_given_again_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        await it.ask(CAPITAL)
        again = await it.ask(CAPITAL)

    assert again.cached is None
    assert len(it.provider.requests) == 2


SAID = (Message(role="user", content="Hi."), Message(role="assistant", content="Hello."))
DIFFERENT: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "What is the capital of Spain?"},
    "caller": {"caller": "eve"},
    "system": {"system": "Be brief."},
    "history": {"history": SAID},
    "schema": {"response_schema": {"type": "object"}},
    "tools": {"tools": ()},
    "checks": {"verify": "none"},
    "preference": {"constraints": Constraints(cost_preference="best_quality")},
    "force_model": {"constraints": Constraints(force_model="acme/cheap")},
    "providers": {"constraints": Constraints(denied_providers=frozenset({"acme"}))},
    "max_tokens": {"constraints": Constraints(max_tokens=5)},
    "min_quality": {"constraints": Constraints(min_quality=50)},
    "images": {"images": (Image(media_type="image/png", data=b"x"),)},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_everything_that_matters_is_part_of_the_key(what: str) -> None:
    task = Task(prompt=CAPITAL)
    other = replace(task, **DIFFERENT[what])

    mine, theirs = key_of(task, ROWS, ""), key_of(other, ROWS, "")

    assert (mine.caller, mine.digest) != (theirs.caller, theirs.digest)
    if what not in ("prompt", "caller"):
        assert mine.context != theirs.context


def test_every_wish_is_in_the_key_but_the_time_that_the_caller_waits() -> None:
    plain = key_of(Task(prompt="x"), ROWS, "")

    for one in fields(Constraints):
        odd = replace(Constraints(), **cast("dict[str, Any]", {one.name: "odd"}))
        same = key_of(Task(prompt="x", constraints=odd), ROWS, "") == plain
        assert same is (one.name == "deadline_seconds"), one.name


def test_a_registry_that_changed_and_a_provider_that_came_give_another_key() -> None:
    task = Task(prompt=CAPITAL)
    dearer = catalog(model("acme/cheap", prices={"input": 2, "output": 2}))
    fewer = catalog(CHEAP, configured=set())

    digests = {key_of(task, rows, "").digest for rows in (ROWS, dearer, fewer, replace(ROWS, policy="classic"))}

    assert len(digests) == 4


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_prompts_have_one_digest_only_where_they_are_the_same(one: str, other: str) -> None:
    same = key_of(Task(prompt=one), ROWS, "").digest == key_of(Task(prompt=other), ROWS, "").digest

    assert same is (one == other)


@pytest.mark.parametrize(
    "prompt",
    [
        "What is the weather in Lima?",
        "Who is the president today?",
        "What is the latest version of Python?",
        "¿Qué hora es en Tokio?",
        "Dame las últimas noticias",
        "Give me a random number",
        "Tell me another one",
        "今天天气怎么样",
    ],
)
def test_what_changes_with_time_or_is_meant_to_differ_is_never_kept(prompt: str) -> None:
    assert not may_be_kept(Task(prompt=prompt), analysis())
    assert may_be_kept(Task(prompt=CAPITAL), analysis())


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"tools": ("web_search",)}, {}),
        ({"texts": ("a",)}, {}),
        ({"parent_id": "rte_1"}, {}),
        ({"beyond_budgets": True}, {}),
        ({}, {"requires_tool_use": True}),
        ({}, {"tools_named": ("execute_python",)}),
        ({}, {"sensitive": True}),
    ],
)
def test_tools_vectors_steps_and_secrets_are_never_kept(changes: dict[str, Any], facts: dict[str, Any]) -> None:
    assert not may_be_kept(replace(Task(prompt=CAPITAL), **changes), analysis(**facts))


def answer(
    text: str = "Paris.", reason: Literal["stop", "length"] = "stop", images: tuple[Image, ...] = ()
) -> Conversation:
    response = replace(reply(text), finish_reason=reason)
    usage = Usage(input_tokens=20, output_tokens=5)
    return Conversation(answer=Answer(model_id="acme/cheap", response=response, usage=usage), images=images)


def step(*, passed: bool, returned: bool) -> VerificationStep:
    found = Finding(check="arithmetic", passed=passed, detail="12 * 7 is 84")
    return VerificationStep(kind="answer", model_id="a", findings=(found,), cost_microusd=0, returned=returned)


WHOLE = answer()
RETURNED = step(passed=True, returned=True)
FAILED_BEFORE = step(passed=False, returned=False)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("conversation", "steps", "outcome"),
    [
        (WHOLE, (), "kept"),
        (WHOLE, (FAILED_BEFORE, RETURNED), "kept"),
        (WHOLE, (step(passed=False, returned=True),), "dropped"),
        (answer(reason="length"), (), "dropped"),
        (answer(text=""), (), "dropped"),
        (answer(text="x" * 300_000), (), "dropped"),
        (answer(images=(Image(media_type="image/png", data=b"x"),)), (), "dropped"),
    ],
)
async def test_an_answer_is_kept_where_it_is_whole_and_failed_no_check(
    conversation: Conversation, steps: tuple[VerificationStep, ...], outcome: str, tmp_path: Path
) -> None:
    async with SqliteStore(tmp_path / "state.db") as store:
        cache = AnswerCache(store=store.answers, mode="exact")
        question = await cache.question(Task(prompt=CAPITAL), analysis(), ROWS)
        assert question is not None
        await cache.keep(question, conversation, steps)
        found = await cache.find(question, ROWS)

    assert (found is not None) is (outcome == "kept")


@pytest.mark.anyio
async def test_an_answer_that_a_tool_had_a_part_in_is_not_kept(tmp_path: Path) -> None:
    call = ToolCall(id="1", name="web_search", arguments="{}")
    calling = replace(reply(""), finish_reason="tool_call", tool_calls=(call,))
    async with house(tmp_path, FakeProvider({"acme/cheap": [calling, reply(), reply()]})) as it:
        caching(it)
        first, again, third = [await it.ask(CAPITAL) for _ in range(3)]

    assert [use.name for use in first.tools] == ["web_search"]
    assert (again.cached, third.cached) == (None, "exact")


@pytest.mark.anyio
async def test_an_answer_is_given_again_for_its_time_and_only_while_there_is_its_model(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caching(it, ttl_seconds=-1)
        await it.ask(CAPITAL)
        assert (await it.ask(CAPITAL)).cached is None
        caching(it, ttl_seconds=60)
        await it.ask(CAPITAL)
        assert (await it.ask(CAPITAL)).cached == "exact"
        question = await cast("AnswerCache", it.router.answers).question(Task(prompt=CAPITAL), analysis(), ROWS)
        assert question is not None
        assert await cast("AnswerCache", it.router.answers).find(question, catalog(model("acme/other"))) is None


@pytest.mark.anyio
async def test_an_answer_joins_the_session_that_it_is_given_in(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caching(it)
        await it.ask(CAPITAL)
        again = await it.ask(CAPITAL)
        history = await it.store.sessions.history(again.session_id, "local")

    assert [message.content for message in history] == [CAPITAL, "Paris."]


@pytest.mark.anyio
async def test_a_question_of_the_same_meaning_gets_the_answer_where_that_is_asked_for(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caching(it, "semantic")
        await it.ask("Why is grass green, in one line?")
        alike = await it.ask("Why would grass be green? One line.")
        other = await it.ask("How do fish breathe?")

    assert (alike.cached, other.cached) == ("semantic", None)
    assert any("of the same meaning" in notice for notice in alike.notices)
    assert alike.cost_microusd == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is 12 * 7?", "What is 12 * 8?"),
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Is this food safe for dogs?", "Is this food not safe for dogs?"),
        ('Translate "yes"', 'Translate "no"'),
    ],
)
async def test_questions_that_differ_in_a_number_a_name_or_a_negation_are_never_alike(
    first: str, second: str, tmp_path: Path
) -> None:
    async with house(tmp_path) as it:
        caching(it, "semantic", threshold=0.8)
        await it.ask(first)
        assert (await it.ask(second)).cached is None


@pytest.mark.anyio
async def test_a_question_alike_is_another_callers_or_anothers_systems_no_more_than_the_same_one(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as it:
        caching(it, "semantic")
        await it.ask("Why is grass green?")
        theirs = await it.ask("Why would grass be green?", caller="eve")
        otherwise = await it.ask("Why would grass be green?", system="Answer as a pirate.")

    assert (theirs.cached, otherwise.cached) == (None, None)


@pytest.mark.anyio
async def test_meaning_is_not_looked_for_below_the_threshold_or_without_being_asked(tmp_path: Path) -> None:
    async with house(tmp_path) as it:
        caching(it, "exact")
        await it.ask("Why is grass green?")
        assert (await it.ask("Why would grass be green?")).cached is None
        assert not cast("Meaning", cast("AnswerCache", it.router.answers).embedder).asked
