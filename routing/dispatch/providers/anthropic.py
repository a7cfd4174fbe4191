"""Anthropic's Messages API.

Wire API: POST {base_url}/v1/messages, streamed. https://platform.claude.com/docs/en/api/messages
SDK: anthropic, whose own retries are off.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import anthropic
import httpx2 as httpx
from anthropic.types import (
    InputJSONDelta,
    MessageDeltaUsage,
    RawContentBlockDelta,
    RawContentBlockDeltaEvent,
    RawContentBlockStartEvent,
    RawMessageDeltaEvent,
    RawMessageStartEvent,
    RawMessageStreamEvent,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from anthropic.types import Usage as WireUsage

from routing.dispatch.faults import WRONG_SHAPE, broken_off, fault, headroom, transport_fault
from routing.errors import ProviderError, ProviderRejected
from routing.types import (
    Access,
    Effort,
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

_TIMEOUT = httpx.Timeout(connect=10, read=300, write=30, pool=30)
_CACHED: Mapping[str, object] = {"cache_control": {"type": "ephemeral"}}
_CACHEABLE = ("text", "image", "tool_use", "tool_result")
_EFFORTS: Mapping[Effort, str] = {"none": "low", "low": "low", "medium": "medium", "high": "high"}
"""Some models that decide for themselves cannot be told not to think (the API answers 400): low is the least there is."""
_BUDGETS: Mapping[Effort, int] = {"none": 0, "low": 2_048, "medium": 8_192, "high": 24_576}
"""Tokens of thinking."""
_SMALLEST_BUDGET = 1_024
_STOP_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_call",
    "refusal": "content_filter",
}


class Anthropic:
    """Messages at one address. ``transport`` replaces the network, for tests."""

    name = "anthropic"

    def __init__(self, access: Access, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._key = access.api_key
        self._client = anthropic.AsyncAnthropic(
            base_url=re.sub(r"(/v1)?/*$", "", access.base_url),
            api_key=access.api_key or "none",
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=anthropic.DefaultAsyncHttpxClient(transport=transport) if transport else None,
        )

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        """Send the request and read the stream to its end.

        Raises:
            ProviderError: whatever went wrong, as one of its subclasses.

        """
        reply = _Reply()
        try:
            async with await self._client.post(
                "/v1/messages",
                body=body_of(request, target),
                cast_to=anthropic.types.Message,
                stream=True,
                stream_cls=anthropic.AsyncStream[RawMessageStreamEvent],
            ) as stream:
                async for event in stream:
                    await on_text(reply.add(event))
                return response_of(reply, target, stream.response.headers)
        except (anthropic.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:  # noqa: ARG002 - the Protocol's signature
        """Refuse: the vendor makes no embeddings."""
        raise ProviderRejected("Anthropic makes no embeddings", provider=target.provider, model_id=target.model_id)

    async def check(self, target: Target) -> None:
        """Ask for the list of models, which costs nothing. Raises as `send` does."""
        try:
            await self._client.get("/v1/models", cast_to=httpx.Response)
        except (anthropic.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


def body_of(request: ModelRequest, target: Target) -> dict[str, object]:
    """The request on the wire."""
    max_tokens = min(request.max_output_tokens, target.max_output_tokens)
    output_config: dict[str, object] = {}
    body: dict[str, object] = {
        "model": target.api_model_id,
        "max_tokens": max_tokens,
        "messages": messages_of(request),
        "stream": True,
    }
    if system := [text for text in (request.system, *_system_messages(request)) if text]:
        body["system"] = [{"type": "text", "text": "\n\n".join(system), **_CACHED}]
    if request.tools:
        body["tools"] = tools_of(request.tools)
    if request.tools and request.tools_forbidden:
        body["tool_choice"] = {"type": "none"}
    if thinking := _thinking_of(request, target, max_tokens):
        body["thinking"] = thinking
    if target.thinking == "adaptive":
        output_config["effort"] = _EFFORTS[target.effort]
    if request.response_schema is not None:
        output_config["format"] = {"type": "json_schema", "schema": dict(request.response_schema)}
    if output_config:
        body["output_config"] = output_config
    return body


def _system_messages(request: ModelRequest) -> list[str]:
    return [message.content for message in request.messages if message.role == "system"]


def _thinking_of(request: ModelRequest, target: Target, max_tokens: int) -> dict[str, object] | None:
    """How to think. A budget counts towards ``max_tokens``, so it leaves a quarter of them to the answer."""
    if target.thinking == "adaptive" and target.effort != "none":
        return {"type": "adaptive"}
    budget = min(_BUDGETS[target.effort], max_tokens * 3 // 4)
    if target.thinking == "budget" and budget >= _SMALLEST_BUDGET and not _calls_made_elsewhere(request):
        return {"type": "enabled", "budget_tokens": budget}
    return None


def _calls_made_elsewhere(request: ModelRequest) -> bool:
    """Whether another model's tool calls are being answered: a turn without thoughts cannot be gone on with while thinking."""
    turns = [message for message in request.messages if message.role != "tool"]
    if not turns or turns[-1].role != "assistant":
        return False
    native = turns[-1].native
    return native is None or native.protocol != Anthropic.name


def messages_of(request: ModelRequest) -> list[dict[str, object]]:
    """The conversation in turns, one role after the other: a tool's results are the user's.

    What comes before the newest turn is marked for the cache, because the next request begins with it too.
    """
    told = [
        ("assistant" if message.role == "assistant" else "user", blocks)
        for message in request.messages
        if message.role != "system" and (blocks := _blocks_of(message))
    ]
    turns: list[dict[str, object]] = [
        {"role": role, "content": [block for _, blocks in group for block in blocks]}
        for role, group in groupby(told, lambda turn: turn[0])
    ]
    if len(turns) > 1:
        _mark_for_cache(cast("list[dict[str, object]]", turns[-2]["content"]))
    return turns


def _blocks_of(message: Message) -> list[dict[str, object]]:
    if message.native is not None and message.native.protocol == Anthropic.name:
        return [dict(block) for block in cast("list[dict[str, object]]", message.native.content)]
    # Blocks of blank text are refused.
    text: list[dict[str, object]] = [{"type": "text", "text": message.content}] if message.content.strip() else []
    shown = [*map(_image_of, message.images), *text]
    if message.role == "tool":
        return [{"type": "tool_result", "tool_use_id": _wire_id(message.tool_call_id or ""), "content": shown}]
    return [*shown, *map(_tool_use_of, message.tool_calls)]


def _tool_use_of(call: ToolCall) -> dict[str, object]:
    return {"type": "tool_use", "id": _wire_id(call.id), "name": call.name, "input": _arguments_of(call.arguments)}


def _wire_id(call_id: str) -> str:
    """Other vendors' ids may have characters that this API refuses."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", call_id)


def _arguments_of(arguments: str) -> dict[str, object]:
    """The arguments as an object, which the API insists on; empty where the model wrote something else."""
    try:
        parsed = json.loads(arguments)
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}


def _image_of(image: Image) -> dict[str, object]:
    encoded = base64.b64encode(image.data).decode("ascii")
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": encoded}}


def _mark_for_cache(blocks: list[dict[str, object]]) -> None:
    for block in reversed(blocks):
        if block["type"] in _CACHEABLE:
            block.update(_CACHED)
            return


def tools_of(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """The tools; the last one is marked, so that all of them are cached."""
    wire: list[dict[str, object]] = [
        {"name": tool.name, "description": tool.description, "input_schema": dict(tool.input_schema)} for tool in tools
    ]
    wire[-1].update(_CACHED)
    return wire


@dataclass(slots=True, kw_only=True)
class _Reply:
    """What the events of a stream add up to."""

    model: str | None = None
    text: list[str] = field(default_factory=list[str])
    blocks: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]])
    inputs: dict[int, str] = field(default_factory=dict[int, str])
    stop_reason: str | None = None
    usage: WireUsage | None = None

    def add(self, event: RawMessageStreamEvent) -> str:
        """Take an event in, and return the text that it adds."""
        match event:
            case RawMessageStartEvent():
                self.model = getattr(event.message, "model", None)  # some servers leave it out
                self.usage = event.message.usage
            case RawContentBlockStartEvent():
                self.blocks[event.index] = event.content_block.to_dict(mode="json", warnings=False)
            case RawContentBlockDeltaEvent():
                return self._add_to_block(event.index, event.delta)
            case RawMessageDeltaEvent():
                self.stop_reason = event.delta.stop_reason or self.stop_reason
                self._add_usage(event.usage)
            case _:
                pass
        return ""

    def _add_to_block(self, index: int, delta: RawContentBlockDelta) -> str:
        block = self.blocks[index]
        match delta:
            case TextDelta():
                block["text"] += delta.text
                self.text.append(delta.text)
                return delta.text
            case ThinkingDelta():
                block["thinking"] += delta.thinking
            case SignatureDelta():
                block["signature"] = delta.signature
            case InputJSONDelta():
                self.inputs[index] = self.inputs.get(index, "") + delta.partial_json
            case _:
                pass
        return ""

    def _add_usage(self, usage: MessageDeltaUsage) -> None:
        """The figures are cumulative: what is told last holds."""
        known = self.usage or WireUsage(input_tokens=0, output_tokens=0)
        self.usage = known.model_copy(update={name: value for name, value in usage if value is not None})


def response_of(reply: _Reply, target: Target, headers: Mapping[str, str]) -> ModelResponse:
    """The finished answer. Raises `ProviderUnavailable` where the stream ended without a stop reason."""
    if reply.stop_reason is None:
        raise broken_off(target)
    calls = tuple(
        ToolCall(id=block["id"], name=block["name"], arguments=reply.inputs.get(index) or json.dumps(block["input"]))
        for index, block in sorted(reply.blocks.items())
        if block["type"] == "tool_use"
    )
    finish_reason = _STOP_REASONS.get(reply.stop_reason, "stop")
    return ModelResponse(
        text="".join(reply.text),
        finish_reason="tool_call" if calls and finish_reason == "stop" else finish_reason,
        usage=usage_of(reply.usage),
        tool_calls=calls,
        native=_native_of(reply),
        api_model_id=reply.model,
        headroom=headroom(headers),
    )


def _native_of(reply: _Reply) -> NativeTurn | None:
    """The blocks as they came, thoughts with their signatures; without blank text, which the API gives but does not take."""
    blocks: list[dict[str, Any]] = []
    for index, block in sorted(reply.blocks.items()):
        if block["type"] == "tool_use" and index in reply.inputs:
            blocks.append({**block, "input": _arguments_of(reply.inputs[index])})
        elif block["type"] != "text" or block["text"].strip():
            blocks.append(block)
    return NativeTurn(protocol=Anthropic.name, content=blocks) if blocks else None


def usage_of(usage: WireUsage | None) -> Usage | None:
    """What was read from and written to the cache comes on top of Anthropic's ``input_tokens``."""
    if usage is None:
        return None
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    thinking = usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens + read + written,
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=(thinking.thinking_tokens or 0) if thinking else 0,
    )


def error_of(error: Exception, target: Target, key: str | None) -> ProviderError:
    """Map what the SDK raised. Errors inside a stream have status 200: their type decides."""
    match error:
        case anthropic.APIStatusError():
            return fault(
                error.api_message or error.message,
                target,
                status=error.status_code,
                types=(error.error_code, error.type),
                headers=error.response.headers,
                secret=key,
            )
        case _:
            return transport_fault(error, target, key)
