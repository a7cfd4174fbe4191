"""OpenAI-compatible Chat Completions, for every server that speaks it.

Wire API: POST {base_url}/chat/completions, streamed. https://platform.openai.com/docs/api-reference/chat
SDK: openai, whose own retries are off. It hands the chunks over as the JSON that came: objects would cost 60 µs a token, and
servers add fields of their own. What differs between servers comes as facts in the `Target`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import anyio
import httpx2 as httpx
import openai

from routing.dispatch.faults import WRONG_SHAPE, broken_off, headroom
from routing.dispatch.providers.openai_sdk import embedded, error_of, is_closed
from routing.types import (
    Access,
    FinishReason,
    Image,
    Message,
    ModelRequest,
    ModelResponse,
    NativeTurn,
    OnText,
    Target,
    ToolCall,
    ToolSpec,
    Usage,
)

Json: TypeAlias = Mapping[str, Any]
"""An object of the wire, not checked: what is not as it should be raises one of `WRONG_SHAPE` where it is read."""

_TIMEOUT = httpx.Timeout(connect=10, read=300, write=30, pool=30)
_LONGEST_END_SECONDS = 0.1
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "content_filter": "content_filter",
    "error": "error",
}
_REASONING = "reasoning_content"
"""Where DeepSeek, Moonshot, vLLM and llama.cpp put a turn's reasoning, and want it back while tools are being called."""


class _Chunks(openai.AsyncStream[object]):
    """The SDK's stream, read to the end of its body.

    The SDK leaves it at ``[DONE]``, inside four nested generators, which the garbage collector then has asyncio close one after
    the other, each in a task of its own, while the answer is being booked.
    """

    async def _iter_events(self) -> AsyncGenerator[Any]:
        events = super()._iter_events()
        async for event in events:
            if event.data.startswith("[DONE]"):
                break
            yield event
        with suppress(openai.APIConnectionError), anyio.move_on_after(_LONGEST_END_SECONDS):  # the answer is complete
            async for _ in events:
                pass


class Compatible:
    """Chat Completions at one address. ``transport`` replaces the network, for tests."""

    name = "openai-chat"

    def __init__(self, access: Access, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._key = access.api_key
        self._client = openai.AsyncOpenAI(
            base_url=access.base_url,
            api_key=access.api_key or "none",
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=openai.DefaultAsyncHttpxClient(transport=transport) if transport else None,
        )
        # The SDK takes these from the environment: they are OpenAI's business, not this server's.
        self._client.organization = self._client.project = None
        self._chat = str(self._client.base_url.join("chat/completions"))  # joined once, not at each call

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        """Send the request and read the stream to its end.

        Raises:
            ProviderError: whatever went wrong, as one of its subclasses.

        """
        reply = _Reply()
        try:
            async with await self._client.post(
                self._chat,
                body=body_of(request, target),
                cast_to=object,
                stream=True,
                stream_cls=_Chunks,
            ) as stream:
                async for chunk in stream:
                    await on_text(reply.add(cast("Json", chunk)))
                return response_of(reply, target, stream.response.headers)
        except (openai.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:
        """Make vectors of the request's texts. Raises as `send` does."""
        return await embedded(self._client, request, target, self._key)

    async def check(self, target: Target) -> None:
        """Ask for the list of models, which costs nothing. Raises as `send` does."""
        try:
            await self._client.get("/models", cast_to=httpx.Response)
        except (openai.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def body_of(request: ModelRequest, target: Target) -> dict[str, object]:
    """The request on the wire."""
    body: dict[str, object] = {
        "model": target.api_model_id,
        "messages": messages_of(request, target),
        target.max_tokens_parameter: min(request.max_output_tokens, target.max_output_tokens),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if target.thinking == "effort" and target.effort != "none":
        body["reasoning_effort"] = target.effort
    if request.tools:
        body["tools"] = tools_of(request.tools)
    if request.tools and request.tools_forbidden:
        body["tool_choice"] = "none"
    if request.response_schema is not None:
        schema = dict(request.response_schema)
        response_format = {"name": "answer", "schema": schema, "strict": is_closed(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": response_format}
    return body


def messages_of(request: ModelRequest, target: Target) -> list[dict[str, object]]:
    """The conversation, the system prompt first."""
    system = [Message(role="system", content=request.system)] if request.system else []
    return [_message_of(message, target) for message in (*system, *request.messages)]


def _message_of(message: Message, target: Target) -> dict[str, object]:
    wire: dict[str, object] = {"role": message.role, "content": message.content}
    if message.images:
        text = [{"type": "text", "text": message.content}] if message.content else []
        wire["content"] = [*text, *map(_image_of, message.images)]
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.native is not None and message.native.protocol == _native_protocol(target):
        wire[_REASONING] = message.native.content
    return wire


def _image_of(image: Image) -> dict[str, object]:
    encoded = base64.b64encode(image.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{encoded}"}}


def _native_protocol(target: Target) -> str:
    """Reasoning goes back to the model that wrote it and to no other: servers refuse fields that they do not know."""
    return f"{Compatible.name} {target.model_id}"


def tools_of(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """The tools as functions."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.input_schema)},
        }
        for tool in tools
    ]


@dataclass(slots=True, kw_only=True)
class _Call:
    """A tool call while its pieces arrive."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def is_another(self, delta: Json) -> bool:
        """Whether a piece begins another call. Some servers give every call the number 0, and some give no ids."""
        begun = delta.get("id")
        if begun and self.id:
            return bool(begun != self.id)
        return bool(self.name and _part(delta, "function").get("name") and not begun)


@dataclass(slots=True, kw_only=True)
class _Reply:
    """What the chunks of a stream add up to."""

    id: str = ""
    model: str | None = None
    text: list[str] = field(default_factory=list[str])
    reasoning: list[str] = field(default_factory=list[str])
    calls: list[_Call] = field(default_factory=list[_Call])
    calls_by_number: dict[int | None, _Call] = field(default_factory=dict[int | None, _Call])
    refused: bool = False
    finish_reason: str | None = None
    usage: Json | None = None

    def add(self, chunk: Json) -> str:
        """Take a chunk in, and return the text that it adds."""
        self.id = chunk.get("id") or self.id
        self.model = chunk.get("model") or self.model  # some servers leave it out
        self.usage = chunk.get("usage") or self.usage
        choices: Sequence[Json] = chunk.get("choices") or ()
        if not choices:
            return ""
        choice = choices[0]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        delta: Json = choice["delta"]
        pieces: Sequence[Json] = delta.get("tool_calls") or ()
        for piece in pieces:
            self._add_to_call(piece)
        self.reasoning.append(delta.get(_REASONING) or "")
        refusal: str = delta.get("refusal") or ""
        self.refused = self.refused or bool(refusal)
        added: str = delta.get("content") or refusal
        self.text.append(added)
        return added

    def _add_to_call(self, delta: Json) -> None:
        number = delta.get("index")
        call = self.calls_by_number.get(number)
        if call is None or call.is_another(delta):
            call = self.calls_by_number[number] = _Call()
            self.calls.append(call)
        call.id = delta.get("id") or call.id
        function = _part(delta, "function")
        call.name += function.get("name") or ""
        call.arguments += function.get("arguments") or ""


def _part(of: Json, name: str) -> Json:
    """An object inside another one; an empty one where it is missing or null."""
    return cast("Json", of.get(name) or {})


def response_of(reply: _Reply, target: Target, headers: Mapping[str, str]) -> ModelResponse:
    """The finished answer. Raises `ProviderUnavailable` where the stream ended without a finish reason."""
    if reply.finish_reason is None:
        raise broken_off(target)
    calls = tuple(
        ToolCall(id=call.id or f"call_{reply.id[-16:]}_{index}", name=call.name, arguments=call.arguments or "{}")
        for index, call in enumerate(reply.calls)
    )
    finish_reason = "content_filter" if reply.refused else _FINISH_REASONS.get(reply.finish_reason, "stop")
    reasoning = "".join(reply.reasoning)
    return ModelResponse(
        text="".join(reply.text),
        finish_reason="tool_call" if calls and finish_reason == "stop" else finish_reason,
        usage=usage_of(reply.usage),
        tool_calls=calls,
        native=NativeTurn(protocol=_native_protocol(target), content=reasoning) if calls and reasoning else None,
        api_model_id=reply.model,
        headroom=headroom(headers),
    )


def usage_of(usage: Json | None) -> Usage | None:
    """Cached input and reasoning output are included in OpenAI's totals.

    Some servers (xAI) leave reasoning out of ``completion_tokens`` but not out of the total; the larger one is booked.
    """
    if usage is None:
        return None
    read, written = _part(usage, "prompt_tokens_details"), _part(usage, "completion_tokens_details")
    prompt_tokens: int = usage["prompt_tokens"]
    return Usage(
        input_tokens=prompt_tokens,
        output_tokens=max(usage["completion_tokens"], (usage.get("total_tokens") or 0) - prompt_tokens),
        cache_read_tokens=read.get("cached_tokens") or 0,
        cache_write_tokens=read.get("cache_write_tokens") or 0,
        reasoning_tokens=written.get("reasoning_tokens") or 0,
    )
