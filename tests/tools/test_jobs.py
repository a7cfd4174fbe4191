"""Long answers, slow ones and batches as a host sees them: the real server through the SDK's client, in both protocol eras."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from mcp_types import TextResourceContents

import composition
import server
from routing.tokens import TokenCounter
from tests.host import Era, data_of, text_of
from tests.upstream import Upstream
from tools.results import MOST_ANSWER_TOKENS, part_end

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("environment")]
QUESTION = {"prompt": "What is the capital of France?", "force_model": "openai/gpt-4.1"}


class Slow(Upstream):
    """Answers once its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        super().__init__()

    @property
    def text(self) -> str:
        """What it answers, for which the answer waits."""
        self.gate.wait(30)
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self._text = text

    def __exit__(self, *error: object) -> None:
        self.gate.set()
        super().__exit__(*error)


@pytest.fixture
def upstream() -> Generator[Slow]:
    """What the machine of `environment` asks."""
    with Slow() as running:
        yield running


@asynccontextmanager
async def client(era: Era) -> AsyncGenerator[Client]:
    async with Client(server.mcp, mode=era) as connected:
        yield connected


async def test_a_slow_task_is_running_within_its_deadline_and_the_answer_is_there_for_a_client_that_reconnected(
    era: Era, upstream: Slow
) -> None:
    settings = composition.settings_of(os.environ)
    async with server.lifespan.held(settings):
        async with client(era) as host:
            started = time.monotonic()
            running = data_of(await host.call_tool("route_and_answer", {**QUESTION, "deadline_seconds": 0.2}))
            took = time.monotonic() - started
        upstream.gate.set()
        async with client(era) as host:
            result = await host.call_tool("get_answer", {"route_id": running["route_id"]})

    answer = data_of(result)
    assert took < 1.2
    assert (running["status"], running["response"], running["model_used"]) == ("running", "", None)
    assert "get_answer" in running["notices"][0]
    assert (answer["status"], answer["response"]) == ("completed", "Paris.")
    assert answer["route_id"] == running["route_id"]
    assert answer["actual_cost_usd"] > 0
    assert text_of(result).startswith("Paris.")


async def test_an_answer_outlives_the_server_that_gave_it(era: Era, upstream: Slow) -> None:
    async with client(era) as host:
        running = data_of(await host.call_tool("route_and_answer", {**QUESTION, "deadline_seconds": 0.1}))
        upstream.gate.set()
        await host.call_tool("get_answer", {"route_id": running["route_id"]})
    async with client(era) as host:
        answer = data_of(await host.call_tool("get_answer", {"route_id": running["route_id"], "wait_seconds": 0}))

    assert answer["response"] == "Paris."
    assert answer["session_id"]
    assert len(upstream.requests) == 1


async def test_what_failed_after_its_call_is_an_error_with_its_reason(era: Era, upstream: Slow) -> None:
    async with client(era) as host:
        running = data_of(await host.call_tool("route_and_answer", {**QUESTION, "deadline_seconds": 0.1}))
    async with client(era) as host:  # the first server has ended
        result = await host.call_tool("get_answer", {"route_id": running["route_id"]})

    assert result.is_error
    assert "the server was stopped before it was answered" in text_of(result)
    assert result.structured_content is not None
    assert result.structured_content["status"] == "failed"


async def test_a_long_answer_comes_in_parts_and_as_a_resource(era: Era, upstream: Slow) -> None:
    upstream.text = whole = " ".join(f"word{number}" for number in range(12_000))
    upstream.gate.set()
    async with client(era) as host:
        parts = [data_of(await host.call_tool("route_and_answer", QUESTION))]
        while (start := parts[-1]["next_start_index"]) is not None:
            arguments = {"route_id": parts[0]["route_id"], "start_index": start}
            parts.append(data_of(await host.call_tool("get_answer", arguments)))
        [content] = (await host.read_resource(f"answer://{parts[0]['route_id']}")).contents
        beyond = await host.call_tool("get_answer", {"route_id": parts[0]["route_id"], "start_index": len(whole) + 1})

    assert len(parts) > 1
    assert "".join(part["response"] for part in parts) == whole
    assert isinstance(content, TextResourceContents)
    assert content.text == whole
    assert f"The answer ends at {len(whole)}" in text_of(beyond)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("text", ["", "a", "word " * 30_000, "語" * 30_000, "\ud800" * 30_000, "a b\n" * 3])
def test_the_parts_of_a_text_fit_and_make_it_whole(text: str) -> None:
    counter = TokenCounter(Path("/nowhere"))
    parts, start = list[str](), 0
    while start < len(text):
        end = part_end(text, start, counter, 1_000)
        parts.append(text[start:end])
        start = end

    assert "".join(parts) == text
    assert all(counter.count(part).tokens <= 1_000 for part in parts)
    assert part_end(text, 0, counter) == len(text) or counter.count(text).tokens > MOST_ANSWER_TOKENS


async def test_a_handle_that_nobody_gave_is_refused(era: Era, upstream: Slow) -> None:
    async with client(era) as host:
        result = await host.call_tool("get_answer", {"route_id": "rte_x"})
    assert result.is_error
    assert "no answer of that id is kept" in text_of(result)


async def test_a_batch_answers_every_item_with_one_total_and_is_resumed_by_its_id(era: Era, upstream: Slow) -> None:
    upstream.gate.set()
    arguments = {"template": "Capital of {item}?", "items": ["France", "Italy", "Peru"]}
    heard: list[str | None] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with client(era) as host:
        result = await host.call_tool("route_batch", arguments, progress_callback=on_progress)
        first = data_of(result)
        again = data_of(await host.call_tool("route_batch", {"batch_id": first["batch_id"], "start_index": 1}))

    asked = sorted(request.body["messages"][-1]["content"] for request in upstream.requests)
    assert asked == ["Capital of France?", "Capital of Italy?", "Capital of Peru?"]
    assert [row["response"] for row in first["items"]] == ["Paris."] * 3
    assert first["cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in first["items"]))
    assert (first["status"], first["failed"], first["total"]) == ("completed", 0, 3)
    assert [row["index"] for row in again["items"]] == [1, 2]
    assert any("3 of 3 done" in (message or "") for message in heard)
    assert "3 of 3 answered, 0 failed" in text_of(result)


async def test_items_that_fail_are_told_and_the_others_answered(era: Era, upstream: Slow) -> None:
    upstream.gate.set()
    async with client(era) as host:
        await host.call_tool("route_and_answer", QUESTION)
        upstream.status = 400
        data = data_of(await host.call_tool("route_batch", {"prompts": ["a", "b"], "force_model": "openai/gpt-4.1"}))
        upstream.status = 200
        again = data_of(await host.call_tool("route_batch", {"batch_id": data["batch_id"]}))

    assert data["failed"] == 2
    assert all("busy" in row["error"] for row in data["items"])
    assert [row["response"] for row in again["items"]] == ["Paris.", "Paris."]


async def test_a_batch_that_cannot_be_one_says_what_to_give(era: Era, upstream: Slow) -> None:
    async with client(era) as host:
        result = await host.call_tool("route_batch", {"template": "x"})
    assert result.is_error
    assert "give prompts, or template and items" in text_of(result)
