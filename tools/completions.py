"""What may be put for an argument of a prompt or a variable of a resource, while a person types it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from mcp_types import Completion

from routing.report import PERIODS
from routing.types import CATEGORIES, COST_PREFERENCES
from tools.base import Services

MOST_VALUES = 100
"""The protocol's bound."""

_MOST_HANDLES = 1_000
"""The newest ones; who looks for an older one has its id at hand."""

Values = Callable[[Services, str], Awaitable[Sequence[str]]]
"""The values there are for a caller."""


async def completed(services: Services, caller: str, argument: str, typed: str) -> Completion:
    """The values that fit what was typed: those that begin with it, then those that it is a part of, in any case.

    Of a comma-separated list it is the last name that is completed. An argument that takes free text has no values.
    """
    known = await _VALUES[argument](services, caller) if argument in _VALUES else ()
    before, comma, last = typed.rpartition(",") if argument in _LISTS else ("", "", typed)
    values = [f"{before}{comma}{value}" for value in fitting(known, last.strip())]
    return Completion(values=values[:MOST_VALUES], total=len(values), has_more=len(values) > MOST_VALUES)


def fitting(values: Sequence[str], typed: str) -> Sequence[str]:
    """Those that begin with what was typed, then those that it is a part of; else their order stays."""
    typed = typed.casefold()
    within = [value for value in values if typed in value.casefold()]
    return sorted(within, key=lambda value: not value.casefold().startswith(typed))  # a stable sort: their order stays


async def _models(services: Services, _: str) -> Sequence[str]:
    """Those that can be used first."""
    catalog = await services.catalog.current()
    rows = sorted(catalog.models.values(), key=lambda row: (not catalog.is_configured(row), row.tier, row.model_id))
    return [row.model_id for row in rows]


async def _sessions(services: Services, caller: str) -> Sequence[str]:
    return await services.store.sessions.recent(caller, _MOST_HANDLES)


async def _answers(services: Services, caller: str) -> Sequence[str]:
    return await services.store.jobs.recent(caller, _MOST_HANDLES)


def _always(values: Sequence[str]) -> Values:
    async def same(_: Services, __: str) -> Sequence[str]:
        return values

    return same


_VALUES: Mapping[str, Values] = {
    "model": _models,
    "models": _models,
    "model_id": _models,
    "session_id": _sessions,
    "route_id": _answers,
    "category": _always(CATEGORIES),
    "cost_preference": _always(COST_PREFERENCES),
    "period": _always(PERIODS),
}
"""By the name of the argument: it means the same wherever it stands."""

_LISTS = frozenset({"models"})
