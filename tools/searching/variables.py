"""The environment variables that hold an engine's key, or its address."""

from __future__ import annotations

from collections.abc import Mapping

from routing.settings import SearchEngine

BRAVE = "BRAVE_API_KEY"
TAVILY = "TAVILY_API_KEY"
EXA = "EXA_API_KEY"
SEARXNG = "SEARXNG_URL"

BY_ENGINE: Mapping[SearchEngine, str] = {"brave": BRAVE, "tavily": TAVILY, "exa": EXA, "searxng": SEARXNG}
"""DuckDuckGo needs none."""
