"""Which tools can do anything on this server, and what the others lack."""

from __future__ import annotations

from routing import doctor
from routing.errors import ToolFailed
from routing.types import LOCAL_CALLER, Finding
from tools.base import Services
from tools.sandbox import Sandbox
from tools.searching import VARIABLES

_TEST_SECONDS = 10.0


async def can_search(services: Services) -> bool:
    """Whether a search engine is configured."""
    return bool(services.search.engines)


async def can_run_code(services: Services) -> bool:
    """Whether a sandbox was found that holds. The first to ask waits for the probe, about 0.1 s."""
    return (await services.sandbox.available()).usable


async def run_tests(sandbox: Sandbox, program: str) -> Finding | None:
    """Run a program that raises where a test fails; ``None`` where there is no sandbox to run it in."""
    if not (await sandbox.available()).usable:
        return None
    try:
        outcome = await sandbox.run(program, caller=LOCAL_CALLER, timeout_seconds=_TEST_SECONDS)
    except ToolFailed:
        return None  # too much code is running: nothing was found out
    if outcome.exit_reason == "finished":
        return Finding(check="tests", passed=True, detail="the stated tests pass")
    last = outcome.stderr.strip().splitlines()[-3:] or [f"it ended by {outcome.exit_reason}"]
    return Finding(check="tests", passed=False, detail=f"the stated tests fail: {' / '.join(last)}")


async def findings(services: Services) -> list[doctor.Finding]:
    """A line for the search engines, and one for each sandbox that was tried, strongest first."""
    engines = services.search.engines
    searching = (
        doctor.Finding(subject="web_search", state="ok", detail=", then ".join(engines))
        if engines
        else doctor.Finding(subject="web_search", state="note", detail=f"no engine: set one of {', '.join(VARIABLES)}")
    )
    verdicts = await services.sandbox.verdicts()
    trials = [
        doctor.Finding(subject="execute_python", state="ok", detail=f"{row.backend}: it was tried, and holds")
        if row.usable
        else doctor.Finding(subject="execute_python", state="note", detail=f"not {row.backend}: {row.problem}")
        for row in verdicts
    ]
    none = doctor.Finding(subject="execute_python", state="note", detail="switched off by POINTSMAN_SANDBOX")
    return [searching, *(trials or [none])]
