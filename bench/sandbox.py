"""What running code costs: warm and cold, in a session, and what a busy guest costs everybody else. In one run.

    python bench/sandbox.py [--calls 20] [--backend auto] [--json]

Times are milliseconds as a caller of `Sandbox.run` sees them, with half a second between calls, as a host leaves. "cold" starts
a guest for the call. The event loop's delay is measured every 5 ms, at rest and beside a guest on every processor. Informs;
gates nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from routing.settings import Settings  # noqa: E402
from tools.sandbox import NEW_SESSION, Sandbox  # noqa: E402
from tools.sandbox.backends import backends  # noqa: E402

HELLO = "print('hello')"
NUMPY = "import numpy as np\nnp.linspace(0, 1, 1000).sum()"
PLOT = "import numpy as np, matplotlib.pyplot as plt\nx = np.linspace(0, 7)\nplt.plot(x, np.sin(x))"
PANDAS = "import pandas as pd\npd.DataFrame({'a': range(10)}).describe()"
SPIN = "while True: pass"
SECONDS_BETWEEN = 0.5
SECONDS_TO_WARM = 4.0


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long work takes."""
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


def summary(samples: list[float]) -> dict[str, float]:
    """The middle and the worst."""
    return {"p50": round(statistics.median(samples), 1), "max": round(max(samples), 1)}


async def calls(sandbox: Sandbox, code: str, count: int, *, pause: float = SECONDS_BETWEEN) -> dict[str, float]:
    """One-shot calls; the first, which teaches the pool what to import, is not counted."""

    async def call() -> None:
        outcome = await sandbox.run(code, caller="bench", timeout_seconds=60)
        assert outcome.exit_reason == "finished", outcome

    await call()
    samples: list[float] = []
    for _ in range(count):
        await anyio.sleep(pause)
        samples.append(await milliseconds(call))
    return summary(samples)


async def cells(sandbox: Sandbox, count: int) -> dict[str, float]:
    """Calls in a session, one after the other."""
    session_id = (await sandbox.run("x = 0", caller="bench", session_id=NEW_SESSION)).session_id
    samples = [
        await milliseconds(lambda: sandbox.run("x += 1\nx", caller="bench", session_id=session_id))
        for _ in range(count * 10)
    ]
    return summary(samples)


async def loop_delays(seconds: float = 3.0) -> dict[str, float]:
    """How late a 5 ms timer of this process fires."""
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        samples.append(await milliseconds(lambda: anyio.sleep(0.005)) - 5)
    return {"p50": round(statistics.median(samples), 2), "p99": round(statistics.quantiles(samples, n=100)[98], 2)}


async def beside_busy_guests(sandbox: Sandbox) -> dict[str, float]:
    """The delays while a guest on every processor does nothing but spin."""
    delays: dict[str, float] = {}
    async with anyio.create_task_group() as group:
        for _ in range(os.cpu_count() or 1):
            group.start_soon(lambda: sandbox.run(SPIN, caller="bench", timeout_seconds=5))
        await anyio.sleep(1)
        delays.update(await loop_delays())
    return delays


async def measured(backend: str, count: int) -> dict[str, object]:
    """Everything, on one backend or on the strongest that holds."""
    with tempfile.TemporaryDirectory() as home:
        chosen = backends(Settings.model_validate({"home": home, "sandbox": backend}))
        warm, cold = Sandbox(chosen), Sandbox(chosen, pool_size=0)
        try:
            probing_ms = await milliseconds(warm.available)
            verdict = await warm.available()
            assert verdict.usable, verdict.problem
            return {
                "backend": verdict.backend,
                "probe": round(probing_ms, 1),
                "hello, warm": await calls(warm, HELLO, count),
                "numpy, warm": await calls(warm, NUMPY, count),
                "plot, warm": await calls(warm, PLOT, max(3, count // 5), pause=SECONDS_TO_WARM),
                "pandas, warm": await calls(warm, PANDAS, max(3, count // 5), pause=SECONDS_TO_WARM),
                "hello, cold": await calls(cold, HELLO, count),
                "plot, cold": await calls(cold, PLOT, max(3, count // 5)),
                "a cell in a session": await cells(warm, count),
                "event loop, at rest": await loop_delays(),
                "event loop, busy guests": await beside_busy_guests(cold),
            }
        finally:
            await warm.aclose()
            await cold.aclose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = anyio.run(measured, options.backend, options.calls)
    if options.json:
        print(json.dumps(figures))
        return
    for name, row in figures.items():
        print(f"{name:26} {row}")


if __name__ == "__main__":
    main()
