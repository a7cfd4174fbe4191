"""What the settings leave: in the lists of a host, in its calls, and in the tool loop; in both protocol eras."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.shared.exceptions import MCPError

import composition
import server
from routing.errors import SettingsError
from routing.settings import TOOLSETS, load_settings
from tests.host import Era, text_of
from tests.upstream import Upstream
from tools import all_tools, by_toolset, offered_tools

pytestmark = pytest.mark.anyio
HOME = Path("/nowhere/home")
NAMES = [tool.name for tool in all_tools()]
READING = {tool.name for tool in all_tools() if tool.annotations and tool.annotations.read_only_hint}


def left(**variables: str) -> list[str]:
    settings = load_settings({f"POINTSMAN_{name}": value for name, value in variables.items()}, HOME)
    return [tool.name for tool in offered_tools(settings)]


def test_every_tool_is_in_one_toolset_and_all_are_offered_where_nothing_is_said() -> None:
    assert tuple(by_toolset()) == TOOLSETS
    assert sorted(NAMES) == sorted(set(NAMES))
    assert left() == NAMES


def test_a_toolset_that_is_left_out_takes_its_tools_along() -> None:
    assert left(TOOLSETS="web, CODE") == ["web_search", "fetch_url", "execute_python", "validate_python_syntax"]


def test_read_only_leaves_what_changes_nothing() -> None:
    assert set(left(READ_ONLY="true")) == READING
    assert {"route_and_answer", "execute_python", "memory_store", "memory_delete"}.isdisjoint(READING)


@given(
    toolsets=st.lists(st.sampled_from(TOOLSETS), min_size=1),
    disabled=st.lists(st.sampled_from(NAMES)),
    read_only=st.booleans(),
)
def test_whatever_is_said_the_order_stays_and_nothing_else_is_offered(
    toolsets: list[str], disabled: list[str], *, read_only: bool
) -> None:
    within = {tool.name for name in toolsets for tool in by_toolset()[name]}  # type: ignore[index]  # sampled from them
    expected = within - set(disabled) & within - (set(NAMES) - READING if read_only else set())
    said = {"TOOLSETS": ",".join(toolsets), "DISABLE_TOOLS": ",".join(disabled), "READ_ONLY": str(read_only)}

    if expected:
        assert left(**said) == [name for name in NAMES if name in expected]
    else:
        with pytest.raises(SettingsError, match="no tool is left"):
            left(**said)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TOOLSETS", "routing,wbe", "'wbe' is no toolset (did you mean web?)"),
        ("TOOLSETS", "xyzzy", "known are routing, web, code, memory, report"),
        ("DISABLE_TOOLS", "web_serch", "'web_serch' is no tool (did you mean web_search?)"),
        ("READ_ONLY", "perhaps", "POINTSMAN_READ_ONLY"),
    ],
)
def test_a_misspelt_name_stops_the_start_with_the_nearest_right_one(variable: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        left(**{variable: value})
    assert said in str(refused.value)
    assert f"POINTSMAN_{variable}" in str(refused.value)


async def test_a_tool_that_is_not_offered_is_in_no_list_and_unknown_when_called(
    era: Era, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    monkeypatch.setenv("POINTSMAN_DISABLE_TOOLS", "route_and_answer")
    async with Client(server.mcp, mode=era) as host:
        names = [tool.name for tool in (await host.list_tools()).tools]
        refused = await host.call_tool("route_and_answer", {"prompt": "Hello"})
        unknown = await host.call_tool("route_and_answr", {"prompt": "Hello"})

    assert "route_and_answer" not in names
    assert "classify_task" in names
    assert refused.is_error
    assert text_of(refused) == text_of(unknown).replace("answr", "answer")
    assert not upstream.requests


async def test_what_goes_with_a_tool_goes_when_it_does(
    era: Era, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_TOOLSETS", "routing,memory")
    monkeypatch.setenv("POINTSMAN_READ_ONLY", "true")
    async with Client(server.mcp, mode=era) as host:
        listed = [str(row.uri) for row in (await host.list_resources()).resources]
        templates = [row.uri_template for row in (await host.list_resource_templates()).resource_templates]
        prompts = [row.name for row in (await host.list_prompts()).prompts]
        text = (await host.get_prompt("cost_check", {"task": "x"})).messages[0].content.model_dump()["text"]
        for address in ("report://week", "ui://pointsman/dashboard.html"):
            with pytest.raises(MCPError, match="Unknown resource"):
                await host.read_resource(address)
        with pytest.raises(MCPError):
            await host.get_prompt("delegate", {"task": "x"})

    assert listed == ["models://"]
    assert templates == ["models://{+model_id}", "answer://{route_id}", "session://{session_id}"]
    assert prompts == ["compare_models", "cost_check"]
    assert "estimate_cost" in text
    assert "usage_report" not in text


async def test_a_model_in_the_tool_loop_has_only_what_is_offered(tmp_path: Path) -> None:
    said = {"LOCAL_MODEL": "off", "DISCOVER": "false", "DISABLE_TOOLS": "fetch_url,web_search", "READ_ONLY": "true"}
    settings = load_settings({f"POINTSMAN_{name}": value for name, value in said.items()}, tmp_path)
    async with composition.composed(settings) as services:
        toolbox = services.router.assembler.toolbox
        await toolbox.look()
        outcome = await toolbox.run("memory_store", {"text": "x"}, caller="local")

        assert set(toolbox.specs) == {"validate_python_syntax", "memory_search"}
        assert outcome.is_error
        assert (await services.store.memories.list("local", limit=1)).total == 0
