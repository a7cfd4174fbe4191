"""Writes docs/tools.md from the code, by `make pages`. A test holds the two together."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import all_prompts, all_resources, by_toolset  # noqa: E402
from tools.base import StrictTool  # noqa: E402

PAGE = ROOT / "docs/tools.md"
OPENING = """# The tools

*Written from the code by `make pages`.* Hosts see these tools, in this order. `--toolsets`, `--read-only` and
`--disable-tools` leave some of them out ([configuration](guides/configuration.md)); tools that change something are marked.
"""


def page() -> str:
    """The page as it should be."""
    toolsets = [line for name, tools in by_toolset().items() for line in _toolset(name, *tools)]
    return "\n".join([OPENING, *toolsets, *_resources(), *_prompts()])


def _toolset(name: str, *tools: StrictTool) -> Iterator[str]:
    yield f"## {name}\n"
    for tool in tools:
        yield f"### `{tool.name}`{'' if tool.changes_nothing else ' (changes something)'}\n"
        yield f"{tool.description}\n"
        yield from _arguments(tool.parameters)


def _arguments(schema: Mapping[str, Any]) -> Iterator[str]:
    yield "| argument | type | |\n|---|---|---|"
    required = schema.get("required", [])
    for name, row in schema["properties"].items():
        said = row["description"] + (" (required)" if name in required else _default(row))
        yield f"| `{name}` | {_type(row)} | {_cell(said)} |"
    yield ""


def _default(row: Mapping[str, Any]) -> str:
    default = row.get("default")
    return "" if default is None or default is False else f" (default {default})"


def _type(row: Mapping[str, Any]) -> str:
    """In a word or two."""
    if "enum" in row:
        return " · ".join(str(value) for value in row["enum"] if value is not None)
    if "anyOf" in row:
        return " or ".join(_type(option) for option in row["anyOf"] if option.get("type") != "null")
    if row.get("type") == "array":
        return f"list of {_type(row.get('items', {}))}"
    kind: object = row.get("type", "any")
    kinds = cast("list[object]", kind) if isinstance(kind, list) else [kind]
    return " or ".join(str(name) for name in kinds if name != "null")


def _resources() -> Iterator[str]:
    yield "## Resources\n\n| address | type | |\n|---|---|---|"
    for row in all_resources():
        yield f"| `{row.uri}` | {row.mime_type} | {_cell(row.read.__doc__ or '')} |"
    yield ""


def _prompts() -> Iterator[str]:
    yield "## Prompts\n\n| prompt | arguments | |\n|---|---|---|"
    for offer in all_prompts():
        arguments = ", ".join(f"`{one.name}`" for one in offer.prompt.arguments or [])
        yield f"| `{offer.prompt.name}` | {arguments} | {_cell(offer.prompt.description or '')} |"
    yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
