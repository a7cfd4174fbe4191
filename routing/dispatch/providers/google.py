"""Google's Gemini API.

Wire API: POST {base_url}/v1beta/models/{model}:streamGenerateContent. https://ai.google.dev/api/generate-content
SDK: google-genai, whose own retries, continuation and function calling are off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import groupby
from typing import cast

import httpx2 as httpx
from google import genai
from google.genai import errors, types

from routing.dispatch.faults import WRONG_SHAPE, StreamedError, broken_off, fault, transport_fault
from routing.errors import ProviderError
from routing.types import (
    Access,
    Effort,
    FinishReason,
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
_LEVELS: Mapping[Effort, types.ThinkingLevel] = {
    "none": types.ThinkingLevel.LOW,
    "low": types.ThinkingLevel.LOW,
    "medium": types.ThinkingLevel.MEDIUM,
    "high": types.ThinkingLevel.HIGH,
}
"""Low is the least that every model with levels takes."""
_BUDGETS: Mapping[Effort, int] = {"none": 0, "low": 1_024, "medium": 8_192, "high": 24_576}
"""Tokens of thoughts."""
_MOST_TEXTS = 100
"""As many texts as one call embeds."""
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
}
"""All others (malformed calls, unsupported languages) mean that there is no usable answer."""
_FOREIGN_SIGNATURE = b"skip_thought_signature_validator"
"""Google's own stand-in for the signature of a call that another model made.
https://ai.google.dev/gemini-api/docs/thought-signatures"""

_REASON = re.compile(r"'reason': '(\w+)'")
_RETRY_DELAY = re.compile(r"'retryDelay': '(\d+(?:\.\d+)?)s'")
"""The details of an error (https://cloud.google.com/apis/design/errors), as they stand in the SDK's text of it: a body that
is not formed as it should be then costs the detail and not the error."""

_UPSTREAM: ContextVar[AsyncExitStack] = ContextVar("_UPSTREAM")


class Google:
    """Gemini at one address. ``transport`` replaces the network, for tests."""

    name = "google"

    def __init__(self, access: Access, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._key = access.api_key
        self._http = httpx.AsyncClient(
            transport=transport, event_hooks={"request": [_bound], "response": [_close_in_the_end]}
        )
        self._client = genai.Client(
            vertexai=False,
            api_key=access.api_key or "none",
            http_options=types.HttpOptions(
                base_url=re.sub(r"(/v\d\w*)?(/openai)?/*$", "", access.base_url),
                api_version="v1beta",
                timeout=round(1000 * cast("float", _TIMEOUT.read)),
                httpx_async_client=self._http,
            ),
        )

    async def send(self, request: ModelRequest, target: Target, on_text: OnText) -> ModelResponse:
        """Send the request and read the stream to its end.

        Raises:
            ProviderError: whatever went wrong, as one of its subclasses.

        """
        reply = _Reply()
        try:
            async with AsyncExitStack() as upstream:
                _UPSTREAM.set(upstream)
                stream = await self._client.aio.models.generate_content_stream(  # pyright: ignore[reportUnknownMemberType] - PIL
                    model=target.api_model_id, contents=messages_of(request, target), config=body_of(request, target)
                )
                async for chunk in stream:
                    await on_text(reply.add(chunk))
                return response_of(reply, target)
        except (errors.APIError, httpx.HTTPError, StreamedError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def embed(self, request: ModelRequest, target: Target) -> ModelResponse:
        """Make vectors of the request's texts (https://ai.google.dev/api/embeddings). Raises as `send` does."""
        replies: list[types.EmbedContentResponse] = []
        try:
            for start in range(0, len(request.texts), _MOST_TEXTS):
                texts = request.texts[start : start + _MOST_TEXTS]
                async with AsyncExitStack() as upstream:
                    _UPSTREAM.set(upstream)
                    contents = [types.Content(parts=[types.Part(text=text)]) for text in texts]
                    replies.append(
                        await self._client.aio.models.embed_content(  # pyright: ignore[reportUnknownMemberType] - PIL
                            model=target.api_model_id, contents=list[types.ContentUnion](contents)
                        )
                    )
            return vectors_of(replies, len(request.texts))
        except (errors.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def check(self, target: Target) -> None:
        """Ask for the list of models, which costs nothing. Raises as `send` does."""
        try:
            async with AsyncExitStack() as upstream:
                _UPSTREAM.set(upstream)
                await self._client.aio.models.list(config=types.ListModelsConfig(page_size=1))
        except (errors.APIError, httpx.HTTPError, *WRONG_SHAPE) as error:
            raise error_of(error, target, self._key) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        self._client.close()


async def _bound(request: httpx.Request) -> None:
    """The SDK knows one time-out for all; a connection that takes as long as an answer may is a dead one."""
    request.extensions["timeout"] = _TIMEOUT.as_dict()


async def _close_in_the_end(response: httpx.Response) -> None:
    """The SDK's generators leave the stream of a cancelled call to the garbage collector, and the model goes on writing."""
    _UPSTREAM.get().push_async_callback(response.aclose)


def vectors_of(replies: Sequence[types.EmbedContentResponse], expected: int) -> ModelResponse:
    """The vectors in the order of the texts, and their tokens where the replies tell them."""
    rows = [row for reply in replies for row in reply.embeddings or ()]
    vectors = tuple(tuple(row.values) for row in rows if row.values)
    if len(vectors) != expected:
        raise ValueError(f"{len(vectors)} vectors came for {expected} texts")
    counted = [reply.usage_metadata.prompt_token_count for reply in replies if reply.usage_metadata]
    told = [tokens for tokens in counted if tokens is not None]
    usage = Usage(input_tokens=sum(told), output_tokens=0) if len(told) == len(replies) else None
    return ModelResponse(text="", finish_reason="stop", usage=usage, vectors=vectors)


def body_of(request: ModelRequest, target: Target) -> types.GenerateContentConfig:
    """The request but for its contents."""
    max_output_tokens = min(request.max_output_tokens, target.max_output_tokens)
    config = types.GenerateContentConfig(
        max_output_tokens=max_output_tokens,
        thinking_config=_thinking_of(target, max_output_tokens),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        automatic_continuation=False,
    )
    system = [message.content for message in request.messages if message.role == "system"]
    if system := [text for text in (request.system, *system) if text]:
        config.system_instruction = "\n\n".join(system)
    if request.tools:
        config.tools = [*tools_of(request.tools)]
    if request.tools and request.tools_forbidden:
        never = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.NONE)
        config.tool_config = types.ToolConfig(function_calling_config=never)
    if request.response_schema is not None:
        config.response_mime_type = "application/json"
        config.response_json_schema = dict(request.response_schema)
    return config


def _thinking_of(target: Target, max_output_tokens: int) -> types.ThinkingConfig | None:
    """How to think. A budget counts towards ``max_output_tokens``, so it leaves a quarter of them to the answer."""
    match target.thinking:
        case "level":
            return types.ThinkingConfig(thinking_level=_LEVELS[target.effort], include_thoughts=False)
        case "budget":
            budget = min(_BUDGETS[target.effort], max_output_tokens * 3 // 4)
            return types.ThinkingConfig(thinking_budget=budget, include_thoughts=False)
        case _:
            return None


def messages_of(request: ModelRequest, target: Target) -> list[types.Content]:
    """The conversation in turns, one role after the other: a tool's results are the user's."""
    names = {call.id: call.name for message in request.messages for call in message.tool_calls}
    told = [
        ("model" if message.role == "assistant" else "user", parts)
        for message in request.messages
        if message.role != "system" and (parts := _parts_of(message, names, target))
    ]
    return [
        types.Content(role=role, parts=[part for _, parts in group for part in parts])
        for role, group in groupby(told, lambda turn: turn[0])
    ]


def _parts_of(message: Message, names: Mapping[str, str], target: Target) -> list[types.Part]:
    if message.native is not None and message.native.protocol == Google.name:
        return cast("types.Content", message.native.content).parts or []
    if message.role == "tool":
        return [_result_of(message, names)]
    images = [types.Part.from_bytes(data=image.data, mime_type=image.media_type) for image in message.images]
    text = [types.Part(text=message.content)] if message.content else []
    calls = [_call_of(call) for call in message.tool_calls]
    if calls and target.thinking == "level":
        calls[0].thought_signature = _FOREIGN_SIGNATURE
    return [*images, *text, *calls]


def _result_of(message: Message, names: Mapping[str, str]) -> types.Part:
    call_id = message.tool_call_id or ""
    return types.Part(
        function_response=types.FunctionResponse(
            id=call_id, name=names.get(call_id, call_id), response={"output": message.content}
        )
    )


def _call_of(call: ToolCall) -> types.Part:
    return types.Part(function_call=types.FunctionCall(id=call.id, name=call.name, args=_arguments_of(call.arguments)))


def _arguments_of(arguments: str) -> dict[str, object]:
    """The arguments as an object, which the API insists on; empty where the model wrote something else."""
    try:
        parsed = json.loads(arguments)
    except json.JSONDecodeError:
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}


def tools_of(tools: Sequence[ToolSpec]) -> list[types.Tool]:
    """The tools as function declarations."""
    declarations = [
        types.FunctionDeclaration(
            name=tool.name, description=tool.description, parameters_json_schema=dict(tool.input_schema)
        )
        for tool in tools
    ]
    return [types.Tool(function_declarations=declarations)]


@dataclass(slots=True, kw_only=True)
class _Reply:
    """What the chunks of a stream add up to."""

    id: str = ""
    model: str | None = None
    text: list[str] = field(default_factory=list[str])
    parts: list[types.Part] = field(default_factory=list[types.Part])
    finish_reason: str | None = None
    usage: types.GenerateContentResponseUsageMetadata | None = None

    def add(self, chunk: types.GenerateContentResponse) -> str:
        """Take a chunk in, and return the text that it adds."""
        self.id = chunk.response_id or self.id
        self.model = chunk.model_version or self.model
        self.usage = chunk.usage_metadata or self.usage
        if chunk.prompt_feedback and (reason := chunk.prompt_feedback.block_reason):
            raise StreamedError(chunk.prompt_feedback.block_reason_message or reason.value, "content_filter")
        candidate = next(iter(chunk.candidates or ()), None)
        if candidate is None:
            return ""
        self.finish_reason = candidate.finish_reason.value if candidate.finish_reason else self.finish_reason
        parts = (candidate.content.parts if candidate.content else None) or []
        for part in parts:
            self._add_part(part)
        added = "".join(part.text for part in parts if part.text and not part.thought)
        self.text.append(added)
        return added

    def _add_part(self, part: types.Part) -> None:
        """Pieces of plain text are joined; a part with a signature stays as it came."""
        last = self.parts[-1] if self.parts else None
        if last is not None and _is_plain(last) and _is_plain(part):
            self.parts[-1] = types.Part(text=f"{last.text}{part.text}")
            return
        if part.function_call is not None and not part.function_call.id:
            part.function_call.id = f"call_{self.id}_{len(self.parts)}"
        self.parts.append(part)


def _is_plain(part: types.Part) -> bool:
    return part.text is not None and not part.thought and part.thought_signature is None


def response_of(reply: _Reply, target: Target) -> ModelResponse:
    """The finished answer. Raises `ProviderUnavailable` where the stream ended without a finish reason."""
    if reply.finish_reason is None:
        raise broken_off(target)
    calls = tuple(
        ToolCall(id=call.id or "", name=call.name or "", arguments=json.dumps(call.args or {}, ensure_ascii=False))
        for part in reply.parts
        if (call := part.function_call) is not None
    )
    finish_reason = _FINISH_REASONS.get(reply.finish_reason, "error")
    content = types.Content(role="model", parts=reply.parts)
    return ModelResponse(
        text="".join(reply.text),
        finish_reason="tool_call" if calls and finish_reason == "stop" else finish_reason,
        usage=usage_of(reply.usage),
        tool_calls=calls,
        native=NativeTurn(protocol=Google.name, content=content) if reply.parts else None,
        api_model_id=reply.model,
    )


def usage_of(usage: types.GenerateContentResponseUsageMetadata | None) -> Usage | None:
    """Google's prompt includes what was cached, but not the results of its own tools; its candidates leave out the thoughts."""
    if usage is None:
        return None
    thoughts = usage.thoughts_token_count or 0
    return Usage(
        input_tokens=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
        output_tokens=(usage.candidates_token_count or 0) + thoughts,
        cache_read_tokens=usage.cached_content_token_count or 0,
        reasoning_tokens=thoughts,
    )


def error_of(error: Exception, target: Target, key: str | None) -> ProviderError:
    """Map what the SDK raised. Errors inside a stream carry their status in the body, as all of Google's do."""
    match error:
        case errors.APIError():
            return fault(
                error.message or str(error),
                target,
                status=error.code,
                types=(*_REASON.findall(str(error)), error.status),
                headers=_headers_of(error),
                secret=key,
            )
        case StreamedError():
            return fault(str(error), target, types=error.types, secret=key)
        case _:
            return transport_fault(error, target, key)


def _headers_of(error: errors.APIError) -> Mapping[str, str]:
    """The headers; where the body tells the delay, it says what other vendors say in ``Retry-After``."""
    if delay := _RETRY_DELAY.search(str(error)):
        return {"retry-after": delay[1]}
    response = cast("httpx.Response | None", error.response)  # pyright: ignore[reportUnknownMemberType] - names aiohttp
    return response.headers if response is not None else {}
