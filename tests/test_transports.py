"""The server as a process: over every transport, in both protocol eras, and started as the README's snippets start it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import httpx2 as httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

from tests.host import ERAS, Era
from tests.upstream import Upstream

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parent.parent
SERVER = str(ROOT / "server.py")


def environment(home: Path, upstream: Upstream) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "POINTSMAN_HOME": str(home),
        "POINTSMAN_DISCOVER": "false",
        "POINTSMAN_LOCAL_MODEL": "off",
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": upstream.url,
    }


@pytest.fixture
def upstream() -> Generator[Upstream]:
    with Upstream() as running:
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(
    transport: str, env: dict[str, str], program: Sequence[str] = (SERVER,), *, log_to: Path | None = None
) -> Generator[int]:
    """A server process that listens."""
    port = free_port()
    command = [sys.executable, *program, "--transport", transport, "--port", str(port)]
    # a file, not a pipe: a server that logs more than a pipe holds would wait for somebody to read it
    with (
        log_to.open("w+b") if log_to else tempfile.TemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=log) as server,
    ):
        try:
            _wait_for(port, server, log)
            yield port
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if server.poll() is not None:
            log.seek(0)
            raise AssertionError(log.read().decode())
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


def connection(transport: str, port: int) -> Any:
    return (
        f"http://127.0.0.1:{port}/mcp" if transport == "streamable-http" else sse_client(f"http://127.0.0.1:{port}/sse")
    )


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_the_same_call_is_answered_over_http_in_both_eras(
    tmp_path: Path, upstream: Upstream, transport: str
) -> None:
    with serving(transport, environment(tmp_path, upstream)) as port:
        for era in ERAS:
            async with Client(connection(transport, port), mode=era) as host:
                result = await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"})
                assert result.structured_content is not None
                assert result.structured_content["response"] == "Paris."


@pytest.mark.parametrize("transport", ["streamable-http", "sse"])
async def test_a_foreign_host_or_origin_is_turned_away(tmp_path: Path, upstream: Upstream, transport: str) -> None:
    path = "/mcp" if transport == "streamable-http" else "/sse"
    with serving(transport, environment(tmp_path, upstream)) as port:
        url = f"http://127.0.0.1:{port}{path}"
        rebound = httpx.get(url, headers={"host": "evil.test"})
        foreign = httpx.get(url, headers={"origin": "http://evil.test"})
    assert rebound.status_code == 421
    assert foreign.status_code == 403


def test_a_port_in_use_is_an_error_that_says_what_to_do(tmp_path: Path, upstream: Upstream) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, SERVER, "--transport", "sse", "--port", str(port)]
        result = subprocess.run(
            command, env=environment(tmp_path, upstream), capture_output=True, text=True, timeout=30, check=False
        )
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.stderr
    assert "--port" in result.stderr
    assert "Traceback" not in result.stderr


def snippets() -> list[dict[str, Any]]:
    """The host configurations that the README shows."""
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    found = [json.loads(block) for block in blocks if "mcpServers" in block]
    assert found
    return found


@asynccontextmanager
async def stdio_host(command: str, args: list[str], env: dict[str, str], era: Era = "auto") -> AsyncGenerator[Client]:
    transport: AbstractAsyncContextManager[Any] = stdio_client(
        StdioServerParameters(command=command, args=args, env=env)
    )
    async with Client(transport, mode=era) as host:
        yield host


async def test_the_command_that_the_readme_gives_to_hosts_starts_and_answers(
    tmp_path: Path, upstream: Upstream, era: Era
) -> None:
    for snippet in snippets():
        entry = snippet["mcpServers"]["pointsman"]
        command = entry["command"].replace("/path/to/pointsman/.venv/bin/python", sys.executable)
        args = [argument.replace("/path/to/pointsman", str(ROOT)) for argument in entry["args"]]
        env = {**environment(tmp_path, upstream), **entry["env"]}
        async with stdio_host(command, args, env, era) as host:
            result = await host.call_tool("route_and_answer", {"prompt": "What is the capital of France?"})
        assert result.structured_content is not None
        assert result.structured_content["response"] == "Paris."
        assert upstream.requests[-1].headers["authorization"] == f"Bearer {entry['env']['OPENAI_API_KEY']}"


def test_stdout_carries_json_rpc_alone(tmp_path: Path, upstream: Upstream) -> None:
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    result = subprocess.run(
        [sys.executable, SERVER],
        env={**environment(tmp_path, upstream), "POINTSMAN_LOG_LEVEL": "DEBUG"},
        input=json.dumps(initialize) + "\nthis is not JSON\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    assert lines
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in lines)
    assert result.returncode == 0


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"POINTSMAN_COST_PREFERNCE": "cheapest"}, "Did you mean POINTSMAN_COST_PREFERENCE"),
        ({"POINTSMAN_REGISTRY": "/nowhere/registry.json"}, "POINTSMAN_REGISTRY names /nowhere/registry.json"),
        ({"POINTSMAN_POLICY": "clasic"}, "classic"),
        ({"POINTSMAN_HOME": "/proc/nowhere"}, "/proc/nowhere"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_with_one_line(
    tmp_path: Path, upstream: Upstream, variables: dict[str, str], said: str
) -> None:
    result = subprocess.run(
        [sys.executable, SERVER],
        env={**environment(tmp_path, upstream), **variables},
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_broken_registry_stops_the_start_and_names_file_model_and_field(tmp_path: Path, upstream: Upstream) -> None:
    overlay = tmp_path / "registry.json"
    overlay.write_text('{"models": {"openai/gpt-4.1": {"teir": 1}}}')
    result = subprocess.run(
        [sys.executable, SERVER],
        env=environment(tmp_path, upstream),
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert all(part in result.stderr for part in (str(overlay), "openai/gpt-4.1", "teir", "tier"))
    assert "Traceback" not in result.stderr
