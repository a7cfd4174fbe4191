from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx
import platformdirs
import pytest
from mcp import Client

import server
from routing.dispatch.providers import one_call_each
from routing.dispatch.providers.anthropic import Anthropic
from routing.dispatch.providers.compatible import Compatible
from routing.dispatch.providers.local import Local
from routing.dispatch.providers.openai import OpenAI
from routing.dispatch.tool_loop import ToolLoop, unbooked
from routing.embedded.assets import QWEN_CODER_HALF_BILLION, fetch
from routing.embedded.runtime import MODEL_ID, EmbeddedRuntime
from routing.types import Access, Answer, ModelRequest, OnProgress, Progress, Target, ToolOutcome, ToolSpec
from tests.builders import request, target
from tests.host import data_of


async def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
def weights_folder() -> Path:
    home = Path(os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman"))
    for folder in (home / "models", home):
        if (folder / QWEN_CODER_HALF_BILLION.file_name).exists():
            return folder
    pytest.skip(f"there are no weights in {home}: fetch them with `pointsman pull`")


@pytest.mark.anyio
async def test_the_real_model_answers_on_this_machine(weights_folder: Path, tmp_path: Path) -> None:
    async def weights(on_progress: OnProgress) -> Path:
        return await fetch(QWEN_CODER_HALF_BILLION, weights_folder, on_progress)

    runtime = EmbeddedRuntime(weights, log_path=tmp_path / "llama.log")
    try:
        base_url = await runtime.base_url(ignore)
        question = {"role": "user", "content": "What is the capital of France? Answer in one word."}
        body = {"model": MODEL_ID, "messages": [question], "temperature": 0, "max_tokens": 8}
        async with httpx.AsyncClient(trust_env=False, timeout=120) as http:
            key = {"Authorization": f"Bearer {runtime.api_key}"}
            answer = (await http.post(f"{base_url}/chat/completions", json=body, headers=key)).json()
    finally:
        await runtime.aclose()
    assert "Paris" in answer["choices"][0]["message"]["content"]


WEATHER = ToolSpec(
    name="get_weather",
    description="Current weather of a city.",
    input_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


class Weather:
    """A toolbox that knows one city."""

    specs: Mapping[str, ToolSpec] = {"get_weather": WEATHER}

    def __init__(self) -> None:
        self.asked: list[object] = []

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        self.asked.append(arguments.get("city"))
        return ToolOutcome(text="Sunny, 21 degrees Celsius")


@pytest.mark.anyio
async def test_a_conversation_with_a_tool_runs_over_each_wire_that_the_server_speaks(
    weights_folder: Path, tmp_path: Path
) -> None:
    async def weights(on_progress: OnProgress) -> Path:
        return await fetch(QWEN_CODER_HALF_BILLION, weights_folder, on_progress)

    async def on_text(_: str) -> None: ...

    runtime = EmbeddedRuntime(weights, log_path=tmp_path / "llama.log")
    answers: dict[str, str] = {}
    try:
        access = Access(protocol="", base_url=await runtime.base_url(ignore), api_key=runtime.api_key)
        for wire in (OpenAI, Anthropic, Compatible):
            provider, toolbox = Local(wire(access, transport=one_call_each())), Weather()
            there = target(model_id="local/qwen", provider="local", api_model_id=MODEL_ID, max_output_tokens=200)

            async def ask(a_request: ModelRequest, provider: Local = provider, there: Target = there) -> Answer:
                response = await provider.send(a_request, there, on_text)
                assert response.usage is not None
                return Answer(model_id="local/qwen", response=response, usage=response.usage)

            question = request("What is the weather in Paris right now?", tools=(WEATHER,))
            conversation = await ToolLoop(toolbox=toolbox).converse(question, ask, ignore, unbooked)
            answers[wire.name] = conversation.answer.response.text
            assert toolbox.asked == ["Paris"], wire.name
            await provider.aclose()
    finally:
        await runtime.aclose()
    assert all("21" in answer for answer in answers.values()), answers


@pytest.mark.anyio
async def test_a_task_that_names_python_is_computed_in_the_sandbox_and_answered(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(weights_folder)
    for name, value in {"POINTSMAN_HOME": str(home), "POINTSMAN_DISCOVER": "false"}.items():
        monkeypatch.setenv(name, value)
    async with Client(server.mcp) as host:
        result = await host.call_tool("route_and_answer", {"prompt": "What is 2**127 - 1? Use Python."})

    assert result.structured_content is not None
    assert result.structured_content["model_used"] == "local/qwen2.5-coder-0.5b-instruct"
    assert "execute_python" in result.structured_content["tools_called"]
    assert "170141183460469231731687303715884105727" in result.structured_content["response"]


PATTERNS: dict[str, dict[str, Any]] = {
    "chain": {"steps": [{"prompt": "{input}"}, {"prompt": "Translate into French: {previous}"}]},
    "sections": {"sections": ["In one word: {input}", "In three words: {input}"]},
    "best_of": {"samples": 2, "choose": "vote"},
    "orchestrate": {"subtasks": 2},
    "evaluate": {"criteria": ["it names a city"], "rounds": 1},
}


@pytest.mark.anyio
async def test_every_pattern_runs_on_the_model_of_this_machine_from_its_first_step_to_its_last(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").symlink_to(weights_folder)
    for name, value in {"POINTSMAN_HOME": str(home), "POINTSMAN_DISCOVER": "false"}.items():
        monkeypatch.setenv(name, value)
    question = {"prompt": "What is the capital of France?", "max_tokens": 24, "verify": "none", "deadline_seconds": 300}
    answers: dict[str, dict[str, Any]] = {}
    async with Client(server.mcp) as host:
        for kind, spec in PATTERNS.items():
            pattern = {"kind": kind, **spec}
            answers[kind] = data_of(await host.call_tool("route_and_answer", {**question, "pattern": pattern}))

    for kind, data in answers.items():
        assert data["response"], kind
        assert data["status"] == "completed", (kind, data["steps"])
        assert {step["model_used"] for step in data["steps"]} == {"local/qwen2.5-coder-0.5b-instruct"}
    assert "Paris" in answers["best_of"]["response"]
    assert {"planner", "worker"} <= {step["role"] for step in answers["orchestrate"]["steps"]}
    assert [step["role"] for step in answers["evaluate"]["steps"]] == ["optimizer", "evaluator"]
