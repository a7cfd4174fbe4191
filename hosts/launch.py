"""How a host starts this copy of Pointsman: a command and its arguments, with absolute paths.

Hosts that are started from a desktop have a short ``PATH`` and a folder of their own, so nothing here relies on either.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution
from pathlib import Path

PACKAGE = "pointsman"
_PASSING = "archive-v"
"""uv's cache names the folders so in which ``uvx`` makes its environments; they go when the cache is pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The command line of an MCP server on stdio."""

    command: str
    args: tuple[str, ...]


PUBLISHED = Launch(command="uvx", args=(PACKAGE,))
"""How any machine with uv starts the published package: what links and buttons carry, which know no paths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The running copy, as far as it matters: ``here`` is the folder of server.py, ``uvx`` where that program lies."""

    here: Path
    version: str
    uvx: str | None
    executable: Path = Path(sys.executable)
    prefix: Path = Path(sys.prefix)


def launch_of(running: Running) -> Launch:
    """The command that starts this copy again.

    A checkout is started by its own Python and server.py, an installed package as a module of the Python that it is installed
    in. Only where that Python is one of ``uvx``, and may be gone tomorrow, is ``uvx`` asked to make it again.
    """
    if (running.here / "pyproject.toml").is_file():
        return Launch(command=str(running.executable), args=(str(running.here / "server.py"),))
    if running.uvx and any(part.startswith(_PASSING) for part in running.prefix.parts):
        return Launch(command=running.uvx, args=_wanted_of(running))
    return Launch(command=str(running.executable), args=("-m", PACKAGE))


def _wanted_of(running: Running) -> tuple[str, ...]:
    """What ``uvx`` is to run: the very source that it ran this from, or this version of the published package."""
    match _origin(running.here.parent):
        case {"url": str(url), "vcs_info": {"vcs": str(vcs), "commit_id": str(commit)}}:
            return ("--from", f"{vcs}+{url}@{commit}", PACKAGE)
        case {"url": str(url)}:
            return ("--from", url, PACKAGE)
        case _:
            return (f"{PACKAGE}@{running.version}",)


def _origin(site: Path) -> object:
    """Where the installed package came from, if not from a package index (PEP 610)."""
    distribution = next(iter(Distribution.discover(name=PACKAGE, path=[str(site)])), None)
    return json.loads((distribution and distribution.read_text("direct_url.json")) or "{}")
