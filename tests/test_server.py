"""The server as a host sees it: the real `mcp` object through the SDK's client, in both protocol eras."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

import server
from tests.host import Era, data_of, text_of
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def client(era: Era) -> AsyncGenerator[Client]:
    async with Client(server.mcp, mode=era) as connected:
        yield connected


async def test_a_delegated_task_is_answered_with_model_tokens_cost_and_savings(
    era: Era, environment: dict[str, str]
) -> None:
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"})

    data = data_of(result)
    assert data["response"] == "Paris."
    assert data["status"] == "completed"
    assert data["model_used"].startswith("openai/")
    assert data["task_analysis"]["category"] == "qa_retrieval"
    assert data["actual_input_tokens"] == 20
    assert data["actual_output_tokens"] == 5
    assert data["actual_cost_usd"] > 0
    assert data["savings_usd"] == pytest.approx(data["baseline_cost_usd"] - data["actual_cost_usd"])
    assert text_of(result).startswith("Paris.")


async def test_texts_are_ranked_by_an_embedding_model(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    async with client(era) as host:
        arguments = {"prompt": "a b", "texts": ["dddd", "a c"]}
        result = await host.call_tool("route_and_answer", arguments)

    data = data_of(result)
    assert data["model_used"] == "openai/text-embedding-3-small"
    assert data["embeddings"]["form"] == "ranking"
    assert data["embeddings"]["similarities"][0] == {"text": 1, "other": None, "similarity": 1.0}
    assert data["actual_cost_usd"] == pytest.approx(20 * 0.02 / 1e6, abs=1e-6)
    assert upstream.requests[0].body["input"] == ["a b", "dddd", "a c"]
    assert text_of(result).startswith("1. 1.000 a c")


async def test_the_key_goes_to_the_provider_and_nowhere_else(
    era: Era, environment: dict[str, str], upstream: Upstream, tmp_path: Path
) -> None:
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"})

    assert upstream.requests[0].headers["authorization"] == "Bearer sk-canary"
    assert "sk-canary" not in result.model_dump_json()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file())
    assert b"sk-canary" not in kept


async def test_a_session_id_continues_the_conversation(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    async with client(era) as host:
        first = data_of(await host.call_tool("route_and_answer", {"prompt": "My name is Ada."}))
        await host.call_tool("route_and_answer", {"prompt": "What is my name?", "session_id": first["session_id"]})

    sent = [message["content"] for message in upstream.requests[-1].body["messages"] if message["role"] != "system"]
    assert sent == ["My name is Ada.", "Paris.", "What is my name?"]


async def test_classifying_calls_no_model(era: Era, environment: dict[str, str], upstream: Upstream) -> None:
    async with client(era) as host:
        data = data_of(await host.call_tool("classify_task", {"prompt": "Fix this bug:\n```python\nprint(x\n```"}))

    assert data["task_analysis"]["category"] == "complex_coding"
    assert data["model_selection"]["primary_model"]
    assert data["model_selection"]["reasoning"]
    assert data["model_selection"]["rejected"]
    assert data["delegate"]
    assert "POINTSMAN_HOST_MODEL" in data["delegate_reason"]
    assert not upstream.requests


@pytest.mark.parametrize(("setting", "asked"), [("off", 2), ("exact", 1)])
async def test_an_answer_is_given_again_where_that_is_set(
    setting: str, asked: int, environment: dict[str, str], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_ANSWER_CACHE", setting)
    async with client("auto") as host:
        first = data_of(await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"}))
        again = data_of(await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"}))
        report = data_of(await host.call_tool("usage_report", {}))

    assert len(upstream.requests) == asked
    assert first["response"] == again["response"]
    assert (first["cached"], again["cached"]) == (None, "exact" if asked == 1 else None)
    if asked == 1:
        assert again["actual_cost_usd"] == 0
        assert again["savings_usd"] == pytest.approx(first["actual_cost_usd"], abs=1e-6)
    assert report


@pytest.mark.parametrize("setting", ["off", "report", "apply"])
async def test_a_profile_is_reported_and_its_prompt_goes_along_only_where_it_is_applied(
    setting: str, environment: dict[str, str], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_PROFILES", setting)
    async with client("auto") as host:
        data = data_of(await host.call_tool("route_and_answer", {"prompt": "¿Dónde está mi pedido?"}))
        await host.call_tool("route_and_answer", {"prompt": "¿Dónde está mi pedido?", "system": "Sé breve."})

    assert data["task_analysis"]["profile"] == (None if setting == "off" else "support")
    first, own = (request.body["messages"][0]["content"] for request in upstream.requests)
    assert ("customer support" in first) is (setting == "apply")
    assert own == "Sé breve."


async def test_a_task_that_is_dearer_to_delegate_than_to_do_is_the_hosts(
    era: Era, environment: dict[str, str], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_HOST_MODEL", "openai/gpt-4.1-nano")
    async with client(era) as host:
        data = data_of(await host.call_tool("classify_task", {"prompt": "What is the capital of France?"}))

    assert not data["delegate"]
    assert data["delegate_reason"].startswith("Do it yourself: about $0.00")
    assert "on openai/gpt-4.1-nano" in data["delegate_reason"]


@pytest.mark.parametrize(
    ("model_id", "dollars"),
    [
        ("anthropic/claude-opus-4", 0.675),
        ("openai/o3", 0.400),
        ("anthropic/claude-sonnet-4", 0.135),
        ("openai/gpt-4.1", 0.080),
        ("google/gemini-2.5-pro", 0.075),
        ("openai/o4-mini", 0.044),
        ("deepseek/deepseek-r1", 0.02195),
        ("openai/gpt-4.1-nano", 0.004),
        ("google/gemini-2.5-flash", 0.0185),
    ],
)
async def test_ten_turns_of_2000_and_500_tokens_cost_what_the_price_list_says(
    environment: dict[str, str], model_id: str, dollars: float
) -> None:
    async with client("auto") as host:
        data = data_of(
            await host.call_tool(
                "estimate_cost", {"input_tokens": 2000, "output_tokens": 500, "turns": 10, "models": [model_id]}
            )
        )
    assert data["models"][0]["cost_usd"] == dollars


async def test_an_estimate_of_a_prompt_lists_every_configured_model_the_cheapest_first(
    era: Era, environment: dict[str, str]
) -> None:
    async with client(era) as host:
        data = data_of(await host.call_tool("estimate_cost", {"prompt": "Translate hello into French"}))

    costs = [row["cost_usd"] for row in data["models"] if row["cost_usd"] is not None]
    assert costs == sorted(costs)
    assert sum(row["chosen"] for row in data["models"]) == 1
    assert all(row["configured"] for row in data["models"])


async def test_the_models_that_can_be_used_are_listed_and_what_is_missing_is_told(
    era: Era, environment: dict[str, str]
) -> None:
    async with client(era) as host:
        data = data_of(await host.call_tool("list_models", {}))

    assert data["configured_providers"] == ["openai"]
    assert {row["provider"] for row in data["models"]} == {"openai"}
    assert data["not_configured"]["anthropic"] == "set ANTHROPIC_API_KEY"


async def test_the_health_of_a_model_is_what_the_ledger_saw_of_it(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    call = {"prompt": "Hello", "force_model": "openai/gpt-4.1"}
    async with client(era) as host:
        await host.call_tool("route_and_answer", call)
        upstream.status = 400
        await host.call_tool("route_and_answer", call)
        listed = data_of(await host.call_tool("list_models", {}))

    health = {row["model_id"]: row["health"] for row in listed["models"]}
    assert health["openai/gpt-4.1"]["attempts"] == 2
    assert health["openai/gpt-4.1"]["error_rate"] == 0.5
    assert health["openai/gpt-4.1"]["breaker"] == "closed"
    assert "ProviderRejected" in health["openai/gpt-4.1"]["last_error"]
    assert health["openai/o3"] is None


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("route_and_answer", {"prompt": ""}, "prompt: String should have at least 1 character"),
        ("route_and_answer", {"prompt": "   "}, "prompt is empty"),
        ("route_and_answer", {"prompt": "x", "modle": "gpt"}, "unknown argument 'modle'"),
        ("route_and_answer", {"prompt": "x", "force_modell": "gpt"}, "did you mean 'force_model'"),
        (
            "route_and_answer",
            {"prompt": "x", "max_cost_usd": -1},
            "max_cost_usd: Input should be greater than or equal",
        ),
        ("route_and_answer", {"prompt": "x", "max_tokens": 10**9}, "max_tokens: Input should be less than or equal"),
        ("route_and_answer", {"prompt": "x", "cost_preference": "free"}, "cost_preference: Input should be 'cheapest'"),
        ("route_and_answer", {"prompt": "x", "force_model": "openai/gpt-4.2"}, "Nearest: openai/gpt-4.1"),
        ("route_and_answer", {"prompt": "x", "force_model": "anthropic/claude-opus-4"}, "set ANTHROPIC_API_KEY"),
        (
            "route_and_answer",
            {"prompt": "x", "allowed_providers": ["groq"]},
            "no configured model meets the constraints",
        ),
        ("route_and_answer", {"prompt": "x", "session_id": "ses_x"}, "session"),
        ("route_and_answer", {"prompt": "x", "history": [{"role": "system", "content": "y"}]}, "history.0.role"),
        (
            "route_and_answer",
            {"prompt": "x", "history": [{"role": "user", "content": "y"}]},
            "history ends with a user",
        ),
        ("estimate_cost", {}, "Give prompt, or both input_tokens and output_tokens"),
        ("estimate_cost", {"input_tokens": 1, "output_tokens": 1, "models": ["nope/nothing"]}, "there is no model"),
    ],
)
async def test_bad_input_says_what_is_wrong_and_calls_nobody(
    environment: dict[str, str], upstream: Upstream, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with client("auto") as host:
        result = await host.call_tool(tool, arguments)

    assert result.is_error
    assert said in text_of(result)
    assert not upstream.requests


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
async def test_a_number_that_is_none_is_refused(environment: dict[str, str], number: str) -> None:
    async with client("auto") as host:
        result = await host.call_tool("route_and_answer", {"prompt": "x", "max_cost_usd": number})
    assert result.is_error
    assert "max_cost_usd" in text_of(result)


async def test_a_picture_goes_to_a_model_that_can_see(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    picture = {"media_type": "image/png", "data": base64.b64encode(b"\x89PNG").decode()}
    async with client(era) as host:
        seen = await host.call_tool("route_and_answer", {"prompt": "What is this?", "images": [picture]})
        blind = await host.call_tool(
            "route_and_answer", {"prompt": "What is this?", "images": [picture], "force_model": "openai/o3"}
        )
        broken = await host.call_tool(
            "route_and_answer", {"prompt": "x", "images": [{**picture, "data": "not base64!"}]}
        )

    content = upstream.requests[0].body["messages"][-1]["content"]
    assert content[1]["image_url"]["url"] == f"data:image/png;base64,{picture['data']}"
    assert data_of(seen)["response"] == "Paris."
    assert "it cannot see images" in text_of(blind)
    assert "images.0.data" in text_of(broken)
    assert len(upstream.requests) == 1


async def test_an_error_of_the_provider_reaches_the_model_as_text_it_can_act_on(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    upstream.status = 503
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": "Hello", "force_model": "openai/gpt-4.1"})

    assert result.is_error
    assert "every model that was tried failed" in text_of(result)
    assert "Trying again in a moment may help" in text_of(result)


async def test_progress_is_reported_with_numbers_that_only_grow(era: Era, environment: dict[str, str]) -> None:
    heard: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with client(era) as host:
        await host.call_tool("route_and_answer", {"prompt": "Hello"}, progress_callback=on_progress)

    numbers = [number for number, _ in heard]
    assert numbers == sorted(set(numbers))
    assert any("asking" in (message or "") for _, message in heard)


async def test_cancelling_a_call_closes_the_upstream_connection(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    upstream.hangs = True
    async with client(era) as host:
        with anyio.move_on_after(10), anyio.CancelScope() as call:
            async with anyio.create_task_group() as group:
                group.start_soon(_end_when, upstream.reached, call)
                await host.call_tool("route_and_answer", {"prompt": "Hello"})
        with anyio.fail_after(10):
            await anyio.to_thread.run_sync(upstream.hung_up.wait)


async def _end_when(event: Any, scope: anyio.CancelScope) -> None:
    await anyio.to_thread.run_sync(event.wait)
    scope.cancel()


async def test_every_tool_has_a_title_all_hints_described_arguments_and_an_output_schema(era: Era) -> None:
    tools = await server.mcp.list_tools()

    assert [tool.name for tool in tools] == [
        "route_and_answer",
        "classify_task",
        "estimate_cost",
        "get_answer",
        "route_batch",
        "list_models",
        "web_search",
        "fetch_url",
        "execute_python",
        "validate_python_syntax",
        "memory_store",
        "memory_search",
        "memory_list",
        "memory_delete",
        "usage_report",
        "record_feedback",
    ]
    for tool in tools:
        assert tool.title
        assert tool.annotations is not None
        hints = tool.annotations.model_dump(exclude={"title"}, exclude_unset=True)
        assert len(hints) == 4
        assert tool.output_schema is not None
        assert tool.input_schema["additionalProperties"] is False
        assert all("description" in argument for argument in tool.input_schema["properties"].values()), tool.name
