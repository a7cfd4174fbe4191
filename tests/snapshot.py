"""What hosts see of the tools, written down: names, descriptions and schemas, with what each costs in tokens.

    make pages    # after a change that was meant: writes tests/tools.json (and docs/tools.md) anew; then read the diff

The tokens are o200k_base's of each tool as it goes over the wire, which need the vocabularies that `server.py pull` fetches.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import platformdirs

import server
from routing.tokens import TokenCounter

FILE = Path(__file__).with_name("tools.json")


async def listed() -> list[dict[str, Any]]:
    """The tools as they go over the wire."""
    tools = await server.mcp.list_tools()
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


async def counted(vocabularies: Path) -> dict[str, int]:
    """The tokens of each tool and of all of them."""
    counter = TokenCounter(vocabularies)
    await counter.load()
    tools = await server.mcp.list_tools()
    counts = {tool.name: counter.count(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools}
    assert all(count.exact for count in counts.values()), "no vocabularies; `python server.py pull` fetches them"
    tokens = {name: count.tokens for name, count in counts.items()}
    return {**tokens, "total": sum(tokens.values())}


async def write() -> None:
    home = os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman", appauthor=False)
    snapshot = {"tokens": await counted(Path(home) / "vocabularies"), "tools": await listed()}
    await anyio.Path(FILE).write_text(json.dumps(snapshot, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(write)
