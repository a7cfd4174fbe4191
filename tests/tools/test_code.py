"""The code tools as a host sees them."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.tools import Tool
from mcp_types import ImageContent

import composition
import server
from routing.settings import load_settings
from routing.tokens import TokenCounter
from tests.host import Era, data_of, text_of
from tools import code
from tools.base import Services
from tools.sandbox import Outcome
from tools.sandbox.bubblewrap import Bubblewrap
from tools.sandbox.types import Backend, Verdict

pytestmark = pytest.mark.anyio
needs_sandbox = pytest.mark.skipif(Bubblewrap().missing() is not None, reason=str(Bubblewrap().missing()))
MOST_LISTING_TOKENS = 310


@asynccontextmanager
async def client(home: Path, era: Era = "auto", *, sandbox: str = "bubblewrap") -> AsyncGenerator[Client]:
    """A server with the tools of this page, over real services."""
    variables = {"POINTSMAN_LOCAL_MODEL": "off", "POINTSMAN_DISCOVER": "false", "POINTSMAN_SANDBOX": sandbox}
    settings = load_settings(variables, home)

    @asynccontextmanager
    async def lifespan(_: MCPServer[Services]) -> AsyncGenerator[Services]:
        async with composition.composed(settings) as services:
            yield services

    tools = cast("list[Tool]", code.tools())
    async with Client(MCPServer[Services]("code", tools=tools, lifespan=lifespan), mode=era) as connected:
        yield connected


@needs_sandbox
async def test_code_is_run_and_told_as_text_and_as_data(tmp_path: Path, era: Era) -> None:
    async with client(tmp_path, era) as host:
        result = await host.call_tool("execute_python", {"code": "print('hi')\n2**127 - 1"})

    data = data_of(result)
    assert data["value"] == "170141183460469231731687303715884105727"
    assert (data["stdout"], data["exit_reason"], data["session_id"]) == ("hi\n", "finished", None)
    assert text_of(result).startswith("hi\n[value] 170141183460469231731687303715884105727\n[finished in ")


@needs_sandbox
async def test_a_sine_that_is_plotted_comes_back_as_a_png_that_opens(tmp_path: Path, era: Era) -> None:
    pytest.importorskip("matplotlib")
    plot = (
        "import numpy as np, matplotlib.pyplot as plt\n"
        "x = np.linspace(0, 2 * np.pi, 200)\nplt.plot(x, np.sin(x))\nplt.title('sine')\nplt.show()"
    )
    async with client(tmp_path, era) as host:
        result = await host.call_tool("execute_python", {"code": plot, "timeout_seconds": 60})

    (picture,) = [block for block in result.content if isinstance(block, ImageContent)]
    assert picture.mime_type == "image/png"
    assert data_of(result)["figures"] == 1
    png = base64.b64decode(picture.data)
    assert png[:16] == b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
    width, height, depth = struct.unpack(">IIB", png[16:25])
    assert (width, height, depth) == (640, 480, 8)
    assert opened(png).getextrema() != ((255, 255),) * 4


def opened(png: bytes) -> Any:
    """The picture, decoded by the library that matplotlib draws with."""
    import io  # noqa: PLC0415 - with what is optional below

    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    image.load()
    return image


@needs_sandbox
async def test_a_session_is_begun_and_continued_and_its_end_is_told(tmp_path: Path) -> None:
    async with client(tmp_path) as host:
        first = data_of(await host.call_tool("execute_python", {"code": "x = 41", "session_id": "new"}))
        again = {"session_id": first["session_id"]}
        second = await host.call_tool("execute_python", {"code": "x + 1", **again})
        third = await host.call_tool("execute_python", {"code": "while True: pass", "timeout_seconds": 1, **again})
        fourth = await host.call_tool("execute_python", {"code": "x", **again})

    assert data_of(second)["value"] == "42"
    assert str(first["session_id"]) in text_of(second)
    assert data_of(third)["exit_reason"] == "timeout"
    assert "its variables are gone" in text_of(third)
    assert fourth.is_error
    assert 'session_id "new"' in text_of(fourth)


@needs_sandbox
async def test_what_the_code_raises_is_a_result_and_no_failure_of_the_tool(tmp_path: Path) -> None:
    async with client(tmp_path) as host:
        result = await host.call_tool("execute_python", {"code": "1 / 0"})

    assert data_of(result)["exit_reason"] == "error"
    assert "[stderr]\nTraceback" in text_of(result)


@pytest.mark.parametrize("setting", ["off", "docker"])
async def test_without_a_sandbox_the_tool_is_absent_and_checking_is_not(
    tmp_path: Path, era: Era, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HOME": str(tmp_path), "SANDBOX": setting, "LOCAL_MODEL": "off", "DISCOVER": "false"}.items():
        monkeypatch.setenv(f"POINTSMAN_{name}", value)
    async with Client(server.mcp, mode=era) as host:
        names = {tool.name for tool in (await host.list_tools()).tools}
        refused = await host.call_tool("execute_python", {"code": "1"})

    assert "execute_python" not in names
    assert "validate_python_syntax" in names
    assert refused.is_error


async def test_a_sandbox_that_was_tried_and_does_not_hold_takes_the_tool_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leaky(backend: Backend, *_: object) -> Verdict:
        return Verdict(backend=backend.name, problem="it read a file of the host")

    monkeypatch.setattr("tools.sandbox.probed", leaky)
    for name, value in {"HOME": str(tmp_path), "LOCAL_MODEL": "off", "DISCOVER": "false"}.items():
        monkeypatch.setenv(f"POINTSMAN_{name}", value)
    async with Client(server.mcp) as host:
        refused = await host.call_tool("execute_python", {"code": "1"})
        names = {tool.name for tool in (await host.list_tools()).tools}

    assert "it read a file of the host" in text_of(refused)
    assert "execute_python" not in names


@pytest.mark.parametrize("arguments", [{"timeout_seconds": 61}, {"timeout_seconds": 0}, {"timeout": 5}])
async def test_arguments_out_of_bounds_run_nothing(tmp_path: Path, arguments: dict[str, object]) -> None:
    async with client(tmp_path) as host:
        result = await host.call_tool("execute_python", {"code": "1", **arguments})

    assert result.is_error
    assert "was not run" in text_of(result)


@pytest.mark.parametrize(
    ("source", "line", "column", "text"),
    [
        ("def f(:\n    pass", 1, 7, "def f(:"),
        ("x = 1\nif x\n    y = 2", 2, 5, "if x"),
        ("x = 1\nreturn x", 2, 1, "return x"),
        ("print('é' 1)", 1, 7, "print('é' 1)"),
    ],
)
async def test_a_syntax_error_is_named_by_line_column_and_text(
    tmp_path: Path, source: str, line: int, column: int, text: str
) -> None:
    async with client(tmp_path, sandbox="off") as host:
        result = await host.call_tool("validate_python_syntax", {"code": source})

    data = data_of(result)
    assert (data["valid"], data["line"], data["column"], data["text"]) == (False, line, column, text)
    assert f"Line {line}, column {column}: {data['message']}" in text_of(result)


async def test_valid_code_is_called_valid_and_not_run(tmp_path: Path) -> None:
    written = tmp_path / "written"
    async with client(tmp_path, sandbox="off") as host:
        result = await host.call_tool("validate_python_syntax", {"code": f"open({str(written)!r}, 'w')"})

    assert data_of(result)["valid"] is True
    assert text_of(result) == "The syntax is valid."
    assert not written.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("-" * 90_000 + "1", "nested too deeply", id="signs"),
        pytest.param("1+" * 49_000 + "1", "nested too deeply", id="a sum"),
        pytest.param("(" * 50_000, "too many nested parentheses", id="parentheses"),
        pytest.param("x = '\0'", "null bytes", id="a NUL"),
        pytest.param("x = '\ud800'", "surrogates", id="half a character"),
    ],
)
def test_code_that_is_made_to_break_a_compiler_is_told_so(source: str, message: str) -> None:
    result = code.checked(source)

    assert not result.valid
    assert message in str(result.message)


@given(source=st.text(alphabet="()[]{}:=+-,.'\"\\ \n\tabdefilnr01#\0é\ud800", max_size=80))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_valid_or_told_why_not(source: str) -> None:
    result = code.checked(source)

    assert result.valid or result.message


def test_long_output_keeps_its_beginning_and_its_end_and_says_so() -> None:
    long = "begin" + "x" * 100_000 + "end"
    outcome = Outcome(stdout=long, stderr="", value=None, exit_reason="finished", duration_ms=1)
    result = code.executed(outcome)

    assert len(result.stdout) < code.MOST_SHOWN_CHARS + 100
    assert result.stdout.startswith("begin")
    assert result.stdout.endswith("end")
    assert result.notices == ["stdout was shortened in the middle; print less."]


async def test_the_two_tools_cost_a_host_few_tokens(tmp_path: Path, vocabularies: Path) -> None:
    counter = TokenCounter(vocabularies)
    await counter.load()
    async with client(tmp_path) as host:
        tools = (await host.list_tools()).tools

    counts = [counter.count(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools]

    assert all(count.exact for count in counts)
    assert sum(count.tokens for count in counts) <= MOST_LISTING_TOKENS
