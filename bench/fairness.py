"""One caller floods the server, another works on: is the second one answered as on a quiet day?

    python bench/fairness.py [--flood 1000] [--upstream 0.3] [--seconds 10] [--json]

Two callers with tokens of their own call one server over streamable HTTP, whose upstream takes ``--upstream`` seconds. Bob calls
one at a time: first alone, then while Ann has ``--flood`` calls under way at any moment, from a process of her own; what is shed
she calls again after the time that the refusal names. Prints Bob's latencies (ms) in both cases, their ratio, what became of Ann's calls, and the
server's resident memory (MB) before, during and 15 s after. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.soak import House, call, client, house, percentiles, some  # noqa: E402

QUIET_AGAIN_SECONDS = 15.0
_HINT = re.compile(r"Try again in (\d+) s")


async def flood(url: str, token: str, calls: int, seconds: float) -> Counter[str]:
    """Keep so many calls under way for so long."""
    became: Counter[str] = Counter()
    until = time.monotonic() + seconds

    async def again_and_again(caller: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            wait = await _once(caller, url, became)
            await anyio.sleep(min(wait, max(0.0, until - time.monotonic())))

    async with client(token, calls) as caller, anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(again_and_again, caller)
    return became


async def _once(caller: httpx.AsyncClient, url: str, became: Counter[str]) -> float:
    """One call: what became of it is counted; the seconds after which to come back."""
    try:
        _, result = await call(caller, url)
    except httpx.HTTPStatusError as refusal:
        became[f"HTTP {refusal.response.status_code}"] += 1
        return float(refusal.response.headers.get("retry-after", 1))
    if not result["isError"]:
        became["answered"] += 1
        return 0.0
    hint = _HINT.search(result["content"][0]["text"])
    became["shed with a hint" if hint else "failed"] += 1
    return float(hint[1]) if hint else 1.0


async def steady(it: House, seconds: float) -> list[float]:
    """Bob, one call after another."""
    until = time.monotonic() + seconds
    latencies: list[float] = []
    async with client(it.tokens["bob"], 1) as bob:
        while time.monotonic() < until:
            latencies += await some(bob, it.url, 1, 1)
    return latencies


async def main(calls: int, upstream: float, seconds: float) -> dict[str, Any]:
    """Quiet, flooded, quiet again."""
    async with house(["ann", "bob"], upstream_seconds=upstream) as it:
        await steady(it, 2)
        quiet, memory = await steady(it, seconds), [it.resident_mb]
        command = [sys.executable, __file__, "--as-ann", it.url, it.tokens["ann"]]
        command += ["--flood", str(calls), "--seconds", str(seconds + 2)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as ann:
            await anyio.sleep(2)
            flooded = await steady(it, seconds)
            memory.append(it.resident_mb)
            became = json.loads(ann.communicate(timeout=120)[0])
        await anyio.sleep(QUIET_AGAIN_SECONDS)
        memory.append(it.resident_mb)
    before, during = percentiles(quiet), percentiles(flooded)
    return {
        "bob_quiet": {"calls": len(quiet), **before},
        "bob_beside_the_flood": {"calls": len(flooded), **during},
        "p99_ratio": round(during["p99_ms"] / before["p99_ms"], 2),
        "ann": became,
        "rss_mb": [round(value, 1) for value in memory],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flood", type=int, default=1000)
    parser.add_argument("--upstream", type=float, default=0.3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--as-ann", nargs=2, metavar=("URL", "TOKEN"), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.as_ann:
        print(json.dumps(anyio.run(flood, *options.as_ann, options.flood, options.seconds)))
    else:
        figures = anyio.run(main, options.flood, options.upstream, options.seconds)
        print(json.dumps(figures) if options.json else "\n".join(f"{name}  {value}" for name, value in figures.items()))
