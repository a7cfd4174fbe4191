"""The second opinion of a cheap model."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.analyzer.model_backed import SecondOpinion, analyst_of, request_for
from routing.errors import ProviderTimeout
from routing.registry import Model
from routing.types import CATEGORIES, AnalyzerMode, Constraints, ModelRequest, Task
from tests.builders import analysis, model, task

UNSURE = analysis(confidence=0.4)
VERDICT = {"category": "deep_reasoning", "complexity": 4, "needs_tools": True, "output_tokens": 700}
ANSWER = json.dumps(VERDICT)


class Analyst:
    """Answers what it was told to, or never, and counts."""

    def __init__(self, answer: str | Exception | None = ANSWER) -> None:
        self.answer = answer
        self.requests: list[ModelRequest] = []

    async def __call__(self, request: ModelRequest) -> str:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            await anyio.sleep_forever()
            raise AssertionError
        return self.answer


def small(name: str, price: float = 1, **changes: Any) -> Model:
    return model(f"acme/{name}", tier=4, prices={"input": price, "output": price}, **changes)


@pytest.mark.anyio
async def test_what_the_model_says_replaces_what_was_uncertain() -> None:
    opinion = await SecondOpinion(threshold=0.7).on(task(), UNSURE, Analyst())
    told = opinion.analysis
    assert (told.category, told.complexity, told.requires_tool_use) == ("deep_reasoning", 4, True)
    assert (told.estimated_output_tokens, told.analyzer) == (700, "model")
    assert told.confidence > 0.7
    assert opinion.notices == ()


@pytest.mark.anyio
async def test_the_same_prompt_is_asked_about_once() -> None:
    second, analyst = SecondOpinion(threshold=0.7), Analyst()
    first = await second.on(task(), UNSURE, analyst)
    assert await second.on(task(), UNSURE, analyst) == first
    assert await second.on(task(), UNSURE, None) == first
    await second.on(task("Something else?"), UNSURE, analyst)
    assert len(analyst.requests) == 2


@pytest.mark.anyio
async def test_only_so_many_answers_are_kept() -> None:
    second, analyst = SecondOpinion(threshold=0.7, most_kept=2), Analyst()
    for prompt in ("a", "b", "c", "b", "a"):
        await second.on(task(prompt), UNSURE, analyst)
    assert len(analyst.requests) == 4


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        "I think it is a coding task.",
        '{"category": "poetry", "complexity": 4, "needs_tools": true, "output_tokens": 700}',
        '{"category": "embedding"}',
        "",
        ProviderTimeout("too slow", provider="acme", model_id="acme/small"),
    ],
)
async def test_an_unusable_answer_leaves_the_first_opinion_with_a_notice(answer: str | Exception) -> None:
    second, analyst = SecondOpinion(threshold=0.7), Analyst(answer)
    opinion = await second.on(task(), UNSURE, analyst)
    assert opinion.analysis == UNSURE
    assert "no usable answer" in opinion.notices[0]
    await second.on(task(), UNSURE, analyst)
    assert len(analyst.requests) == 2


@pytest.mark.anyio
async def test_an_analyst_that_hangs_is_not_waited_for() -> None:
    async def hang(_: ModelRequest) -> str:
        await anyio.sleep_forever()
        raise AssertionError

    opinion = await SecondOpinion(threshold=0.7, patience_seconds=0.01).on(task(), UNSURE, hang)
    assert opinion.analysis == UNSURE
    assert "TimeoutError" in opinion.notices[0]


@pytest.mark.anyio
async def test_an_answer_in_a_fence_is_read() -> None:
    opinion = await SecondOpinion(threshold=0.7).on(task(), UNSURE, Analyst(f"```json\n{json.dumps(VERDICT)}\n```"))
    assert opinion.analysis.category == "deep_reasoning"


@pytest.mark.anyio
async def test_where_nobody_can_be_asked_the_caller_is_told() -> None:
    opinion = await SecondOpinion(threshold=0.7).on(task(), UNSURE, None)
    assert opinion.analysis == UNSURE
    assert "uncertain" in opinion.notices[0]


@pytest.mark.anyio
async def test_the_callers_bound_on_output_is_kept() -> None:
    opinion = await SecondOpinion(threshold=0.7).on(task(max_tokens=50), UNSURE, Analyst())
    assert opinion.analysis.estimated_output_tokens == 50


@pytest.mark.parametrize(
    ("mode", "confidence", "wanted"),
    [("auto", 0.69, True), ("auto", 0.7, False), ("model", 0.99, True), ("learned", 0.1, False), ("rules", 0.1, False)],
)
def test_it_is_asked_below_the_threshold_or_always(mode: AnalyzerMode, confidence: float, *, wanted: bool) -> None:
    second = SecondOpinion(threshold=0.7, mode=mode)
    assert second.wanted(task(), analysis(confidence=confidence)) is wanted


def test_nobody_is_asked_about_a_forced_model_or_texts() -> None:
    second = SecondOpinion(threshold=0.7, mode="model")
    assert not second.wanted(task(force_model="acme/large"), UNSURE)
    assert not second.wanted(Task(prompt="rank", texts=("a", "b")), UNSURE)


def test_nobody_is_asked_by_a_caller_in_a_hurry() -> None:
    assert not SecondOpinion(threshold=0.7).wanted(task(max_latency_ms=500), UNSURE)


@given(most=st.integers(1, 10**6))
def test_asking_takes_next_to_nothing_of_what_a_task_may_cost(most: int) -> None:
    analyst = small("cheap", 0.1)
    chosen = analyst_of([analyst], Constraints(max_cost_microusd=most))
    assert (chosen is analyst) == (most >= 94 * 50)


@pytest.mark.anyio
async def test_a_deadline_leaves_most_of_the_time_to_the_task() -> None:
    with anyio.fail_after(0.5):
        opinion = await SecondOpinion(threshold=0.7, patience_seconds=10).on(task(), UNSURE, Analyst(None))
    assert "TimeoutError" in opinion.notices[0]


@pytest.mark.anyio
async def test_one_who_took_too_long_is_not_asked_again_at_once() -> None:
    second, analyst = SecondOpinion(threshold=0.7, patience_seconds=0.01), Analyst(None)
    for _ in range(3):
        assert (await second.on(task(), UNSURE, analyst)).notices
    assert len(analyst.requests) == 1


def test_the_request_is_small_and_holds_the_ends_of_the_prompt() -> None:
    request = request_for(Task(prompt=f"Begin {'x' * 100_000} end."))
    asked = request.messages[-1].content
    assert "Begin" in asked
    assert "end." in asked
    assert sum(len(message.content) for message in request.messages) + len(request.system) < 6_000
    assert request.max_output_tokens <= 200
    schema: Any = request.response_schema
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(VERDICT)


def test_every_category_is_explained() -> None:
    assert all(f"- {category}:" in request_for(task()).system for category in CATEGORIES)


def test_the_cheapest_of_tier_four_is_asked() -> None:
    cheap = small("cheap", 0.1)
    others = [
        small("dear", 5),
        small("reasoning", 0.01, is_reasoning_model=True),
        model("acme/unpriced", tier=4, prices={}),
        small("free-form", 0.01, capabilities={"tools": True}),
        small("embedded", 0, last_resort=True),
        small("vectors", 0.01, kind="embedding", max_output_tokens=0),
        model("acme/large", tier=1),
    ]
    assert analyst_of([*others, cheap], Constraints()) == cheap
    assert analyst_of([], Constraints()) is None


@given(denied=st.sets(st.sampled_from(["acme", "beta", "gamma"])), allowed=st.sets(st.sampled_from(["acme", "beta"])))
def test_nobody_sees_a_task_whom_the_caller_does_not_want(denied: set[str], allowed: set[str]) -> None:
    models = [small(name, provider=name) for name in ("acme", "beta", "gamma")]
    constraints = Constraints(denied_providers=frozenset(denied), allowed_providers=frozenset(allowed))
    chosen = analyst_of(models, constraints)
    permitted = ({"acme", "beta", "gamma"} & allowed if allowed else {"acme", "beta", "gamma"}) - denied
    assert (chosen is not None) == bool(permitted)
    assert chosen is None or chosen.provider in permitted


def test_self_hosted_only_keeps_the_task_from_closed_models() -> None:
    closed, opened = small("closed", 0.1), small("open", 5, self_hosted=True)
    assert analyst_of([closed, opened], Constraints(self_hosted_only=True)) == opened
