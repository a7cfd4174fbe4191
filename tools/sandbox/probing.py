"""Whether a backend really isolates: a real guest is started, and tries to get out.

Six ways are tried, each at something of our own: a file of the host, a listener on loopback, a new process, a file
outside, the server's environment, the server's entry in `/proc`. A guest that cannot even do what it may (compute, write to
its own folder) proves nothing, so that is asked for too.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.sandbox.guests import Guest, GuestFailed
from tools.sandbox.host import NOBODY
from tools.sandbox.types import Backend, Limits, Outcome, Verdict

_SECONDS = 10.0
_TOLD_TO_EVERYBODY = frozenset(
    {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "PWD", "HOME", "TMPDIR", "TERM", "SHLVL", "HOSTNAME"}
)

_ATTEMPTS = """
import json, os, pathlib, socket
from os import environ
def attempt(deed):
    try:
        return str(deed())[:2000]
    except BaseException:
        return None
def fork():
    if os.fork() == 0:
        os._exit(0)
    return "forked"
def read(path):
    try:
        return path.read_bytes()
    except OSError:
        return None
def server():
    found = [path for path in pathlib.Path("/proc").glob("[0-9]*/cmdline") if SERVER and read(path) == SERVER]
    return found[0]
report = {
    "arithmetic": attempt(lambda: 6 * 7),
    "own folder": attempt(lambda: pathlib.Path("probe.txt").write_text("kept")),
    "host file": attempt(lambda: pathlib.Path(CANARY).read_text()),
    "write outside": attempt(lambda: pathlib.Path(OUTSIDE).write_text("out")),
    "loopback": attempt(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=2)),
    "fork": attempt(fork),
    "parent's memory": attempt(lambda: open(f"/proc/{PARENT}/mem", "rb") if PARENT > 2 else 1 / 0),
}
report["environment"] = dict(environ)
report["processes"] = attempt(server)
print(json.dumps(report))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bait:
    """What a guest must not get at."""

    canary: Path
    secret: str
    outside: Path
    listener: socket.socket

    def code(self) -> str:
        known = {
            "CANARY": str(self.canary),
            "OUTSIDE": str(self.outside),
            "PORT": self.listener.getsockname()[1],
            "PARENT": os.getpid(),
            "SERVER": _own_command_line(),
        }
        return "".join(f"{name} = {value!r}\n" for name, value in known.items()) + _ATTEMPTS

    def was_reached(self) -> bool:
        """Whether anybody has connected."""
        try:
            self.listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True


async def probed(backend: Backend, limits: Limits, variables: Mapping[str, str]) -> Verdict:
    """Try a backend; ``variables`` is the server's environment, none of whose values may be found inside."""
    judge = functools.partial(Verdict, backend=backend.name)
    if missing := backend.missing():
        return judge(problem=missing)
    with _baited() as bait:
        return judge(problem=await _problem(backend, limits, bait, variables))


@contextmanager
def _baited() -> Generator[_Bait]:
    """Bait from which nothing but the backend keeps a guest."""
    with tempfile.TemporaryDirectory(prefix="pointsman-probe-") as name, socket.create_server(("127.0.0.1", 0)) as port:
        folder, secret = Path(name), secrets.token_hex(8)
        (folder / "canary").write_text(secret, encoding="ascii")
        if os.geteuid() == 0:
            for path in (folder, folder / "canary"):
                os.chown(path, NOBODY, NOBODY)
        port.settimeout(0)
        yield _Bait(canary=folder / "canary", secret=secret, outside=folder / "out", listener=port)


async def _problem(backend: Backend, limits: Limits, bait: _Bait, variables: Mapping[str, str]) -> str | None:
    try:
        outcome = await _tried(backend, limits, bait)
    except GuestFailed as failure:
        return f"It does not start here: {failure}"
    if outcome.exit_reason != "finished":
        return (
            f"It starts, and runs no code: {outcome.exit_reason}. {' '.join(outcome.notices)} {outcome.stderr[-500:]}"
        )
    report: dict[str, Any] = json.loads(outcome.stdout)
    if leaks := _leaks(report, bait, variables):
        return f"It does not isolate: code in it reaches {', '.join(leaks)}."
    if failings := _failings(report):
        return f"It starts, and code in it cannot {' or '.join(failings)}."
    return None


async def _tried(backend: Backend, limits: Limits, bait: _Bait) -> Outcome:
    guest = await Guest.begin(backend, limits)
    try:
        return await guest.run(bait.code(), timeout_seconds=_SECONDS)
    finally:
        await guest.end()


def _failings(report: Mapping[str, Any]) -> list[str]:
    """What a guest can do and this one could not."""
    wanted = {"arithmetic": "compute", "own folder": "write to its own folder"}
    return [deed for name, deed in wanted.items() if report.get(name) is None]


def _leaks(report: Mapping[str, Any], bait: _Bait, variables: Mapping[str, str]) -> list[str]:
    """What the guest got at, by its own account and by what is seen from outside."""
    got = {
        "a file of the host": report["host file"] is not None or bait.secret in json.dumps(report),
        "a folder of the host, and writes there": report["write outside"] is not None or bait.outside.exists(),
        "the host's loopback network": report["loopback"] is not None or bait.was_reached(),
        "new processes": report["fork"] is not None,
        "the server's memory": report["parent's memory"] is not None,
        "the server's environment": bool(_leaked(report["environment"], variables)),
        "the server's processes": report["processes"] is not None,
    }
    return [name for name, reached in got.items() if reached]


def _leaked(seen: Mapping[str, str], variables: Mapping[str, str]) -> list[str]:
    """The variables of the server that the guest has too, but for those which hold the same everywhere."""
    return [
        name
        for name, value in seen.items()
        if name not in _TOLD_TO_EVERYBODY and value and variables.get(name) == value
    ]


def _own_command_line() -> bytes | None:
    """By which a guest would know the server among the processes; ``None`` where there is no `/proc`."""
    try:
        return Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return None
