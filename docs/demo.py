"""The main job, as an MCP host does it: start the server over stdio, call a tool, read the answer and its bill.

Run it with ``make demo``. It needs no API key.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

QUESTION = "What is the capital of France?"
SERVER = Path(__file__).resolve().parent.parent / "server.py"


async def on_progress(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the SDK's signature
    """Show what the server is at."""
    sys.stderr.write(f"  {message}\n")


async def main() -> None:
    """Ask one question."""
    server = stdio_client(StdioServerParameters(command=sys.executable, args=[str(SERVER)], env=dict(os.environ)))
    async with Client(server) as client:
        answer = await client.call_tool("route_and_answer", {"prompt": QUESTION}, progress_callback=on_progress)
    if answer.is_error or answer.structured_content is None:
        sys.exit(f"The call failed: {answer.content}")
    result = answer.structured_content
    analysis = result["task_analysis"]
    for name, value in (
        ("question", QUESTION),
        ("answer", result["response"]),
        ("model", result["model_used"]),
        ("category", f"{analysis['category']}, complexity {analysis['complexity']}"),
        ("tokens", f"{result['actual_input_tokens']} in, {result['actual_output_tokens']} out"),
        ("cost", f"${result['actual_cost_usd']:.6f}"),
        ("latency", f"{result['latency_ms']} ms"),
        *(("note", notice) for notice in result["notices"]),
    ):
        sys.stdout.write(f"{name:>9}  {value}\n")


if __name__ == "__main__":
    anyio.run(main)
