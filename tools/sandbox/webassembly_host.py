"""Holds a WebAssembly machine with a CPython in it, and speaks for it as `guest.py` speaks.

    python -I -S webassembly_host.py '{"limits": {…}, "packages": [the folder with pyeryx]}'

The code is a string to this program: it is parsed, run and shown inside the machine, whose memory counts as data of this
process. There is nothing in the machine to break out with but faults in wasmtime; where the host is Linux, a seccomp filter
waits behind those too. pyeryx's own documentation: its README and `eryx/_eryx.pyi`.
"""

from __future__ import annotations

import codecs
import importlib
import json
import os
import resource
import runpy
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

_INSIDE = """
import os
os.chdir("/tmp")
def _run(code):
    import ast, linecache, sys, traceback
    names = globals().setdefault("_names", {"__name__": "__main__"})
    linecache.cache["<code>"] = (len(code), None, code.splitlines(True), "<code>")
    try:
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names) if last else None
        return {"reason": "finished", "value": None if value is None else repr(value)}
    except SystemExit as end:
        return {"reason": "error" if end.code else "finished", "value": None}
    except MemoryError:
        return {"reason": "memory", "value": None}
    except BaseException as error:
        own = error.__traceback__
        while own is not None and own.tb_frame.f_code.co_filename != "<code>":
            own = own.tb_next
        sys.stderr.write("".join(traceback.format_exception(type(error), error, own))[-8192:])
        return {"reason": "error", "value": None}
"""
_MOST_VALUE_CHARS = 16_384


class Stream:
    """What the code writes to one of its streams: sent on up to a bound, then only counted."""

    def __init__(self, name: str, bound: int, send: Callable[..., None]) -> None:
        self._name = name
        self._bound = bound
        self._send = send
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.renew()

    def renew(self) -> None:
        """Begin a call."""
        self._left = self._bound
        self.dropped = 0

    def write(self, chunk: bytes) -> None:
        """Send a piece."""
        kept = chunk[: self._left]
        self._left -= len(kept)
        self.dropped += len(chunk) - len(kept)
        if text := self._decoder.decode(kept):
            self._send("output", stream=self._name, text=text)


def main() -> NoReturn:
    """Start the machine, and answer the host's frames until it goes away."""
    configuration: dict[str, Any] = json.loads(sys.argv[1])
    limits: Mapping[str, int] = configuration["limits"]
    sys.path.extend(configuration["packages"])
    eryx: Any = importlib.import_module("eryx")  # lies in `packages`, which is known only now
    guest = _beside("guest.py")
    control = guest["Control"]()
    _bound(limits)
    streams = [Stream(name, limits["stream_bytes"], control.send) for name in ("stdout", "stderr")]
    session = eryx.Session(
        on_stdout=streams[0].write,
        on_stderr=streams[1].write,
        vfs=eryx.VfsStorage(),  # in memory, and bounded by pyeryx: 64 MB
        vfs_mount_path="/tmp",  # noqa: S108 - inside the machine
    )
    session.execute(_INSIDE)
    _confine()
    guest["drop_privileges"]()  # last: pyeryx and Python's own modules may lie where nobody cannot read
    control.receive()
    control.send("ready")
    while True:
        code: str = control.receive()["code"]
        control.send("done", **_ran(session, code, streams))


def _ran(session: Any, code: str, streams: list[Stream]) -> dict[str, Any]:
    """Run code in the machine; what it says of its end is passed on as it is, for the server to doubt."""
    for stream in streams:
        stream.renew()
    try:
        told: Mapping[str, Any] = session.execute(f"result = _run({code!r})").result
    except Exception as fault:  # noqa: BLE001 - the machine itself is broken, and with it all that the code had in it
        sys.stderr.write(f"{type(fault).__name__}: {fault}\n")
        os._exit(1)
    value = told["value"]
    notices = [f"{stream.dropped:,} bytes more were written and left out." for stream in streams if stream.dropped]
    return {"reason": told["reason"], "value": value and value[:_MOST_VALUE_CHARS], "notices": notices}


def _bound(limits: Mapping[str, int]) -> None:
    """Bound the data, not the address space, of which a machine reserves far more than it uses.

    It has to be done before there is a machine: pyeryx then takes the memory piece by piece instead of for a thousand machines.
    """
    for number, most in (
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(number, (most, most))


def _confine() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    seccomp = _beside("seccomp.py")
    if sys.platform == "linux" and seccomp["supported"]():
        seccomp["install"](seccomp["program"](confined_by_namespaces=False))


def _beside(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).with_name(name)))


if __name__ == "__main__":
    main()
