"""Patterns as a host sees them: the real server through the SDK's client, in both protocol eras; scripted is the upstream."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from typer.testing import CliRunner

import server
from cli import app
from tests.host import Era, data_of, text_of
from tests.upstream import Upstream

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("environment")]
TASK = "Compare rust and go for a small web service."
CHAIN = {"kind": "chain", "steps": [{"prompt": "Outline: {input}"}, {"prompt": "Write it: {previous}"}]}


class Scripted(Upstream):
    """Answers by what it was asked last; a number fails the call with that status. The gate holds answers back."""

    def __init__(self) -> None:
        super().__init__()
        self.by_prompt: Callable[[str], str | int] = str
        self.gate = threading.Event()
        self.gate.set()
        self.script = self._said

    def _said(self, body: dict[str, Any]) -> str | int:
        self.gate.wait(30)
        return self.by_prompt(body["messages"][-1]["content"])

    def __exit__(self, *error: object) -> None:
        self.gate.set()
        super().__exit__(*error)


@pytest.fixture
def upstream() -> Generator[Scripted]:
    """What the machine of `environment` asks."""
    with Scripted() as running:
        yield running


@asynccontextmanager
async def client(era: Era) -> AsyncGenerator[Client]:
    async with Client(server.mcp, mode=era) as connected:
        yield connected


def spent(steps: list[dict[str, Any]]) -> float:
    return float(sum(step["cost_usd"] for step in steps))


async def test_a_chain_comes_with_its_steps_their_sum_and_where_a_long_one_can_be_read(
    era: Era, upstream: Scripted
) -> None:
    outline = "A long outline. " * 50
    upstream.by_prompt = lambda prompt: (
        outline if prompt.startswith("Outline: ") else f"About {len(prompt)} characters."
    )
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": TASK, "pattern": CHAIN})
        data = data_of(result)
        first = data["steps"][0]
        whole = data_of(await host.call_tool("get_answer", {"route_id": first["route_id"]}))
        report = data_of(await host.call_tool("usage_report", {"period": "day"}))

    assert data["status"] == "completed"
    assert data["response"] == f"About {len('Write it: ' + outline)} characters."
    assert [(step["name"], step["role"], step["status"]) for step in data["steps"]] == [
        ("step 1", "single", "completed"),
        ("step 2", "single", "completed"),
    ]
    assert first["response"] == outline[:400]
    assert first["next_start_index"] == 400
    assert whole["response"] == outline
    assert data["task_analysis"]["pattern"] == "prompt_chaining"
    assert data["actual_cost_usd"] == pytest.approx(spent(data["steps"]))
    assert data["actual_input_tokens"] == 20 * len(upstream.requests)
    assert report["totals"]["cost_usd"] == pytest.approx(data["actual_cost_usd"])
    assert "[prompt_chaining in 2 steps, $" in text_of(result)


async def test_roles_choose_models_of_their_tiers_from_the_shipped_registry(era: Era, upstream: Scripted) -> None:
    def script(prompt: str) -> str:
        if prompt.startswith("Divide"):
            return json.dumps({"subtasks": [{"task": "rust", "needs": []}, {"task": "go", "needs": [1]}]})
        return f"<{prompt[-20:]}>"

    upstream.by_prompt = script
    async with client(era) as host:
        data = data_of(
            await host.call_tool(
                "route_and_answer", {"prompt": TASK, "pattern": {"kind": "orchestrate", "subtasks": 3}}
            )
        )
        models = data_of(await host.call_tool("list_models", {}))["models"]

    tiers = {model["model_id"]: model["tier"] for model in models}
    assert [step["role"] for step in data["steps"]] == ["planner", "worker", "worker", "synthesizer"]
    plan, *works, synthesis = [tiers[step["model_used"]] for step in data["steps"]]
    assert plan == 1
    assert set(works) <= {3, 4}
    assert synthesis in {2, 3}


async def test_a_step_that_fails_leaves_a_partial_answer_that_says_what_is_missing(
    era: Era, upstream: Scripted
) -> None:
    upstream.by_prompt = lambda prompt: 400 if prompt.startswith("Write") else "An outline."
    chain = {"kind": "chain", "steps": [*CHAIN["steps"], {"prompt": "Shorten"}]}
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": TASK, "pattern": chain})

    data = data_of(result)
    assert (data["status"], data["response"]) == ("partial", "An outline.")
    assert [step["status"] for step in data["steps"]] == ["completed", "failed", "skipped"]
    assert "busy" in data["steps"][1]["detail"]
    assert "PARTIAL answer. Missing: step 2 (failed), step 3 (skipped)" in text_of(result)
    assert data["actual_cost_usd"] == pytest.approx(spent(data["steps"]))


async def test_a_worker_that_fails_on_the_wire_takes_only_what_needs_it_and_the_bill_is_the_sum_of_the_parts(
    era: Era, upstream: Scripted
) -> None:
    def script(prompt: str) -> str | int:
        if prompt.startswith("Divide"):
            parts: list[tuple[str, list[int]]] = [("rust", []), ("go", [1]), ("both", [2])]
            return json.dumps({"subtasks": [{"task": task, "needs": needs} for task, needs in parts]})
        return 500 if prompt.endswith("nothing else:\ngo") else f"<{prompt[-30:]}>"

    upstream.by_prompt = script
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": TASK, "pattern": {"kind": "orchestrate"}})
        report = data_of(await host.call_tool("usage_report", {"period": "day"}))

    data = data_of(result)
    assert {step["name"]: step["status"] for step in data["steps"]} == {
        "plan": "completed",
        "part 1": "completed",
        "part 2": "failed",
        "synthesis": "completed",
        "part 3": "skipped",
    }
    assert data["status"] == "partial"
    assert data["response"].endswith("could not be done.)>")
    assert report["totals"]["cost_usd"] == pytest.approx(data["actual_cost_usd"]) == pytest.approx(spent(data["steps"]))


async def test_a_pattern_that_outlives_its_call_is_waited_for_by_get_answer_with_all_its_steps(
    era: Era, upstream: Scripted
) -> None:
    upstream.gate.clear()
    upstream.by_prompt = lambda prompt: f"<{prompt[:7]}>"
    async with client(era) as host:
        arguments = {"prompt": TASK, "pattern": CHAIN, "deadline_seconds": 0.2, "detach": True}
        running = data_of(await host.call_tool("route_and_answer", arguments))
        upstream.gate.set()
        data = data_of(await host.call_tool("get_answer", {"route_id": running["route_id"]}))
    async with client(era) as host:
        again = data_of(await host.call_tool("get_answer", {"route_id": running["route_id"], "wait_seconds": 0}))

    assert running["status"] == "running"
    assert [step["response"] for step in data["steps"]] == ["<Outline>", "<Write i>"]
    assert data["actual_cost_usd"] == pytest.approx(spent(data["steps"])) != 0
    assert data == again


async def test_an_empty_pattern_tells_the_forms_and_nothing_is_asked(era: Era, upstream: Scripted) -> None:
    async with client(era) as host:
        result = await host.call_tool("route_and_answer", {"prompt": TASK, "pattern": {}})

    assert result.is_error
    assert '{"kind": "evaluate", "criteria": [' in text_of(result)
    assert not upstream.requests


def test_the_terminal_takes_a_pattern_from_a_file(upstream: Scripted, tmp_path: Path) -> None:
    upstream.by_prompt = lambda prompt: f"<{prompt[:7]}>"
    file = tmp_path / "chain.json"
    file.write_text(json.dumps(CHAIN), encoding="utf-8")

    done = CliRunner().invoke(app, ["ask", TASK, "--pattern", str(file), "--json"])
    said = CliRunner().invoke(app, ["ask", TASK, "--pattern", str(file)])

    data = json.loads(done.stdout)
    assert data["response"] == "<Write i>"
    assert [step["status"] for step in data["steps"]] == ["completed", "completed"]
    assert "step 2 (single) completed" in said.stderr
