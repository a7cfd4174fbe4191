"""Landlock: walls that a program builds about itself, for Linux hosts that allow no namespaces (most containers).

The guest is started by `landlock_launcher.py`, which says what holds what. Its one folder to write to lies on the host's disk:
no file system of a bounded size can be mounted here, so the launcher's warden counts what it holds twenty times a second and
kills a guest that goes beyond ``tmp_bytes``. What can be written between two counts, and what is mapped of files that
are deleted already (at most ``memory_bytes``), comes on top.

A server that is root starts a guest that becomes nobody. An interpreter below a folder that only root may pass is then out
of nobody's reach, so the server opens the folders first, without the right to read, and the guest finds them at
``/proc/self/fd/N``; what is opened through them is Landlock's to allow, as everywhere.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.sandbox import scratch, seccomp
from tools.sandbox.host import NOBODY, bounded, package_folders
from tools.sandbox.types import GUEST_PROGRAM, Launch, Limits, guest_arguments

_LAUNCHER = Path(__file__).resolve().with_name("landlock_launcher.py")
_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/fonts",
    "/usr/share/zoneinfo",
    "/nix/store",
    "/gnu/store",
)


def _kernels_abi() -> int:
    from tools.sandbox import landlock_launcher  # noqa: PLC0415 - brings ctypes, which a server that uses bwrap never needs

    return landlock_launcher.abi()


class Landlock:
    """Guests inside Landlock, seccomp and rlimits; ``folder`` is where each gets one of its own (default: the system's)."""

    name = "landlock"

    def __init__(self, *, folder: Path | None = None, abi: Callable[[], int] = _kernels_abi) -> None:
        self._folder = folder
        self._abi = abi

    def missing(self) -> str | None:
        """Why it cannot be used here."""
        if sys.platform != "linux":
            return "Landlock is for Linux."
        if not seccomp.supported():
            return f"There is no system-call filter for {platform.machine()} processors."
        if not self._abi():
            return (
                "This kernel offers no Landlock. It needs Linux 5.13 or newer, with `landlock` in its `lsm=` parameter."
            )
        return None

    def launch(self, limits: Limits) -> Launch:
        """Start the launcher; the walls stand before it runs the guest program."""
        writable = scratch.made(self._folder)
        if os.geteuid() != 0:
            return _launch(limits, writable, inside={}, opened=())
        os.chown(writable, NOBODY, NOBODY)
        folders = (sys.base_prefix, *package_folders(), str(_LAUNCHER.parent), writable)
        opened = [os.open(os.path.realpath(folder), os.O_PATH | os.O_DIRECTORY) for folder in folders]
        inside = {os.path.realpath(folder): f"/proc/self/fd/{fd}" for folder, fd in zip(folders, opened, strict=True)}
        return _launch(limits, writable, inside, opened)


def _launch(limits: Limits, writable: str, inside: Mapping[str, str], opened: Sequence[int]) -> Launch:
    """Make the command line, each path as the guest will find it (``inside``, by folders on the host)."""
    at = functools.partial(path_inside, inside)
    arguments = guest_arguments(
        bounded(limits), packages=tuple(map(at, package_folders())), program=at(str(GUEST_PROGRAM))
    )
    walls = {
        "readable": [*map(at, (f"{sys.base_prefix}/lib", *package_folders())), *_SYSTEM],
        "writable": at(writable),
        "tmp_bytes": limits.tmp_bytes,
        "guest": arguments[-2:],
    }
    return Launch(
        argv=(at(sys.executable), *arguments[:-2], at(str(_LAUNCHER)), json.dumps(walls)),
        env={"LANG": "C.UTF-8", "TMPDIR": at(writable), "MALLOC_ARENA_MAX": "2"},
        pass_fds=tuple(opened),
        close=functools.partial(_close, opened),
        end=functools.partial(scratch.remove, writable),
    )


def path_inside(inside: Mapping[str, str], path: str) -> str:
    """A path as the guest will find it, through the innermost folder that was opened for it."""
    real = os.path.realpath(path)
    for folder in sorted(inside, key=len, reverse=True):
        if Path(real).is_relative_to(folder):
            return str(Path(inside[folder], Path(real).relative_to(folder)))
    return real


def _close(opened: Sequence[int]) -> None:
    for fd in opened:
        os.close(fd)
