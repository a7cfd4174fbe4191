"""What one search costs where the engine does not say so itself."""

from __future__ import annotations

from collections.abc import Mapping

MICROUSD_PER_SEARCH: Mapping[str, int] = {
    "brave": 5_000,  # Search plan, $5.00 per 1,000 requests: api-dashboard.search.brave.com, September 2026
    "tavily": 8_000,  # pay as you go, $0.008 per credit, a basic search is one: docs.tavily.com, November 2026
    "exa": 7_000,  # $7 per 1,000 requests of up to 10 results, where costDollars is missing: exa.ai/docs, November 2026
    "searxng": 0,  # the user's own server
    "duckduckgo": 0,
}
"""List prices in micro-dollars. Free allowances and plans are cheaper, so this never books too little for them."""
