"""The room's rules: what it imports, and who imports it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = sorted((ROOT / "hosts").glob("*.py"))
OTHERS = [ROOT / "server.py", *(path for room in ("routing", "tools") for path in (ROOT / room).rglob("*.py"))]
VENDORS = {"openai", "anthropic", "google", "genai_prices", "xllamacpp"}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_the_room_knows_no_vendor_and_not_the_roof_and_reads_no_environment(path: Path) -> None:
    assert not set(imports_of(path)) & {*VENDORS, "server", "cli"}
    assert "os.environ" not in path.read_text(encoding="utf-8")


def test_only_the_terminal_imports_the_room() -> None:
    assert [path.name for path in OTHERS if "hosts" in imports_of(path)] == []
    assert "hosts" in imports_of(ROOT / "cli.py")
