"""What the memories of every database have in common: how vectors are made, rankings joined, and rows read.

Vectors     gives vectors to what is stored, in the foreground for `EMBEDDING_SECONDS`, the rest behind
fused       rankings joined by reciprocal rank (Cormack et al., SIGIR 2009)
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio

from routing.errors import AssetError, InvalidTask, RoutingError, ToolFailed
from routing.state import MOST_MEMORIES, Embedder, Memory, NewMemory, new_handle
from routing.state.columns import json_text, restored, stored
from routing.state.tables import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EMBEDDING_SECONDS = 3.0
"""How long `store` waits for vectors."""

CANDIDATES = 100
"""How many memories each way of searching puts up."""

MOST_ROWS_OF_A_TERM = 1_000
"""A word that more memories than this have says little, and ranking by it takes long."""

MOST_LIKENESSES = 3
EMBEDDED_AT_ONCE = 128
_FUSION_CONSTANT = 60

Texts: TypeAlias = list[tuple[int, str]]
"""Texts with the ids of their rows."""

_log = logging.getLogger(__name__)


class Pending(Protocol):
    """Finds rows that have no vector of an embedder, `EMBEDDED_AT_ONCE` at most; only of ``ids`` where they are given."""

    def __call__(self, embedder: str, ids: Sequence[int] | None) -> Awaitable[Texts]: ...


class Keep(Protocol):
    """Keeps an embedder's vectors by row. Rows that are gone by now are passed over, and so are those that have one."""

    def __call__(self, embedder: str, vectors: Mapping[int, NDArray[np.float32]]) -> Awaitable[object]: ...


class Vectors:
    """The vectors of memories: ``pending`` finds what has none of ``embedder``, and ``keep`` keeps them."""

    def __init__(self, embedder: Embedder | None, *, pending: Pending, keep: Keep) -> None:
        self._embedder = embedder
        self._pending = pending
        self._keep = keep
        self._embedding: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        """The embedder's; of none there is none."""
        return self._embedder.name if self._embedder is not None else ""

    @property
    def ready(self) -> Embedder | None:
        """The embedder where it is at hand."""
        return self._embedder if self._embedder is not None and self._embedder.available() else None

    async def aclose(self) -> None:
        """Leave off embedding; what is done is kept."""
        if self._embedding is not None:
            self._embedding.cancel()
            await asyncio.wait([self._embedding])

    async def of_query(self, query: str) -> NDArray[np.float32] | None:
        """The query's vector; ``None`` where there is no embedder."""
        embedder = self.ready
        if embedder is None:
            return None
        self.embed_the_rest()
        try:
            vectors = await embedder.embed([query], purpose="query")
        except AssetError as problem:
            _log.warning("memories are searched by word only: %s", problem)
            return None
        vector: NDArray[np.float32] = vectors[0]
        return vector

    async def embed_now(self, ids: Sequence[int]) -> None:
        """Give vectors to these rows while the caller waits, and to all others later."""
        embedder = self.ready
        if embedder is None:
            return
        with anyio.move_on_after(EMBEDDING_SECONDS):
            await self._embed(embedder, ids)
        self.embed_the_rest()

    def embed_the_rest(self) -> None:
        """Give vectors to all rows that have none, beside what else goes on."""
        embedder = self.ready
        if embedder is not None and (self._embedding is None or self._embedding.done()):
            self._embedding = asyncio.create_task(self._embed_pending(embedder))

    async def _embed_pending(self, embedder: Embedder) -> None:
        try:
            await self._embed(embedder, None)
        except RoutingError as problem:
            _log.warning("memories are left without vectors for now: %s", problem)

    async def _embed(self, embedder: Embedder, ids: Sequence[int] | None) -> None:
        """Go on as long as some have none. Batches take turns, so none is made twice."""
        while True:
            async with self._turn:
                rows = await self._pending(embedder.name, ids)
                if not rows:
                    return
                vectors = await embedder.embed([text for _, text in rows], purpose="passage")
                made = {row_id: vector for (row_id, _), vector in zip(rows, vectors, strict=True)}
                await self._keep(embedder.name, made)


def fused(rankings: Sequence[Sequence[int]]) -> dict[int, float]:
    """Add up 1 / (60 + rank) over the rankings, as a share of what a row has that leads all of them."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, row_id in enumerate(ranking, 1):
            scores[row_id] += (1 + _FUSION_CONSTANT) / (rank + _FUSION_CONSTANT) / len(rankings)
    return scores


def row_of(cursor: str | None) -> int:
    """The row that a cursor stands for: the page is of those before it.

    Raises:
        InvalidTask: it is no cursor.

    """
    if cursor is None:
        return 2**63 - 1
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < len(str(2**63))):
        raise InvalidTask("that is no cursor. Leave it out for the first page, and use the one that comes with a page.")
    return int(cursor)


def check_count(count: int) -> None:
    """See that a caller may have so many memories.

    Raises:
        InvalidTask: it is more than `MOST_MEMORIES`.

    """
    if count > MOST_MEMORIES:
        raise InvalidTask(
            f"these would make {count:,} memories, and {MOST_MEMORIES:,} are the most. Nothing was stored. Delete "
            "what is no longer needed, or store with a time to live."
        )


def check_one_way(
    memory_ids: Sequence[str], key: str | None, metadata: Mapping[str, object] | None, *, everything: bool
) -> None:
    """See that what to delete is said in one way.

    Raises:
        InvalidTask: it is not.

    """
    if sum((bool(memory_ids), key is not None, bool(metadata), everything)) != 1:
        raise InvalidTask("say what to delete in one way: by ids, by key, by metadata, or everything.")


def not_by_meaning() -> ToolFailed:
    """What to say where only meaning is asked for, and no embedder is at hand."""
    return ToolFailed(
        "memories cannot be searched by meaning: the weights of the embedder are not here. Fetch them with "
        "`python server.py pull`, or search by word."
    )


def columns_of(memory: NewMemory, *, caller: str, now: float) -> Row:
    """A new memory as a row."""
    return {
        "memory_id": new_handle("mem"),
        "caller": stored(caller),
        "key": stored(memory.key),
        "text": stored(memory.text),
        "metadata": json_text(memory.metadata),
        "source": stored(memory.source),
        "created_at": now,
        "now": now,
        "expires_at": None if memory.ttl_seconds is None else now + memory.ttl_seconds,
    }


def memory_of(row: Row) -> Memory:
    """A row as a memory."""
    texts: dict[str, Any] = {name: restored(row[name]) for name in ("memory_id", "text", "key", "source")}
    times: dict[str, Any] = {name: row[name] for name in ("created_at", "updated_at", "expires_at")}
    return Memory(**texts, **times, metadata=json.loads(row["metadata"]))


def texts_of(rows: Sequence[Row]) -> Texts:
    """The texts of rows that have ``id`` and ``text``."""
    return [(row["id"], restored(row["text"])) for row in rows]


def ascii_json(value: object) -> str:
    """A value as JSON in ASCII."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
