from __future__ import annotations

import json
from dataclasses import replace

import pytest

from routing.dispatch.providers.local import Local
from routing.types import Message, ModelRequest, ModelResponse, OnText, Target, ToolCall, ToolSpec
from tests.builders import request, target
from tests.fakes import reply

pytestmark = pytest.mark.anyio

ADD = ToolSpec(
    name="add",
    description="Add.",
    input_schema={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
)


class Wire:
    """Answers with the next of its texts, and keeps what it was asked."""

    name = "wire"

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.asked: list[ModelRequest] = []

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        self.asked.append(request)
        return reply(self.texts.pop(0))

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:
        return ModelResponse(text="", finish_reason="stop", usage=None, vectors=((1.0,),))

    async def check(self, target: Target) -> None:
        self.texts.append(target.provider)

    async def aclose(self) -> None:
        self.asked.clear()


async def send(wire: Wire, a_request: ModelRequest) -> ModelResponse:
    async def on_text(_: str) -> None: ...

    return await Local(wire).send(a_request, target(), on_text)


WITH_TOOL = request("What is 2 + 3?", tools=(ADD,))


@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "add", "arguments": {"a": 2}}',
        '```json\n{"name": "add", "arguments": {"a": 2}}\n```',
        'I will use it: {"tool": "add", "arguments": {"a": 2}} as you see.',
    ],
)
async def test_a_call_that_is_written_as_text_becomes_a_call(text: str) -> None:
    response = await send(Wire(text), WITH_TOOL)

    assert response.tool_calls == (ToolCall(id="call_0", name="add", arguments='{"a": 2}'),)
    assert response.finish_reason == "tool_call"
    assert not response.text


async def test_an_answer_is_taken_out_of_its_json() -> None:
    assert (await send(Wire('{"answer": "5"}'), WITH_TOOL)).text == "5"


@pytest.mark.parametrize("text", ["Just text.", '{"tool": "rm", "arguments": {}}', "{broken", '{"other": 1}'])
async def test_what_is_no_such_json_is_the_answer_as_it_stands(text: str) -> None:
    response = await send(Wire(text), WITH_TOOL)
    assert response.text == text
    assert not response.tool_calls


async def test_the_reply_is_held_to_a_schema_of_the_tools_or_an_answer() -> None:
    wire = Wire('{"answer": "5"}')
    await send(wire, WITH_TOOL)

    (asked,) = wire.asked
    assert asked.response_schema is not None
    options = json.loads(json.dumps(asked.response_schema))["anyOf"]
    assert options[0]["properties"] == {"tool": {"const": "add"}, "arguments": dict(ADD.input_schema)}
    assert options[1]["properties"] == {"answer": {"type": "string"}}
    assert "add: Add." in asked.system
    assert not asked.tools


def after_a_call() -> ModelRequest:
    call = ToolCall(id="call_0", name="add", arguments='{"a": 2}')
    turns = (
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="5", tool_call_id="call_0"),
    )
    return replace(WITH_TOOL, messages=(*WITH_TOOL.messages, *turns))


async def test_calls_and_results_go_back_as_text() -> None:
    wire = Wire('{"answer": "5"}')
    await send(wire, after_a_call())

    assert [(message.role, message.content) for message in wire.asked[0].messages[1:]] == [
        ("assistant", '{"tool": "add", "arguments": {"a": 2}}'),
        ("user", "add returned: 5"),
    ]


async def test_a_call_that_was_made_before_is_not_made_again_but_answered() -> None:
    wire = Wire('{"tool": "add", "arguments": {"a": 2}}', '{"answer": "5"}')

    response = await send(wire, after_a_call())

    assert response.text == "5"
    assert wire.asked[1].response_schema == {"anyOf": [_answer_schema()]}


async def test_forbidden_tools_are_not_offered() -> None:
    wire = Wire('{"answer": "5"}')

    response = await send(wire, replace(WITH_TOOL, tools_forbidden=True))

    assert response.text == "5"
    assert "add" not in wire.asked[0].system


async def test_without_tools_the_request_goes_through_as_it_is() -> None:
    wire = Wire("hello")
    plain = request()
    await send(wire, plain)
    assert wire.asked == [plain]


def _answer_schema() -> dict[str, object]:
    return {
        "type": "object",
        "properties": {"answer": {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
