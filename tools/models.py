"""What there is to choose from: `list_models`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from routing.catalog import Catalog
from routing.doctor import prices_are_old
from routing.errors import UnknownHandle
from routing.registry import Model
from tools.base import Services, StrictTool, caller_of, errors_for_the_model, services_of, strict_tool
from tools.resources import Readable, errors_for_the_reader
from tools.results import HealthResult, ModelResult, ModelsResult

MODELS_URI = "models://"
_DAY_SECONDS = 86_400


async def list_models(
    ctx: Context[Services, Any],
    include_unconfigured: Annotated[bool, Field(description="Also models whose provider has no key or server")] = False,
    provider: Annotated[str | None, Field(description="Only this provider's models")] = None,
) -> ModelsResult:
    """List the models that can be used, with tier (1 strongest, 4 lightest), prices and their age, context window, quality
    and recent health, and what to set for providers that are not configured. Costs nothing. To price a task use
    estimate_cost.
    """
    services = services_of(ctx)
    with errors_for_the_model():
        catalog = await services.catalog.current()
        catalog.check_providers([provider] if provider else [])
        health = await health_of(services, catalog, caller_of(ctx))
    return models_result(
        catalog,
        health,
        include_unconfigured=include_unconfigured,
        provider=provider,
        today=date.today(),  # noqa: DTZ011 - prices are dated by calendar day
    )


async def health_of(services: Services, catalog: Catalog, caller: str) -> dict[str, HealthResult]:
    """How the models that the caller asked in the last day did, by model id."""
    dispatcher = services.router.dispatcher
    rows = await services.store.ledger.health(caller, dispatcher.wall_clock() - _DAY_SECONDS)
    known = [(row, catalog.models[row.model_id]) for row in rows if row.model_id in catalog.models]
    return {
        row.model_id: HealthResult(
            breaker=dispatcher.breaker_state(model, catalog),
            attempts=row.attempts,
            error_rate=_rate(row.failures, row.answered),
            p50_latency_ms=row.p50_latency_ms,
            p95_latency_ms=row.p95_latency_ms,
            requests_left=left.requests_left if (left := dispatcher.headroom(model.provider)) else None,
            last_error=row.last_error,
        )
        for row, model in known
    }


def _rate(failures: int, answered: int) -> float | None:
    return round(failures / (failures + answered), 4) if failures + answered else None


def models_result(
    catalog: Catalog,
    health: Mapping[str, HealthResult],
    *,
    include_unconfigured: bool,
    provider: str | None,
    today: date,
) -> ModelsResult:
    """The rows, sorted by tier and name."""
    wanted = [
        model
        for model in catalog.models.values()
        if (include_unconfigured or catalog.is_configured(model)) and provider in (None, model.provider)
    ]
    missing = [provider_id for provider_id in catalog.registry.providers if provider_id not in catalog.access]
    ordered = sorted(wanted, key=lambda model: (model.tier, model.model_id))
    return ModelsResult(
        models=[_row(model, catalog, health.get(model.model_id), today) for model in ordered],
        configured_providers=sorted(catalog.access),
        not_configured={provider_id: catalog.how_to_configure(provider_id) for provider_id in missing},
        notices=list(catalog.problems),
    )


def _row(model: Model, catalog: Catalog, health: HealthResult | None, today: date) -> ModelResult:
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
        health=health,
    )


async def models_resource(model_id: str, ctx: Context[Services, Any]) -> str:
    """A model of the registry, configured or not, as list_models tells it; without an id, all that can be used."""
    with errors_for_the_reader():
        if not model_id:
            return (await list_models(ctx)).model_dump_json()
        services = services_of(ctx)
        catalog = await services.catalog.current()
        model = catalog.models.get(model_id)
        if model is None:
            raise UnknownHandle(f"there is no model {model_id!r}: {MODELS_URI} lists them.")
        health = await health_of(services, catalog, caller_of(ctx))
    return _row(model, catalog, health.get(model_id), date.today()).model_dump_json()  # noqa: DTZ011 - as above


def resources() -> Sequence[Readable]:
    """The resources of this page. A model's id has a slash in it, hence the plus (RFC 6570)."""
    return (
        Readable(
            uri=MODELS_URI + "{+model_id}",
            name="models",
            title="Models",
            mime_type="application/json",
            goes_with="list_models",
            read=models_resource,
            listed={MODELS_URI: "Models that can be used"},
        ),
    )


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    return (strict_tool(list_models, title="List models", read_only=True, idempotent=True, open_world=False),)
