"""Keeps registry.json's prices current: compares them with genai-prices, whose bundled list needs no network.

https://github.com/pydantic/genai-prices. Rows that came from that list are brought up to date; differences of all other
rows (the project brief's, whose figures are kept as published) are reported and left alone. Upgrade the package, then
refresh. genai-prices costs import time, so it is imported by the first refresh and not with this module.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast

from routing.errors import RegistryError
from routing.registry import LongContextPrices, Model, Prices, load_registry

_SOURCE = "genai-prices"
_THEIR_PROVIDER_IDS = {"xai": "x-ai"}
_PRICES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
}
_HALF_HOURS = [timedelta(minutes=30 * step) for step in range(48)]
_LINE_LENGTH = 120

JsonObject = dict[str, Any]
"""A registry file as parsed JSON: it is written back, so what we do not understand must survive."""


class _Tier(Protocol):
    start: int
    price: Decimal


class _TieredPrices(Protocol):
    """genai-prices' form of a price with steps: a step's price holds for input longer than its start."""

    base: Decimal
    tiers: list[_Tier]


class _ModelInfo(Protocol):
    """genai-prices' entry of a model; what it gives has a price, tiered or not, for each of `_PRICES`."""

    def get_prices(self, request_timestamp: datetime, /) -> object: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """A row whose prices differ from the current list; ``applied`` is false where the row keeps its own."""

    model_id: str
    before: Prices
    after: Prices
    applied: bool


def refresh_overlay(shipped: Path, overlay: Path, today: date) -> list[PriceChange]:
    """Write today's prices into the user's own registry file, as fields over the shipped rows; the rest of it stays.

    Raises:
        RegistryError: one of the files is not JSON, or the result would not be a registry; nothing is written then.

    """
    document = _read(shipped)
    current, changes = refreshed(document, today)
    fields = ("prices", "prices_checked", "source")
    newer = {
        model_id: {name: row[name] for name in fields}
        for model_id, row in current["models"].items()
        if row != document["models"][model_id]
    }
    own = _read(overlay) if overlay.exists() else {}
    rows = own.get("models", {})
    own["models"] = {**rows, **{model_id: {**rows.get(model_id, {}), **new} for model_id, new in newer.items()}}
    draft = overlay.with_name(f"{overlay.name}.draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.write_text(rendered(own), encoding="utf-8")
    try:
        load_registry(shipped, draft)
        draft.replace(overlay)
    finally:
        draft.unlink(missing_ok=True)
    return changes


def _read(path: Path) -> JsonObject:
    try:
        return cast("JsonObject", json.loads(path.read_bytes(), parse_float=Decimal))
    except ValueError as problem:
        raise RegistryError(f"{path}: not JSON: {problem}") from problem


def refreshed(registry_json: JsonObject, today: date) -> tuple[JsonObject, list[PriceChange]]:
    """Bring the rows that came from genai-prices up to ``today``; return the new document and all differences."""
    models: dict[str, JsonObject] = {}
    changes: list[PriceChange] = []
    for model_id, row in cast("dict[str, JsonObject]", registry_json["models"]).items():
        models[model_id] = row
        model = Model.model_validate({**row, "model_id": model_id})
        during = _prices_during(model, today)
        if not during:
            continue
        current = _dearest(during, model)
        ours = model.source.startswith(_SOURCE)
        if current != model.prices:
            changes.append(PriceChange(model_id=model_id, before=model.prices, after=current, applied=ours))
        if ours:
            models[model_id] = {**row, **_fields_of(current, today, by_hour=len(during) > 1)}
    return {**registry_json, "models": models}, changes


def _fields_of(prices: Prices, today: date, *, by_hour: bool) -> JsonObject:
    source = f"{_SOURCE} {version(_SOURCE)}" + (", dearest hours of the day" if by_hour else "")
    written = _plain(prices)
    if prices.long_context:
        steps = [{"above_input_tokens": step.above_input_tokens, **_plain(step)} for step in prices.long_context]
        written = {**written, "long_context": steps}
    return {"prices": written, "prices_checked": today.isoformat(), "source": source}


def _plain(prices: Prices | LongContextPrices) -> JsonObject:
    return prices.model_dump(include=set(_PRICES), exclude_none=True)


def _dearest(during: Sequence[object], model: Model) -> Prices:
    """Take the dearest hour where a provider charges by the hour, so that a cost is never promised too low."""
    row = max(during, key=lambda price: sum(_at(price, key, 0) or 0 for key in _PRICES))
    steps = [step for step in _steps(row) if step < model.context_window]
    long_context = tuple(LongContextPrices(above_input_tokens=step, **_four(row, step + 1, model)) for step in steps)
    return Prices(**_four(row, 0, model), long_context=long_context)


def _prices_during(model: Model, today: date) -> list[object]:
    """List the different prices that hold in the course of a day (UTC); none where the model is not listed."""
    listed = _listed(model)
    if listed is None:
        return []
    midnight = datetime.combine(today, time(), tzinfo=UTC)
    found: list[object] = []
    for price in (listed.get_prices(midnight + offset) for offset in _HALF_HOURS):
        if price not in found:
            found.append(price)
    return found


def _listed(model: Model) -> _ModelInfo | None:
    from genai_prices.data import providers  # noqa: PLC0415 - slow to import, see the module's docstring

    theirs = _THEIR_PROVIDER_IDS.get(model.provider, model.provider)
    provider = next((provider for provider in providers if provider.id == theirs), None)
    return provider.find_model(model.api_model_id) if provider else None


def _steps(row: object) -> list[int]:
    prices = [_price(row, key) for key in _PRICES]
    return sorted({tier.start for price in prices if price and not isinstance(price, Decimal) for tier in price.tiers})


def _four(row: object, input_tokens: int, model: Model) -> dict[str, Decimal | None]:
    four = {key: _at(row, key, input_tokens) for key in _PRICES}
    return {**four, "output": Decimal(0)} if model.kind == "embedding" else four


def _at(row: object, key: str, input_tokens: int) -> Decimal | None:
    price = _price(row, key)
    if price is None or isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else price.base


def _price(row: object, key: str) -> Decimal | _TieredPrices | None:
    return cast("Decimal | _TieredPrices | None", getattr(row, _PRICES[key]))


# Writing the file


def rendered(document: Mapping[str, object]) -> str:
    """Write a registry file as it is kept: two spaces of indent, and on one line whatever fits there."""
    return _rendered(document, 0) + "\n"


def _rendered(value: object, indent: int) -> str:
    one_line = json.dumps(value, ensure_ascii=False, default=_json_number)
    if not isinstance(value, Mapping | list | tuple) or (indent and len(one_line) + indent <= _LINE_LENGTH):
        return one_line
    opening, closing = "{}" if isinstance(value, Mapping) else "[]"
    margin = " " * (indent + 2)
    items = (",\n" + margin).join(_items(cast("Mapping[str, object] | Sequence[object]", value), indent + 2))
    return f"{opening}\n{margin}{items}\n{' ' * indent}{closing}"


def _items(container: Mapping[str, object] | Sequence[object], indent: int) -> Iterator[str]:
    if isinstance(container, Mapping):
        return (f"{json.dumps(key)}: {_rendered(value, indent)}" for key, value in container.items())
    return (_rendered(value, indent) for value in container)


def _json_number(value: object) -> int | float:
    """Write a Decimal as the shortest number; a price of up to 15 digits comes back exactly."""
    if not isinstance(value, Decimal):
        raise TypeError(f"{value!r} has no place in a registry file")
    return int(value) if value == int(value) else float(value)
