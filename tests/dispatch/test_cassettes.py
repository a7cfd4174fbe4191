"""Real recorded traffic under the real SDKs.

The recordings stand beside the checkout and not in it. A recorded stream or error goes to the adapter as it is; a body that
was not streamed is cut into the stream that would have carried it. What is expected is read from the raw JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing.errors import ProviderError, ProviderRejected, RateLimited
from routing.types import FinishReason, Usage
from tests.dispatch.dialects import DIALECTS, Event, ask, failing, streaming

pytestmark = pytest.mark.anyio
CASSETTES = Path(__file__).resolve().parents[3] / "shared" / "cassettes"
ERRORS = {400: ProviderRejected, 404: ProviderRejected, 429: RateLimited}
WIRES = {
    "/chat/completions": "openai-chat",
    "/v1/responses": "openai",
    "/v1/messages": "anthropic",
    "generatecontent": "google",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange over one of our wires; ``body`` is text where it was streamed, else parsed JSON."""

    wire: str
    status: int
    body: str | Event


@dataclass(frozen=True, slots=True)
class Expected:
    """What the raw JSON says."""

    text: str
    calls: list[tuple[str, object]]
    finish_reason: FinishReason
    usage: Usage


def exchanges() -> list[tuple[str, Event]]:
    files = sorted(CASSETTES.glob("*/*.yaml")) if CASSETTES.is_dir() else []
    return [
        (f"{file.parent.name}/{file.stem}[{number}]", exchange)
        for file in files
        for number, exchange in enumerate(yaml.safe_load(file.read_text(encoding="utf-8"))["interactions"])
    ]


def recording(exchange: Event) -> Recording | None:
    path = exchange["request"]["uri"].split("?")[0].lower()
    wire = next((name for end, name in WIRES.items() if path.endswith(end)), None)
    if wire is None:
        return None
    response = exchange["response"]
    body: str | Event = response.get("parsed_body") or response["body"]["string"]
    if isinstance(body, str) and "event-stream" not in json.dumps(response["headers"]):
        body = json.loads(body)
    return Recording(wire, response["status"]["code"], body)


def raw_events(stream: str) -> list[Event]:
    lines = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def error_in(found: Recording) -> Event | None:
    """The error that a body is, or that a stream ran into."""
    events = raw_events(found.body) if isinstance(found.body, str) else [found.body]
    return next((event["error"] for event in events if event.get("error")), None)


FOUND = [(name, found) for name, exchange in exchanges() if (found := recording(exchange)) is not None]
REFUSALS = [pytest.param(found, id=name) for name, found in FOUND if error_in(found)]
ANSWERS = [pytest.param(found, id=name) for name, found in FOUND if not error_in(found)]
absent = pytest.mark.skipif(not FOUND, reason="the recordings (../shared/cassettes) are not beside this checkout")


@absent
def test_most_recordings_are_of_our_wires() -> None:
    """The others are a native Ollama exchange and the making and deleting of a Google cache."""
    assert len(exchanges()) - len(FOUND) == 3
    assert {found.wire for _, found in FOUND} == set(DIALECTS)


@absent
@pytest.mark.parametrize("found", ANSWERS or [pytest.param(None, id="none")])
async def test_a_recorded_answer_reads_as_its_raw_json_does(found: Recording) -> None:
    dialect = DIALECTS[found.wire]
    if isinstance(found.body, str):
        stream, raw = found.body.encode(), raw_events(found.body)
    else:
        stream, raw = dialect.wire(STREAMS[found.wire](found.body)), [found.body]
    expected = EXPECTED[found.wire](raw)

    response, heard = await ask(dialect.adapter, dialect.base_url, streaming(stream))

    assert response.text == "".join(heard) == expected.text
    assert [(call.name, json.loads(call.arguments)) for call in response.tool_calls] == expected.calls
    assert len({call.id for call in response.tool_calls} - {""}) == len(expected.calls)
    assert response.finish_reason == expected.finish_reason
    assert response.usage == expected.usage


@absent
@pytest.mark.parametrize("found", REFUSALS or [pytest.param(None, id="none")])
async def test_a_recorded_error_becomes_what_it_stands_for(found: Recording) -> None:
    dialect = DIALECTS[found.wire]
    error = error_in(found)
    assert error is not None
    in_stream = isinstance(found.body, str)
    body = found.body.encode() if isinstance(found.body, str) else json.dumps(found.body).encode()

    with pytest.raises(ProviderError) as failure:
        await ask(dialect.adapter, dialect.base_url, streaming(body) if in_stream else failing(found.status, body))

    assert type(failure.value) is ERRORS[error["code"] if in_stream else found.status]
    assert str(failure.value).endswith(error["message"])


def split(text: str) -> list[str]:
    return [piece for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if piece]


def chat_stream(body: Event) -> list[Event]:
    choice = body["choices"][0]
    message = {**choice["message"]}
    pieces = [{"content": piece} for piece in split(message.pop("content", None) or "")]
    calls = [{"index": index, **call} for index, call in enumerate(message.pop("tool_calls", None) or [])]
    deltas = [message, *pieces, {"tool_calls": calls}]
    return [
        *({**body, "usage": None, "choices": [{"index": 0, "delta": delta}]} for delta in deltas),
        {**body, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]},
    ]


def responses_stream(body: Event) -> list[Event]:
    text = responses_text([body])
    deltas = [{"type": "response.output_text.delta", "delta": piece} for piece in split(text)]
    return [*deltas, {"type": "response.completed", "response": body}]


def messages_stream(body: Event) -> list[Event]:
    events: list[Event] = [{"type": "message_start", "message": {**body, "content": [], "stop_reason": None}}]
    empty: dict[str, Event] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    for index, block in enumerate(body["content"]):
        events.append(
            {"type": "content_block_start", "index": index, "content_block": {**block, **empty[block["type"]]}}
        )
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in messages_deltas(block)]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": body["stop_reason"], "stop_sequence": None}
    return [*events, {"type": "message_delta", "delta": delta, "usage": body["usage"]}, {"type": "message_stop"}]


def messages_deltas(block: Event) -> list[Event]:
    match block["type"]:
        case "text":
            return [{"type": "text_delta", "text": piece} for piece in split(block["text"])]
        case "tool_use":
            pieces = split(json.dumps(block["input"]))
            return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        case _:
            thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in split(block["thinking"])]
            return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]


def gemini_stream(body: Event) -> list[Event]:
    return [body]


STREAMS = {
    "openai-chat": chat_stream,
    "openai": responses_stream,
    "anthropic": messages_stream,
    "google": gemini_stream,
}


def count(usage: Event, *path: str) -> int:
    value: Any = usage
    for step in path:
        value = value.get(step) if value else None
    return int(value or 0)


def expected_chat(events: Sequence[Event]) -> Expected:
    choices = [choice for event in events for choice in event["choices"]]
    deltas: list[Event] = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    pieces: list[Event] = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    numbers = sorted({piece.get("index", 0) for piece in pieces})
    own = [[piece["function"] for piece in pieces if piece.get("index", 0) == number] for number in numbers]
    reason = next(choice["finish_reason"] for choice in choices if choice.get("finish_reason"))
    usage = next(event["usage"] for event in reversed(events) if event.get("usage"))
    names: dict[str, FinishReason] = {"tool_calls": "tool_call", "stop": "stop", "eos": "stop", "length": "length"}
    return Expected(
        text="".join(delta.get("content") or "" for delta in deltas),
        calls=[("".join(part.get("name") or "" for part in parts), arguments_of(parts)) for parts in own],
        finish_reason=names[reason],
        usage=Usage(
            input_tokens=usage["prompt_tokens"],
            output_tokens=usage["completion_tokens"],
            cache_read_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
            cache_write_tokens=count(usage, "prompt_tokens_details", "cache_write_tokens"),
            reasoning_tokens=count(usage, "completion_tokens_details", "reasoning_tokens"),
        ),
    )


def arguments_of(parts: Sequence[Event]) -> object:
    return json.loads("".join(part.get("arguments") or "" for part in parts))


def responses_text(bodies: Sequence[Event]) -> str:
    output = bodies[-1]["output"]
    return "".join(part["text"] for item in output if item["type"] == "message" for part in item["content"])


def expected_responses(events: Sequence[Event]) -> Expected:
    body = events[-1].get("response", events[-1])
    calls = [(item["name"], json.loads(item["arguments"])) for item in body["output"] if "arguments" in item]
    return Expected(
        text=responses_text([body]),
        calls=calls,
        finish_reason="tool_call" if calls else "stop",
        usage=Usage(
            input_tokens=body["usage"]["input_tokens"],
            output_tokens=body["usage"]["output_tokens"],
            cache_read_tokens=count(body["usage"], "input_tokens_details", "cached_tokens"),
            cache_write_tokens=count(body["usage"], "input_tokens_details", "cache_write_tokens"),
            reasoning_tokens=count(body["usage"], "output_tokens_details", "reasoning_tokens"),
        ),
    )


def expected_messages(events: Sequence[Event]) -> Expected:
    blocks, reason, usage = whole_message(events)
    names: dict[str, FinishReason] = {"tool_use": "tool_call", "end_turn": "stop", "max_tokens": "length"}
    read, written = count(usage, "cache_read_input_tokens"), count(usage, "cache_creation_input_tokens")
    return Expected(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        calls=[(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"],
        finish_reason=names[reason],
        usage=Usage(
            input_tokens=usage["input_tokens"] + read + written,
            output_tokens=usage["output_tokens"],
            cache_read_tokens=read,
            cache_write_tokens=written,
        ),
    )


def whole_message(events: Sequence[Event]) -> tuple[list[Event], str, Event]:
    if events[0]["type"] == "message":
        return events[0]["content"], events[0]["stop_reason"], events[0]["usage"]
    start = next(event["message"] for event in events if event["type"] == "message_start")
    end = next(event for event in events if event["type"] == "message_delta")
    blocks: list[Event] = []
    for event in events:
        if event["type"] == "content_block_start":
            begun: Event = event["content_block"]
            blocks.append({**begun, "json": ""})
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[int(event["index"])]
            block["text"] = block.get("text", "") + delta.get("text", "")
            block["json"] += delta.get("partial_json", "")
    for block in blocks:
        block["input"] = json.loads(block["json"] or "{}")
    return blocks, end["delta"]["stop_reason"], {**start["usage"], **end["usage"]}


def expected_gemini(events: Sequence[Event]) -> Expected:
    candidates = [candidate for event in events for candidate in event["candidates"]]
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts", [])]
    calls = [(part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts if "functionCall" in part]
    usage = events[-1]["usageMetadata"]
    assert candidates[-1]["finishReason"] == "STOP"
    return Expected(
        text="".join(part.get("text", "") for part in parts if not part.get("thought")),
        calls=calls,
        finish_reason="tool_call" if calls else "stop",
        usage=Usage(
            input_tokens=usage["promptTokenCount"],
            output_tokens=usage["totalTokenCount"] - usage["promptTokenCount"],
            cache_read_tokens=count(usage, "cachedContentTokenCount"),
            reasoning_tokens=count(usage, "thoughtsTokenCount"),
        ),
    )


EXPECTED = {
    "openai-chat": expected_chat,
    "openai": expected_responses,
    "anthropic": expected_messages,
    "google": expected_gemini,
}
