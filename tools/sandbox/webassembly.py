"""WebAssembly: a CPython compiled to it, which has no system calls at all (pyeryx, on wasmtime).

The weakest in what it can do, and good wherever Python 3.12 runs: the standard library only, no numpy, no figures, no files and
no threads. `webassembly_host.py` holds the machine and speaks as a guest does.

pyeryx unpacks native code into the folder for temporary files, under a name that everybody knows, and loads it from there. So
it is given a folder that only the server can write to.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
import weakref
from pathlib import Path

from tools.sandbox import scratch
from tools.sandbox.types import Launch, Limits, guest_arguments

_HOST = Path(__file__).resolve().with_name("webassembly_host.py")
_OLDEST_PYTHON = (3, 12)


class WebAssembly:
    """Guests in a WebAssembly machine; ``packages`` is the folder that pyeryx is installed in (default: the server's)."""

    name = "webassembly"

    def __init__(self, *, packages: str | None = None) -> None:
        self._packages = packages or sysconfig.get_path("platlib")

    def missing(self) -> str | None:
        """Why it cannot be used here."""
        if os.name != "posix":
            return "The sandbox needs a POSIX system."
        if sys.version_info < _OLDEST_PYTHON:
            return "The WebAssembly sandbox needs Python 3.12 or newer."
        if importlib.util.find_spec("eryx") is None:
            return "pyeryx is not installed. `pip install pyeryx`, or install Pointsman with its extra `webassembly`."
        return None

    def launch(self, limits: Limits) -> Launch:
        """Start the machine's host; the code never runs in its interpreter."""
        arguments = guest_arguments(limits, packages=(self._packages,), program=str(_HOST))
        return Launch(argv=(sys.executable, *arguments), env={"LANG": "C.UTF-8", "TMPDIR": self._unpacked})

    @functools.cached_property
    def _unpacked(self) -> str:
        folder = scratch.made(None)
        weakref.finalize(self, scratch.remove, folder)
        return folder
