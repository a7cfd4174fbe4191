"""What the backends need to know of the host: whose guests are, how many threads that user has, where packages lie."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tools.sandbox.types import Limits

NOBODY = 65534
"""The user and group of guests of a server that is root."""
MOST_TASKS = 256
"""Threads of one guest."""
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def bounded(limits: Limits) -> Limits:
    """The limits with a bound of threads; the kernel counts a guest's among those that its user has on the host."""
    return replace(limits, user_tasks=_tasks_of(os.geteuid() or NOBODY) + MOST_TASKS)


@functools.cache
def package_folders() -> tuple[str, ...]:
    """The folders of installed packages on the server's own import path."""
    named = (os.path.realpath(path) for path in sys.path if Path(path).name in _PACKAGE_FOLDERS)
    return outermost(path for path in named if Path(path).is_dir())


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths that lie in no other of them."""
    ordered = sorted(set(paths), key=len)
    kept: list[str] = []
    for path in ordered:
        if not any(Path(path).is_relative_to(other) for other in kept):
            kept.append(path)
    return tuple(kept)


def _tasks_of(user: int) -> int:
    tasks = 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):  # it has ended
            if entry.name.isdecimal() and entry.stat().st_uid == user:
                tasks += len(os.listdir(f"/proc/{entry.name}/task"))  # noqa: PTH208 - runs for every guest
    return tasks
