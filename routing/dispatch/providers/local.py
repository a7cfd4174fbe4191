"""Tool calls for small models that write them as text: a wrapper round the adapter of any wire.

The embedded half-billion-parameter model answers native ``tools`` with fenced JSON in its content. So the tools go into the
system prompt, the reply is held to a JSON schema (a call of one of them, or an answer), and `ToolCall`s are rebuilt from it.
Where a wire or server ignores the schema, JSON that the model wrote by itself is recognised all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from routing.types import Message, ModelRequest, ModelResponse, OnText, Provider, Target, ToolCall, ToolSpec

_CALL = '{"tool": name, "arguments": {...}}'
_ANSWER = '{"answer": text}'
_FIRST, _THEN = "Where a tool fits, use it", "To use another tool"


class Local:
    """A provider whose model writes its tool calls as JSON. ``wire`` is the adapter that it is reached with."""

    name = "local"

    def __init__(self, wire: Provider) -> None:
        self._wire = wire

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        """Send the request. Raises what the wire's adapter raises."""
        if not request.tools:
            return await self._wire.send(request, target, on_text)
        response = response_of(await self._wire.send(asked_of(request), target, on_text), request)
        if not any(_was_made(call, request) for call in response.tool_calls):
            return response
        answer = replace(request, tools_forbidden=True)  # it has that result already, and would ask for it for ever
        return response_of(await self._wire.send(asked_of(answer), target, on_text), answer)

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:
        """Ask the wire. Raises what its adapter raises."""
        return await self._wire.embed(request, target)

    async def check(self, target: Target) -> None:
        """Ask the wire. Raises what its adapter raises."""
        await self._wire.check(target)

    async def aclose(self) -> None:
        """Close the wire."""
        await self._wire.aclose()


def asked_of(request: ModelRequest) -> ModelRequest:
    """The request with its tools in words, and a schema for the reply."""
    tools = () if request.tools_forbidden else request.tools
    return replace(
        request,
        messages=messages_of(request.messages),
        system=f"{request.system}\n\n{_how(request)} Tools:\n{tools_of(tools)}" if tools else request.system,
        response_schema=schema_of(tools, request.response_schema),
        tools=(),
        tools_forbidden=False,
    )


def _how(request: ModelRequest) -> str:
    """How to reply. Once there is a result, the weight is on the answer: a small model does what it is told last."""
    when = _THEN if any(message.role == "tool" for message in request.messages) else _FIRST
    return f"Reply with exactly one JSON object and nothing else. {when}: {_CALL}. When you know the answer: {_ANSWER}."


def messages_of(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation with calls and results as text, which any chat template can render."""
    return tuple(_spoken(message, messages) for message in messages)


def _spoken(message: Message, messages: Sequence[Message]) -> Message:
    if message.role == "tool":
        calls = [call for other in messages for call in other.tool_calls]
        name = next((call.name for call in calls if call.id == message.tool_call_id), "the tool")
        return Message(role="user", content=f"{name} returned: {message.content}")
    if message.tool_calls:
        call = message.tool_calls[0]
        return Message(role="assistant", content=f'{{"tool": "{call.name}", "arguments": {call.arguments}}}')
    return message


def tools_of(tools: Sequence[ToolSpec]) -> str:
    """The tools, a line each."""
    return "\n".join(f"- {tool.name}: {tool.description} Arguments: {_arguments_of(tool)}" for tool in tools)


def _arguments_of(tool: ToolSpec) -> str:
    """The arguments by name, in the form that they are to be given in: a small model copies a schema out."""
    properties = tool.input_schema.get("properties")
    names = cast("dict[str, dict[str, object]]", properties) if isinstance(properties, dict) else {}
    return json.dumps({name: row.get("description") or row.get("type") for name, row in names.items()})


def schema_of(tools: Sequence[ToolSpec], answer: Mapping[str, object] | None) -> dict[str, object]:
    """One of the tools with its own arguments, or an answer."""
    calls = [_object({"tool": {"const": tool.name}, "arguments": dict(tool.input_schema)}) for tool in tools]
    return {"anyOf": [*calls, _object({"answer": dict(answer) if answer else {"type": "string"}})]}


def _object(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _was_made(call: ToolCall, request: ModelRequest) -> bool:
    made = [(other.name, other.arguments) for message in request.messages for other in message.tool_calls]
    return (call.name, call.arguments) in made


def response_of(response: ModelResponse, request: ModelRequest) -> ModelResponse:
    """The reply with its call or its answer taken out of the JSON; a reply that is no such JSON is the answer."""
    reply = _first_object(response.text)
    name, arguments = reply.get("tool", reply.get("name")), reply.get("arguments")
    if name in _names(request) and isinstance(arguments, dict):
        number = sum(len(message.tool_calls) for message in request.messages)
        call = ToolCall(id=f"call_{number}", name=str(name), arguments=json.dumps(arguments))
        return replace(response, text="", finish_reason="tool_call", tool_calls=(call,))
    if "answer" in reply:
        answer = reply["answer"]
        return replace(response, text=answer if isinstance(answer, str) else json.dumps(answer))
    return response


def _names(request: ModelRequest) -> set[object]:
    return set() if request.tools_forbidden else {tool.name for tool in request.tools}


def _first_object(text: str) -> dict[str, object]:
    """The first JSON object in a text, fenced or not; an empty one where there is none."""
    for begin in (found.start() for found in re.finditer(r"\{", text)):
        try:
            return cast("dict[str, object]", json.JSONDecoder().raw_decode(text, begin)[0])
        except json.JSONDecodeError:
            continue
    return {}
