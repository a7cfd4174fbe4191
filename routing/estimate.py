"""What a task would cost on each model, without calling one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.catalog import Catalog
from routing.pricing import cost_microusd
from routing.registry import Model
from routing.router import Router
from routing.selector.constraints import latency_ms
from routing.types import Task, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's cost over all turns in micro-dollars, and its time for one turn; ``None`` is unknown."""

    model: Model
    cost_microusd: int | None
    latency_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Tokens are per turn; ``rows`` come the cheapest first, those of unknown price last."""

    input_tokens: int
    output_tokens: int
    turns: int
    input_tokens_exact: bool
    chosen_model: str | None
    rows: tuple[Row, ...]
    catalog: Catalog


async def estimates(
    router: Router,
    task: Task | None,
    *,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
    turns: int = 1,
    models: Sequence[str] | None = None,
) -> Estimate:
    """Estimate a task, or a number of tokens where ``task`` is ``None``; given tokens replace those counted.

    Without ``models`` every configured chat model is listed.

    Raises:
        NoEligibleModel: one of ``models`` is unknown, or no model can take the task.

    """
    decision = await router.decide(task) if task is not None else None
    catalog = decision.catalog if decision else await router.catalog.current()
    counted = decision.analysis if decision else None
    tokens_in = input_tokens if input_tokens is not None else counted.estimated_input_tokens if counted else 0
    tokens_out = output_tokens if output_tokens is not None else counted.estimated_output_tokens if counted else 0
    named = {model.model_id: model for model in map(catalog.find, models or ())}
    asked = list(named.values()) or _configured(catalog)
    rows = [_row(model, tokens_in, tokens_out, turns) for model in asked]
    return Estimate(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        turns=turns,
        input_tokens_exact=input_tokens is not None or (counted is not None and counted.input_tokens_exact),
        chosen_model=decision.selection.primary_model if decision else None,
        rows=tuple(sorted(rows, key=_cheapest_first)),
        catalog=catalog,
    )


def _configured(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models.values() if catalog.is_configured(model) and model.kind == "chat"]


def _row(model: Model, input_tokens: int, output_tokens: int, turns: int) -> Row:
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return Row(
        model=model,
        cost_microusd=cost_microusd(usage, model.prices, times=turns),
        latency_ms=latency_ms(model, output_tokens),
    )


def _cheapest_first(row: Row) -> tuple[bool, int, str]:
    return row.cost_microusd is None, row.cost_microusd or 0, row.model.model_id
