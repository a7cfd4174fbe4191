"""Web search over whichever engines are configured.

results.py      what a search gives, and the seam that every engine meets
search.py       the engines in turn, a cache, one call for the same question
configured.py   settings → engines
brave.py, tavily.py, exa.py, searxng.py, duckduckgo.py   one engine each, all of one shape
wire.py         one question over HTTP: bounded, its failures without secrets
cleaning.py     what an engine sends → what a model may read
prices.py       what a search costs
"""

from __future__ import annotations

from tools.searching.configured import VARIABLES, engines_of
from tools.searching.results import Engine, EngineFailed, Found, Freshness, SearchResults
from tools.searching.search import WebSearch

__all__ = ["VARIABLES", "Engine", "EngineFailed", "Found", "Freshness", "SearchResults", "WebSearch", "engines_of"]
