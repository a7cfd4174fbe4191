"""Long-term memory: `memory_store`, `memory_search`, `memory_list`, `memory_delete`.

What is remembered may once have come from anywhere, so its text is handed out in the envelope of untrusted material.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from routing.errors import InvalidTask
from routing.state import (
    Memory,
    MemorySearch,
    NewMemory,
    StoredMemory,
)
from tools.base import Result, Services, StrictTool, caller_of, errors_for_the_model, services_of, strict_tool
from tools.fetching.untrusted import enveloped

AnyContext = Context[Services, Any]

MOST_CHARS = 40_000
"""Of all the texts in one result: about 10,000 tokens. The longest memory fits."""

_MOST_IDS = 200
_DAY_SECONDS = 86_400
_BY_WORD_ONLY = (
    "Found by word only: the weights that search by meaning are not here. `python server.py pull` fetches them (72 MB)."
)

Metadata = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]
Filter = Annotated[Metadata | None, Field(description="Only with these values")]
InBrief = WithJsonSchema({"type": "array"})
"""A list whose rows are told by their values: every host pays for a schema in its list of tools."""


class Item(BaseModel):
    """One of many memories."""

    model_config = ConfigDict(extra="forbid")

    text: str
    key: str | None = None
    metadata: Metadata | None = None
    source: str | None = None
    ttl_days: float | None = None


Items = Annotated[list[Item], WithJsonSchema({"type": "array", "items": {"type": "object"}})]


class DuplicateResult(Result):
    """A memory that was there before and says about the same."""

    memory_id: str
    similar_to: str
    similarity: float


class StoreResult(Result):
    """What became of the memories."""

    stored: int
    updated: int
    memory_ids: Annotated[list[str], InBrief]
    duplicates: Annotated[list[DuplicateResult], InBrief]
    notices: Annotated[list[str], InBrief]


class MemoryResult(Result):
    """A memory as a model sees it."""

    memory_id: str
    text: str
    key: str | None
    metadata: dict[str, Any] | None
    source: str | None
    updated_at: str
    expires_at: str | None
    score: float | None = None
    similarity: float | None = None


class SearchResult(Result):
    """What was found, the best first."""

    memories: Annotated[list[MemoryResult], InBrief]
    notices: Annotated[list[str], InBrief]


class ListResult(Result):
    """A page of memories."""

    memories: Annotated[list[MemoryResult], InBrief]
    total: int
    cursor: str | None


class DeleteResult(Result):
    """How many are gone."""

    deleted: int


async def memory_store(
    ctx: AnyContext,
    text: Annotated[str | None, Field(description="A sentence that stands alone")] = None,
    key: Annotated[str | None, Field(description="Replaces the memory of that key")] = None,
    metadata: Annotated[Metadata | None, Field(description="To filter by")] = None,
    source: Annotated[str | None, Field(description="Where from")] = None,
    ttl_days: Annotated[float | None, Field(description="Then forgotten")] = None,
    items: Annotated[Items | None, Field(description="Instead: up to 1000 with the above")] = None,
) -> Annotated[CallToolResult, StoreResult]:
    """Remember facts beyond this conversation."""
    given = items
    with errors_for_the_model():
        if (text is None) == (items is None) or (items and (key or metadata or source or ttl_days)):
            raise InvalidTask("give either text, with what belongs to it, or items.")
        if text is not None:
            given = [Item(text=text, key=key, metadata=metadata, source=source, ttl_days=ttl_days)]
        memories = [_memory_of(item) for item in given or ()]
        stored = await services_of(ctx).store.memories.store(caller_of(ctx), memories)
    return _told_of_storing(stored)


async def memory_search(
    ctx: AnyContext,
    query: Annotated[str, Field(description="A question or words")],
    limit: Annotated[int, Field(description="Most", ge=1, le=50)] = 8,
    metadata: Filter = None,
) -> Annotated[CallToolResult, SearchResult]:
    """Find memories by meaning and by word."""
    with errors_for_the_model():
        found = await services_of(ctx).store.memories.search(caller_of(ctx), query, limit=limit, metadata=metadata)
    return _told_of_finding(found)


async def memory_list(
    ctx: AnyContext,
    limit: Annotated[int, Field(description="Most", ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Field(description="Of the last page")] = None,
    metadata: Filter = None,
) -> Annotated[CallToolResult, ListResult]:
    """List memories, newest first."""
    with errors_for_the_model():
        memories = services_of(ctx).store.memories
        page = await memories.list(caller_of(ctx), limit=limit, cursor=cursor, metadata=metadata)
    shown = _shown(page.memories)
    result = ListResult(memories=[row.as_data() for row in shown], total=page.total, cursor=page.cursor)
    more = f" More with cursor {page.cursor}." if page.cursor else ""
    return _answer(result, f"{len(shown)} of {page.total:,} memories.{more}", shown)


async def memory_delete(
    ctx: AnyContext,
    memory_ids: Annotated[list[str] | None, Field(description="These")] = None,
    key: Annotated[str | None, Field(description="Or that of this key")] = None,
    metadata: Annotated[Metadata | None, Field(description="Or all with these values; {}: every one")] = None,
    confirm: Annotated[bool | None, Field(description="Needed with metadata")] = None,
) -> DeleteResult:
    """Forget memories for good."""
    memories = services_of(ctx).store.memories
    with errors_for_the_model():
        if metadata is not None and not confirm:
            page = await memories.list(caller_of(ctx), limit=1, metadata=metadata)
            raise InvalidTask(f"this would delete {page.total:,} memories for good. Call with confirm=true to do so.")
        deleted = await memories.delete(
            caller_of(ctx), memory_ids=memory_ids or (), key=key, metadata=metadata, everything=metadata == {}
        )
    return DeleteResult(deleted=deleted)


def _memory_of(item: Item) -> NewMemory:
    return NewMemory(
        text=item.text,
        key=item.key,
        metadata=item.metadata or {},
        source=item.source,
        ttl_seconds=None if item.ttl_days is None else item.ttl_days * _DAY_SECONDS,
    )


def _told_of_storing(stored: Sequence[StoredMemory]) -> CallToolResult:
    updated = sum(not row.created for row in stored)
    waiting = sum(not row.embedded for row in stored)
    alike = [
        DuplicateResult(memory_id=row.memory_id, similar_to=other.memory_id, similarity=round(other.similarity, 3))
        for row in stored
        for other in row.duplicates
    ]
    ids = [row.memory_id for row in stored[:_MOST_IDS]]
    notices = [f"{waiting:,} have no vector yet: until then they are found by word only."] if waiting else []
    notices += [f"These are the first {len(ids)} ids; memory_list shows all."] if len(ids) < len(stored) else []
    result = StoreResult(
        stored=len(stored), updated=updated, memory_ids=ids, duplicates=alike[:_MOST_IDS], notices=notices
    )
    said = [f"Stored {len(stored):,}, {updated:,} of them in place of older ones.", *notices]
    said += [f"{row.memory_id} says about the same as {row.similar_to} ({row.similarity})." for row in alike[:5]]
    return CallToolResult(content=[TextContent(text=" ".join(said))], structured_content=result.model_dump(mode="json"))


def _told_of_finding(found: MemorySearch) -> CallToolResult:
    shown = [
        replace(row, score=hit.score, similarity=hit.similarity)
        for row, hit in zip(_shown([hit.memory for hit in found.hits]), found.hits, strict=True)
    ]
    notices = [] if found.by_meaning else [_BY_WORD_ONLY]
    if found.by_meaning and found.pending:
        notices.append(f"{found.pending:,} memories have no vector yet and are found by word only.")
    result = SearchResult(memories=[row.as_data() for row in shown], notices=notices)
    return _answer(result, " ".join([f"{len(shown)} memories found.", *notices]), shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A memory with as much of it as there is room for; ``metadata`` is ``None`` where there is none."""

    memory: Memory
    text: str
    metadata: Mapping[str, object] | None
    score: float | None = None
    similarity: float | None = None

    def as_data(self) -> MemoryResult:
        memory = self.memory
        return MemoryResult(
            memory_id=memory.memory_id,
            text=enveloped(self.text, memory.source or "memory"),
            key=memory.key,
            metadata=None if self.metadata is None else dict(self.metadata),
            source=memory.source,
            updated_at=_spoken_time(memory.updated_at),
            expires_at=None if memory.expires_at is None else _spoken_time(memory.expires_at),
            score=None if self.score is None else round(self.score, 4),
            similarity=None if self.similarity is None else round(self.similarity, 4),
        )

    def as_line(self) -> str:
        return f"- {self.memory.memory_id}, {_spoken_time(self.memory.updated_at)[:10]}: {self.text}"


def _shown(memories: Iterable[Memory]) -> list[_Shown]:
    """The memories in order, cut where `MOST_CHARS` are used up."""
    room = MOST_CHARS
    shown: list[_Shown] = []
    for memory in memories:
        text = memory.text if len(memory.text) <= room else f"{memory.text[:room]} [cut; search for it with limit 1]"
        room = max(0, room - len(text))
        length = len(json.dumps(memory.metadata))
        shown.append(_Shown(memory=memory, text=text, metadata=memory.metadata if length <= room else None))
        room = max(0, room - length)
    return shown


def _answer(result: SearchResult | ListResult, said: str, shown: Sequence[_Shown]) -> CallToolResult:
    """A line, the texts in one envelope, and everything as data."""
    texts = "\n".join(row.as_line() for row in shown)
    blocks = [said, *([enveloped(texts, "memory")] if texts else [])]
    return CallToolResult(
        content=[TextContent(text="\n".join(blocks))], structured_content=result.model_dump(mode="json")
    )


def _spoken_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def tools() -> Sequence[StrictTool]:
    """The tools of this page."""
    look = {"read_only": True, "idempotent": True, "open_world": False}
    return (
        strict_tool(memory_store, title="Remember", read_only=False, idempotent=False, open_world=False),
        strict_tool(memory_search, title="Search memories", **look),
        strict_tool(memory_list, title="List memories", **look),
        strict_tool(
            memory_delete, title="Forget", read_only=False, idempotent=True, open_world=False, destructive=True
        ),
    )
