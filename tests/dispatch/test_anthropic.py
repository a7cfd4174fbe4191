"""What only Anthropic's Messages API has. What it shares with the others is in test_contract.py."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.dispatch.providers.anthropic import Anthropic, body_of
from routing.errors import ProviderRejected
from routing.types import (
    Effort,
    FinishReason,
    Message,
    MessageRole,
    ModelRequest,
    NativeTurn,
    ToolCall,
    ToolSpec,
    Usage,
)
from tests.builders import request, target
from tests.dispatch.dialects import Event, Messages, ask, failing, sent, streaming

pytestmark = pytest.mark.anyio
WIRE = Messages()
CACHED = {"type": "ephemeral"}
TOOLS = tuple(ToolSpec(name=name, description="", input_schema={"type": "object"}) for name in ("one", "two"))
CALL = ToolCall(id="call:1", name="one", arguments='{"a": 1}')


async def body_sent(a_request: ModelRequest | None = None, **facts: Any) -> Event:
    stream = WIRE.wire([*WIRE.begins("x"), *WIRE.ends()])
    _, body = await sent(Anthropic, WIRE.base_url, stream, a_request, **facts)
    return body


def user(content: str) -> Message:
    return Message(role="user", content=content)


@pytest.mark.parametrize("base_url", ["http://test", "http://test/", "http://test/v1", "http://test/v1/"])
async def test_the_address_may_come_with_or_without_its_version(base_url: str) -> None:
    received, _ = await sent(Anthropic, base_url, WIRE.wire([*WIRE.begins("x"), *WIRE.ends()]))

    assert str(received.url) == "http://test/v1/messages"


async def test_what_the_next_request_will_begin_with_is_marked_for_the_cache() -> None:
    history = (user("first"), Message(role="assistant", content="yes"), user("second"))

    body = await body_sent(request(messages=history, tools=TOOLS))

    assert body["system"][-1]["cache_control"] == CACHED
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, CACHED]
    marks = [block.get("cache_control") for turn in body["messages"] for block in turn["content"]]
    assert marks == [None, CACHED, None]


async def test_a_lone_prompt_is_not_written_to_the_cache() -> None:
    body = await body_sent()

    assert "cache_control" not in body["messages"][0]["content"][0]


async def test_thoughts_are_never_marked_for_the_cache() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": "s"}
    native = NativeTurn(protocol="anthropic", content=[{"type": "text", "text": "yes"}, thought])
    turn = Message(role="assistant", content="yes", native=native)

    body = await body_sent(request(messages=(user("first"), turn, user("second"))))

    assert body["messages"][1]["content"] == [{"type": "text", "text": "yes", "cache_control": CACHED}, thought]
    assert native.content == [{"type": "text", "text": "yes"}, thought]


async def test_the_results_of_one_round_are_one_turn_of_the_user() -> None:
    calls = (CALL, ToolCall(id="b", name="two", arguments="{}"))
    results = tuple(
        Message(role="tool", content=content, tool_call_id=i) for i, content in (("call:1", "x"), ("b", ""))
    )

    body = await body_sent(
        request(messages=(user("hi"), Message(role="assistant", content="", tool_calls=calls), *results))
    )

    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert [block["tool_use_id"] for block in body["messages"][2]["content"]] == ["call_1", "b"]
    assert body["messages"][1]["content"][0] == {"type": "tool_use", "id": "call_1", "name": "one", "input": {"a": 1}}
    assert body["messages"][2]["content"][1]["content"] == []


@given(
    st.lists(
        st.builds(
            Message,
            role=st.sampled_from(["user", "assistant", "tool", "system"]),
            content=st.sampled_from(["", " ", "x"]),
            tool_call_id=st.just("a"),
        )
    )
)
def test_turns_alternate_and_are_never_empty(messages: list[Message]) -> None:
    body: Any = body_of(request(messages=tuple(messages)), target())

    roles = [turn["role"] for turn in body["messages"]]
    assert all(one != other for one, other in pairwise(roles))
    blocks = [block for turn in body["messages"] for block in turn["content"]]
    assert all(turn["content"] for turn in body["messages"])
    assert all(block["text"].strip() for block in blocks if block["type"] == "text")


async def test_a_system_message_in_the_conversation_joins_the_system_prompt() -> None:
    role: MessageRole = "system"
    body = await body_sent(request(messages=(Message(role=role, content="Be brief."), user("hi"))))

    assert body["system"][0]["text"] == "Answer.\n\nBe brief."
    assert [turn["role"] for turn in body["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("thinking", "effort", "expected"),
    [
        ("none", "high", {}),
        ("adaptive", "none", {"output_config": {"effort": "low"}}),
        ("adaptive", "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("budget", "none", {}),
        ("budget", "medium", {"thinking": {"type": "enabled", "budget_tokens": 6_000}}),
        ("budget", "low", {"thinking": {"type": "enabled", "budget_tokens": 2_048}}),
    ],
)
async def test_thinking_is_asked_for_as_the_model_takes_it(thinking: str, effort: str, expected: Event) -> None:
    body = await body_sent(request(max_output_tokens=8_000), thinking=thinking, effort=effort)

    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


@given(st.integers(1, 100_000), st.sampled_from(["none", "low", "medium", "high"]))
def test_a_budget_is_within_what_the_api_takes(max_tokens: int, effort: Effort) -> None:
    body: Any = body_of(
        request(max_output_tokens=max_tokens), target(max_output_tokens=64_000, thinking="budget", effort=effort)
    )

    budget = body.get("thinking", {}).get("budget_tokens")
    assert budget is None or 1_024 <= budget < body["max_tokens"]


async def test_a_round_that_another_model_began_is_finished_without_a_budget() -> None:
    begun = Message(role="assistant", content="", tool_calls=(CALL,))
    result = Message(role="tool", content="x", tool_call_id="call:1")
    messages = (user("hi"), begun, result)

    body = await body_sent(request(messages=messages, max_output_tokens=8_000), thinking="budget", effort="high")

    assert "thinking" not in body


async def test_figures_that_come_later_win_and_the_others_stay() -> None:
    start = WIRE.begins("x")
    start[0]["message"]["usage"] = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}
    delta = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": 9, "output_tokens": 5},
    }

    response, _ = await ask(Anthropic, WIRE.base_url, streaming(WIRE.wire([*start, delta])))

    assert response.usage == Usage(input_tokens=12, output_tokens=5, cache_read_tokens=3)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("model_context_window_exceeded", "length"),
        ("something_new", "stop"),
    ],
)
async def test_a_stop_reason_is_looked_up(reason: str, expected: FinishReason) -> None:
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}

    response, _ = await ask(Anthropic, WIRE.base_url, streaming(WIRE.wire([*WIRE.begins("x"), delta])))

    assert response.finish_reason == expected


async def test_a_call_that_was_cut_off_is_not_offered_as_whole() -> None:
    events = [*WIRE.calls(("a", "one", '{"q": "')), *WIRE.ends("length")]

    response, _ = await ask(Anthropic, WIRE.base_url, streaming(WIRE.wire(events)))

    assert response.finish_reason == "length"
    assert response.tool_calls[0].arguments == '{"q": "'


async def test_blank_text_stays_out_of_the_turn_that_goes_back() -> None:
    response, _ = await ask(Anthropic, WIRE.base_url, streaming(WIRE.wire([*WIRE.begins("\n\n"), *WIRE.ends()])))

    assert response.text == "\n\n"
    assert response.native is None


async def test_a_failure_is_told_in_the_servers_own_words() -> None:
    body = json.dumps(WIRE.error("", "model: large-0")).encode()

    with pytest.raises(ProviderRejected, match=r"^request refused \(404\): model: large-0$"):
        await ask(Anthropic, WIRE.base_url, failing(404, body))
