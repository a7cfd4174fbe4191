"""What flows between the sandbox, its backends and its guests.

    Backend ─launch→ Launch ─start→ guest ─cell→ Outcome

A backend says how to start the guest program inside walls; it never runs anything itself. Sizes are bytes, times are seconds
unless the name says otherwise. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

GUEST_PROGRAM = Path(__file__).resolve().parent / "guest.py"
"""The program that every backend starts: standard library only, controlled over its stdin and stdout."""

StreamName = Literal["stdout", "stderr"]
ExitReason = Literal["finished", "error", "timeout", "memory", "cpu", "killed"]
"""How a call ended: ``error`` is an exception of the code's own; ``killed`` that the guest died or broke the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one guest may use. ``cpu_seconds`` is for its whole life; a call's own bound is its time-out.

    ``user_tasks`` bounds the threads of the user that the guest is, all of them on the host; ``None`` where a backend bounds
    them in another way.
    """

    memory_bytes: int = 1 << 30
    cpu_seconds: int = 120
    file_bytes: int = 64 << 20
    open_files: int = 256
    tmp_bytes: int = 128 << 20
    stream_bytes: int = 256 << 10
    figure_bytes: int = 2 << 20
    most_figures: int = 10
    user_tasks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one guest.

    ``argv`` is started in a new session (process group) with exactly ``env``. ``pass_fds`` are inherited; ``close`` is
    called once after the start, whether it worked or not, and closes them. ``end`` is called once when the guest is gone, and
    removes what was made for it on the host.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    pass_fds: tuple[int, ...] = ()
    close: Callable[[], None] = lambda: None
    end: Callable[[], None] = lambda: None


class Backend(Protocol):
    """One way to isolate a guest."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """Why it cannot be used on this host, and how to get it; ``None`` where it is worth probing. Cheap: starts nothing."""
        ...

    def launch(self, limits: Limits) -> Launch: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known of a backend on this host; ``problem`` is ``None`` where a real guest was started and was contained."""

    backend: str
    problem: str | None

    @property
    def usable(self) -> bool:
        """Whether code may be run in it."""
        return self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of running code.

    ``stderr`` holds the traceback, trimmed to the code's own frames; ``value`` is the ``repr`` of the last expression, where
    it is not ``None``; ``figures`` are PNG files. ``session_id`` is ``None`` where no session goes on. ``notices`` say what was
    cut, left out or lost.
    """

    stdout: str
    stderr: str
    value: str | None
    exit_reason: ExitReason
    duration_ms: int
    figures: tuple[bytes, ...] = field(default=(), repr=False)
    session_id: str | None = None
    notices: tuple[str, ...] = ()


def guest_arguments(limits: Limits, *, packages: tuple[str, ...] = (), program: str = str(GUEST_PROGRAM)) -> list[str]:
    """What follows the interpreter on the guest's command line.

    ``packages`` are the folders inside the walls that are added to the import path: with them the interpreter runs without
    `site`, without them (a container's own image) its packages are found as usual. ``program`` is where `guest.py` lies inside.
    """
    isolated = ["-I", "-S"] if packages else ["-I"]
    return [*isolated, program, json.dumps({"limits": asdict(limits), "packages": packages})]
