"""What there is to choose from: `list_models`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from routing.catalog import Catalog
from routing.doctor import prices_are_old
from routing.registry import Model
from tools.base import Services, StrictTool, errors_for_the_model, services_of, strict_tool
from tools.results import ModelResult, ModelsResult


async def list_models(
    ctx: Context[Services, Any],
    include_unconfigured: Annotated[bool, Field(description="Also models whose provider has no key or server")] = False,
    provider: Annotated[str | None, Field(description="Only this provider's models")] = None,
) -> ModelsResult:
    """List the models that can be used, with tier (1 strongest, 4 lightest), prices and their age, context window and
    quality, and what to set for providers that are not configured. Costs nothing. To price a task use estimate_cost.
    """
    with errors_for_the_model():
        catalog = await services_of(ctx).catalog.current()
    return models_result(catalog, include_unconfigured=include_unconfigured, provider=provider, today=date.today())  # noqa: DTZ011 - prices are dated by calendar day


def models_result(catalog: Catalog, *, include_unconfigured: bool, provider: str | None, today: date) -> ModelsResult:
    """The rows, sorted by tier and name."""
    wanted = [
        model
        for model in catalog.models.values()
        if (include_unconfigured or catalog.is_configured(model)) and provider in (None, model.provider)
    ]
    missing = [provider_id for provider_id in catalog.registry.providers if provider_id not in catalog.access]
    return ModelsResult(
        models=[
            _row(model, catalog, today) for model in sorted(wanted, key=lambda model: (model.tier, model.model_id))
        ],
        configured_providers=sorted(catalog.access),
        not_configured={provider_id: catalog.how_to_configure(provider_id) for provider_id in missing},
        notices=list(catalog.problems),
    )


def _row(model: Model, catalog: Catalog, today: date) -> ModelResult:
    prices, checked = model.prices, model.prices_checked
    return ModelResult(
        model_id=model.model_id,
        display_name=model.display_name,
        provider=model.provider,
        tier=model.tier,
        configured=catalog.is_configured(model),
        how_to_configure=None if catalog.is_configured(model) else catalog.how_to_configure(model.provider),
        input_usd_per_million=None if prices.input is None else float(prices.input),
        output_usd_per_million=None if prices.output is None else float(prices.output),
        prices_checked=checked.isoformat() if checked else None,
        prices_are_old=prices_are_old(checked, today),
        context_window=model.context_window,
        max_output_tokens=model.max_output_tokens,
        quality_index=model.quality_index,
        self_hosted=model.self_hosted,
        superseded_by=model.superseded_by,
    )


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    return (strict_tool(list_models, title="List models", read_only=True, idempotent=True, open_world=False),)
