"""The MCP Inspector lists the tools and calls one, over every transport and in both eras, and finds no fault with them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import npm
from tests.conformance.npm import Program
from tests.test_transports import SERVER, environment, serving
from tests.upstream import Upstream

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def inspector() -> Program:
    return npm.inspector()


@contextmanager
def target(transport: str, env: dict[str, str]) -> Generator[list[str]]:
    """What the Inspector is told to connect to, while it is there."""
    if transport == "stdio":
        yield [sys.executable, SERVER, *(part for name, value in env.items() for part in ("-e", f"{name}={value}"))]
        return
    with serving(transport, env) as port:
        yield [f"http://127.0.0.1:{port}/{'sse' if transport == 'sse' else 'mcp'}"]


@pytest.mark.parametrize("transport", ["stdio", "streamable-http", "sse"])
def test_the_inspector_lists_and_calls_tools_in_both_eras_and_finds_no_error(
    inspector: Program, tmp_path: Path, transport: str
) -> None:
    own_files = {"MCP_CATALOG_PATH": str(tmp_path / "catalog.json"), "MCP_CLIENT_CONFIG_PATH": str(tmp_path / "client")}

    def asked(*arguments: str) -> tuple[Any, str]:
        result = inspector.run("--cli", *where, *arguments, "--format", "json", env=own_files)
        assert result.returncode == 0, f"{arguments}: {result.stderr}"
        return json.loads(result.stdout)["result"], result.stderr

    with Upstream() as upstream, target(transport, environment(tmp_path, upstream)) as where:
        for era in ("modern", "legacy"):
            chosen = ("--protocol-era", era)
            listed, report = asked(*chosen, "--method", "tools/list", "--strict")
            call = ("--method", "tools/call", "--tool-name", "classify_task", "--tool-arg", "prompt=hola")
            called, _ = asked(*chosen, *call)

            assert "route_and_answer" in [tool["name"] for tool in listed["tools"]]
            assert "0 errors" in report
            assert set(re.findall(r"^  Path: (\w+)", report, re.MULTILINE)) == {"outputSchema"}  # docs/adr/0019
            assert called["structuredContent"]["task_analysis"]["category"] == "qa_retrieval"
            print(f"{transport}, {era}: {len(listed['tools'])} tools without an error, one called")  # noqa: T201 - the count
