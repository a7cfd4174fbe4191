from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable

import anyio
import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.embedded.discovery import (
    DiscoveredModel,
    DiscoveredServer,
    ServerAddress,
    ServerKind,
    billions_of,
    discover,
    ollama_url,
    tier_of,
)
from routing.errors import SettingsError

Answer = Callable[[httpx.Request], httpx.Response]

OLLAMA = {
    "models": [
        {
            "name": "qwen2.5:7b",
            "model": "qwen2.5:7b",
            "size": 4683087332,
            "details": {"family": "qwen2", "families": None, "parameter_size": "7.6B", "quantization_level": "Q4_K_M"},
        },
        {"name": "all-minilm:latest", "details": {"family": "bert", "parameter_size": "22.57M"}},
        {
            "name": "gpt-oss:120b-cloud",
            "remote_host": "https://ollama.com:443",
            "details": {"parameter_size": "116.8B"},
        },
    ]
}
LM_STUDIO = {
    "object": "list",
    "data": [
        {
            "id": "qwen2-vl-7b-instruct",
            "type": "vlm",
            "quantization": "4bit",
            "loaded_context_length": 4096,
            "max_context_length": 32768,
        },
        {"id": "bge-m3", "type": "embeddings", "quantization": "Q4_0", "max_context_length": 2048},
    ],
}
VLLM = {"object": "list", "data": [{"id": "mistralai/Mixtral-8x7B-v0.1", "owned_by": "vllm", "max_model_len": 32768}]}
LLAMA_CPP = {
    "models": [{"name": "local"}],
    "data": [{"id": "local", "owned_by": "llamacpp", "meta": {"n_ctx": 8192, "n_params": 630167424}}],
}


def serving(**bodies: object) -> Answer:
    """Answers with JSON at the paths given as ``api_tags`` for ``/api/tags``; elsewhere 404."""
    by_path = {"/" + path.replace("_", "/"): body for path, body in bodies.items()}

    def answer(request: httpx.Request) -> httpx.Response:
        body = by_path.get(request.url.path)
        return httpx.Response(404) if body is None else httpx.Response(200, json=body)

    return answer


async def found_at(kind: ServerKind, answer: Answer) -> tuple[DiscoveredServer, ...]:
    address = ServerAddress(kind=kind, root="http://127.0.0.1:9")
    return await discover([address], timeout_seconds=5, transport=httpx.MockTransport(answer))


@pytest.mark.anyio
async def test_ollama_is_known_by_its_tags_without_the_models_of_its_cloud() -> None:
    [server] = await found_at("ollama", serving(api_tags=OLLAMA))
    assert (server.kind, server.base_url) == ("ollama", "http://127.0.0.1:9/v1")
    assert server.models == (
        DiscoveredModel(api_model_id="qwen2.5:7b", parameters_billions=7.6, quantization="Q4_K_M"),
        DiscoveredModel(api_model_id="all-minilm:latest", kind="embedding", parameters_billions=0.02257),
    )


@pytest.mark.anyio
async def test_lm_studio_says_type_quantization_and_the_context_that_is_loaded() -> None:
    [server] = await found_at("lm_studio", serving(api_v0_models=LM_STUDIO))
    assert server.kind == "lm_studio"
    assert server.models == (
        DiscoveredModel(
            api_model_id="qwen2-vl-7b-instruct", parameters_billions=7, context_window=4096, quantization="4bit"
        ),
        DiscoveredModel(api_model_id="bge-m3", kind="embedding", context_window=2048, quantization="Q4_0"),
    )


@pytest.mark.anyio
async def test_an_older_lm_studio_is_asked_the_openai_way() -> None:
    [server] = await found_at("lm_studio", serving(v1_models={"data": [{"id": "some-model"}]}))
    assert server.kind == "lm_studio"
    assert server.models == (DiscoveredModel(api_model_id="some-model"),)


@pytest.mark.anyio
async def test_vllm_and_llama_cpp_are_told_by_what_they_say_not_by_their_port() -> None:
    [vllm] = await found_at("llama_cpp", serving(v1_models=VLLM))
    [llama_cpp] = await found_at("vllm", serving(v1_models=LLAMA_CPP))
    [other] = await found_at("vllm", serving(v1_models={"data": [{"id": "x", "owned_by": "me"}]}))
    assert (vllm.kind, llama_cpp.kind, other.kind) == ("vllm", "llama_cpp", "openai_compatible")
    assert vllm.models[0].parameters_billions == 56
    assert vllm.models[0].context_window == 32768
    assert llama_cpp.models[0].parameters_billions == pytest.approx(0.63, abs=0.001)
    assert llama_cpp.models[0].context_window == 8192


@pytest.mark.anyio
async def test_a_model_named_for_embeddings_is_not_a_chat_model() -> None:
    [server] = await found_at("openai_compatible", serving(v1_models={"data": [{"id": "Nomic-Embed-Text"}]}))
    assert server.models[0].kind == "embedding"


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


async def _endless() -> AsyncGenerator[bytes]:
    while True:
        yield b" " * 65_536


ODDITIES: dict[str, Answer] = {
    "refused": _refuse,
    "404": lambda _: httpx.Response(404),
    "401": lambda _: httpx.Response(401, json=OLLAMA | VLLM),
    "redirect": lambda _: httpx.Response(302, headers={"Location": "http://elsewhere.test/"}),
    "html": lambda _: httpx.Response(200, text="<!doctype html><title>It works!</title>"),
    "garbage": lambda _: httpx.Response(200, content=b"\xff\x00{"),
    "error": lambda _: httpx.Response(200, json={"error": "Unexpected endpoint"}),
    "list": lambda _: httpx.Response(200, json=[1, 2]),
    "strange": lambda _: httpx.Response(200, json={"data": [{"name": "no id"}], "models": [{"id": "no name"}]}),
    "endless": lambda _: httpx.Response(200, content=_endless()),
    "bad gzip": lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=_endless()),
}


@pytest.mark.parametrize("kind", ["ollama", "lm_studio", "vllm", "llama_cpp", "openai_compatible"])
@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.anyio
async def test_a_port_where_something_else_answers_is_no_server_and_no_error(kind: ServerKind, oddity: str) -> None:
    assert await found_at(kind, ODDITIES[oddity]) == ()


@pytest.mark.anyio
async def test_a_server_that_drips_is_left_in_time_and_does_not_keep_the_others() -> None:
    async def drip() -> AsyncGenerator[bytes]:
        yield b"{"
        await anyio.sleep_forever()

    def answer(request: httpx.Request) -> httpx.Response:
        drips = request.url.port == 1
        return httpx.Response(200, content=drip()) if drips else httpx.Response(200, content=json.dumps(VLLM))

    addresses = [ServerAddress(kind="vllm", root=f"http://127.0.0.1:{port}") for port in (1, 2)]
    with anyio.fail_after(5):
        servers = await discover(addresses, timeout_seconds=0.1, transport=httpx.MockTransport(answer))
    assert [server.base_url for server in servers] == ["http://127.0.0.1:2/v1"]


@pytest.mark.anyio
async def test_the_servers_come_in_the_order_in_which_they_were_asked_for() -> None:
    first_may_answer = anyio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.port == 1:
            await first_may_answer.wait()
        first_may_answer.set()
        return httpx.Response(200, json=VLLM)

    addresses = [ServerAddress(kind="vllm", root=f"http://127.0.0.1:{port}") for port in (1, 2)]
    servers = await discover(addresses, timeout_seconds=5, transport=httpx.MockTransport(answer))
    assert [server.base_url for server in servers] == ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),  # noqa: S104 - not bound to
        ("0.0.0.0:8000", "http://127.0.0.1:8000"),
        (":8000", "http://127.0.0.1:8000"),
        ("box", "http://box:11434"),
        ("box:8000", "http://box:8000"),
        ("http://box:8000", "http://box:8000"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box/ollama/", "https://box:443/ollama"),
        ("::1", "http://[::1]:11434"),
        ("[::]:8000", "http://[::1]:8000"),
        (' "box:8000" ', "http://box:8000"),
    ],
)
def test_every_form_of_ollama_host_becomes_an_address_to_call(text: str, url: str) -> None:
    assert ollama_url(text) == url


@pytest.mark.parametrize("text", ["box:port", "box:70000", "ftp://box", "http://[::1", "my box", "a@b", "box/\x1fa"])
def test_an_ollama_host_of_no_known_form_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="OLLAMA_HOST"):
        ollama_url(text)


@given(st.text())
def test_any_ollama_host_is_either_refused_or_an_address_that_stays_itself(text: str) -> None:
    try:
        url = ollama_url(text)
    except SettingsError:
        return
    assert httpx.URL(url).host
    assert ollama_url(url) == url


@pytest.mark.parametrize(
    ("text", "billions"), [("7.6B", 7.6), ("494.03M", 0.49403), ("1T", 1000), ("", None), ("big", None)]
)
def test_a_parameter_size_is_read_in_billions(text: str, billions: float | None) -> None:
    assert billions_of(text) == (billions if billions is None else pytest.approx(billions))


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen2.5-coder-1.5b-instruct", 1.5),
        ("Mixtral-8x7B", 56),
        ("qwen3:30b-a3b", 30),
        ("phi-4", None),
        ("2bit", None),
    ],
)
@pytest.mark.anyio
async def test_where_a_server_says_nothing_of_the_size_the_name_may(name: str, billions: float | None) -> None:
    [server] = await found_at("vllm", serving(v1_models={"data": [{"id": name}]}))
    assert server.models[0].parameters_billions == billions


def test_the_guessed_tier_follows_the_size() -> None:
    assert [tier_of(size) for size in (0.5, 3.9, 4, 13.9, 14, 79, 400, None)] == [4, 4, 3, 3, 2, 2, 2, 3]


@given(st.floats(0, 2000), st.floats(0, 2000))
def test_a_larger_model_is_never_guessed_into_a_worse_tier(one: float, other: float) -> None:
    assert tier_of(max(one, other)) <= tier_of(min(one, other))
