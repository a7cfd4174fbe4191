"""Both stores under one roof: a test that takes `kind` runs on each of them, on what belongs to its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from routing.state.sqlite import SqliteStore
from tests.state.postgres_server import database_of, needs_postgres

if TYPE_CHECKING:
    from routing.state.postgres import PostgresStore

    AnyStore: TypeAlias = SqliteStore | PostgresStore

KINDS = ("sqlite", pytest.param("postgres", marks=needs_postgres))


def place_of(kind: str, folder: Path) -> str:
    """Where the store of that kind is that belongs to the folder."""
    return str(folder / "store.db") if kind == "sqlite" else database_of(folder)


def store_at(place: str, **options: Any) -> AnyStore:
    """The store at a path or an address, not opened yet."""
    if not place.startswith("postgresql://"):
        return SqliteStore(Path(place), **options)
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - only where psycopg is installed

    return PostgresStore(place, **options)
