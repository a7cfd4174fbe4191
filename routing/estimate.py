"""What a task would cost on each model, without calling one.

low        all input read from the provider's cache; half the expected answer where its length is our guess
expected   what is booked where the estimates hold and nothing is cached
worst      all input at its dearest price, counted with a margin where it is a guess, and the longest answer allowed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.budgets import with_margin, worst_microusd
from routing.catalog import Catalog
from routing.pricing import cost_microusd
from routing.registry import Model
from routing.router import Decision, Router
from routing.selector.constraints import latency_ms
from routing.types import Task, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's cost over all turns in micro-dollars, and its time for one turn; ``None`` is unknown."""

    model: Model
    low_microusd: int | None
    cost_microusd: int | None
    worst_microusd: int | None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """Of one turn. ``longest_output`` is what the request allows; the flags say whether a figure is our guess."""

    input: int
    output: int
    longest_output: int
    input_exact: bool
    output_given: bool


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
    tokens = _tokens_of(task, decision, input_tokens, output_tokens)
    named = {model.model_id: model for model in map(catalog.find, models or ())}
    asked = list(named.values()) or _configured(catalog)
    rows = [_row(model, tokens, turns) for model in asked]
    return Estimate(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        turns=turns,
        input_tokens_exact=tokens.input_exact,
        chosen_model=decision.selection.primary_model if decision else None,
        rows=tuple(sorted(rows, key=_cheapest_first)),
        catalog=catalog,
    )


def _tokens_of(
    task: Task | None, decision: Decision | None, input_tokens: int | None, output_tokens: int | None
) -> _Tokens:
    """What was given, and for the rest what the analysis found."""
    if task is None or decision is None:
        given = output_tokens or 0
        return _Tokens(input=input_tokens or 0, output=given, longest_output=given, input_exact=True, output_given=True)
    counted = decision.analysis
    category = decision.catalog.registry.categories[counted.category]
    output = counted.estimated_output_tokens if output_tokens is None else output_tokens
    return _Tokens(
        input=counted.estimated_input_tokens if input_tokens is None else input_tokens,
        output=output,
        longest_output=max(output, task.constraints.max_tokens or category.max_output_tokens),
        input_exact=input_tokens is not None or counted.input_tokens_exact,
        output_given=output_tokens is not None,
    )


def _configured(catalog: Catalog) -> list[Model]:
    return [model for model in catalog.models.values() if catalog.is_configured(model) and model.kind == "chat"]


def _row(model: Model, tokens: _Tokens, turns: int) -> Row:
    shortest = tokens.output if tokens.output_given else tokens.output // 2
    cached = Usage(input_tokens=tokens.input, output_tokens=shortest, cache_read_tokens=tokens.input)
    expected = Usage(input_tokens=tokens.input, output_tokens=tokens.output)
    longest = tokens.output if tokens.output_given else min(tokens.longest_output, model.max_output_tokens)
    most_input = tokens.input if tokens.input_exact else with_margin(tokens.input, exact=False)
    return Row(
        model=model,
        low_microusd=cost_microusd(cached, model.prices, times=turns),
        cost_microusd=cost_microusd(expected, model.prices, times=turns),
        worst_microusd=worst_microusd(model.prices, most_input, max(longest, tokens.output), times=turns),
        latency_ms=latency_ms(model, tokens.output),
    )


def _cheapest_first(row: Row) -> tuple[bool, int, str]:
    return row.cost_microusd is None, row.cost_microusd or 0, row.model.model_id
