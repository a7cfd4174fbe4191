"""What only Google's Gemini API has. What it shares with the others is in test_contract.py."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from routing.dispatch.providers.google import Google
from routing.errors import AuthenticationFailed, ContentFiltered, ProviderUnavailable, RateLimited
from routing.types import FinishReason, Message, ModelRequest, ModelResponse, ToolCall, ToolSpec
from tests.builders import request
from tests.dispatch.dialects import Event, Gemini, ask, failing, sent, streaming

pytestmark = pytest.mark.anyio
WIRE = Gemini()
HI = Message(role="user", content="hi")
CALL = ToolCall(id="a", name="web_search", arguments='{"q": "x"}')


async def answer(*events: Event) -> ModelResponse:
    response, _ = await ask(Google, WIRE.base_url, streaming(WIRE.wire(events)))
    return response


async def body_sent(a_request: ModelRequest | None = None, **facts: Any) -> Event:
    _, body = await sent(Google, WIRE.base_url, WIRE.wire(WIRE.ends()), a_request, **facts)
    return body


@pytest.mark.parametrize("path", ["", "/", "/v1beta", "/v1", "/v1beta/openai", "/v1beta/openai/"])
async def test_the_address_may_come_with_or_without_its_version(path: str) -> None:
    received, _ = await sent(Google, f"http://test/proxy{path}", WIRE.wire(WIRE.ends()))

    assert str(received.url) == "http://test/proxy/v1beta/models/large-1:streamGenerateContent?alt=sse"


async def test_the_key_is_in_googles_own_header() -> None:
    received, _ = await sent(Google, WIRE.base_url, WIRE.wire(WIRE.ends()))

    assert "canary" in received.headers["x-goog-api-key"]
    assert "authorization" not in received.headers


@pytest.mark.parametrize(
    ("thinking", "effort", "expected"),
    [
        ("none", "high", None),
        ("level", "none", {"thinking_level": "LOW"}),
        ("level", "medium", {"thinking_level": "MEDIUM"}),
        ("level", "high", {"thinking_level": "HIGH"}),
        ("budget", "none", {"thinking_budget": 0}),
        ("budget", "low", {"thinking_budget": 1_024}),
        ("budget", "high", {"thinking_budget": 6_000}),
    ],
)
async def test_thinking_is_asked_for_as_the_model_takes_it(thinking: str, effort: str, expected: Event | None) -> None:
    body = await body_sent(request(max_output_tokens=8_000), thinking=thinking, effort=effort)

    wanted = expected and {"include_thoughts": False, **expected}
    assert body["generationConfig"].get("thinkingConfig") == wanted


async def test_tools_keep_their_json_schema() -> None:
    schema = {"type": "object", "properties": {"q": {"type": ["string", "null"]}}}
    tool = ToolSpec(name="web_search", description="Search.", input_schema=schema)

    body = await body_sent(request(tools=(tool,)))

    declaration = body["tools"][0]["functionDeclarations"][0]
    assert declaration == {"name": "web_search", "description": "Search.", "parameters_json_schema": schema}


async def test_a_system_message_in_the_conversation_joins_the_system_prompt() -> None:
    body = await body_sent(request(messages=(Message(role="system", content="Be brief."), HI)))

    assert body["systemInstruction"]["parts"][0]["text"] == "Answer.\n\nBe brief."
    assert [turn["role"] for turn in body["contents"]] == ["user"]


async def test_a_call_without_an_id_gets_one_that_its_turn_carries_too() -> None:
    call: Event = {"functionCall": {"name": "web_search", "args": {}}}
    response = await answer(WIRE.chunk(call), WIRE.chunk(call), *WIRE.ends())
    turn = Message(role="assistant", content="", tool_calls=response.tool_calls, native=response.native)

    body = await body_sent(request(messages=(HI, turn)))

    ids = [call.id for call in response.tool_calls]
    assert ids == ["call_r-1_0", "call_r-1_1"]
    assert [part["functionCall"]["id"] for part in body["contents"][1]["parts"] if "functionCall" in part] == ids


async def test_a_result_names_the_function_that_it_comes_from() -> None:
    turn = Message(role="assistant", content="", tool_calls=(CALL,))
    result = Message(role="tool", content="found", tool_call_id="a")

    body = await body_sent(request(messages=(HI, turn, result)))

    expected = {"id": "a", "name": "web_search", "response": {"output": "found"}}
    assert body["contents"][2] == {"role": "user", "parts": [{"functionResponse": expected}]}
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"q": "x"}


async def test_a_call_of_another_model_carries_the_stand_in_for_a_signature() -> None:
    turn = Message(role="assistant", content="", tool_calls=(CALL, CALL))

    leveled = await body_sent(request(messages=(HI, turn)), thinking="level")
    budgeted = await body_sent(request(messages=(HI, turn)), thinking="budget")

    signatures = [part.get("thoughtSignature") for part in leveled["contents"][1]["parts"]]
    assert base64.urlsafe_b64decode(signatures[0]) == b"skip_thought_signature_validator"
    assert signatures[1] is None
    assert "thoughtSignature" not in json.dumps(budgeted)


async def test_text_is_joined_and_a_signature_stays_with_its_part() -> None:
    signed = {"text": "", "thoughtSignature": base64.b64encode(b"s").decode()}
    response = await answer(*WIRE.begins("a", "b"), WIRE.chunk(signed), *WIRE.ends())
    turn = Message(role="assistant", content="ab", native=response.native)

    body = await body_sent(request(messages=(HI, turn, HI)))

    assert body["contents"][1] == {"role": "model", "parts": [{"text": "ab"}, signed, {"text": ""}]}


async def test_thoughts_are_not_part_of_the_text() -> None:
    response = await answer(WIRE.chunk({"text": "Hm", "thought": True}), *WIRE.begins("Yes"), *WIRE.ends())

    assert response.text == "Yes"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("LANGUAGE", "error"),
        ("OTHER", "error"),
    ],
)
async def test_a_finish_reason_is_looked_up(reason: str, expected: FinishReason) -> None:
    assert (await answer(WIRE.chunk(finishReason=reason))).finish_reason == expected


async def test_an_answer_that_could_be_continued_is_not_continued_behind_our_back() -> None:
    response = await answer({"candidates": [{"finishReason": "CONTINUATION", "continuationToken": "AAAA"}]})

    assert response.finish_reason == "length"


async def test_a_blocked_prompt_is_filtered_and_says_why() -> None:
    with pytest.raises(ContentFiltered, match="SAFETY"):
        await answer({"promptFeedback": {"blockReason": "SAFETY"}})


async def test_the_delay_that_a_rate_limit_asks_for_is_in_the_body() -> None:
    details: list[Event] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"},
    ]
    error = {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": details}

    with pytest.raises(RateLimited) as failure:
        await ask(Google, WIRE.base_url, failing(429, json.dumps({"error": error}).encode(), **{"retry-after": "1"}))
    assert failure.value.retry_after == 34.5


async def test_a_wrong_key_is_told_although_its_status_is_400() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    error = {"code": 400, "message": "Please renew it.", "status": "INVALID_ARGUMENT", "details": details}

    with pytest.raises(AuthenticationFailed):
        await ask(Google, WIRE.base_url, failing(400, json.dumps({"error": error}).encode()))


async def test_an_error_in_the_stream_without_a_code_is_still_a_provider_error() -> None:
    with pytest.raises(ProviderUnavailable):
        await answer({"error": {"message": "no"}})
