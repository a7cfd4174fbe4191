"""Our end of the seam to pyeryx, with a stand-in for it; and pyeryx itself where it is installed (Python 3.12 or newer)."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tools.sandbox.guests import Guest, GuestFailed
from tools.sandbox.types import Limits
from tools.sandbox.webassembly import WebAssembly

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name != "posix", reason="the sandbox is for POSIX systems")]
real = pytest.mark.skipif(WebAssembly().missing() is not None, reason=str(WebAssembly().missing()))

STAND_IN = """
import contextlib, io, types

class VfsStorage:
    pass

class Stream(io.TextIOBase):
    def __init__(self, write):
        self.told = write
    def write(self, text):
        self.told(text.encode())
        return len(text)

class Session:
    def __init__(self, *, on_stdout, on_stderr, vfs, vfs_mount_path):
        self.streams = Stream(on_stdout), Stream(on_stderr)
        self.names = {}
    def execute(self, code):
        if "trap" in code:
            raise RuntimeError("wasm trap: unreachable")
        with contextlib.redirect_stdout(self.streams[0]), contextlib.redirect_stderr(self.streams[1]):
            exec(code, self.names)
        return types.SimpleNamespace(result=self.names.pop("result", None))
"""


@pytest.fixture
async def guest(tmp_path: Path) -> AsyncGenerator[Guest]:
    tmp_path.joinpath("eryx.py").write_text(STAND_IN, encoding="utf-8")
    started = await Guest.begin(WebAssembly(packages=str(tmp_path)), Limits())
    yield started
    await started.end()


async def test_code_is_run_and_its_names_are_kept(guest: Guest) -> None:
    first = await guest.run("x = 6\nprint('out')", timeout_seconds=10)
    second = await guest.run("x * 7", timeout_seconds=10)
    assert (first.stdout, first.value, first.exit_reason) == ("out\n", None, "finished")
    assert (second.value, second.exit_reason) == ("42", "finished")


async def test_an_error_is_shown_with_the_codes_own_frames(guest: Guest) -> None:
    outcome = await guest.run("def f():\n    return 1 / 0\nf()", timeout_seconds=10)
    assert outcome.exit_reason == "error"
    assert outcome.stderr.count('File "<code>"') == 2
    assert "_run" not in outcome.stderr
    assert outcome.stderr.endswith("ZeroDivisionError: division by zero\n")


async def test_code_is_a_string_to_the_host_and_cannot_leave_it(guest: Guest) -> None:
    outcome = await guest.run("x = '''\"\"\"\\'''' + \"'\"\nlen(x)", timeout_seconds=10)
    assert outcome.value == "5"


async def test_exits_and_memory_errors_are_told_apart(guest: Guest) -> None:
    assert (await guest.run("raise SystemExit", timeout_seconds=10)).exit_reason == "finished"
    assert (await guest.run("raise SystemExit(3)", timeout_seconds=10)).exit_reason == "error"
    assert (await guest.run("raise MemoryError", timeout_seconds=10)).exit_reason == "memory"


async def test_output_beyond_the_bound_is_counted(guest: Guest) -> None:
    bound = Limits().stream_bytes
    outcome = await guest.run(f"import sys; sys.stdout.write('x' * {bound + 7}); None", timeout_seconds=10)
    again = await guest.run("print('again')", timeout_seconds=10)
    assert len(outcome.stdout) == bound
    assert outcome.notices == ("7 bytes more were written and left out.",)
    assert (again.stdout, again.notices) == ("again\n", ())


async def test_a_broken_machine_ends_the_guest(guest: Guest) -> None:
    outcome = await guest.run("trap", timeout_seconds=10)
    assert outcome.exit_reason == "killed"
    assert guest.is_ended


async def test_without_pyeryx_nothing_starts(tmp_path: Path) -> None:
    guest = await Guest.begin(WebAssembly(packages=str(tmp_path)), Limits())
    if importlib.util.find_spec("eryx") is None:
        with pytest.raises(GuestFailed, match="eryx"):
            await guest.ready()
    await guest.end()


def test_pyeryx_unpacks_itself_where_only_the_server_can_write() -> None:
    backend = WebAssembly()
    folder = Path(backend.launch(Limits()).env["TMPDIR"])
    assert folder.stat().st_mode & 0o777 == 0o700
    assert backend.launch(Limits()).env["TMPDIR"] == str(folder)
    del backend
    assert not folder.exists()


def test_what_is_missing_is_named() -> None:
    missing = WebAssembly().missing() or ""
    if sys.version_info < (3, 12):
        assert "Python 3.12" in missing
    elif importlib.util.find_spec("eryx") is None:
        assert "pyeryx" in missing
    else:
        assert not missing


@real
async def test_the_machine_itself_has_no_files_network_or_processes() -> None:
    guest = await Guest.begin(WebAssembly(), Limits())
    try:
        honest = await guest.run("open('x', 'w').write('1'); print(open('x').read()); 6 * 7", timeout_seconds=20)
        attacks = ["open('/etc/passwd')", "__import__('os').fork()", "__import__('ctypes')", "bytes(2 << 30)"]
        refused = [(await guest.run(attack, timeout_seconds=20)).exit_reason for attack in attacks]
    finally:
        await guest.end()
    assert (honest.stdout, honest.value) == ("1\n", "42")
    assert refused == ["error", "error", "error", "memory"]
