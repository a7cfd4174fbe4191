"""The real openai SDK over a mock transport: nothing of ours is replaced, only the network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2 as httpx
import pytest

from routing.dispatch.providers.compatible import Compatible
from routing.errors import (
    AuthenticationFailed,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.types import Access, Message, ModelRequest, ModelResponse, ToolCall, ToolSpec, Usage
from tests.builders import request, target

pytestmark = pytest.mark.anyio
KEY = "sk-canary-0123456789"
Respond = Callable[[httpx.Request], httpx.Response]


def sse(*chunks: dict[str, Any] | str) -> bytes:
    lines = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in (*chunks, "[DONE]")]
    return "".join(f"data: {line}\n\n" for line in lines).encode()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **more}


USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 60},
    "completion_tokens_details": {"reasoning_tokens": 8},
}
HELLO = (
    chunk({"role": "assistant", "content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({}, "stop"),
    chunk(usage=USAGE),
)


async def send(
    respond: Respond, a_request: ModelRequest | None = None, **facts: Any
) -> tuple[ModelResponse, list[str]]:
    heard: list[str] = []

    async def on_text(text: str) -> None:
        if text:  # an empty one is a sign of life
            heard.append(text)

    adapter = Compatible(
        Access(protocol="openai-chat", base_url="http://test/v1", api_key=KEY), transport=httpx.MockTransport(respond)
    )
    try:
        return await adapter.send(a_request or request(), target(**facts), on_text), heard
    finally:
        await adapter.aclose()


def answering(body: bytes, status: int = 200, **headers: str) -> Respond:
    return lambda _: httpx.Response(
        status,
        content=body,
        headers={"content-type": "text/event-stream" if status == 200 else "application/json", **headers},
    )


async def sent_body(a_request: ModelRequest, **facts: Any) -> dict[str, Any]:
    bodies: list[dict[str, Any]] = []

    def respond(received: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(received.content))
        return answering(sse(*HELLO))(received)

    await send(respond, a_request, **facts)
    return bodies[0]


async def test_the_pieces_of_a_stream_add_up_to_the_answer_and_are_heard_as_they_come() -> None:
    response, heard = await send(answering(sse(*HELLO)))

    assert response.text == "Hello"
    assert response.finish_reason == "stop"
    assert heard == ["Hel", "lo"]


async def test_usage_counts_cached_tokens_as_input_and_reasoning_as_output() -> None:
    response, _ = await send(answering(sse(*HELLO)))

    assert response.usage == Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=8)


async def test_reasoning_that_a_server_left_out_of_the_completion_is_found_in_the_total() -> None:
    outside = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45}

    response, _ = await send(answering(sse(chunk({"content": "x"}, "stop"), chunk(usage=outside))))

    assert response.usage is not None
    assert response.usage.output_tokens == 35


async def test_a_server_that_reports_no_usage_leaves_it_open() -> None:
    response, _ = await send(answering(sse(chunk({"content": "x"}, "stop"))))

    assert response.usage is None


async def test_tool_calls_are_put_together_from_their_pieces() -> None:
    def call(index: int, **parts: Any) -> dict[str, Any]:
        return chunk({"tool_calls": [{"index": index, **parts}]})

    response, _ = await send(
        answering(
            sse(
                call(0, id="a", function={"name": "web_search", "arguments": '{"q"'}),
                call(1, id="b", function={"name": "fetch_url", "arguments": ""}),
                call(0, function={"arguments": ':"x"}'}),
                chunk({}, "tool_calls"),
            )
        )
    )

    assert response.finish_reason == "tool_call"
    assert response.tool_calls == (
        ToolCall(id="a", name="web_search", arguments='{"q":"x"}'),
        ToolCall(id="b", name="fetch_url", arguments="{}"),
    )


async def test_the_request_carries_the_conversation_tools_schema_and_bounds() -> None:
    call = ToolCall(id="a", name="web_search", arguments="{}")
    body = await sent_body(
        request(
            messages=(
                Message(role="user", content="hi"),
                Message(role="assistant", content="", tool_calls=(call,)),
                Message(role="tool", content="found", tool_call_id="a"),
            ),
            tools=(ToolSpec(name="web_search", description="Search.", input_schema={"type": "object"}),),
            response_schema={"type": "object"},
            max_output_tokens=9_000,
        ),
        max_tokens_parameter="max_completion_tokens",
    )

    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "web_search", "arguments": "{}"}
    assert body["messages"][3]["tool_call_id"] == "a"
    assert body["tools"][0]["function"]["parameters"] == {"type": "object"}
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["max_completion_tokens"] == 8_000
    assert "max_tokens" not in body


async def test_a_stream_that_ends_without_a_finish_reason_is_a_failure() -> None:
    with pytest.raises(ProviderUnavailable, match="broke off"):
        await send(answering(sse(chunk({"content": "half"}))))


def error_body(message: str = "no", **fields: Any) -> bytes:
    return json.dumps({"error": {"message": message, **fields}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, error_body(), ProviderRejected),
        (401, error_body(), AuthenticationFailed),
        (403, error_body(), AuthenticationFailed),
        (404, error_body(), ProviderRejected),
        (408, error_body(), ProviderTimeout),
        (429, error_body(), RateLimited),
        (500, error_body(), ProviderUnavailable),
        (503, b"<html>busy</html>", ProviderUnavailable),
        (529, error_body(type="overloaded_error"), ProviderUnavailable),
    ],
)
async def test_a_status_becomes_the_error_it_stands_for(
    status: int, body: bytes, expected: type[ProviderError]
) -> None:
    with pytest.raises(ProviderError) as failure:
        await send(answering(body, status))

    assert type(failure.value) is expected
    assert failure.value.model_id == "acme/large"


async def test_the_sdks_own_retries_are_off() -> None:
    calls: list[httpx.Request] = []

    def respond(received: httpx.Request) -> httpx.Response:
        calls.append(received)
        return httpx.Response(500, content=error_body())

    with pytest.raises(ProviderUnavailable):
        await send(respond)
    assert len(calls) == 1


async def test_retry_after_is_read_in_seconds() -> None:
    with pytest.raises(RateLimited) as failure:
        await send(answering(error_body(), 429, **{"retry-after": "7"}))
    assert failure.value.retry_after == 7


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": 429, "message": "slow down"}, RateLimited),
        ({"type": "overloaded_error", "message": "busy"}, ProviderUnavailable),
        ({"code": 400, "message": "Token limit reached"}, ProviderRejected),
        ({"message": "something"}, ProviderUnavailable),
    ],
)
async def test_an_error_inside_the_stream_is_told_by_its_type(
    error: dict[str, Any], expected: type[ProviderError]
) -> None:
    with pytest.raises(ProviderError) as failure:
        await send(answering(sse(chunk({"content": "half"}), {"error": error})))
    assert type(failure.value) is expected


async def test_bad_json_in_a_chunk_is_an_unavailable_provider() -> None:
    with pytest.raises(ProviderUnavailable, match="not JSON"):
        await send(answering(sse("{broken")))


async def test_a_refused_connection_and_a_time_out_are_told_apart() -> None:
    def refuse(received: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=received)

    def stall(received: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=received)

    with pytest.raises(ProviderUnavailable, match="cannot be reached: refused"):
        await send(refuse)
    with pytest.raises(ProviderTimeout):
        await send(stall)


class _Cut(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield sse(chunk({"content": "half"})).split(b"data: [DONE]")[0]
        raise httpx.RemoteProtocolError("peer closed connection")


async def test_a_connection_that_is_cut_in_mid_stream_is_an_unavailable_provider() -> None:
    with pytest.raises(ProviderUnavailable, match="peer closed"):
        await send(lambda _: httpx.Response(200, stream=_Cut(), headers={"content-type": "text/event-stream"}))


class _After(httpx.AsyncByteStream):
    """A whole answer, after which the body goes on."""

    def __init__(self, goes_on: Callable[[], Awaitable[None]]) -> None:
        self.goes_on = goes_on
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield sse(chunk({"content": "Hello"}), chunk({}, "stop"))
        await self.goes_on()

    async def aclose(self) -> None:
        self.closed = True


async def breaks() -> None:
    raise httpx.RemoteProtocolError("peer closed connection")


@pytest.mark.parametrize("goes_on", [anyio.sleep_forever, breaks])
async def test_an_answer_that_is_done_waits_for_no_end_of_its_stream(goes_on: Callable[[], Awaitable[None]]) -> None:
    body = _After(goes_on)

    with anyio.fail_after(5):
        response, _ = await send(lambda _: httpx.Response(200, stream=body))

    assert response.text == "Hello"
    assert body.closed


async def test_a_key_that_the_provider_echoes_is_taken_out_of_the_message() -> None:
    with pytest.raises(AuthenticationFailed) as failure:
        await send(answering(error_body(f"Incorrect API key provided: {KEY}"), 401))
    assert KEY not in str(failure.value)
    assert "[redacted]" in str(failure.value)


def piece(**parts: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": 0, **parts}]})


async def test_calls_that_are_all_numbered_0_are_told_apart_by_their_ids() -> None:
    response, _ = await send(
        answering(
            sse(
                piece(id="a", function={"name": "web_search", "arguments": "{}"}),
                piece(id="b", function={"name": "fetch_url", "arguments": '{"u"'}),
                piece(id="b", function={"arguments": ":1}"}),
                chunk({}, "stop"),
            )
        )
    )

    assert [(call.id, call.arguments) for call in response.tool_calls] == [("a", "{}"), ("b", '{"u":1}')]
    assert response.finish_reason == "tool_call"


async def test_calls_without_ids_are_told_apart_by_their_names_and_get_ids() -> None:
    def call(name: str) -> dict[str, Any]:
        return piece(function={"name": name, "arguments": "{}"})

    response, _ = await send(answering(sse(call("one"), call("two"), chunk({}, "stop"))))

    assert [(call.id, call.name) for call in response.tool_calls] == [("call_c1_0", "one"), ("call_c1_1", "two")]


async def test_a_call_that_was_cut_off_is_not_offered_as_whole() -> None:
    cut = piece(id="a", function={"name": "one", "arguments": '{"q'})

    response, _ = await send(answering(sse(cut, chunk({}, "length"))))

    assert response.finish_reason == "length"


async def test_a_refusal_is_heard_and_ends_as_filtered() -> None:
    response, heard = await send(answering(sse(chunk({"refusal": "I cannot."}), chunk({}, "stop"))))

    assert heard == ["I cannot."]
    assert response.finish_reason == "content_filter"


async def test_an_effort_is_sent_only_to_a_model_that_takes_one() -> None:
    assert (await sent_body(request(), thinking="effort", effort="low"))["reasoning_effort"] == "low"
    assert "reasoning_effort" not in await sent_body(request(), thinking="effort", effort="none")
    assert "reasoning_effort" not in await sent_body(request(), thinking="adaptive", effort="high")


async def test_reasoning_goes_back_to_the_model_that_wrote_it_and_to_no_other() -> None:
    thought = chunk({"reasoning_content": "Hm"})
    call = piece(id="a", function={"name": "one", "arguments": "{}"})
    response, heard = await send(answering(sse(thought, call, chunk({}, "tool_calls"))))
    turn = Message(role="assistant", content="", tool_calls=response.tool_calls, native=response.native)

    same = await sent_body(request(messages=(turn,)))
    other = await sent_body(request(messages=(turn,)), model_id="acme/small")

    assert heard == []
    assert same["messages"][-1]["reasoning_content"] == "Hm"
    assert "reasoning_content" not in other["messages"][-1]


async def test_reasoning_before_an_answer_is_not_kept() -> None:
    response, _ = await send(answering(sse(chunk({"reasoning_content": "Hm"}), chunk({"content": "x"}, "stop"))))

    assert response.native is None


async def test_a_tool_call_that_the_server_could_not_read_is_a_rejected_request() -> None:
    body = error_body("Tool call validation failed", type="invalid_request_error", code="tool_use_failed")

    with pytest.raises(ProviderRejected, match="Tool call validation failed"):
        await send(answering(body, 400))
    with pytest.raises(ProviderRejected):
        await send(answering(sse(json.loads(body))))


async def test_a_strict_schema_is_asked_for_only_where_the_schema_allows_it() -> None:
    closed: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {}},
        "required": ["a"],
        "additionalProperties": False,
    }

    body = await sent_body(request(response_schema=closed))
    assert body["response_format"]["json_schema"]["strict"] is True
    body = await sent_body(request(response_schema={**closed, "required": ["b"]}))
    assert body["response_format"]["json_schema"]["strict"] is False


async def test_openais_account_ids_stay_with_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-canary")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-canary")
    received: list[httpx.Request] = []

    def respond(one: httpx.Request) -> httpx.Response:
        received.append(one)
        return answering(sse(*HELLO))(one)

    await send(respond)

    assert "canary" not in " ".join(value for name, value in received[0].headers.items() if name != "authorization")
