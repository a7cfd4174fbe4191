"""A provider's outage, over real sockets: how many answers come through the fallback, and how often the dead one is asked.

    python bench/outage.py [--seconds 60] [--rate 20] [--json]

Two loopback upstreams stand for two providers. The one that the router prefers answers 503 for the whole time, while
route_and_answer is called at a fixed rate. Then calls are cancelled one by one while the upstream hangs, and the time until it
sees its socket closed is taken. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from mcp import Client

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.upstream import Upstream  # noqa: E402 - after the path

PROMPT = {"prompt": "What is the capital of France?"}
CANCELLATIONS = 20


async def outage(host: Client, dead: Upstream, seconds: float, rate: float) -> dict[str, Any]:
    """Call at a fixed rate while one upstream is down."""
    outcomes: list[bool] = []
    dead.status = 503
    before = len(dead.requests)

    async def call() -> None:
        result = await host.call_tool("route_and_answer", PROMPT)
        outcomes.append(not result.is_error)

    begun = time.monotonic()
    async with anyio.create_task_group() as group:
        for number in range(round(seconds * rate)):
            await anyio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            group.start_soon(call)
    dead.status = 200
    return {
        "requests": len(outcomes),
        "answered": sum(outcomes),
        "answered_share": round(sum(outcomes) / len(outcomes), 5),
        "attempts_on_the_dead_one": len(dead.requests) - before,
    }


async def cancelled(host: Client, upstream: Upstream, model: str) -> float:
    """Seconds from cancelling a call until the upstream sees its socket closed."""
    upstream.hangs = True
    upstream.reached.clear()
    upstream.hung_up.clear()
    begun = time.perf_counter()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(host.call_tool, "route_and_answer", {**PROMPT, "force_model": model})
            await anyio.to_thread.run_sync(upstream.reached.wait)
            await anyio.sleep(0.05)
            begun = time.perf_counter()
            scope.cancel()
    await anyio.to_thread.run_sync(upstream.hung_up.wait)
    return time.perf_counter() - begun


async def main(seconds: float, rate: float) -> dict[str, Any]:
    """Set the stage and play both acts."""
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        upstreams = {name: stack.enter_context(Upstream()) for name in ("openai", "groq")}
        os.environ.update(POINTSMAN_HOME=home, POINTSMAN_DISCOVER="false", POINTSMAN_LOCAL_MODEL="off")
        for name, upstream in upstreams.items():
            os.environ.update({f"{name.upper()}_API_KEY": "sk-bench", f"{name.upper()}_BASE_URL": upstream.url})
        import server  # noqa: PLC0415 - after the settings it reads

        async with Client(server.mcp) as host:
            choice = (await host.call_tool("classify_task", PROMPT)).structured_content
            assert choice is not None
            primary = choice["model_selection"]["provider"]
            figures = await outage(host, upstreams[primary], seconds, rate)
            fallback = next(name for name in upstreams if name != primary)
            model = next(one for one in choice["model_selection"]["fallback_models"])
            closed = [await cancelled(host, upstreams[fallback], model) for _ in range(CANCELLATIONS)]
    return {**figures, "slowest_close_after_cancel_ms": round(1000 * max(closed), 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = anyio.run(main, options.seconds, options.rate)
    if options.json:
        print(json.dumps(result))
    else:
        for key, figure in result.items():
            print(f"{key:>30}  {figure}")
