"""What can be read, picked from a menu and completed, through the real server in both protocol eras."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference, TextContent, TextResourceContents

import composition
import server
from routing.tokens import TokenCounter
from routing.types import CATEGORIES, Message
from tests.host import Era, data_of, text_of
from tests.upstream import Upstream
from tools.completions import MOST_VALUES, fitting

pytestmark = pytest.mark.anyio


async def read(host: Client, uri: str) -> tuple[str, str | None]:
    """A resource's text and its type."""
    [content] = (await host.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    return content.text, content.mime_type


async def written(host: Client, name: str, **arguments: str) -> str:
    """The one message of a prompt."""
    [message] = (await host.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


async def completions(host: Client, ref: str, argument: str, typed: str = "") -> list[str]:
    """The values for an argument of a prompt, or of a template where ``ref`` is an address."""
    of = ResourceTemplateReference(uri=ref) if "://" in ref else PromptReference(name=ref)
    return (await host.complete(of, {"name": argument, "value": typed})).completion.values


async def test_what_can_be_read_is_listed_with_its_type_and_an_icon(era: Era, environment: dict[str, str]) -> None:
    async with Client(server.mcp, mode=era) as host:
        listed = (await host.list_resources()).resources
        templates = (await host.list_resource_templates()).resource_templates

    assert [(str(row.uri), row.mime_type) for row in listed] == [
        ("models://", "application/json"),
        *[(f"report://{period}", "text/markdown") for period in ("hour", "day", "week", "month", "all")],
        ("ui://pointsman/dashboard.html", "text/html;profile=mcp-app"),
    ]
    assert {row.uri_template: row.mime_type for row in templates} == {
        "models://{+model_id}": "application/json",
        "answer://{route_id}": "text/plain",
        "session://{session_id}": "application/json",
        "report://{period}": "text/markdown",
    }
    assert all(row.title and row.description and row.icons for row in templates)


async def test_models_are_read_as_list_models_tells_them_and_one_by_its_id(
    era: Era, environment: dict[str, str]
) -> None:
    async with Client(server.mcp, mode=era) as host:
        told = data_of(await host.call_tool("list_models", {}))
        everything, kind = await read(host, "models://")
        one, _ = await read(host, "models://openai/gpt-4.1")
        encoded, _ = await read(host, "models://openai%2Fgpt-4.1")
        other, _ = await read(host, "models://anthropic/claude-opus-4")
        with pytest.raises(MCPError, match="there is no model 'openai/gpt-0'"):
            await read(host, "models://openai/gpt-0")

    assert kind == "application/json"
    assert json.loads(everything) == told
    assert json.loads(one) == next(row for row in told["models"] if row["model_id"] == "openai/gpt-4.1")
    assert encoded == one
    assert json.loads(other)["how_to_configure"] == "set ANTHROPIC_API_KEY"


async def test_a_report_is_read_as_usage_report_tells_it(era: Era, environment: dict[str, str]) -> None:
    async with Client(server.mcp, mode=era) as host:
        await host.call_tool("route_and_answer", {"prompt": "Hello", "force_model": "openai/gpt-4.1"})
        told = text_of(await host.call_tool("usage_report", {"period": "day"}))
        text, kind = await read(host, "report://day")
        with pytest.raises(MCPError, match="one of hour, day, week, month, all"):
            await read(host, "report://dya")

    assert kind == "text/markdown"
    assert text.startswith("# Usage: day\n")
    assert "openai/gpt-4.1: 1 tasks" in text
    assert set(told.splitlines()) <= set(text.splitlines())


async def test_a_conversation_is_read_by_its_caller_and_unknown_to_others(
    era: Era, environment: dict[str, str], upstream: Upstream
) -> None:
    async with server.lifespan.held(composition.settings_of(os.environ)), Client(server.mcp, mode=era) as host:
        mine = data_of(await host.call_tool("route_and_answer", {"prompt": "My name is Ada."}))["session_id"]
        assert server.lifespan.services is not None
        theirs = await server.lifespan.services.store.sessions.start("eve", [Message(role="user", content="secret")])
        text, kind = await read(host, f"session://{mine}")
        refusals = [str((await refused(host, f"session://{name}")).error.message) for name in (theirs, "ses_none")]

    assert kind == "application/json"
    assert json.loads(text) == {
        "session_id": mine,
        "messages": [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Paris."}],
    }
    assert refusals[0] == refusals[1]
    assert "secret" not in refusals[0]


async def refused(host: Client, uri: str) -> MCPError:
    with pytest.raises(MCPError) as refusal:
        await host.read_resource(uri)
    return refusal.value


async def test_every_argument_of_a_prompt_is_described_and_only_what_is_needed_is_required(
    era: Era, environment: dict[str, str]
) -> None:
    async with Client(server.mcp, mode=era) as host:
        prompts = (await host.list_prompts()).prompts

    required = {row.name: [one.name for one in row.arguments or [] if one.required] for row in prompts}
    assert required == {"delegate": ["task"], "compare_models": [], "cost_check": ["task"]}
    for prompt in prompts:
        assert prompt.title
        assert prompt.description
        assert prompt.icons
        assert all(argument.description for argument in prompt.arguments or [])


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        (
            "delegate",
            {"task": "Sum up the minutes"},
            ["Sum up the minutes", "Call route_and_answer with that prompt. "],
        ),
        (
            "delegate",
            {"task": "x", "model": "openai/o3", "session_id": "ses_1", "cost_preference": "cheapest"},
            [
                'force_model="openai/o3"',
                'session_id="ses_1"',
                'cost_preference="cheapest"',
                "route_batch",
                "record_feedback",
            ],
        ),
        ("compare_models", {}, ["the task that we are talking about", "list_models", "usage_report"]),
        ("compare_models", {"category": "classification"}, ["tasks of the category classification", "input_tokens"]),
        (
            "compare_models",
            {"task": "x", "models": "openai/o3, openai/gpt-4.1"},
            ["classify_task", 'Call estimate_cost with prompt, models=["openai/o3", "openai/gpt-4.1"]'],
        ),
        ("cost_check", {"task": "x", "turns": "12"}, ["estimate_cost", "turns=12", "ask me first"]),
        ("cost_check", {"task": "x", "model": "openai/o3"}, ["the cost on openai/o3"]),
    ],
)
async def test_a_prompt_tells_which_tools_to_call_with_what_was_said(
    era: Era, environment: dict[str, str], name: str, arguments: dict[str, str], said: list[str]
) -> None:
    async with Client(server.mcp, mode=era) as host:
        text = await written(host, name, **arguments)

    for part in said:
        assert part in text
    assert "\n1. " in text
    assert "None" not in text.replace("None of this", "")


async def test_a_prompt_without_its_task_or_with_a_category_that_is_none_is_refused(
    era: Era, environment: dict[str, str]
) -> None:
    async with Client(server.mcp, mode=era) as host:
        for name, arguments in (("delegate", {}), ("compare_models", {"category": "poetry"}), ("nothing", {})):
            with pytest.raises(MCPError):
                await host.get_prompt(name, arguments)


async def test_arguments_are_completed_from_what_there_is(era: Era, environment: dict[str, str]) -> None:
    async with server.lifespan.held(composition.settings_of(os.environ)), Client(server.mcp, mode=era) as host:
        session = data_of(await host.call_tool("route_and_answer", {"prompt": "Hello"}))["session_id"]
        assert server.lifespan.services is not None
        await server.lifespan.services.store.sessions.start("eve")
        kept = {"prompt": "Hello", "session_id": session, "detach": True}
        answer = data_of(await host.call_tool("route_and_answer", kept))["route_id"]

        assert await completions(host, "delegate", "session_id") == [session]
        assert await completions(host, "session://{session_id}", "session_id", session[:8]) == [session]
        assert await completions(host, "answer://{route_id}", "route_id") == [answer]
        assert await completions(host, "compare_models", "category") == list(CATEGORIES)
        assert await completions(host, "compare_models", "category", "CODING") == ["complex_coding"]
        assert await completions(host, "report://{period}", "period", "m") == ["month"]
        assert await completions(host, "delegate", "task", "x") == []
        for ref in ("nothing", "nothing://{x}"):
            with pytest.raises(MCPError, match="there is no prompt or resource template"):
                await completions(host, ref, "model")


async def test_models_are_completed_those_that_can_be_used_first_and_a_list_at_its_last_name(
    era: Era, environment: dict[str, str]
) -> None:
    async with Client(server.mcp, mode=era) as host:
        everything = await completions(host, "delegate", "model")
        begins = await completions(host, "models://{+model_id}", "model_id", "openai/gpt-4.1")
        within = await completions(host, "delegate", "model", "opus")
        second = await completions(host, "compare_models", "models", "openai/o3,openai/o4")

    assert everything[0].startswith("openai/")
    assert any(name.startswith("anthropic/") for name in everything)
    assert len(everything) <= MOST_VALUES
    assert begins[0] == "openai/gpt-4.1"
    assert within
    assert all("opus" in name for name in within)
    assert second == ["openai/o3,openai/o4-mini"]


@given(st.lists(st.text("aAb", max_size=4), unique=True), st.text("aAb", max_size=2))
def test_what_begins_with_the_typed_text_comes_before_what_holds_it(values: list[str], typed: str) -> None:
    found = fitting(values, typed)
    begins = [value.casefold().startswith(typed.casefold()) for value in found]

    assert begins == sorted(begins, reverse=True)
    assert set(found) == {value for value in values if typed.casefold() in value.casefold()}


async def test_a_completion_has_at_most_a_hundred_values_and_says_that_there_are_more_at_once(
    era: Era, environment: dict[str, str]
) -> None:
    async with server.lifespan.held(composition.settings_of(os.environ)), Client(server.mcp, mode=era) as host:
        assert server.lifespan.services is not None
        for _ in range(MOST_VALUES + 5):
            await server.lifespan.services.store.sessions.start("local")
        started = time.perf_counter()
        found = await host.complete(PromptReference(name="delegate"), {"name": "session_id", "value": "ses"})
        took = time.perf_counter() - started

    assert (len(found.completion.values), found.completion.total) == (MOST_VALUES, MOST_VALUES + 5)
    assert found.completion.has_more
    assert took < 1


async def test_the_instructions_cost_a_conversation_less_than_250_tokens(vocabularies: Path) -> None:
    counter = TokenCounter(vocabularies)
    await counter.load()
    counted = counter.count(server.INSTRUCTIONS)

    assert counted.exact
    assert counted.tokens < 250


async def test_the_server_shows_its_icon(era: Era, environment: dict[str, str]) -> None:
    async with Client(server.mcp, mode=era) as host:
        assert host.server_info is not None
        [icon] = host.server_info.icons or []

    assert icon.mime_type == "image/svg+xml"
    assert icon.src.startswith("data:image/svg+xml;base64,")
