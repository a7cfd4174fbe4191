"""The house rules: who may import whom, and what importing may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VENDORS = {"openai", "anthropic", "google", "genai_prices", "xllamacpp"}
STAGES = {"routing.analyzer", "routing.selector", "routing.assembler", "routing.dispatch", "routing.recorder"}
MACHINERY = {"tools.fetching", "tools.searching", "tools.sandbox"}
OURS = sorted(
    path for room in ("routing", "tools") for path in (ROOT / room).rglob("*.py") if "__pycache__" not in path.parts
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def under(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("path", OURS, ids=module_of)
def test_no_room_imports_the_roof_or_reads_the_environment(path: Path) -> None:
    assert not {name for name in imports_of(path) if under(name, {"server", "composition", "cli"})}
    assert "os.environ" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [path for path in OURS if module_of(path).startswith("routing")], ids=module_of)
def test_routing_knows_nothing_of_mcp_and_tools_and_only_adapters_know_vendors(path: Path) -> None:
    imported = set(imports_of(path))
    assert not {name for name in imported if under(name, {"mcp", "mcp_types", "tools"})}
    if not module_of(path).startswith("routing.dispatch.providers."):
        top_level = {name for name in imported if under(name, VENDORS)} - _inside_functions(path)
        assert not top_level


@pytest.mark.parametrize("path", [path for path in OURS if module_of(path).startswith("tools")], ids=module_of)
def test_tools_import_no_vendor_and_no_other_page(path: Path) -> None:
    shared = {
        "tools.base",
        "tools.arguments",
        "tools.icons",
        "tools.resources",
        "tools.results",
        "tools.schemas",
        *MACHINERY,
    }
    imported = set(imports_of(path))
    assert not {name for name in imported if under(name, VENDORS)}
    if module_of(path) != "tools":
        assert not {name for name in imported if under(name, {"tools"}) and name != "tools" and not under(name, shared)}


@pytest.mark.parametrize("path", [path for path in OURS if under(module_of(path), MACHINERY)], ids=module_of)
def test_what_the_pages_drive_knows_no_page_and_not_what_pages_share(path: Path) -> None:
    imported = {name for name in imports_of(path) if under(name, {"tools"})}
    assert not {name for name in imported if not under(name, MACHINERY)}
    assert not {name for name in imports_of(path) if under(name, {"mcp", "mcp_types"})}


@pytest.mark.parametrize("path", [path for path in OURS if under(module_of(path), STAGES)], ids=module_of)
def test_a_stage_imports_no_other_stage(path: Path) -> None:
    own = next(stage for stage in STAGES if under(module_of(path), {stage}))
    others = {name for name in imports_of(path) if under(name, STAGES - {own})}
    assert not others


@pytest.mark.parametrize("path", [ROOT / "routing/types.py", ROOT / "routing/errors.py"], ids=module_of)
def test_types_and_errors_import_the_standard_library_only(path: Path) -> None:
    assert {name.split(".")[0] for name in imports_of(path)} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    "path", [path for path in OURS if module_of(path).startswith("routing.dispatch.providers.")], ids=module_of
)
def test_an_adapter_imports_its_one_sdk_types_errors_and_faults(path: Path) -> None:
    allowed = {"routing.types", "routing.errors", "routing.dispatch.faults", "routing.dispatch.providers.openai_sdk"}
    imported = set(imports_of(path))
    assert {name for name in imported if under(name, {"routing"})} <= allowed
    assert len({name.split(".")[0] for name in imported if under(name, VENDORS)}) <= 1


PROBE = """
import builtins, io, os, pathlib, socket, sys
import mcp.server, mcp.server.mcpserver, pydantic, httpx2, anyio, dotenv, platformdirs
def refuse(*_args, **_kwargs):
    raise AssertionError("importing reached outside")
socket.socket.connect = refuse
os.mkdir = os.makedirs = refuse
before = dict(os.environ)
import server
assert dict(os.environ) == before
late = {"openai", "anthropic", "tiktoken", "xllamacpp", "typer", "numpy"}
slow = ("google.genai", "routing.analyzer.wording", "routing.analyzer.rules", "routing.learning.features")
print(sorted(name for name in sys.modules if name.split(".")[0] in late or name.startswith(slow)))
"""


def test_importing_the_server_reaches_nothing_and_loads_neither_vendor_sdks_nor_word_lists() -> None:
    result = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"


def _inside_functions(path: Path) -> set[str]:
    """Modules that are imported inside functions only: on first use, not on import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    deferred: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in inside and isinstance(node, ast.ImportFrom) and node.module:
            deferred.add(node.module)
        elif id(node) in inside and isinstance(node, ast.Import):
            deferred |= {alias.name for alias in node.names}
    return deferred
