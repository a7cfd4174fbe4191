"""The four wires as they look on the line: samples of our own, and a way to put them under the real SDKs."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

import httpx2 as httpx

from routing.dispatch.providers.anthropic import Anthropic
from routing.dispatch.providers.compatible import Compatible
from routing.dispatch.providers.google import Google
from routing.dispatch.providers.openai import OpenAI
from routing.types import Access, FinishReason, ModelRequest, ModelResponse, Provider, Usage
from tests.builders import request, target

KEY = "sk-canary/0123+456=789"
VERSION = "a-model-2026-11-01"
"""What the samples call the model that answers."""

SIGNATURE = base64.b64encode(b"a thought, signed").decode()
Event = dict[str, Any]
Respond = Callable[[httpx.Request], httpx.Response]


class Adapter(Protocol):
    """How an adapter is made."""

    def __call__(self, access: Access, *, transport: httpx.AsyncBaseTransport | None = None) -> Provider: ...


class Dialect(Protocol):
    """One wire: its adapter, its samples, and where things stand in a request."""

    adapter: Adapter
    base_url: str
    usage: Usage

    def wire(self, events: Sequence[object]) -> bytes: ...
    def begins(self, *pieces: str) -> list[Event]: ...
    def ends(self, finish_reason: FinishReason = "stop") -> list[Event]: ...
    def calls(self, *calls: tuple[str, str, str]) -> list[Event]: ...
    def signed_call(self) -> list[Event]: ...
    def fails(self, kind: str, message: str) -> list[Event]: ...
    def error(self, kind: str, message: str) -> Event: ...
    def schema_in(self, body: Event) -> object: ...
    def image_in(self, body: Event) -> str: ...
    def results_in(self, body: Event) -> list[object]: ...
    def turns_in(self, body: Event) -> list[str]: ...


async def ask(
    adapter: Adapter,
    base_url: str,
    respond: Respond,
    a_request: ModelRequest | None = None,
    **facts: Any,
) -> tuple[ModelResponse, list[str]]:
    """Send a request to a wire that answers as told."""
    provider = adapter(Access(protocol="", base_url=base_url, api_key=KEY), transport=httpx.MockTransport(respond))
    try:
        return await listen(provider, a_request, **facts)
    finally:
        await provider.aclose()


async def listen(
    provider: Provider, a_request: ModelRequest | None = None, **facts: Any
) -> tuple[ModelResponse, list[str]]:
    """Send a request; the answer, and the pieces of text that were heard."""
    heard: list[str] = []

    async def on_text(text: str) -> None:
        if text:  # an empty one is a sign of life
            heard.append(text)

    return await provider.send(a_request or request(), target(**facts), on_text), heard


async def sent(
    adapter: Adapter, base_url: str, answer: bytes, a_request: ModelRequest | None = None, **facts: Any
) -> tuple[httpx.Request, Event]:
    """The request as it went over the wire, and its body."""
    received: list[httpx.Request] = []

    def respond(one: httpx.Request) -> httpx.Response:
        received.append(one)
        return streaming(answer)(one)

    await ask(adapter, base_url, respond, a_request, **facts)
    return received[0], json.loads(received[0].content)


def streaming(body: bytes) -> Respond:
    """Answers with a stream."""
    return lambda _: httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})


def failing(status: int, body: bytes, **headers: str) -> Respond:
    """Answers with an error."""
    return lambda _: httpx.Response(status, content=body, headers={"content-type": "application/json", **headers})


class Broken(httpx.AsyncByteStream):
    """A body that begins and then fails."""

    def __init__(self, beginning: bytes, error: Exception) -> None:
        self._beginning = beginning
        self._error = error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._beginning
        raise self._error


def breaking(beginning: bytes, error: Exception) -> Respond:
    """Answers with a stream that fails on the way."""
    return lambda _: httpx.Response(200, stream=Broken(beginning, error), headers={"content-type": "text/event-stream"})


def raising(error: type[httpx.TransportError], message: str) -> Respond:
    """Does not answer at all."""

    def respond(received: httpx.Request) -> httpx.Response:
        raise error(message, request=received)

    return respond


def sse(events: Sequence[object], *, end: str = "\n\n", named: bool = False, last: str = "") -> bytes:
    """Server-sent events; text stands for itself."""
    lines: list[str] = []
    for event in events:
        name = f"event: {event['type']}\n" if named and isinstance(event, dict) and "type" in event else ""
        lines.append(f"{name}data: {event if isinstance(event, str) else json.dumps(event)}{end}")
    return ("".join(lines) + last).encode()


class Chat:
    """Chat Completions."""

    adapter: Adapter = Compatible
    base_url: str = "http://test/v1"
    usage: Usage = Usage(
        input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=8
    )

    def wire(self, events: Sequence[object]) -> bytes:
        return sse(events, last="data: [DONE]\n\n")

    def chunk(self, delta: Event | None = None, finish: str | None = None, **more: Any) -> Event:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}] if delta is not None else []
        return {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": VERSION,
            "choices": choices,
            **more,
        }

    def begins(self, *pieces: str) -> list[Event]:
        return [self.chunk({"role": "assistant", "content": piece}) for piece in pieces]

    def ends(self, finish_reason: FinishReason = "stop") -> list[Event]:
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 8},
        }
        return [self.chunk({}, finish_reason), self.chunk(usage=usage)]

    def calls(self, *calls: tuple[str, str, str]) -> list[Event]:
        events: list[Event] = []
        for index, (call_id, name, arguments) in enumerate(calls):
            begun = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            rest = {"index": index, "function": {"arguments": arguments}}
            events += [self.chunk({"tool_calls": [begun]}), self.chunk({"tool_calls": [rest]})]
        return [*events, self.chunk({}, "tool_calls")]

    def signed_call(self) -> list[Event]:
        return [self.chunk({"reasoning_content": SIGNATURE}), *self.calls(("a", "web_search", "{}"))]

    def fails(self, kind: str, message: str) -> list[Event]:
        return [self.error(kind, message)]

    def error(self, kind: str, message: str) -> Event:
        code = {"too_long": "context_length_exceeded", "filtered": "content_filter", "overloaded": "server_error"}
        code |= {"limited": "rate_limit_exceeded"}
        return {"error": {"message": message, "type": "invalid_request_error", "code": code.get(kind)}}

    def schema_in(self, body: Event) -> object:
        return body["response_format"]["json_schema"]["schema"]

    def image_in(self, body: Event) -> str:
        return str(body["messages"][-1]["content"][1]["image_url"]["url"]).removeprefix("data:image/png;base64,")

    def results_in(self, body: Event) -> list[object]:
        return [turn["tool_call_id"] for turn in body["messages"] if turn["role"] == "tool"]

    def turns_in(self, body: Event) -> list[str]:
        return [turn["role"] for turn in body["messages"]]


class Responses:
    """OpenAI's Responses."""

    adapter: Adapter = OpenAI
    base_url: str = "http://test/v1"
    usage: Usage = Usage(
        input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=8
    )

    def wire(self, events: Sequence[object]) -> bytes:
        return sse(events, named=True)

    def begins(self, *pieces: str) -> list[Event]:
        created: Event = {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "output": []}}
        return [created, *({"type": "response.output_text.delta", "delta": piece} for piece in pieces)]

    def ends(self, finish_reason: FinishReason = "stop") -> list[Event]:
        reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
        return [self.completed([], reasons.get(finish_reason))]

    def completed(self, output: list[Event], incomplete: str | None = None) -> Event:
        status = "incomplete" if incomplete else "completed"
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 8},
            "total_tokens": 120,
        }
        details = {"reason": incomplete} if incomplete else None
        response = {
            "id": "r1",
            "model": VERSION,
            "status": status,
            "incomplete_details": details,
            "output": output,
            "usage": usage,
        }
        return {"type": f"response.{status}", "response": response}

    def calls(self, *calls: tuple[str, str, str]) -> list[Event]:
        return [self.completed([self.call(*call) for call in calls])]

    def call(self, call_id: str, name: str, arguments: str) -> Event:
        return {"type": "function_call", "id": "fc_1", "call_id": call_id, "name": name, "arguments": arguments}

    def signed_call(self) -> list[Event]:
        reasoning: Event = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SIGNATURE}
        return [self.completed([reasoning, self.call("a", "web_search", "{}")])]

    def fails(self, kind: str, message: str) -> list[Event]:
        error = self.error(kind, message)["error"]
        if kind == "overloaded":
            return [{"type": "error", "code": error["code"], "message": message}]
        return [{"type": "response.failed", "response": {"id": "r1", "status": "failed", "error": error}}]

    def error(self, kind: str, message: str) -> Event:
        code = {"too_long": "context_length_exceeded", "filtered": "invalid_prompt", "overloaded": "server_error"}
        code |= {"limited": "rate_limit_exceeded"}
        return {"error": {"message": message, "type": "invalid_request_error", "code": code.get(kind)}}

    def schema_in(self, body: Event) -> object:
        return body["text"]["format"]["schema"]

    def image_in(self, body: Event) -> str:
        return str(body["input"][-1]["content"][1]["image_url"]).removeprefix("data:image/png;base64,")

    def results_in(self, body: Event) -> list[object]:
        return [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]

    def turns_in(self, body: Event) -> list[str]:
        return [item.get("role", item.get("type")) for item in body["input"]]


class Messages:
    """Anthropic's Messages."""

    adapter: Adapter = Anthropic
    base_url: str = "http://test"
    usage: Usage = Usage(
        input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=8
    )

    def wire(self, events: Sequence[object]) -> bytes:
        return sse(events, named=True) if all(isinstance(event, dict) for event in events) else self._loose(events)

    def _loose(self, events: Sequence[object]) -> bytes:
        return b"".join(b"event: content_block_delta\n" + sse([event]) for event in events)

    def begins(self, *pieces: str) -> list[Event]:
        usage = {"input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10}
        message: Event = {
            "id": "m1",
            "type": "message",
            "role": "assistant",
            "model": VERSION,
            "content": [],
            "usage": usage | {"output_tokens": 1},
        }
        return [
            {"type": "message_start", "message": message},
            *(self.block(0, {"type": "text", "text": ""}) if pieces else []),
            *(self.delta(0, {"type": "text_delta", "text": piece}) for piece in pieces),
        ]

    def block(self, index: int, block: Event) -> list[Event]:
        return [{"type": "content_block_start", "index": index, "content_block": block}]

    def delta(self, index: int, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": index, "delta": delta}

    def ends(self, finish_reason: FinishReason = "stop") -> list[Event]:
        reasons = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal", "tool_call": "tool_use"}
        usage = {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 8}}
        delta = {"stop_reason": reasons[finish_reason], "stop_sequence": None}
        return [{"type": "message_delta", "delta": delta, "usage": usage}, {"type": "message_stop"}]

    def calls(self, *calls: tuple[str, str, str]) -> list[Event]:
        events = self.begins()
        for index, (call_id, name, arguments) in enumerate(calls):
            events += self.block(index, {"type": "tool_use", "id": call_id, "name": name, "input": {}})
            events += [
                self.delta(index, {"type": "input_json_delta", "partial_json": part})
                for part in ("", arguments[:3], arguments[3:])
            ]
        return [*events, *self.ends("tool_call")]

    def signed_call(self) -> list[Event]:
        return [
            *self.begins(),
            *self.block(0, {"type": "thinking", "thinking": "", "signature": ""}),
            self.delta(0, {"type": "thinking_delta", "thinking": "Hm"}),
            self.delta(0, {"type": "signature_delta", "signature": SIGNATURE}),
            *self.block(1, {"type": "tool_use", "id": "a", "name": "web_search", "input": {}}),
            *self.ends("tool_call"),
        ]

    def fails(self, kind: str, message: str) -> list[Event]:
        return [self.error(kind, message)]

    def error(self, kind: str, message: str) -> Event:
        names = {"overloaded": "overloaded_error", "limited": "rate_limit_error"}
        words = {"too_long": "prompt is too long: ", "filtered": "Output blocked by content filtering policy: "}
        name = names.get(kind, "invalid_request_error")
        return {"type": "error", "error": {"type": name, "message": words.get(kind, "") + message}}

    def schema_in(self, body: Event) -> object:
        return body["output_config"]["format"]["schema"]

    def image_in(self, body: Event) -> str:
        source = body["messages"][-1]["content"][0]["source"]
        assert source["media_type"] == "image/png"
        return str(source["data"])

    def results_in(self, body: Event) -> list[object]:
        blocks = body["messages"][-1]["content"]
        return [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]

    def turns_in(self, body: Event) -> list[str]:
        return [turn["role"] for turn in body["messages"]]


class Gemini:
    """Google's generateContent."""

    adapter: Adapter = Google
    base_url: str = "http://test"
    usage: Usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=8)

    def wire(self, events: Sequence[object]) -> bytes:
        return sse(events, end="\r\n\r\n")

    def chunk(self, *parts: Event, **more: Any) -> Event:
        candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **more}
        return {"candidates": [candidate], "responseId": "r-1", "modelVersion": VERSION}

    def begins(self, *pieces: str) -> list[Event]:
        return [self.chunk({"text": piece}) for piece in pieces]

    def ends(self, finish_reason: FinishReason = "stop") -> list[Event]:
        reasons = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
        usage = {
            "promptTokenCount": 95,
            "toolUsePromptTokenCount": 5,
            "cachedContentTokenCount": 60,
            "candidatesTokenCount": 12,
            "thoughtsTokenCount": 8,
            "totalTokenCount": 120,
        }
        return [{**self.chunk({"text": ""}, finishReason=reasons[finish_reason]), "usageMetadata": usage}]

    def calls(self, *calls: tuple[str, str, str]) -> list[Event]:
        parts = [
            {"functionCall": {"id": call_id, "name": name, "args": json.loads(arguments)}}
            for call_id, name, arguments in calls
        ]
        return [*(self.chunk(part) for part in parts), *self.ends()]

    def signed_call(self) -> list[Event]:
        call: Event = {"functionCall": {"name": "web_search", "args": {}}, "thoughtSignature": SIGNATURE}
        return [self.chunk(call), *self.ends()]

    def fails(self, kind: str, message: str) -> list[Event]:
        return [self.error(kind, message)]

    def error(self, kind: str, message: str) -> Event:
        if kind == "filtered":
            return {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": message}}
        facts = {"overloaded": (503, "UNAVAILABLE"), "limited": (429, "RESOURCE_EXHAUSTED")}
        words = {"too_long": "The input token count (9) exceeds the maximum number of tokens allowed (8). "}
        code, status = facts.get(kind, (400, "INVALID_ARGUMENT"))
        return {"error": {"code": code, "message": words.get(kind, "") + message, "status": status}}

    def schema_in(self, body: Event) -> object:
        assert body["generationConfig"]["responseMimeType"] == "application/json"
        return body["generationConfig"]["responseJsonSchema"]

    def image_in(self, body: Event) -> str:
        blob = body["contents"][-1]["parts"][0]["inlineData"]
        assert blob["mime_type"] == "image/png"
        return str(blob["data"])

    def results_in(self, body: Event) -> list[object]:
        parts = body["contents"][-1]["parts"]
        return [part["functionResponse"]["id"] for part in parts if "functionResponse" in part]

    def turns_in(self, body: Event) -> list[str]:
        return [turn["role"] for turn in body["contents"]]


DIALECTS: dict[str, Dialect] = {
    "openai-chat": Chat(),
    "openai": Responses(),
    "anthropic": Messages(),
    "google": Gemini(),
}
