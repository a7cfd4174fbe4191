"""Embeddings over each wire that has them, under the real SDKs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pytest

from routing.dispatch.providers.anthropic import Anthropic
from routing.dispatch.providers.compatible import Compatible
from routing.dispatch.providers.google import Google
from routing.dispatch.providers.openai import OpenAI
from routing.dispatch.providers.vectors import Vectors
from routing.errors import (
    AuthenticationFailed,
    ProviderError,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
)
from routing.types import Access, ModelRequest, ModelResponse, Provider, Usage
from tests.builders import target

pytestmark = pytest.mark.anyio
KEY = "sk-embed-canary"
Respond = Callable[[httpx.Request], httpx.Response]
TEXTS = ("one", "two")


def openai_reply(count: int = 2, usage: Any = None) -> dict[str, Any]:
    rows = [{"object": "embedding", "index": index, "embedding": [float(index), 0.5]} for index in range(count)]
    reply: dict[str, Any] = {"object": "list", "data": rows[::-1], "model": "m"}
    return {**reply, "usage": usage} if usage else reply


def google_reply(count: int) -> dict[str, Any]:
    return {"embeddings": [{"values": [float(index), 0.5]} for index in range(count)]}


ADAPTERS: dict[str, tuple[Any, Any]] = {
    "openai": (OpenAI, openai_reply()),
    "compatible": (Compatible, openai_reply()),
    "google": (Google, google_reply(2)),
}
every_wire = pytest.mark.parametrize(("adapter", "reply"), ADAPTERS.values(), ids=ADAPTERS)


async def embed(adapter: Any, respond: Respond, texts: tuple[str, ...] = TEXTS) -> ModelResponse:
    access = Access(protocol="x", base_url="http://127.0.0.1:1/v1", api_key=KEY)
    provider: Provider = adapter(access, transport=httpx.MockTransport(respond))
    try:
        return await provider.embed(
            ModelRequest(messages=(), system="", max_output_tokens=0, texts=texts), target(api_model_id="embed-1")
        )
    finally:
        await provider.aclose()


def answering(body: Any, status: int = 200) -> Respond:
    return lambda _: httpx.Response(status, json=body)


@every_wire
async def test_vectors_come_in_the_order_of_the_texts(adapter: Any, reply: Any) -> None:
    response = await embed(adapter, answering(reply))

    assert response.vectors == ((0.0, 0.5), (1.0, 0.5))
    assert response.finish_reason == "stop"
    assert response.usage is None


@pytest.mark.parametrize("adapter", [OpenAI, Compatible])
async def test_the_openai_wire_is_sent_the_texts_and_tells_their_tokens(adapter: Any) -> None:
    asked: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=openai_reply(usage={"prompt_tokens": 7, "total_tokens": 7}))

    response = await embed(adapter, respond)

    assert asked[0].url.path == "/v1/embeddings"
    assert json.loads(asked[0].content) == {"model": "embed-1", "input": ["one", "two"], "encoding_format": "float"}
    assert response.usage == Usage(input_tokens=7, output_tokens=0)
    assert response.api_model_id == "m"


async def test_google_takes_each_text_as_a_content_of_its_own_a_hundred_a_call() -> None:
    counts: list[int] = []

    def respond(request: httpx.Request) -> httpx.Response:
        assert KEY not in str(request.url)
        counts.append(len(json.loads(request.content)["requests"]))
        return httpx.Response(200, json=google_reply(counts[-1]))

    response = await embed(Google, respond, tuple(map(str, range(150))))

    assert counts == [100, 50]
    assert len(response.vectors) == 150


@every_wire
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, ProviderRejected), (401, AuthenticationFailed), (429, RateLimited), (500, ProviderUnavailable)],
)
async def test_a_refusal_is_told_by_its_kind_and_without_the_key(
    adapter: Any, reply: Any, status: int, error: type[ProviderError]
) -> None:
    with pytest.raises(error) as raised:
        await embed(adapter, answering({"error": {"message": f"no: {KEY}", "code": status}}, status))

    assert KEY not in str(raised.value)


@every_wire
async def test_an_answer_of_too_few_vectors_or_of_another_shape_is_a_fault_of_the_server(
    adapter: Any, reply: Any
) -> None:
    too_few = openai_reply(1) if adapter is not Google else google_reply(1)
    bodies: list[Any] = [too_few, {"data": "none"}, []]
    for body in bodies:
        with pytest.raises(ProviderUnavailable):
            await embed(adapter, answering(body))


@every_wire
async def test_silence_is_a_timeout_and_a_closed_door_unavailable(adapter: Any, reply: Any) -> None:
    def slow(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    def refused(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ProviderTimeout):
        await embed(adapter, slow)
    with pytest.raises(ProviderUnavailable):
        await embed(adapter, refused)


async def test_anthropic_makes_none_and_says_so() -> None:
    with pytest.raises(ProviderRejected, match="makes no embeddings"):
        await embed(Anthropic, answering({}))


class Rows(list[list[float]]):
    def tolist(self) -> list[list[float]]:
        return list(self)


class TwoDimensions:
    async def embed(self, texts: Any, *, purpose: str) -> Rows:
        return Rows([[float(len(text)), 1.0] for text in texts])

    async def count_tokens(self, text: str) -> int:
        return len(text)


async def test_the_embedder_of_this_machine_is_a_provider_of_vectors_alone() -> None:
    vectors = Vectors(TwoDimensions())
    request = ModelRequest(messages=(), system="", max_output_tokens=0, texts=("a", "bcd"))

    response = await vectors.embed(request, target())

    assert response.vectors == ((1.0, 1.0), (3.0, 1.0))
    assert response.usage == Usage(input_tokens=4, output_tokens=0)

    async def on_text(_: str) -> None: ...

    with pytest.raises(ProviderRejected, match="vectors, not text"):
        await vectors.send(request, target(), on_text)
