"""A budget is spent, and the host can ask its user whether to go on: in both protocol eras."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitResult

import server
from tests.host import Era, text_of
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
QUESTION = {"prompt": "What is the capital of France?", "force_model": "openai/gpt-4.1"}


@pytest.fixture(autouse=True)
def _budget(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    """A machine on which nothing fits the budget."""
    monkeypatch.setenv("POINTSMAN_HOURLY_BUDGET_USD", "0.000001")


@dataclass
class Person:
    """Who is asked."""

    answer: ElicitResult
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, context: object, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        assert params.requested_schema["properties"]["go_on"]["type"] == "boolean"
        self.asked.append(params.message)
        return self.answer


YES = ElicitResult(action="accept", content={"go_on": True})


async def called(era: Era, person: Person | None, **arguments: Any) -> CallToolResult:
    async with Client(server.mcp, mode=era, elicitation_callback=person) as host:
        return await host.call_tool("route_and_answer", {**QUESTION, **arguments})


async def test_a_person_who_is_asked_and_agrees_gets_the_answer(era: Era, upstream: Upstream) -> None:
    person = Person(YES)
    result = await called(era, person)

    assert text_of(result).startswith("Paris.")
    assert len(person.asked) == 1
    assert "of the hourly budget of $0.000001 is left" in person.asked[0]
    assert person.asked[0].endswith("Go on with this task all the same?")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        ElicitResult(action="accept", content={"go_on": False}),
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
    ],
)
async def test_a_person_who_does_not_agree_is_asked_once_and_nothing_is_spent(
    era: Era, upstream: Upstream, answer: ElicitResult
) -> None:
    person = Person(answer)
    result = await called(era, person)

    assert result.is_error
    assert "of the hourly budget" in text_of(result)
    assert len(person.asked) == 1
    assert not upstream.requests


async def test_a_host_that_cannot_ask_gets_the_refusal(era: Era, upstream: Upstream) -> None:
    result = await called(era, None)

    assert result.is_error
    assert "It begins afresh at 2" in text_of(result)
    assert not upstream.requests


async def test_what_the_model_itself_limited_is_not_asked_about(
    era: Era, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POINTSMAN_HOURLY_BUDGET_USD")
    person = Person(YES)
    result = await called(era, person, max_cost_usd=0.0019)

    assert result.is_error
    assert "of max_cost_usd $0.0019 is left" in text_of(result)
    assert not person.asked
    assert not upstream.requests
