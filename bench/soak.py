"""Many calls over real streamable HTTP: the server's memory and its latency should stay where they were.

    python bench/soak.py [--calls 5000] [--concurrency 8] [--json]

A server process with authentication on asks a loopback upstream, a process of its own that answers at once. Every call is a
POST with a bearer token, a route, two reservations and a row in the ledger. Prints the server's resident memory (MB) before the
first call, after each tenth, and at the end, with the latencies (ms) of that tenth. Needs /proc. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from access.tokens import TokenFile  # noqa: E402
from bench.loopback import free_port, listening  # noqa: E402

WARM_UP = 200
TENTHS = 10
PROMPT = "What is the capital of France?"
_VERSION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": _VERSION,
    "mcp-method": "tools/call",
    "mcp-name": "route_and_answer",
}

UPSTREAM = """
import asyncio, json, sys
import uvicorn
seconds = float(sys.argv[2])
parts = (
    {"choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}},
)
frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
chat = "".join(f"data: {json.dumps({**frame, **part})}\\n\\n" for part in parts).encode() + b"data: [DONE]\\n\\n"
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(seconds)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": chat})
uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")).run()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server that runs, and a token for each of its callers."""

    url: str
    pid: int
    tokens: Mapping[str, str]

    @property
    def resident_mb(self) -> float:
        """The memory that the server's process holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@asynccontextmanager
async def house(callers: Sequence[str], *, upstream_seconds: float = 0.0, **settings: str) -> AsyncGenerator[House]:
    """A server that asks a loopback upstream, which takes so long."""
    upstream_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as home:
        file = TokenFile(Path(home) / "tokens.json")
        tokens = {name: file.add(name, time.time()) for name in callers}
        env = {
            "PATH": os.environ["PATH"],
            "POINTSMAN_HOME": home,
            "POINTSMAN_DISCOVER": "false",
            "POINTSMAN_LOCAL_MODEL": "off",
            "POINTSMAN_AUTH": "tokens",
            "POINTSMAN_MONTHLY_BUDGET_USD": "1000",
            "POINTSMAN_ALL_CALLERS_MONTHLY_BUDGET_USD": "1000",
            "COMPATIBLE_API_KEY": "sk-bench",
            "OPENAI_API_KEY": "sk-bench",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
            **settings,
        }
        command = [sys.executable, str(ROOT / "server.py"), "--transport", "streamable-http", "--port", str(port)]
        with (
            subprocess.Popen([sys.executable, "-c", UPSTREAM, str(upstream_port), str(upstream_seconds)]) as upstream,
            subprocess.Popen(command, env=env) as server,
        ):
            try:
                await listening(upstream_port)
                await listening(port)
                yield House(url=f"http://127.0.0.1:{port}/mcp", pid=server.pid, tokens=tokens)
            finally:
                server.terminate()
                server.wait(60)
                upstream.terminate()


@asynccontextmanager
async def client(token: str, connections: int) -> AsyncGenerator[httpx.AsyncClient]:
    """Connections of one caller."""
    headers = {**HEADERS, "authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=120) as found:
        yield found


def message() -> dict[str, Any]:
    """A call of route_and_answer."""
    arguments = {"prompt": PROMPT, "force_model": "openai/gpt-4.1"}
    params = {"name": "route_and_answer", "arguments": arguments, "_meta": _META}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


async def call(caller: httpx.AsyncClient, url: str) -> tuple[float, dict[str, Any]]:
    """One route_and_answer: milliseconds, and its result."""
    started = time.perf_counter()
    answer = await caller.post(url, json=message())
    took = 1000 * (time.perf_counter() - started)
    return took, json.loads(_document_in(answer.raise_for_status().text))["result"]


def _document_in(body: str) -> str:
    """The answer, which the server sends as the last event of a stream where it took long."""
    return body if body.startswith("{") else body.rpartition("data: ")[2]


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """Half of them were faster than p50, all but one in a hundred than p99."""
    cuts = statistics.quantiles(
        latencies, n=100, method="inclusive"
    )  # the other way invents what is beyond the slowest
    figures = {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "worst_ms": max(latencies)}
    return {name: round(value, 1) for name, value in figures.items()}


async def some(caller: httpx.AsyncClient, url: str, calls: int, concurrency: int) -> list[float]:
    """So many calls, a few at a time; every one must be answered."""
    latencies: list[float] = []
    left: Iterator[int] = iter(range(calls))

    async def one_after_another() -> None:
        for _ in left:
            took, result = await call(caller, url)
            assert not result["isError"], result["content"]
            latencies.append(took)

    async with anyio.create_task_group() as group:
        for _ in range(concurrency):
            group.start_soon(one_after_another)
    return latencies


async def main(calls: int, concurrency: int) -> AsyncGenerator[dict[str, Any]]:
    """Rows as they are measured."""
    async with house(["ann"]) as it, client(it.tokens["ann"], concurrency) as ann:
        await some(ann, it.url, WARM_UP, concurrency)
        yield {"calls": 0, "rss_mb": round(it.resident_mb, 1)}
        started = time.perf_counter()
        for tenth in range(1, TENTHS + 1):
            latencies = await some(ann, it.url, calls // TENTHS, concurrency)
            yield {"calls": calls * tenth // TENTHS, "rss_mb": round(it.resident_mb, 1), **percentiles(latencies)}
        yield {"calls_per_second": round(calls / (time.perf_counter() - started), 1)}


async def show(calls: int, concurrency: int, *, as_json: bool) -> None:
    """Print each row at once."""
    async for row in main(calls, concurrency):
        print(json.dumps(row) if as_json else "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    async def run() -> None:
        """With the options of the command line."""
        await show(options.calls, options.concurrency, as_json=options.json)

    anyio.run(run)
