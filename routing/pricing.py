"""Usage × prices → micro-dollars.

A price of $1 per million tokens is one micro-dollar per token, so a cost is a plain sum of products:

    uncached input × input  +  cache reads × cache_read  +  cache writes × cache_write  +  output × output

where uncached input = input − cache reads − cache writes (see `Usage`). Above a long-context step the step's prices hold
for the whole request. Where a cache price is not listed the input price is taken, which never books too little for reads.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

from routing.types import PatternStep, RouteRecord, Usage

MICROUSD = 1_000_000
_CENT_OF_A_CENT = 4


class PriceRow(Protocol):
    """Dollars per million tokens; ``None`` is unknown, which is not zero."""

    @property
    def input(self) -> Decimal | None: ...
    @property
    def output(self) -> Decimal | None: ...
    @property
    def cache_read(self) -> Decimal | None: ...
    @property
    def cache_write(self) -> Decimal | None: ...


class StepRow(PriceRow, Protocol):
    """Prices that hold for the whole request when its input is longer than ``above_input_tokens``."""

    @property
    def above_input_tokens(self) -> int: ...


class PriceList(PriceRow, Protocol):
    """A model's prices with its long-context steps."""

    @property
    def long_context(self) -> tuple[StepRow, ...]: ...


def cost_microusd(usage: Usage, prices: PriceList, *, times: int = 1) -> int | None:
    """Cost of ``times`` such calls in micro-dollars, rounded half up once; ``None`` where the price is unknown."""
    row = _row_for(usage.input_tokens, prices)
    if row.input is None or row.output is None:
        return None
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    cost = (usage.input_tokens - read - written) * row.input + usage.output_tokens * row.output
    if read or written:
        cost += read * (row.input if row.cache_read is None else row.cache_read)
        cost += written * (row.input if row.cache_write is None else row.cache_write)
    return int((cost * times).to_integral_value(ROUND_HALF_UP))


def _row_for(input_tokens: int, prices: PriceList) -> PriceRow:
    steps = [step for step in prices.long_context if input_tokens > step.above_input_tokens]
    return max(steps, key=lambda step: step.above_input_tokens) if steps else prices


def total_microusd(costs: list[int | None]) -> int | None:
    """Sum of costs; ``None`` as soon as one of them is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def saved_microusd(record: RouteRecord) -> int | None:
    """What a route saved against the baseline, all its attempts paid; negative where it cost more. ``None``: unknown."""
    if record.cost_microusd is None or record.baseline_cost_microusd is None:
        return None
    return record.baseline_cost_microusd - record.cost_microusd


def with_steps(record: RouteRecord, steps: tuple[PatternStep, ...]) -> RouteRecord:
    """A route that followed a pattern, with its steps and the sum of their bills; its own, which it adds to, is empty."""
    paid = [step for step in steps if step.route_id is not None]
    answered = [step for step in paid if step.status in ("completed", "rejected")]
    by_whom = next(
        (step for step in reversed(answered) if step.text == record.text), answered[-1] if answered else None
    )
    return replace(
        record,
        steps=steps,
        model_used=by_whom.model_used if by_whom else None,
        usage=sum((step.usage for step in paid), start=record.usage),
        cost_microusd=total_microusd([record.cost_microusd, *(step.cost_microusd for step in paid)]),
        baseline_model=next((step.baseline_model for step in answered if step.baseline_model), None),
        baseline_cost_microusd=total_microusd([step.baseline_cost_microusd for step in answered]),
    )


def microusd(dollars: float | Decimal) -> int:
    """Dollars as micro-dollars, rounded half up."""
    return int((Decimal(str(dollars)) * MICROUSD).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def usd(micro: int | None) -> float | None:
    """Micro-dollars as dollars, for results; ``None`` stays ``None``."""
    return None if micro is None else micro / MICROUSD


def spoken_usd(micro: int | None) -> str:
    """Micro-dollars for people: ``$0.0185``, ``$12.40``, ``unknown``."""
    if micro is None:
        return "unknown"
    amount = Decimal(micro) / MICROUSD
    digits = 2 if amount >= 1 else _CENT_OF_A_CENT if amount >= Decimal("0.001") or not micro else 6
    return f"${amount:.{digits}f}"
