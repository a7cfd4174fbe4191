"""Which tools can do anything on this server, and what the others lack."""

from __future__ import annotations

import secrets

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
    """Run a program that raises where a test fails; ``None`` where there is no sandbox to run it in.

    What leaves before its end has passed nothing: the last line says a word that the program cannot know.
    """
    if not (await sandbox.available()).usable:
        return None
    word = secrets.token_hex(8)
    try:
        outcome = await sandbox.run(f"{program}\n{word!r}\n", caller=LOCAL_CALLER, timeout_seconds=_TEST_SECONDS)
    except ToolFailed:
        return None  # too much code is running: nothing was found out
    if outcome.exit_reason == "finished" and outcome.value == repr(word):
        return Finding(check="tests", passed=True, detail="the stated tests pass")
    ended = "it exited before its tests" if outcome.exit_reason == "finished" else f"it ended by {outcome.exit_reason}"
    last = outcome.stderr.strip().splitlines()[-3:] or [ended]
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
