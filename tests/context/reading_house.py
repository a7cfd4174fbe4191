"""A router over scripted models on loopback, and a report of 300,000 tokens with facts hidden in it."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from routing.analyzer import RulesAnalyzer
from routing.assembler import Assembler
from routing.budgets import Wallet
from routing.catalog import Catalog, CatalogSource
from routing.context.plan import Planner
from routing.context.reading import Reader
from routing.dispatch.engine import DispatchEngine
from routing.dispatch.providers import ProviderPool
from routing.dispatch.retry import RetryPolicy
from routing.dispatch.tool_loop import NoTools, ToolLoop
from routing.recorder import Recorder
from routing.registry import Model
from routing.router import Router
from routing.selector import Selector
from routing.state.sqlite import SqliteStore
from routing.tokens import TokenCounter
from tests.builders import catalog, model

WINDOW = 128_000
STRONG = model("acme/strong", tier=1, context_window=WINDOW, prices={"input": 10, "output": 50})
CHEAP = model("acme/cheap", tier=4, context_window=WINDOW, prices={"input": 0.1, "output": 0.4})

FACTS = (
    "The Vega budget for Lisbon is 4,317 euros.",
    "In spring the Vega budget for Oslo rose to 9,021 euros.",
    "Nobody had told the board that the Vega budget for Quito was 12 euros.",
)
QUESTION = "Which Vega budgets does the report name? List every one of them."
_CHARS_PER_TOKEN = 6.1
"""Of this prose, in o200k_base; the estimate without a vocabulary finds a fifth more tokens."""

_PROSE = """
    the harbour report of last week names several old ships that carried grain and timber between northern towns where
    merchants kept careful books about weather prices tides repairs crews and letters from distant partners
"""


def report(tokens: int = 300_000, facts: tuple[str, ...] = FACTS) -> str:
    """A text of about so many tokens, in paragraphs; the facts stand at 2 %, in the middle and at 98 % of it."""
    words = _PROSE.split()
    chance = random.Random(7)  # noqa: S311 - the same text every time
    sentences, length = list[str](), 0
    while length < tokens * _CHARS_PER_TOKEN:
        sentence = " ".join(chance.choices(words, k=14)).capitalize() + "."
        sentences.append(sentence)
        length += len(sentence) + 1
    for place, fact in zip((0.02, 0.5, 0.98), facts, strict=False):
        sentences.insert(int(place * len(sentences)), fact)
    return "\n\n".join(" ".join(sentences[start : start + 8]) for start in range(0, len(sentences), 8))


def looks_it_up(body: dict[str, Any]) -> str:
    """A model that reads: the sentences on Vega budgets in what it was shown, and nothing that it was not."""
    shown = str(body["messages"][-1]["content"])
    marked = re.search(r"<(text|notes)>\n(.*)\n</\1>", shown, re.DOTALL)
    text = marked[2] if marked else shown.removeprefix(QUESTION)
    found = [one for one in re.split(r"(?<=\.)\s+", text) if "Vega budget" in one]
    return " ".join(found) or "NOTHING"


def is_reading(body: dict[str, Any]) -> bool:
    """Whether a request is for one of the parts."""
    return "<text>" in str(body["messages"][-1]["content"])


@asynccontextmanager
async def house(
    folder: Path,
    url: str,
    models: tuple[Model, ...] = (STRONG, CHEAP),
    *,
    retries: int = 0,
    compress_above: int | None = None,
    overflow: bool = True,
    wallet: Wallet | None = None,
) -> AsyncGenerator[Router]:
    cheapest = min(models, key=lambda one: one.prices.input or 0)
    rows = catalog(*models, matrix={"cost_optimized": cheapest.model_id})
    rows = replace(rows, access={name: replace(way, base_url=url) for name, way in rows.access.items()})
    counter = TokenCounter(folder / "vocabularies")
    pool = ProviderPool(cast("Any", None), cast("Any", None))
    engine = DispatchEngine(
        providers=pool,
        counter=counter,
        tool_loop=ToolLoop(toolbox=NoTools()),
        policy=RetryPolicy(most_retries=retries, base_seconds=0.001),
    )
    selector = Selector(confidence_threshold=0)
    planner = Planner(selector=selector, overflow=overflow, compress_above=compress_above)
    async with SqliteStore(folder / "state.db") as store:
        yield Router(
            catalog=cast("CatalogSource", _Fixed(rows)),
            sessions=store.sessions,
            analyzer=RulesAnalyzer(counter),
            selector=selector,
            assembler=Assembler(counter=counter, toolbox=NoTools()),
            dispatcher=engine,
            recorder=Recorder(ledger=store.ledger),
            wallet=wallet or Wallet(),
            reader=Reader(planner=planner, dispatcher=engine, counter=counter),
        )
        await pool.aclose()


class _Fixed:
    def __init__(self, rows: Catalog) -> None:
        self._rows = rows

    async def current(self) -> Catalog:
        return self._rows
