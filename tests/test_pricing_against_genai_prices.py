"""Our formula and rows against genai-prices' own calculator, for every model that both know."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest

from routing.pricing import MICROUSD, cost_microusd
from routing.registry import Model, load_registry
from routing.types import Usage
from tests.builders import usage

REGISTRY = load_registry(Path(__file__).resolve().parent.parent / "registry.json")
THEIR_IDS = {"xai": "x-ai"}
SHARED = [
    model
    for model in REGISTRY.models.values()
    if model.source.startswith("genai-prices") and "hours" not in model.source and model.prices.known
]
USAGES = [
    usage(1_000, 500),
    usage(150_000, 4_000),
    usage(300_000, 4_000),
    usage(50_000, 1_000, cache_read_tokens=30_000),
    usage(50_000, 1_000, cache_read_tokens=20_000, cache_write_tokens=10_000),
]


def theirs(model: Model, used: Usage) -> Decimal:
    """What genai-prices says the usage costs, in micro-dollars, at noon of the day our row was checked."""
    assert model.prices_checked is not None
    priced = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cache_read_tokens=used.cache_read_tokens,
            cache_write_tokens=used.cache_write_tokens,
        ),
        model.api_model_id,
        provider_id=THEIR_IDS.get(model.provider, model.provider),
        genai_request_timestamp=datetime.combine(model.prices_checked, time(12), UTC),
    )
    return priced.total_price * MICROUSD


@pytest.mark.parametrize("model", SHARED, ids=lambda model: str(model.model_id))
def test_a_cost_is_what_genai_prices_makes_of_the_same_tokens(model: Model) -> None:
    for used in USAGES:
        ours = cost_microusd(used, model.prices)
        assert ours is not None
        assert abs(Decimal(ours) - theirs(model, used)) <= 1, used


def test_most_of_the_line_up_is_compared() -> None:
    assert len(SHARED) >= 40
