"""The guest: the program inside the walls, which runs the code and tells what came of it.

    python -I -S guest.py '{"limits": {…}, "packages": [folders]}'

It is controlled by frames over its stdin and stdout: four bytes of length (big-endian), then JSON.

    in   {"imports": [names], "later": [names], "seccomp": base64 or null}   once
         {"code": text, "cpu_seconds": n}                                    any number of times
    out  {"kind": "ready"}                                                   once, when `imports` are imported
         {"kind": "output", "stream": "stdout" or "stderr", "text": text}
         {"kind": "figure", "png": base64}
         {"kind": "done", "reason": …, "value": text or null, "notices": [texts]}

The code finds pipes at 1 and 2 instead, which two threads empty. It can reach the control channel all the same, so whoever
reads it must trust no frame. Standard library only, and one file: every backend starts this very program.
"""

from __future__ import annotations

import ast
import base64
import builtins
import codecs
import contextlib
import fcntl
import importlib
import io
import json
import linecache
import math
import os
import resource
import select
import struct
import sys
import threading
import traceback
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import environ  # this program's own: nothing of the server's is in it
from typing import Any, NoReturn

NOBODY = 65534
MOST_VALUE_CHARS = 16_384
MOST_TRACEBACK_CHARS = 8_192
_CODE_NAME = "<code>"
_CHUNK = 1 << 16
_NICENESS = 10  # the server goes first
_SECONDS_FOR_THE_LAST_OUTPUT = 1.0


class Control:
    """The channel to the host, out of the way of the code's own stdin and stdout."""

    def __init__(self) -> None:
        self._incoming = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 10)
        self._outgoing = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 10)
        self._lock = threading.Lock()

    def send(self, kind: str, **parts: object) -> None:
        """Send a frame; threads may do so at the same time."""
        body = json.dumps({"kind": kind, **parts}, ensure_ascii=False).encode("utf-8", "replace")
        unsent = memoryview(struct.pack(">I", len(body)) + body)
        with self._lock:
            while unsent:
                unsent = unsent[os.write(self._outgoing, unsent) :]

    def receive(self) -> dict[str, Any]:
        """Wait for the host's next frame; without a host there is nothing left to do."""
        (length,) = struct.unpack(">I", self._exactly(4))
        frame: dict[str, Any] = json.loads(self._exactly(length))
        return frame

    def is_quiet(self) -> bool:
        """Whether the host has said nothing yet."""
        return not select.select([self._incoming], [], [], 0)[0]

    def _exactly(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.read(self._incoming, min(count, _CHUNK))
            if not part:
                os._exit(0)
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class Tap:
    """What the code writes to one of its standard streams: sent on up to a bound, then only counted."""

    def __init__(self, control: Control, name: str, bound: int) -> None:
        self._control = control
        self._name = name
        self._left = bound
        self._fd = {"stdout": 1, "stderr": 2}[name]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.dropped = 0
        self._reading, writing = os.pipe()
        os.dup2(writing, self._fd)
        os.close(writing)
        setattr(sys, name, self._text_stream())
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Flush, and wait until all that was written is sent; what still holds the pipe open is not waited for long."""
        with contextlib.suppress(Exception):  # the code may have put anything there
            getattr(sys, self._name).flush()
        _nothing_at(self._fd)
        self._thread.join(_SECONDS_FOR_THE_LAST_OUTPUT)
        setattr(sys, self._name, self._text_stream())

    def _text_stream(self) -> io.TextIOWrapper:
        return open(self._fd, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)

    def _pump(self) -> None:
        while chunk := os.read(self._reading, _CHUNK):
            kept = chunk[: self._left]
            self._left -= len(kept)
            self.dropped += len(chunk) - len(kept)
            if text := self._decoder.decode(kept):
                self._control.send("output", stream=self._name, text=text)
        os.close(self._reading)


class Cell:
    """One piece of code: parsed, run, and reported."""

    def __init__(self, code: str, namespace: dict[str, Any]) -> None:
        self._code = code
        self._namespace = namespace
        self.reason = "finished"
        self.value: str | None = None
        self.notices: list[str] = []

    def run(self) -> None:
        """Run it; whatever it raises is its own result."""
        try:
            self._show(self._evaluated())
        except SystemExit as end:
            self._left_by(end)
        except MemoryError:
            self.reason = "memory"
            _say("MemoryError: the code needs more memory than it is allowed")
        except BaseException as error:  # noqa: BLE001 - a KeyboardInterrupt of the code's own is no reason to die
            self.reason = "error"
            _say(_trimmed(error))

    def _evaluated(self) -> object:
        """Run all statements; the value of the last one where it is an expression."""
        linecache.cache[_CODE_NAME] = (len(self._code), None, self._code.splitlines(keepends=True), _CODE_NAME)
        tree = ast.parse(self._code, _CODE_NAME)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, _CODE_NAME, "exec"), self._namespace)  # noqa: S102 - what this program is for
        if not isinstance(last, ast.Expr):
            return None
        return eval(compile(ast.Expression(last.value), _CODE_NAME, "eval"), self._namespace)  # noqa: S307 - as above

    def _show(self, value: object) -> None:
        if value is None:
            return
        text = repr(value)
        self.value = text[:MOST_VALUE_CHARS]
        if len(text) > MOST_VALUE_CHARS:
            self.notices.append(f"The value was cut: {MOST_VALUE_CHARS:,} of {len(text):,} characters are shown.")

    def _left_by(self, end: SystemExit) -> None:
        if end.code not in (None, 0):
            self.reason = "error"
            _say(f"SystemExit: {end.code}\n")


class Guest:
    """A namespace, and what is done in it until the host goes away."""

    def __init__(self, control: Control, limits: Mapping[str, Any]) -> None:
        self._control = control
        self._limits = limits
        self._main = types.ModuleType("__main__")
        sys.modules["__main__"] = self._main

    def serve(self) -> NoReturn:
        """Answer the host's frames, and use quiet moments to import what the code will probably want."""
        setup = self._control.receive()
        if setup["seccomp"]:
            _confine(base64.b64decode(setup["seccomp"]))
        _import(setup["imports"])
        _nothing_at(2)
        self._control.send("ready")
        later: list[str] = setup["later"]
        while True:
            while later and self._control.is_quiet():
                _import([later.pop(0)])
            later.clear()  # what the first code did not import, the next in the session must not wait for
            self._answer(self._control.receive())

    def _answer(self, frame: Mapping[str, Any]) -> None:
        _allow_cpu(frame["cpu_seconds"])
        taps = [Tap(self._control, name, self._limits["stream_bytes"]) for name in ("stdout", "stderr")]
        cell = Cell(frame["code"], vars(self._main))
        cell.run()
        cell.notices += self._send_figures()
        for tap in taps:
            tap.close()
        cell.notices += [f"{tap.dropped:,} bytes more were written and left out." for tap in taps if tap.dropped]
        self._control.send("done", reason=cell.reason, value=cell.value, notices=cell.notices)

    def _send_figures(self) -> list[str]:
        """Send the open figures as PNG, and close them; what had to be left out and why."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return []
        try:
            return list(self._drawn(pyplot))
        except BaseException as error:  # noqa: BLE001 - drawing runs the code's own artists
            return [f"A figure could not be drawn: {type(error).__name__}: {str(error)[:500]}"]
        finally:
            _quietly_close(pyplot)

    def _drawn(self, pyplot: Any) -> Iterator[str]:
        numbers: Sequence[int] = pyplot.get_fignums()
        for number in numbers[: self._limits["most_figures"]]:
            png = io.BytesIO()
            pyplot.figure(number).savefig(png, format="png")
            if png.tell() > self._limits["figure_bytes"]:
                yield f"Figure {number} was left out: it has {png.tell():,} bytes. Draw it smaller, or with a lower dpi."
                continue
            self._control.send("figure", png=base64.b64encode(png.getvalue()).decode())
        if left := len(numbers) - self._limits["most_figures"]:
            yield from [f"{left} figures more were left out."] * (left > 0)


def drop_privileges() -> None:
    """Become nobody, for good: a guest that was started by root has done nothing yet and needs no right of root's."""
    if os.geteuid() != 0:
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    if os.getresuid() != (NOBODY,) * 3 or os.getresgid() != (NOBODY,) * 3 or os.getgroups():
        os._exit(1)


def bound(limits: Mapping[str, Any]) -> None:
    """Set the limits of this process, which the code can only lower."""
    hard = {
        "RLIMIT_AS": limits["memory_bytes"],
        "RLIMIT_CPU": limits["cpu_seconds"] + 1,  # the second in which it can still be told why it ends
        "RLIMIT_FSIZE": limits["file_bytes"],
        "RLIMIT_NOFILE": limits["open_files"],
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_NPROC": limits["user_tasks"],
    }
    for name, most in hard.items():
        if most is not None and (number := getattr(resource, name, None)) is not None:
            _limit(number, most)


def _limit(number: int, most: int) -> None:
    _, already = resource.getrlimit(number)
    if already != resource.RLIM_INFINITY:
        most = min(most, already)  # a backend may have set less
    try:
        resource.setrlimit(number, (most, most))
    except (ValueError, OSError):
        if sys.platform != "darwin":  # whose kernel does not know a limit of the address space
            raise


def _allow_cpu(seconds: float) -> None:
    """Let this call, and threads that outlive it, use so much processor time on top of what is used already."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (min(allowed, most - 1), most))


def _confine(program: bytes) -> None:
    """Put this process under one more seccomp filter (an array of ``struct sock_filter``)."""
    import ctypes  # noqa: PLC0415 - not every system needs it

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))

    set_seccomp, filter_mode = 22, 2
    loaded = Filter(len(program) // 8, program)
    if ctypes.CDLL(None).prctl(set_seccomp, filter_mode, ctypes.byref(loaded), 0, 0):
        os._exit(1)


def _import(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(Exception):  # the code that wants it will be told why it cannot have it
            importlib.import_module(name)


def _settle(packages: Sequence[str]) -> None:
    """Prepare what code expects around it."""
    folder = environ.get("TMPDIR", "/tmp")  # noqa: S108 - the guest's own
    sys.path.extend((*packages, folder))
    os.chdir(folder)
    environ.update(
        HOME=folder,
        MPLBACKEND="Agg",
        MPLCONFIGDIR=os.path.join(folder, ".matplotlib"),  # noqa: PTH118 - pathlib costs time at the start
        OPENBLAS_NUM_THREADS="1",  # each of its threads would take a large part of the address space
        OMP_NUM_THREADS="1",
    )
    for name in ("exit", "quit"):
        setattr(builtins, name, sys.exit)  # `site` defines these, and it is not run
    sys.set_int_max_str_digits(0)  # a bound against slow services; here the time-out is the bound
    warnings.filterwarnings("ignore", message=".*is non-interactive.*")  # plt.show(): figures are shown anyway


def _nothing_at(fd: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)


def _say(text: str) -> None:
    """Write to stderr past whatever the code has put in `sys.stderr`."""
    with contextlib.suppress(Exception):  # the code may have put anything there
        sys.stderr.flush()
    unsent = text.encode("utf-8", "replace")
    while unsent:
        unsent = unsent[os.write(2, unsent) :]


def _trimmed(error: BaseException) -> str:
    """The traceback from the code's own first frame on, and no longer than a model can use."""
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename != _CODE_NAME:
        inner = inner.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error.with_traceback(inner), inner))
    except Exception:  # noqa: BLE001 - an exception's own __str__ may fail
        text = f"{type(error).__name__}\n"
    if len(text) <= MOST_TRACEBACK_CHARS:
        return text
    half = MOST_TRACEBACK_CHARS // 2
    return f"{text[:half]}\n…\n{text[-half:]}"


def _quietly_close(pyplot: Any) -> None:
    with contextlib.suppress(BaseException):  # it runs the code's own artists, too
        pyplot.close("all")


def main() -> NoReturn:
    """Start, and serve until the host goes away."""
    configuration: dict[str, Any] = json.loads(sys.argv[1])
    drop_privileges()
    bound(configuration["limits"])
    os.nice(_NICENESS)
    control = Control()
    _nothing_at(0)
    os.dup2(2, 1)
    _settle(configuration["packages"])
    Guest(control, configuration["limits"]).serve()


if __name__ == "__main__":
    main()
