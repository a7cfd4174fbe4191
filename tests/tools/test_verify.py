"""Answers that are verified, as a host sees it: the real server and its sandbox through the SDK's client, in both eras."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from mcp import Client

import server
from tests.host import Era, data_of, text_of
from tests.upstream import Upstream
from tools.readiness import run_tests
from tools.sandbox import Sandbox
from tools.sandbox.bubblewrap import Bubblewrap

pytestmark = pytest.mark.anyio
needs_sandbox = pytest.mark.skipif(Bubblewrap().missing() is not None, reason=str(Bubblewrap().missing()))
MODEL = "openai/gpt-4.1"
DOUBLE = {"prompt": "Write a Python function double(x).", "force_model": MODEL}
CODE = "```python\ndef double(x):\n    return 2 * x\n```"


async def called(era: Era, **arguments: Any) -> dict[str, Any]:
    async with Client(server.mcp, mode=era) as host:
        return data_of(await host.call_tool("route_and_answer", arguments))


async def refused(tool: str, **arguments: Any) -> str:
    async with Client(server.mcp) as host:
        result = await host.call_tool(tool, arguments)
    assert result.is_error
    return text_of(result)


@needs_sandbox
@pytest.mark.usefixtures("environment")
async def test_code_that_passes_the_callers_tests_is_verified(era: Era, upstream: Upstream) -> None:
    upstream.text = CODE

    async with Client(server.mcp, mode=era) as host:
        result = await host.call_tool("route_and_answer", {**DOUBLE, "verify": "code", "tests": "double(2) == 4"})
    data = data_of(result)

    assert ", verified: code, tests]" in text_of(result)
    [step] = data["verification"]
    assert (step["verdict"], step["checked"]) == ("verified", ["complete", "answered", "code", "tests"])
    assert step["returned"]
    assert step["cost_usd"] == data["actual_cost_usd"]


@needs_sandbox
@pytest.mark.usefixtures("environment")
async def test_code_that_fails_them_is_mended_once_and_what_failed_is_told(upstream: Upstream) -> None:
    upstream.text = CODE

    data = await called("auto", **DOUBLE, tests="assert double(2) == 5, 'two and two'")

    assert [(step["kind"], step["verdict"]) for step in data["verification"]] == [
        ("answer", "failed"),
        ("repair", "failed"),
    ]
    assert "two and two" in data["verification"][0]["failed"][0]
    assert any(notice.startswith("Not passed") for notice in data["notices"])
    assert len(upstream.requests) == 2


@pytest.mark.usefixtures("environment")
async def test_samples_that_agree_are_called_agreed_and_their_cost_is_told(era: Era, upstream: Upstream) -> None:
    data = await called(era, prompt="What is the capital of France?", force_model=MODEL, verify="self")

    [step] = data["verification"]
    assert (step["verdict"], step["checked"][-1]) == ("agreed", "agreement")
    assert 0 < step["check_cost_usd"] < step["cost_usd"] == data["actual_cost_usd"]
    assert len(upstream.requests) == 2


@pytest.mark.usefixtures("environment")
async def test_where_nothing_can_be_checked_nothing_is_claimed(era: Era) -> None:
    data = await called(era, prompt="What is the capital of France?", force_model=MODEL)

    assert [step["verdict"] for step in data["verification"]] == ["unchecked"]


@pytest.mark.usefixtures("environment")
async def test_a_judge_that_gives_no_verdict_leaves_the_answer_unchecked(upstream: Upstream) -> None:
    question = {"prompt": "What is the capital of France?", "force_model": "openai/gpt-5-nano"}

    data = await called("auto", **question, verify="custom", criteria="It names a city.")

    [step] = data["verification"]
    assert step["verdict"] == "unchecked"
    assert any("no verdict" in notice for notice in data["notices"])
    first, judge = upstream.requests
    assert first.body["model"] != judge.body["model"]
    assert "It names a city." in str(judge.body)


@pytest.mark.usefixtures("environment")
async def test_what_a_mode_lacks_is_said_before_anything_is_paid(upstream: Upstream) -> None:
    assert "needs response_schema" in await refused("route_and_answer", prompt="Hi.", verify="schema")
    assert "criteria go together" in await refused("route_and_answer", prompt="Hi.", verify="custom")
    assert "criteria go together" in await refused("route_batch", prompts=["Hi."], verify="custom")
    assert "verify" in await refused("route_batch", prompts=["Hi."], verify="twice")
    assert not upstream.requests


@pytest.mark.usefixtures("environment")
async def test_the_tasks_of_a_batch_are_verified_alike(upstream: Upstream) -> None:
    async with Client(server.mcp) as host:
        arguments = {"prompts": ["Capital of France?", "City of light?"], "force_model": MODEL, "verify": "self"}
        data = data_of(await host.call_tool("route_batch", arguments))

    assert [item["response"] for item in data["items"]] == ["Paris.", "Paris."]
    assert len(upstream.requests) == 4


# Tests in the sandbox


@pytest.fixture
async def sandbox(anyio_backend: str) -> AsyncGenerator[Sandbox]:
    made = Sandbox([Bubblewrap()], pool_size=0)
    yield made
    await made.aclose()


@needs_sandbox
@pytest.mark.parametrize(
    ("program", "passed", "said"),
    [
        ("x = 1\nassert x == 1", True, "pass"),
        ("assert 1 == 2, 'one is not two'", False, "one is not two"),
        ("raise SystemExit\nassert 1 == 2", False, "it exited before its tests"),
        ("raise SystemExit(3)", False, "SystemExit: 3"),
    ],
)
async def test_a_program_passes_only_where_it_was_run_to_its_end(
    sandbox: Sandbox, program: str, passed: object, said: str
) -> None:
    finding = await run_tests(sandbox, program)

    assert finding is not None
    assert finding.passed is passed
    assert said in finding.detail


async def test_without_a_sandbox_nothing_is_found_out() -> None:
    assert await run_tests(Sandbox([]), "assert 1 == 2") is None
