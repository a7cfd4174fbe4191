"""Settings → the engines that can be asked, in the order that the settings give."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

import httpx2 as httpx

from routing.settings import SearchEngine, Settings
from tools.searching import brave, duckduckgo, exa, searxng, tavily
from tools.searching.results import Engine
from tools.searching.wire import Wire

VARIABLES = (brave.KEY_VARIABLE, tavily.KEY_VARIABLE, exa.KEY_VARIABLE, searxng.ADDRESS_VARIABLE)
"""The environment variables of this room, beside those of `Settings`."""

_BY_VARIABLE: Mapping[SearchEngine, tuple[str, Callable[[Wire, str], Engine]]] = {
    "brave": (brave.KEY_VARIABLE, brave.Brave),
    "tavily": (tavily.KEY_VARIABLE, tavily.Tavily),
    "exa": (exa.KEY_VARIABLE, exa.Exa),
    "searxng": (searxng.ADDRESS_VARIABLE, searxng.SearXNG),
}


def is_installed(package: str) -> bool:
    """Whether an optional package is here; it is not imported."""
    return importlib.util.find_spec(package) is not None


def engines_of(
    settings: Settings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    installed: Callable[[str], bool] = is_installed,
) -> tuple[Engine, ...]:
    """The engines whose key or address is set, and DuckDuckGo where its package is installed, in the settings' order.

    Raises:
        SettingsError: a key or an address cannot be one.

    """
    wire = Wire(transport=transport)
    engines = (_engine_of(name, settings, wire, installed) for name in settings.search_order)
    return tuple(engine for engine in engines if engine is not None)


def _engine_of(name: SearchEngine, settings: Settings, wire: Wire, installed: Callable[[str], bool]) -> Engine | None:
    if name == "duckduckgo":
        return duckduckgo.DuckDuckGo() if installed("ddgs") else None
    variable, make = _BY_VARIABLE[name]
    value = settings.secret(variable)
    return make(wire, value) if value else None
