"""Hosts see the tools that the snapshot shows, in its order: a change is meant, or it is a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.snapshot import FILE, counted, listed

pytestmark = pytest.mark.anyio
SNAPSHOT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))


async def test_names_descriptions_and_schemas_are_those_of_the_snapshot() -> None:
    assert await listed() == SNAPSHOT["tools"], "if that was meant: make pages"


async def test_what_the_tools_cost_a_host_is_written_down_and_less_than_4000_tokens(vocabularies: Path) -> None:
    tokens = await counted(vocabularies)

    assert tokens == SNAPSHOT["tokens"], "if that was meant: make pages"
    assert tokens["total"] < 4_000
