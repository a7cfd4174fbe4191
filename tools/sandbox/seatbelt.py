"""Seatbelt: macOS's own sandbox, by `sandbox-exec`, with a profile that denies by default.

The guest may read the system's libraries, the interpreter and the installed packages, and write in one folder of its own. There
is no network, no fork, no service of the system's, and no program to run but the interpreter (whose launcher on a framework
build replaces itself by a second one). The kernel bounds neither the address space of a process nor the size of a folder: there
remain the bounds of processor time, of a single file, and of open files, and the time-out.

Profile language: sandbox-exec(1) and the profiles in /System/Library/Sandbox/Profiles.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from pathlib import Path

from tools.sandbox import scratch
from tools.sandbox.types import GUEST_PROGRAM, Launch, Limits, guest_arguments

_PROGRAM = Path("/usr/bin/sandbox-exec")
_SYSTEM = ("/usr/lib", "/usr/share", "/System/Library", "/System/Volumes/Preboot/Cryptexes", "/private/var/db/dyld")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_PROFILE = """\
(version 1)
(deny default)
(allow process-exec (subpath (param "PREFIX")))
(allow sysctl-read)
(allow file-read-metadata)
(allow file-read-data (literal "/"))
(allow file-read* {readable})
(allow file-write-data (literal "/dev/null"))
(allow file-read* file-write* (subpath (param "FOLDER")))
"""


class Seatbelt:
    """Guests under `sandbox-exec`; ``folder`` is where each gets one of its own (default: the system's)."""

    name = "sandbox-exec"

    def __init__(self, *, folder: Path | None = None, program: Path = _PROGRAM, platform: str = sys.platform) -> None:
        self._folder = folder
        self._program = program
        self._platform = platform

    def missing(self) -> str | None:
        """Why it cannot be used here."""
        if self._platform != "darwin":
            return "sandbox-exec is for macOS."
        return None if self._program.is_file() else f"There is no {self._program}, which macOS brings."

    def launch(self, limits: Limits) -> Launch:
        """Start Python under the profile; paths travel as parameters, so that none can end a string in it."""
        folder = scratch.made(self._folder)
        packages = tuple(dict.fromkeys(_real(sysconfig.get_path(scheme)) for scheme in ("purelib", "platlib")))
        readable = (_real(sys.base_prefix), *packages, *_SYSTEM)
        parameters = {"PREFIX": _real(sys.base_prefix), "FOLDER": folder, "GUEST": str(GUEST_PROGRAM)}
        parameters |= {f"READABLE_{number}": path for number, path in enumerate(readable)}
        defined = (part for name, value in parameters.items() for part in ("-D", f"{name}={value}"))
        arguments = guest_arguments(limits, packages=packages)
        return Launch(
            argv=(str(self._program), *defined, "-p", _profile(len(readable)), _real(sys.executable), *arguments),
            env={"LANG": "C.UTF-8", "TMPDIR": folder},
            end=functools.partial(scratch.remove, folder),
        )


def _profile(readable: int) -> str:
    """The profile for so many readable folders."""
    folders = [f'(subpath (param "READABLE_{number}"))' for number in range(readable)]
    devices = [f'(literal "{device}")' for device in _DEVICES]
    return _PROFILE.format(readable=" ".join((*folders, *devices, '(literal (param "GUEST"))')))


def _real(path: str) -> str:
    return str(Path(path).resolve())
