"""What the pipeline costs on top of the call: route_and_answer against a bare MCP tool and the bare SDK, in one run.

    python bench/overhead.py [--requests 600] [--json]

All three ask the same loopback upstream, a process of its own that answers at once, over the same openai SDK, streamed. (a) is
a one-tool MCPServer that makes the SDK call, (b) the SDK call alone. They take turns, `ROUNDS` of them in an order that
changes, since the pace of a shared machine changes too. Prints per concurrency: CPU per request of this process (the median of
the rounds), p50 and p99 of all requests, in milliseconds; what is added to (a) (the median of the rounds, and its quartiles),
and the ratios to it. Informs; gates nothing.
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
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import openai
from mcp import Client
from mcp.server import MCPServer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.loopback import free_port, listening  # noqa: E402

PROMPT = "What is the capital of France?"
MODEL = "gpt-4.1"
LEVELS = (1, 16, 64)
ROUNDS = 20
Call = Callable[[], Awaitable[object]]

UPSTREAM = """
import json, sys
import uvicorn
parts = (
    {"choices": [{"index": 0, "delta": {"content": "Paris."}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}},
)
frame = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
chat = "".join(f"data: {json.dumps({**frame, **part})}\\n\\n" for part in parts).encode() + b"data: [DONE]\\n\\n"
done = {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed",
                    "content": [{"type": "output_text", "text": "Paris.", "annotations": []}]}],
        "usage": {"input_tokens": 20, "output_tokens": 5, "total_tokens": 25, "input_tokens_details": {"cached_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}}}
events = (
    {"type": "response.output_text.delta", "delta": "Paris.", "item_id": "m", "output_index": 0, "content_index": 0,
     "sequence_number": 1, "logprobs": []},
    {"type": "response.completed", "response": done, "sequence_number": 2},
)
responses = "".join(f"event: {event['type']}\\ndata: {json.dumps(event)}\\n\\n" for event in events).encode()
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = responses if scope["path"].endswith("/responses") else chat
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": body})
server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical"))
server.run()
"""


async def sdk_call(client: openai.AsyncOpenAI) -> str:
    """The call that all three have in common."""
    messages: list[Any] = [{"role": "user", "content": PROMPT}]
    text = ""
    async with await client.chat.completions.create(
        model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
    ) as stream:
        async for chunk in stream:
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    return text


@asynccontextmanager
async def bare_sdk(url: str) -> AsyncGenerator[Call]:
    """(b): nothing but the SDK."""
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-bench", max_retries=0) as client:
        yield lambda: sdk_call(client)


@asynccontextmanager
async def bare_tool(url: str) -> AsyncGenerator[Call]:
    """(a): a one-tool MCP server that makes the SDK call."""
    app: MCPServer[Any] = MCPServer("bare", log_level="WARNING")
    async with openai.AsyncOpenAI(base_url=url, api_key="sk-bench", max_retries=0) as client:

        @app.tool()
        async def ask(prompt: str) -> str:  # noqa: ARG001 - the call asks PROMPT
            """Ask."""
            return await sdk_call(client)

        async with Client(app) as host:
            yield lambda: host.call_tool("ask", {"prompt": PROMPT})


@asynccontextmanager
async def pointsman(url: str) -> AsyncGenerator[Call]:
    """Our own server, with its ledger on disk."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(POINTSMAN_HOME=home, POINTSMAN_DISCOVER="false", POINTSMAN_LOCAL_MODEL="off")
        os.environ.update(OPENAI_API_KEY="sk-bench", OPENAI_BASE_URL=url)
        import server  # noqa: PLC0415 - after the settings it reads

        arguments = {"prompt": PROMPT, "force_model": f"openai/{MODEL}"}
        async with Client(server.mcp) as host:
            yield lambda: host.call_tool("route_and_answer", arguments)


@dataclass(slots=True)
class Measured:
    """One contender's rounds: CPU per request of each, and the latency of each request, in milliseconds."""

    cpu: list[float] = field(default_factory=list[float])
    latencies: list[float] = field(default_factory=list[float])

    async def round(self, call: Call, requests: int, concurrency: int) -> None:
        """Make the calls, so many at a time."""
        left = iter(range(requests))

        async def caller() -> None:
            for _ in left:
                started = time.perf_counter()
                await call()
                self.latencies.append(1000 * (time.perf_counter() - started))

        cpu = time.process_time()
        async with anyio.create_task_group() as group:
            for _ in range(concurrency):
                group.start_soon(caller)
        self.cpu.append(1000 * (time.process_time() - cpu) / requests)

    @property
    def figures(self) -> dict[str, float]:
        """What is printed of it."""
        return {
            "cpu_ms": round(statistics.median(self.cpu), 2),
            "p50_ms": round(statistics.median(self.latencies), 2),
            "p99_ms": round(statistics.quantiles(self.latencies, n=100, method="inclusive")[98], 2),
        }


async def in_turns(contenders: dict[str, Call], requests: int, concurrency: int) -> dict[str, Measured]:
    """Let them take turns; each one goes first as often as another."""
    measured = {name: Measured() for name in contenders}
    order = list(contenders)
    for _ in range(ROUNDS):
        for name in order:
            await measured[name].round(contenders[name], max(2 * concurrency, requests // ROUNDS), concurrency)
        order = [*order[1:], order[0]]
    return measured


def compared(level: int, measured: dict[str, Measured]) -> dict[str, Any]:
    """A row of what is printed."""
    figures = {name: each.figures for name, each in measured.items()}
    mine, theirs = measured["pointsman"], measured["tool"]
    low, middle, high = statistics.quantiles(
        (ours - bare for ours, bare in zip(mine.cpu, theirs.cpu, strict=True)), n=4
    )
    ratios = {
        f"{key}_ratio": figures["pointsman"][key] / figures["tool"][key] for key in ("cpu_ms", "p50_ms", "p99_ms")
    }
    return {
        "concurrency": level,
        **figures,
        "added_cpu_ms": round(middle, 2),
        "added_cpu_quartiles_ms": [round(low, 2), round(high, 2)],
        **{key: round(value, 2) for key, value in ratios.items()},
    }


async def compare(requests: int, port: int) -> list[dict[str, Any]]:
    """All three at every level, in turn."""
    url = f"http://127.0.0.1:{port}/v1"
    rows: list[dict[str, Any]] = []
    async with bare_sdk(url) as sdk, bare_tool(url) as tool, pointsman(url) as ours:
        contenders = {"sdk": sdk, "tool": tool, "pointsman": ours}
        for level in LEVELS:
            await in_turns(contenders, ROUNDS, level)
            rows.append(compared(level, await in_turns(contenders, requests, level)))
    return rows


async def main(requests: int) -> list[dict[str, Any]]:
    """Start the upstream and compare."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", UPSTREAM, str(port)]) as upstream:
        try:
            await listening(port)
            return await compare(requests, port)
        finally:
            upstream.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for row in anyio.run(main, options.requests):
        if options.json:
            print(json.dumps(row))
            continue
        print(f"concurrency {row['concurrency']}")
        for name in ("sdk", "tool", "pointsman"):
            print(f"  {name:>9}  " + "  ".join(f"{key} {value}" for key, value in row[name].items()))
        print(
            f"  added CPU over the tool {row['added_cpu_ms']} ms (quartiles {row['added_cpu_quartiles_ms']}), "
            f"CPU x {row['cpu_ms_ratio']}, p50 x {row['p50_ms_ratio']}, p99 x {row['p99_ms_ratio']}"
        )
