"""Settings → the engines that can be asked, in the order that the settings give."""

# ruff: noqa: PLC0415 - an engine is imported where it can be asked; a host waits for every import at the start

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from routing.settings import SearchEngine, Settings
from tools.searching.variables import BY_ENGINE

if TYPE_CHECKING:
    import httpx2 as httpx

    from tools.searching.results import Engine
    from tools.searching.wire import Wire

VARIABLES = tuple(BY_ENGINE.values())
"""The environment variables of this room, beside those of `Settings`."""


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

    @functools.cache
    def wire() -> Wire:
        from tools.searching.wire import Wire

        return Wire(transport=transport)

    engines = (_engine_of(name, settings, wire, installed) for name in settings.search_order)
    return tuple(engine for engine in engines if engine is not None)


def _engine_of(
    name: SearchEngine,
    settings: Settings,
    wire: Callable[[], Wire],
    installed: Callable[[str], bool],
) -> Engine | None:
    if name == "duckduckgo":
        if not installed("ddgs"):
            return None
        from tools.searching.duckduckgo import DuckDuckGo

        return DuckDuckGo()
    value = settings.secret(BY_ENGINE[name])
    return _asking(name, wire(), value) if value else None


def _asking(name: Literal["brave", "tavily", "exa", "searxng"], wire: Wire, value: str) -> Engine:
    """The engine with its key or address."""
    if name == "brave":
        from tools.searching.brave import Brave

        return Brave(wire, value)
    if name == "tavily":
        from tools.searching.tavily import Tavily

        return Tavily(wire, value)
    if name == "exa":
        from tools.searching.exa import Exa

        return Exa(wire, value)
    from tools.searching.searxng import SearXNG

    return SearXNG(wire, value)
