"""What only OpenAI's Responses API has. What it shares with the others is in test_contract.py."""

from __future__ import annotations

from typing import Any

import pytest

from routing.dispatch.providers.openai import OpenAI
from routing.errors import ContentFiltered, ProviderError, ProviderRejected, ProviderTimeout, ProviderUnavailable
from routing.types import Message, ModelRequest, ModelResponse
from tests.builders import request
from tests.dispatch.dialects import Event, Responses, ask, sent, streaming

pytestmark = pytest.mark.anyio
WIRE = Responses()


async def answer(*events: Event) -> ModelResponse:
    response, _ = await ask(OpenAI, WIRE.base_url, streaming(WIRE.wire(events)))
    return response


async def body_sent(a_request: ModelRequest | None = None, **facts: Any) -> Event:
    _, body = await sent(OpenAI, WIRE.base_url, WIRE.wire(WIRE.ends()), a_request, **facts)
    return body


async def test_nothing_is_stored_and_no_temperature_is_sent() -> None:
    body = await body_sent()

    assert body["store"] is False
    assert body["instructions"] == "Answer."
    assert "temperature" not in body


async def test_a_reasoning_model_is_asked_for_its_encrypted_thoughts_and_for_an_effort() -> None:
    body = await body_sent(thinking="effort", effort="high")
    assert body["reasoning"] == {"effort": "high"}
    assert body["include"] == ["reasoning.encrypted_content"]

    body = await body_sent(thinking="effort", effort="none")
    assert "reasoning" not in body

    body = await body_sent(thinking="none", effort="high")
    assert not {"reasoning", "include"} & set(body)


async def test_the_bound_is_never_below_what_the_api_takes() -> None:
    assert (await body_sent(request(max_output_tokens=5)))["max_output_tokens"] == 16


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "required": [], "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
        ({"anyOf": [{"type": "string"}, {"type": "object"}]}, False),
    ],
)
async def test_strict_is_asked_for_only_where_the_schema_allows_it(schema: dict[str, object], *, strict: bool) -> None:
    assert (await body_sent(request(response_schema=schema)))["text"]["format"]["strict"] is strict


async def test_a_refusal_is_heard_and_ends_as_filtered() -> None:
    response = await answer({"type": "response.refusal.delta", "delta": "I cannot."}, WIRE.completed([]))

    assert response.text == "I cannot."
    assert response.finish_reason == "content_filter"


async def test_a_call_that_was_cut_off_is_not_offered_as_whole() -> None:
    response = await answer(WIRE.completed([WIRE.call("a", "web_search", '{"q": "')], "max_output_tokens"))

    assert response.finish_reason == "length"


async def test_an_incomplete_answer_for_an_unknown_reason_is_an_error() -> None:
    assert (await answer(WIRE.completed([], "tired"))).finish_reason == "error"


async def test_thoughts_without_their_encrypted_form_do_not_go_back() -> None:
    """The API would look them up by id, and nothing was stored."""
    bare: Event = {"type": "reasoning", "id": "rs_1", "summary": []}
    response = await answer(WIRE.completed([bare, WIRE.call("a", "web_search", "{}")]))

    assert response.native is None
    assert len(response.tool_calls) == 1


async def test_a_turn_without_words_is_its_calls_alone() -> None:
    response = await answer(*WIRE.calls(("a", "web_search", "{}")))
    turn = Message(role="assistant", content="", tool_calls=response.tool_calls)

    body = await body_sent(request(messages=(turn,)))

    assert body["input"] == [{"type": "function_call", "call_id": "a", "name": "web_search", "arguments": "{}"}]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("server_error", ProviderUnavailable),
        ("vector_store_timeout", ProviderTimeout),
        ("invalid_image", ProviderRejected),
        ("image_too_large", ProviderRejected),
        ("bio_policy", ContentFiltered),
        ("something_new", ProviderUnavailable),
    ],
)
async def test_a_failed_response_is_told_by_its_code(code: str, expected: type[ProviderError]) -> None:
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"code": code, "message": "no"}}}

    with pytest.raises(ProviderError, match="no") as failure:
        await answer(failed)
    assert type(failure.value) is expected


async def test_an_error_event_keeps_the_servers_words() -> None:
    with pytest.raises(ProviderUnavailable, match="at capacity"):
        await answer({"type": "error", "code": "server_error", "message": "at capacity"})


async def test_a_failure_without_an_error_is_still_a_failure() -> None:
    with pytest.raises(ProviderUnavailable, match="no reason given"):
        await answer({"type": "response.failed", "response": {"status": "failed", "error": None}})
