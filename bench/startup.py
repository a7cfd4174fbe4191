"""How long a host waits for tools/list: Pointsman against a bare one-tool MCPServer, in turn, in one run.

    python bench/startup.py [--runs 10] [--json]

Each run starts the process anew, shakes hands over stdio and asks for the tools. Prints the median of each in milliseconds,
the ratio of the medians, and the median of the pairwise ratios. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

ROOT = Path(__file__).resolve().parent.parent
BARE = """
from mcp.server import MCPServer
mcp = MCPServer("bare")
@mcp.tool()
async def echo(text: str) -> str:
    "Say it again."
    return text
mcp.run("stdio")
"""


async def seconds_to_tools(arguments: list[str], home: str) -> float:
    """Start a server and wait for its tools."""
    environment = {"PATH": os.environ["PATH"], "HOME": home, "POINTSMAN_HOME": home, "POINTSMAN_DISCOVER": "false"}
    started = time.perf_counter()
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
    async with Client(stdio_client(parameters)) as client:
        assert (await client.list_tools()).tools
        return time.perf_counter() - started


async def measure(runs: int) -> dict[str, float]:
    """Run both in turn, after one run of each that is not counted."""
    ours: list[float] = []
    bare: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        for run in range(runs + 1):
            pair = await seconds_to_tools([str(ROOT / "server.py")], home), await seconds_to_tools(["-c", BARE], home)
            if run:
                ours.append(pair[0])
                bare.append(pair[1])
    return {
        "runs": runs,
        "pointsman_ms": round(1000 * statistics.median(ours), 1),
        "bare_ms": round(1000 * statistics.median(bare), 1),
        "ratio_of_medians": round(statistics.median(ours) / statistics.median(bare), 3),
        "median_of_ratios": round(statistics.median(a / b for a, b in zip(ours, bare, strict=True)), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = anyio.run(measure, options.runs)
    if options.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name:>18}  {figure}")


if __name__ == "__main__":
    main()
