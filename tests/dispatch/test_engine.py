"""Calls on a bad day: retries, fallbacks, breakers, time-outs, tool rounds. Real engine, fake provider, no waiting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from routing.dispatch.breaker import Breaker, Breakers
from routing.dispatch.engine import Dispatch, DispatchEngine, Timeouts
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryPolicy
from routing.dispatch.tool_loop import ToolLoop
from routing.embedded.runtime import EmbeddedRuntime
from routing.errors import (
    AllModelsFailed,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.tokens import TokenCounter
from routing.types import (
    Attempt,
    Conversation,
    Headroom,
    ModelRequest,
    ModelResponse,
    ModelSelection,
    OnText,
    Target,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    ToolUse,
)
from tests.builders import analysis, catalog, model, request
from tests.fakes import Clock, FakeProvider, Heard, reply

pytestmark = pytest.mark.anyio

FIRST = model("acme/first")
SECOND = model("zeta/second", provider="zeta")
WHERE = {"provider": "acme", "model_id": "acme/first"}
DOWN = ProviderUnavailable("down", **WHERE)


@dataclass(slots=True)
class Scripted(FakeProvider):
    """Plays a list of scripts for a model, one a call, and then answers."""

    plays: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        play = self.plays.get(target.model_id)
        self.scripts = {target.model_id: play.pop(0)} if play else {}
        return await FakeProvider.send(self, request, target, on_text)


class Add:
    """A toolbox that adds."""

    specs: Mapping[str, ToolSpec] = {"add": ToolSpec(name="add", description="Add.", input_schema={"type": "object"})}

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        return ToolOutcome(text="5")


@dataclass(slots=True)
class Stand:
    """An engine with everything around it in reach of a test."""

    provider: Scripted
    clock: Clock = field(default_factory=Clock)
    booked: list[Attempt] = field(default_factory=list[Attempt])
    used: list[ToolUse] = field(default_factory=list[ToolUse])
    slept: list[float] = field(default_factory=list[float])
    models: tuple[Any, ...] = (FIRST, SECOND)
    engine: DispatchEngine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = DispatchEngine(
            providers=ProviderPool(cast("EmbeddedRuntime", None), cast("Any", None), self.provider.connect),
            counter=TokenCounter(Path("/nowhere")),
            tool_loop=ToolLoop(toolbox=Add()),
            policy=RetryPolicy(most_retries=2, draw=lambda: 1.0),
            breakers=Breakers(lambda: Breaker(clock=self.clock)),
            clock=self.clock,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds

    async def ask(self, a_request: ModelRequest | None = None) -> Conversation:
        ids = [one.model_id for one in self.models]
        selection = ModelSelection(
            primary_model=ids[0],
            provider=self.models[0].provider,
            fallback_models=tuple(ids[1:]),
            estimated_cost_microusd=0,
            reasoning="",
        )
        dispatch = Dispatch(
            catalog=catalog(*self.models),
            selection=selection,
            analysis=analysis(),
            book=self.booked.append,
            on_progress=Heard(),
            book_tool=self.used.append,
        )
        return await self.engine.dispatch(a_request or request(), dispatch)

    @property
    def asked(self) -> list[str]:
        return [model_id for model_id, _ in self.provider.requests]


def stand(**plays: list[Any]) -> Stand:
    names = {"first": "acme/first", "second": "zeta/second"}
    return Stand(Scripted(plays={names[name]: play for name, play in plays.items()}))


async def test_a_passing_fault_is_tried_again_on_the_same_model() -> None:
    it = stand(first=[DOWN, DOWN])

    conversation = await it.ask()

    assert conversation.answer.model_id == "acme/first"
    assert it.slept == [0.5, 1.0]
    assert [attempt.outcome for attempt in it.booked] == ["failed", "failed", "answered"]


async def test_a_fault_that_stays_goes_to_the_next_model() -> None:
    it = stand(first=[DOWN] * 3)

    conversation = await it.ask()

    assert conversation.answer.model_id == "zeta/second"
    assert it.asked == ["acme/first"] * 3 + ["zeta/second"]


async def test_a_refusal_goes_to_the_next_model_at_once() -> None:
    it = stand(first=[ProviderRejected("400", **WHERE)])

    await it.ask()

    assert it.asked == ["acme/first", "zeta/second"]
    assert not it.slept


async def test_the_error_of_every_attempt_is_in_the_final_error() -> None:
    refused = ProviderRejected("no", provider="zeta", model_id="zeta/second")
    it = stand(first=[DOWN] * 3, second=[refused])

    with pytest.raises(AllModelsFailed) as failure:
        await it.ask()

    assert [str(one) for one in failure.value.failures] == ["down", "down", "down", "no"]
    assert len(it.booked) == 4


async def test_a_short_retry_after_is_waited_for() -> None:
    it = stand(first=[RateLimited("slow down", **WHERE, retry_after=4)])

    conversation = await it.ask()

    assert conversation.answer.model_id == "acme/first"
    assert it.slept[0] == 4


async def test_a_long_retry_after_is_skipped_for_the_next_model() -> None:
    it = stand(first=[RateLimited("slow down", **WHERE, retry_after=45)])

    conversation = await it.ask()

    assert conversation.answer.model_id == "zeta/second"
    assert not it.slept


async def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    it = stand(first=[RateLimited("slow down", **WHERE, retry_after=20)])
    it.models = (FIRST,)

    with anyio.fail_after(10), pytest.raises(AllModelsFailed):
        await it.ask()
    assert not it.slept


async def test_a_model_that_does_not_answer_is_left_alone_until_its_rest_is_over() -> None:
    it = stand(first=[DOWN] * 20)
    for _ in range(6):
        await it.ask()
    asked = it.asked.count("acme/first")

    assert asked <= 6
    await it.ask()
    assert it.asked.count("acme/first") == asked

    it.clock.now += 16
    await it.ask()
    assert it.asked.count("acme/first") == asked + 1


async def test_a_crowd_that_comes_at_once_asks_a_dead_model_no_more_often_than_opens_its_breaker() -> None:
    it = stand(first=[DOWN] * 60)

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(it.ask)

    assert it.asked.count("acme/first") == 5
    assert it.asked.count("zeta/second") == 50


async def test_a_crowd_is_let_through_as_soon_as_the_model_writes_its_first_word() -> None:
    ends = anyio.Event()

    class Slow(Scripted):
        async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
            answer = await Scripted.send(self, request, target, on_text)
            await ends.wait()
            return answer

    it = Stand(Slow())
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(it.ask)
        await anyio.wait_all_tasks_blocked()
        assert it.asked.count("acme/first") == 20
        ends.set()


async def test_a_retry_is_given_up_when_others_found_out_meanwhile_that_nobody_is_there() -> None:
    it = stand(first=[DOWN] * 9)
    breaker = it.engine.breakers.of("acme/first", catalog(FIRST, SECOND).access["acme"])

    async def others_fail(seconds: float) -> None:
        for _ in range(5):
            async with breaker.trial(at_any_rate=True) as trial:
                breaker.failed(trial, DOWN)

    it.engine = replace(it.engine, sleep=others_fail)

    conversation = await it.ask()

    assert it.asked == ["acme/first", "zeta/second"]
    assert conversation.answer.model_id == "zeta/second"


async def test_when_every_breaker_is_open_the_models_are_asked_all_the_same() -> None:
    it = stand(first=[DOWN] * 5)
    it.models = (FIRST,)
    for _ in range(2):
        with pytest.raises(AllModelsFailed):
            await it.ask()

    conversation = await it.ask()

    assert conversation.answer.model_id == "acme/first"


async def test_when_every_breaker_is_open_the_first_model_is_asked_first() -> None:
    it = stand()
    access = catalog(FIRST, SECOND).access
    for each in (FIRST, SECOND):
        it.engine.breakers.of(each.model_id, access[each.provider]).heard_open(10, 10)

    conversation = await it.ask()

    assert conversation.answer.model_id == "acme/first"


async def test_a_model_that_goes_silent_is_a_time_out() -> None:
    it = stand(first=[None, None, None])
    it.engine = replace(it.engine, timeouts=Timeouts(first=0.01, idle=0.01))

    conversation = await it.ask()

    assert conversation.answer.model_id == "zeta/second"
    assert it.booked[0].error is not None
    assert it.booked[0].error.startswith("ProviderTimeout: nothing more came")
    assert it.booked[0].usage.estimated
    assert it.provider.cancelled == 3


async def test_signs_of_life_without_text_keep_a_reasoning_model_from_timing_out() -> None:
    class Reasoning(Scripted):
        async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
            for _ in range(5):
                await anyio.sleep(0.03)
                await on_text("")
            return reply()

    it = Stand(Reasoning())
    it.engine = replace(it.engine, timeouts=Timeouts(first=0.1, idle=0.1))

    conversation = await it.ask()

    assert conversation.answer.model_id == "acme/first"
    assert it.booked[0].first_token_ms is None


async def test_a_trickle_that_never_ends_is_cut_at_the_total() -> None:
    class Drip(Scripted):
        async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
            while True:
                await anyio.sleep(0.005)
                await on_text("x")

    it = Stand(Drip())
    it.engine = replace(it.engine, timeouts=Timeouts(total=0.05), policy=RetryPolicy(most_retries=0))
    it.models = (FIRST,)

    with pytest.raises(AllModelsFailed) as failure:
        await it.ask()
    assert isinstance(failure.value.failures[0], ProviderTimeout)


async def test_an_answer_that_ends_with_an_error_is_a_failure_whose_tokens_are_booked() -> None:
    it = stand(first=[replace(reply("half", 30, 7), finish_reason="error")])

    conversation = await it.ask()

    assert conversation.answer.response.text == "Paris."
    assert it.booked[0].outcome == "failed"
    assert it.booked[0].usage.output_tokens == 7


async def test_what_the_provider_says_is_left_is_remembered() -> None:
    left = Headroom(requests_left=41)
    it = stand(first=[replace(reply(), headroom=left)])

    await it.ask()

    assert it.engine.headroom("acme") == left
    assert it.engine.breaker_state(FIRST, catalog(FIRST)) == "closed"


def calling() -> ModelResponse:
    return replace(
        reply("", 30, 7), finish_reason="tool_call", tool_calls=(ToolCall(id="a", name="add", arguments="{}"),)
    )


async def test_every_round_of_tools_is_booked() -> None:
    it = stand(first=[calling(), calling()])

    await it.ask(request(tools=tuple(Add.specs.values())))

    assert [use.name for use in it.used] == ["add", "add"]
    assert sum(attempt.usage.input_tokens for attempt in it.booked) == 30 + 30 + 20


async def test_a_fault_between_tool_rounds_keeps_what_was_found_out() -> None:
    it = stand(first=[calling(), *[DOWN] * 3])

    conversation = await it.ask(request(tools=tuple(Add.specs.values())))

    assert conversation.answer.model_id == "zeta/second"
    _, taken_over = it.provider.requests[-1]
    assert [message.role for message in taken_over.messages] == ["user", "assistant", "tool"]
    assert it.used[0].name == "add"


async def test_the_effort_follows_tier_and_complexity_for_models_that_can_reason() -> None:
    thinking = {"tools": True, "json_schema": True, "thinking": "effort"}
    targets: list[Target] = []

    class Watching(Scripted):
        async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
            targets.append(target)
            return reply()

    for one in (model("acme/thinks", capabilities=thinking), model("acme/plain")):
        it = Stand(Watching())
        it.models = (one,)
        await it.ask()
    assert [target.effort for target in targets] == ["low", "none"]
