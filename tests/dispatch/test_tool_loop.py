from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from routing.dispatch.tool_loop import LONGEST_RESULT_CHARS, ToolLoop
from routing.types import (
    NO_USAGE,
    Answer,
    Conversation,
    ModelRequest,
    ModelResponse,
    NativeTurn,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    ToolUse,
)
from tests.builders import request
from tests.fakes import Heard

pytestmark = pytest.mark.anyio

ADD = ToolSpec(
    name="add",
    description="Add.",
    input_schema={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
)
SECRET = replace(ADD, name="secret")


class Box:
    """A toolbox with an adder; ``running`` counts calls that are under way, ``used`` is what was booked."""

    def __init__(self) -> None:
        self.specs = {"add": ADD, "secret": SECRET}
        self.ran: list[tuple[str, Mapping[str, object]]] = []
        self.used: list[ToolUse] = []
        self.running = 0
        self.most_running = 0

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        self.ran.append((name, arguments))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await anyio.lowlevel.checkpoint()
        self.running -= 1
        match arguments:
            case {"a": 99}:
                await anyio.sleep_forever()
            case {"a": 1_000}:
                return ToolOutcome(text="x" * (LONGEST_RESULT_CHARS + 5))
            case {"a": int(a), "b": int(b)}:
                return ToolOutcome(text=str(a + b))
            case _:
                raise AssertionError(arguments)
        raise AssertionError


class Model:
    """Answers each request with the next of its responses, the last one for ever."""

    def __init__(self, *responses: ModelResponse) -> None:
        self.responses = list(responses)
        self.requests: list[ModelRequest] = []

    async def ask(self, a_request: ModelRequest) -> Answer:
        self.requests.append(a_request)
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if a_request.tools_forbidden:
            response = replace(response, tool_calls=(), text="forced answer")
        return Answer(model_id="acme/large", response=response, usage=NO_USAGE)


def calling(*arguments: object, name: str = "add", native: NativeTurn | None = None) -> ModelResponse:
    calls = tuple(
        ToolCall(id=f"c{index}", name=name, arguments=part if isinstance(part, str) else json.dumps(part))
        for index, part in enumerate(arguments)
    )
    return ModelResponse(text="", finish_reason="tool_call", usage=None, tool_calls=calls, native=native)


DONE = ModelResponse(text="5", finish_reason="stop", usage=None)


async def converse(model: Model, box: Box, **loop: float) -> Conversation:
    a_loop = ToolLoop(toolbox=box, **loop)  # type: ignore[arg-type] # the fields' own types
    return await a_loop.converse(request(tools=(ADD,)), model.ask, Heard(), box.used.append)


def results_sent(model: Model, at: int = 1) -> list[str]:
    return [message.content for message in model.requests[at].messages if message.role == "tool"]


async def test_a_tools_result_goes_back_to_the_model_until_it_answers() -> None:
    model, box = Model(calling({"a": 2, "b": 3}), DONE), Box()

    conversation = await converse(model, box)

    assert conversation.answer.response.text == "5"
    assert box.ran == [("add", {"a": 2, "b": 3})]
    assert results_sent(model) == ["5"]
    assert [use.name for use in box.used] == ["add"]


async def test_the_calls_of_one_round_run_side_by_side_and_their_results_keep_their_order() -> None:
    model, box = Model(calling({"a": 1, "b": 1}, {"a": 2, "b": 2}, {"a": 3, "b": 3}), DONE), Box()

    await converse(model, box)

    assert box.most_running == 3
    assert results_sent(model) == ["2", "4", "6"]


async def test_the_providers_own_form_of_a_turn_is_sent_back_with_it() -> None:
    native = NativeTurn(protocol="google", content="signature")
    model = Model(calling({"a": 2, "b": 3}, native=native), DONE)

    await converse(model, Box())

    assert model.requests[1].messages[-2].native == native


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (calling({"a": 1, "b": 2}, name="ad"), "there is no tool 'ad'. Available: add."),
        (calling({"a": 1, "b": 2}, name="secret"), "there is no tool 'secret'. Available: add."),
        (calling("{broken"), "its arguments are not JSON"),
        (calling("[1, 2]"), "its arguments are not a JSON object"),
        (calling({"a": "two", "b": 3}), "'two' is not of type 'integer'"),
        (calling({"a": 1}), "'b' is a required property"),
    ],
)
async def test_a_mistake_of_the_model_is_told_to_it_and_nothing_runs(response: ModelResponse, said: str) -> None:
    model, box = Model(response, DONE), Box()

    conversation = await converse(model, box)

    assert said in results_sent(model)[0]
    assert not box.ran
    assert box.used[0].is_error
    assert conversation.answer.response.text == "5"


async def test_a_tool_that_hangs_is_given_up_and_the_model_is_told() -> None:
    model = Model(calling({"a": 99, "b": 0}), DONE)

    await converse(model, Box(), timeout_seconds=0.01)

    assert "did not finish within 0.01 s" in results_sent(model)[0]


async def test_a_result_that_is_too_long_is_cut_and_says_so() -> None:
    model = Model(calling({"a": 1_000, "b": 0}), DONE)

    await converse(model, Box())

    assert results_sent(model)[0].endswith("[cut: 5 more characters]")


async def test_when_the_rounds_run_out_the_model_is_asked_for_an_answer_without_tools() -> None:
    model, box = Model(calling({"a": 2, "b": 3})), Box()

    conversation = await converse(model, box, most_rounds=10)

    assert len(box.ran) == 10
    assert len(model.requests) == 11
    assert model.requests[-1].tools_forbidden
    assert "No more tool calls" in model.requests[-1].messages[-1].content
    assert conversation.answer.response.text == "forced answer"
