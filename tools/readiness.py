"""Which tools can do anything on this server, and what the others lack."""

from __future__ import annotations

from routing.doctor import Finding
from tools.base import Services
from tools.searching import VARIABLES


async def can_search(services: Services) -> bool:
    """Whether a search engine is configured."""
    return bool(services.search.engines)


async def can_run_code(services: Services) -> bool:
    """Whether a sandbox was found that holds. The first to ask waits for the probe, about 0.1 s."""
    return (await services.sandbox.available()).usable


async def findings(services: Services) -> list[Finding]:
    """A line for the search engines, and one for each sandbox that was tried, strongest first."""
    engines = services.search.engines
    searching = (
        Finding(subject="web_search", state="ok", detail=", then ".join(engines))
        if engines
        else Finding(subject="web_search", state="note", detail=f"no engine: set one of {', '.join(VARIABLES)}")
    )
    verdicts = await services.sandbox.verdicts()
    trials = [
        Finding(subject="execute_python", state="ok", detail=f"{row.backend}: it was tried, and holds")
        if row.usable
        else Finding(subject="execute_python", state="note", detail=f"not {row.backend}: {row.problem}")
        for row in verdicts
    ]
    none = Finding(subject="execute_python", state="note", detail="switched off by POINTSMAN_SANDBOX")
    return [searching, *(trials or [none])]
