"""What a report takes on a ledger of many routes, and what its sums cost each route that is written.

    python bench/report.py [--routes 10000 1000000] [--json]

Fills a ledger with routes spread over a year, then reads it as `usage_report` and the dashboard do: the median and the worst of
20 in milliseconds, for the last day, the last week and all time. Informs; gates nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import anyio

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import composition  # noqa: E402
from routing.report import Period, window_of  # noqa: E402
from routing.settings import load_settings  # noqa: E402
from routing.types import LOCAL_CALLER, Attempt, ModelSelection, RouteRecord, TaskAnalysis, Usage  # noqa: E402
from tools.base import Services  # noqa: E402
from tools.report import dashboard_data, reported, told  # noqa: E402

YEAR_SECONDS = 365 * 86_400
AT_ONCE = 1_000
TIMES = 20
MODELS = ("openai/gpt-5-nano", "openai/gpt-4.1", "anthropic/claude-opus-4", "google/gemini-3.8-flash", "xai/grok-4.3")
CATEGORIES = ("qa_retrieval", "text_generation", "complex_coding", "classification", "deep_reasoning")
Row = dict[str, float]


def routes(number: int, now: float) -> Iterator[RouteRecord]:
    """Routes a year long, one in ten with a second attempt."""
    chance = random.Random(7)  # noqa: S311 - the same routes each time
    for index in range(number):
        started_at = now - YEAR_SECONDS * (1 - index / number)
        model = chance.choice(MODELS)
        latency = int(chance.lognormvariate(7, 0.7))
        usage = Usage(input_tokens=chance.randint(50, 5_000), output_tokens=chance.randint(10, 900))
        cost = usage.input_tokens + 4 * usage.output_tokens
        attempt = Attempt(
            model_id=model,
            provider=model.split("/")[0],
            outcome="answered",
            started_at=started_at,
            latency_ms=latency,
            usage=usage,
            cost_microusd=cost,
            first_token_ms=latency // 5,
            finish_reason="stop",
        )
        calls = 2 if index % 10 == 0 else 1
        yield RouteRecord(
            route_id=f"rte_{index}",
            caller="local",
            session_id="ses_1",
            started_at=started_at,
            latency_ms=latency * calls,
            outcome="completed",
            prompt_sha256="00" * 32,
            analysis=analysis(chance.choice(CATEGORIES)),
            selection=ModelSelection(
                primary_model=model,
                provider="acme",
                fallback_models=(),
                estimated_cost_microusd=1,
                reasoning="cheapest",
            ),
            attempts=(attempt,) * calls,
            model_used=model,
            cost_microusd=cost * calls,
            baseline_cost_microusd=cost * 20,
        )


def analysis(category: str) -> TaskAnalysis:
    """An analysis with this category."""
    return TaskAnalysis(
        category=category,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - one of CATEGORIES
        complexity=2,
        confidence=0.9,
        estimated_input_tokens=300,
        estimated_output_tokens=100,
        input_tokens_exact=True,
    )


async def fill(services: Services, number: int) -> float:
    """Write the routes, some hundreds a commit, score one in each lot, and return the microseconds that each took."""
    began = time.perf_counter()
    for lot in batched(routes(number, time.time())):
        async with anyio.create_task_group() as group:
            for route in lot:
                group.start_soon(services.store.ledger.record, route)
        await services.store.feedback.record("local", lot[0].route_id, 0.8)
    return (time.perf_counter() - began) / number * 1e6


def batched(records: Iterator[RouteRecord]) -> Iterator[list[RouteRecord]]:
    """Lots of `AT_ONCE`."""
    while lot := list(islice(records, AT_ONCE)):
        yield lot


async def measured(read: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """The median and the worst of `TIMES` reads, in milliseconds."""
    taken: list[float] = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await read()
        taken.append(1_000 * (time.perf_counter() - began))
    return statistics.median(taken), max(taken)


async def bench(number: int) -> Row:
    """One ledger: its figures by name."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"POINTSMAN_LOCAL_MODEL": "off", "POINTSMAN_DISCOVER": "false"}, Path(home))
        async with composition.composed(settings) as services:
            row: Row = {"routes": number, "write_us": await fill(services, number)}
            for period in PERIODS:
                for name, read in _readers(services, period).items():
                    row[f"{name}_{period}_ms"], row[f"{name}_{period}_worst_ms"] = await measured(read)
        return {**row, "file_mb": (await anyio.Path(settings.database).stat()).st_size / 1e6}


PERIODS: tuple[Period, ...] = ("day", "week", "all")


def _readers(services: Services, period: Period) -> dict[str, Callable[[], Awaitable[object]]]:
    async def report() -> object:
        return await told(
            services, LOCAL_CALLER, await reported(services, LOCAL_CALLER, window_of(period, time.time())), "model"
        )

    async def dashboard() -> object:
        return await dashboard_data(services, LOCAL_CALLER, period)

    return {"report": report, "dashboard": dashboard}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures of each ledger."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--routes", type=int, nargs="+", default=[10_000])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rows = [anyio.run(bench, number) for number in options.routes]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['routes']:,.0f} routes")
        for name, value in row.items():
            print(f"  {name:<26}{value:>12,.1f}")


if __name__ == "__main__":
    main()
