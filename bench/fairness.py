"""One caller floods the server while another works on; the second one should be answered as on a quiet day.

    python bench/fairness.py [--flood 1000] [--upstream 0.3] [--seconds 10] [--json]

Two callers with tokens of their own call one server over streamable HTTP, whose upstream takes ``--upstream`` seconds. Bob
calls one at a time: first alone, then while Ann has ``--flood`` calls under way from a process of her own, all sent at once;
what is shed she sends again after the time that the refusal names. Prints Bob's latencies (ms) in both cases and their ratio,
what became of Ann's calls, and the server's resident memory (MB) before, during and 15 s after. Informs; gates nothing.
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
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteStream

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.soak import HEADERS, House, client, house, message, percentiles, some  # noqa: E402

QUIET_AGAIN_SECONDS = 15.0
FLOODS_BEFORE = 2
_HINT = re.compile(rb"Try again in (\d+) s")
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def flood(url: str, token: str, calls: int, seconds: float) -> Counter[str]:
    """Keep so many calls under way for so long; over bare sockets, which leave the processors to the server."""
    became: Counter[str] = Counter()
    until = time.monotonic() + seconds
    address, wire = urlsplit(url), _wire_of(url, token)

    async def again_and_again() -> None:
        while time.monotonic() < until:
            async with await anyio.connect_tcp(address.hostname or "", address.port or 80) as stream:
                await stream.send(wire)
                answer = await _answer(stream)
            hint = _HINT.search(answer)
            became["shed with a hint" if hint else "answered" if b'"isError":false' in answer else "failed"] += 1
            if hint:
                await anyio.sleep(min(float(hint[1]), max(0.0, until - time.monotonic())))

    async with anyio.create_task_group() as group:
        for _ in range(calls):
            group.start_soon(again_and_again)
    return became


def _wire_of(url: str, token: str) -> bytes:
    body = json.dumps(message()).encode()
    headers = {"host": urlsplit(url).netloc, **HEADERS, "authorization": f"Bearer {token}"}
    headers |= {"content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {urlsplit(url).path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def _answer(stream: ByteStream) -> bytes:
    """One answer with its headers, by its length."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += await stream.receive()
    head, _, body = read.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += await stream.receive()
    return head + body


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
        for _ in range(FLOODS_BEFORE):  # what first floods leave behind is there before and after
            await flood(it.url, it.tokens["ann"], calls, seconds)
        await steady(it, 2)
        quiet, memory = await steady(it, seconds), [it.resident_mb]
        command = [sys.executable, __file__, "--as-ann", it.url, it.tokens["ann"]]
        command += ["--flood", str(calls), "--seconds", str(seconds)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as ann:
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
        where, token = options.as_ann
        print(json.dumps(anyio.run(flood, where, token, options.flood, options.seconds)))
    else:
        figures = anyio.run(main, options.flood, options.upstream, options.seconds)
        print(json.dumps(figures) if options.json else "\n".join(f"{name}  {value}" for name, value in figures.items()))
