"""One process at a time, by a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

RETRY_SECONDS = 0.2

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@asynccontextmanager
async def alone(path: Path, while_waiting: Callable[[], None]) -> AsyncGenerator[None]:
    """Hold the lock file at ``path``; ``while_waiting`` is called now and then while somebody else does.

    Raises:
        OSError: the file cannot be made, or its file system knows no locks.

    """
    with path.open("ab") as file:
        while not _try_lock(file.fileno()):
            while_waiting()
            await anyio.sleep(RETRY_SECONDS)
        yield  # closing the file gives the lock back; the file stays, or two holders could have two files


def _try_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):  # "somebody has it": POSIX says the first, Windows the second
        return False
    return True
