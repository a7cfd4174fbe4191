"""What is configured, what is reachable, how old the prices are, and where the data lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import anyio

from routing.catalog import Catalog, CatalogSource
from routing.dispatch.providers import ProviderPool
from routing.embedded.pull import is_present, places
from routing.errors import ProviderError
from routing.settings import Settings
from routing.types import OnProgress, Progress, Provider, Target

PRICES_ARE_OLD_AFTER_DAYS = 90
_PATIENCE_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. ``note`` is worth knowing, ``problem`` keeps something from working."""

    subject: str
    state: Literal["ok", "note", "problem"]
    detail: str


async def examine(settings: Settings, source: CatalogSource, today: date, *, kept_in: str) -> list[Finding]:
    """Look at everything. ``kept_in`` is the store's place. Raises nothing for what is missing: it is told."""
    catalog = await source.current()
    return [
        *_registry(settings, catalog, today),
        *_providers(catalog),
        *_assets(settings),
        Finding(subject="home", state="ok", detail=str(settings.home)),
        Finding(subject="ledger", state="ok", detail=kept_in),
    ]


async def knock(catalog: Catalog, providers: ProviderPool, on_progress: OnProgress) -> list[Finding]:
    """Ask every configured provider for a sign of life that costs nothing: whether it answers and takes the key."""
    findings: list[Finding] = []
    for provider_id, access in catalog.access.items():
        if access.protocol == "embedded":
            continue
        await on_progress(Progress(message=f"asking {provider_id}"))
        findings.append(await _knock(provider_id, await providers.get(provider_id, access, on_progress)))
    return findings


async def _knock(provider_id: str, provider: Provider) -> Finding:
    subject = f"{provider_id}, live"
    nobody = Target(
        model_id="",
        provider=provider_id,
        api_model_id="",
        max_output_tokens=0,
        max_tokens_parameter="",
        json_schema=False,
    )
    try:
        with anyio.fail_after(_PATIENCE_SECONDS):
            await provider.check(nobody)
    except ProviderError as failure:
        return Finding(subject=subject, state="problem", detail=str(failure))
    except TimeoutError:
        return Finding(subject=subject, state="problem", detail=f"no answer within {_PATIENCE_SECONDS} s")
    return Finding(subject=subject, state="ok", detail="answers, and takes the key")


def prices_are_old(checked: date | None, today: date) -> bool:
    """Whether prices were last checked more than 90 days ago."""
    return checked is not None and (today - checked).days > PRICES_ARE_OLD_AFTER_DAYS


def _registry(settings: Settings, catalog: Catalog, today: date) -> list[Finding]:
    own = f", with {settings.overlay} over it" if settings.overlay.exists() else ""
    old = [
        row
        for row in catalog.models.values()
        if catalog.is_configured(row) and prices_are_old(row.prices_checked, today)
    ]
    findings = [
        Finding(subject="registry", state="ok", detail=f"{len(catalog.models)} models, policy {catalog.policy}{own}")
    ]
    findings += [Finding(subject="registry", state="problem", detail=problem) for problem in catalog.problems]
    if old:
        names = ", ".join(model.model_id for model in old[:5])
        findings.append(
            Finding(
                subject="prices", state="note", detail=f"{len(old)} are older than 90 days: {names}. models --refresh"
            )
        )
    return findings


def _providers(catalog: Catalog) -> list[Finding]:
    findings: list[Finding] = []
    for provider_id, row in catalog.registry.providers.items():
        access = catalog.access.get(provider_id)
        if access is None:
            detail = f"not configured: {catalog.how_to_configure(provider_id)}"
            findings.append(Finding(subject=provider_id, state="note", detail=detail))
            continue
        count = sum(model.provider == provider_id for model in catalog.models.values())
        where = "on this machine" if row.protocol == "embedded" else access.base_url
        findings.append(Finding(subject=provider_id, state="ok", detail=f"{where}, {count} models"))
    return findings


def _assets(settings: Settings) -> list[Finding]:
    return [
        Finding(subject=asset.name, state="ok", detail=str(folder / asset.file_name))
        if is_present(asset, folder)
        else Finding(subject=asset.name, state="note", detail="not fetched yet: pull brings it")
        for asset, folder in places(settings).items()
    ]
