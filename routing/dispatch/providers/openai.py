"""OpenAI's Responses API.

Wire API: POST {base_url}/responses, streamed, nothing stored. https://platform.openai.com/docs/api-reference/responses
SDK: openai, whose own retries are off.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httpx2 as httpx
import openai
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseReasoningItem,
    ResponseRefusalDeltaEvent,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
    ResponseUsage,
)

from routing.dispatch.faults import WRONG_SHAPE, StreamedError, broken_off, headroom
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

_TIMEOUT = httpx.Timeout(connect=10, read=300, write=30, pool=30)
_FEWEST_TOKENS = 16
"""The smallest ``max_output_tokens`` that the API takes."""
_INCOMPLETE_REASONS: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}


class OpenAI:
    """Responses at one address. ``transport`` replaces the network, for tests."""

    name = "openai"

    def __init__(self, access: Access, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._key = access.api_key
        self._client = openai.AsyncOpenAI(
            base_url=access.base_url,
            api_key=access.api_key or "none",
            max_retries=0,
            timeout=_TIMEOUT,
            http_client=openai.DefaultAsyncHttpxClient(transport=transport) if transport else None,
        )

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        """Send the request and read the stream to its end.

        Raises:
            ProviderError: whatever went wrong, as one of its subclasses.

        """
        reply = _Reply()
        try:
            async with await self._client.post(
                "/responses",
                body=body_of(request, target),
                cast_to=Response,
                stream=True,
                stream_cls=openai.AsyncStream[ResponseStreamEvent],
            ) as stream:
                async for event in stream:
                    await on_text(reply.add(event))
                return response_of(reply, target, stream.response.headers)
        except (openai.APIError, httpx.HTTPError, StreamedError, *WRONG_SHAPE) as error:
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
        "input": messages_of(request),
        "max_output_tokens": max(_FEWEST_TOKENS, min(request.max_output_tokens, target.max_output_tokens)),
        "stream": True,
        "store": False,
    }
    if request.system:
        body["instructions"] = request.system
    if target.thinking != "none":
        body["include"] = ["reasoning.encrypted_content"]
    if target.thinking == "effort" and target.effort != "none":
        body["reasoning"] = {"effort": target.effort}
    if request.tools:
        body["tools"] = tools_of(request.tools)
    if request.tools and request.tools_forbidden:
        body["tool_choice"] = "none"
    if request.response_schema is not None:
        schema = dict(request.response_schema)
        body["text"] = {
            "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": is_closed(schema)}
        }
    return body


def messages_of(request: ModelRequest) -> list[dict[str, object]]:
    """The conversation as input items; a turn of our own goes back as the items that it came in."""
    return [item for message in request.messages for item in _items_of(message)]


def _items_of(message: Message) -> list[dict[str, object]]:
    if message.native is not None and message.native.protocol == OpenAI.name:
        return cast("list[dict[str, object]]", message.native.content)
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}]
    calls: list[dict[str, object]] = [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    if calls and not message.content:
        return calls
    return [{"type": "message", "role": message.role, "content": _content_of(message)}, *calls]


def _content_of(message: Message) -> object:
    if not message.images:
        return message.content
    text = [{"type": "input_text", "text": message.content}] if message.content else []
    return [*text, *map(_image_of, message.images)]


def _image_of(image: Image) -> dict[str, object]:
    encoded = base64.b64encode(image.data).decode("ascii")
    return {"type": "input_image", "detail": "auto", "image_url": f"data:{image.media_type};base64,{encoded}"}


def tools_of(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """The tools as functions. Strict is the API's default and would refuse a schema with optional parameters."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.input_schema),
            "strict": False,
        }
        for tool in tools
    ]


@dataclass(slots=True, kw_only=True)
class _Reply:
    """What the events of a stream add up to."""

    text: list[str] = field(default_factory=list[str])
    refused: bool = False
    response: Response | None = None

    def add(self, event: ResponseStreamEvent) -> str:
        """Take an event in, and return the text that it adds."""
        match event:
            case ResponseTextDeltaEvent():
                self.text.append(event.delta)
                return event.delta
            case ResponseRefusalDeltaEvent():
                self.refused = True
                self.text.append(event.delta)
                return event.delta
            case ResponseCompletedEvent() | ResponseIncompleteEvent():
                self.response = event.response
            case ResponseFailedEvent():
                error = event.response.error
                raise (
                    StreamedError(error.message, error.code, error.type) if error else StreamedError("no reason given")
                )
            case ResponseErrorEvent():
                raise StreamedError(event.message, event.code)
            case _:
                pass
        return ""


def response_of(reply: _Reply, target: Target, headers: Mapping[str, str]) -> ModelResponse:
    """The finished answer. Raises `ProviderUnavailable` where the stream ended without a last event."""
    if reply.response is None:
        raise broken_off(target)
    calls = tuple(
        ToolCall(id=item.call_id, name=item.name, arguments=item.arguments or "{}")
        for item in reply.response.output
        if isinstance(item, ResponseFunctionToolCall)
    )
    finish_reason = _finish_reason_of(reply, reply.response)
    return ModelResponse(
        text="".join(reply.text),
        finish_reason="tool_call" if calls and finish_reason == "stop" else finish_reason,
        usage=usage_of(reply.response.usage),
        tool_calls=calls,
        native=_native_of(reply.response),
        api_model_id=getattr(reply.response, "model", None),  # some servers leave it out
        headroom=headroom(headers),
    )


def _finish_reason_of(reply: _Reply, response: Response) -> FinishReason:
    if reply.refused:
        return "content_filter"
    if response.status != "incomplete":
        return "stop"
    reason = response.incomplete_details.reason if response.incomplete_details else None
    return _INCOMPLETE_REASONS.get(reason or "", "error")


def _native_of(response: Response) -> NativeTurn | None:
    """The items as they came; none where reasoning came without its encrypted form: unstored, it cannot be looked up."""
    reasoning = [item for item in response.output if isinstance(item, ResponseReasoningItem)]
    if not response.output or not all(item.encrypted_content for item in reasoning):
        return None
    return NativeTurn(
        protocol=OpenAI.name, content=[item.to_dict(mode="json", warnings=False) for item in response.output]
    )


def usage_of(usage: ResponseUsage | None) -> Usage | None:
    """Cached input and reasoning output are included in OpenAI's totals."""
    if usage is None:
        return None
    read, reasoning = usage.input_tokens_details, usage.output_tokens_details
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=(read.cached_tokens or 0) if read else 0,
        cache_write_tokens=(getattr(read, "cache_write_tokens", None) or 0) if read else 0,
        reasoning_tokens=(reasoning.reasoning_tokens or 0) if reasoning else 0,
    )
