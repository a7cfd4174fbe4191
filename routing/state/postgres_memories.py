"""Memories in PostgreSQL: rows with their vectors (pgvector), and their words in a table of ours.

    store    rows and words in one write, then vectors: in the foreground for `EMBEDDING_SECONDS`, the rest behind
    search   by word with BM25, by meaning with pgvector, joined by reciprocal rank
    delete   row, words and vector are gone for every later reader; the disk's pages are used again after a vacuum

The owner is in every condition. Up to `MOST_COMPARED` memories of a caller are all compared, as in SQLite. Beyond that an HNSW
index over the vectors of all callers is searched until enough of the caller's own are found (iterative scan,
https://github.com/pgvector/pgvector#iterative-index-scans): nearly all of the nearest, in a time that hardly grows.

Words weigh as in SQLite's FTS5 (https://sqlite.org/fts5.html#the_bm25_function), but by the caller's own memories alone.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from routing.errors import UnknownHandle
from routing.state import (
    ALIKE,
    NO_SUCH_MEMORY,
    Embedder,
    Likeness,
    MemoryHit,
    MemoryPage,
    MemorySearch,
    NewMemory,
    SearchMode,
    StoredMemory,
    check_filter,
    check_memories,
    remembering,
)
from routing.state.columns import restored, stored
from routing.state.remembering import (
    CANDIDATES,
    EMBEDDED_AT_ONCE,
    MOST_LIKENESSES,
    Texts,
    Vectors,
    ascii_json,
    check_count,
    check_one_way,
    columns_of,
    fused,
    memory_of,
    not_by_meaning,
    row_of,
    texts_of,
)
from routing.state.tables import Connection, Row, Tables, insert_into
from routing.state.words import folded, indexed, terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_COMPARED = 5_000
"""How many of a caller's vectors are compared one by one; from there on an index answers sooner."""

_MOST_INDEXED_DIMENSIONS = 2_000
"""pgvector's limit for an HNSW index over float32; longer vectors are always compared one by one."""

_K1, _B = 1.2, 0.75
"""BM25's constants, as in FTS5."""

_LONGEST_WORD = 200
"""Characters of a word that count: an index entry holds 2.7 kB, and no language has such words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A row that was written."""

    id: int
    memory_id: str
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """Which memories are meant: the caller's own that have not expired, and that fit the rest."""

    caller: str
    metadata: Mapping[str, object]
    now: float
    most: int = 0
    memory_ids: tuple[str, ...] = ()
    key: str | None = None

    def condition(self) -> str:
        """SQL over the columns of memories."""
        parts = ["memories.caller = :caller", "(expires_at IS NULL OR expires_at > :now)"]
        parts += ["memory_id = ANY(:memory_ids)"] if self.memory_ids else []
        parts += ["key = :key"] if self.key is not None else []
        parts += ["facts @> :facts"] if self.metadata else []
        return " AND ".join(parts)

    def bindings(self) -> Row:
        """The values that `condition` names."""
        return {
            "caller": stored(self.caller),
            "now": self.now,
            "key": stored(self.key),
            "memory_ids": [stored(memory_id) for memory_id in self.memory_ids],
            "facts": _facts_of(self.metadata),
        }


class PostgresMemories:
    """The `routing.state.Memories` in ``database``. Without ``embedder``, by word only."""

    def __init__(self, *, database: Tables, wall_clock: Callable[[], float], embedder: Embedder | None) -> None:
        self._database = database
        self._wall_clock = wall_clock
        self._vectors = Vectors(embedder, pending=self._pending, keep=self._keep_vectors)
        self._indexed: set[str] = set()
        """Embedders whose vectors are known to have an index."""

    def open(self) -> None:
        """Begin to embed what has no vector of this embedder yet."""
        self._vectors.embed_the_rest()

    async def aclose(self) -> None:
        """Leave off embedding; what is done is kept."""
        await self._vectors.aclose()

    async def store(self, caller: str, memories: Sequence[NewMemory]) -> tuple[StoredMemory, ...]:
        check_memories(memories)
        job = partial(_keep, caller=caller, memories=tuple(memories), now=self._wall_clock())
        kept = await self._database.write(job)
        embedder = self._vectors.ready
        if embedder is None:
            return tuple(StoredMemory(memory_id=row.memory_id, created=row.created, embedded=False) for row in kept)
        await self._vectors.embed_now([row.id for row in kept])
        return await self._database.read(partial(_stored, caller=caller, kept=kept, embedder=embedder))

    async def search(
        self,
        caller: str,
        query: str,
        *,
        limit: int = 10,
        metadata: Mapping[str, object] | None = None,
        mode: SearchMode = "hybrid",
    ) -> MemorySearch:
        check_filter(metadata)
        wanted = _Wanted(caller=caller, metadata=metadata or {}, now=self._wall_clock(), most=max(limit, CANDIDATES))
        vector = await self._vectors.of_query(query) if mode != "word" else None
        if mode == "meaning" and vector is None:
            raise not_by_meaning()
        job = partial(
            self._found, wanted=wanted, query=query if mode != "meaning" else None, vector=vector, limit=limit
        )
        return await self._database.read(job)

    async def list(  # after it, `list` in an annotation of this class is this method
        self, caller: str, *, limit: int = 20, cursor: str | None = None, metadata: Mapping[str, object] | None = None
    ) -> MemoryPage:
        check_filter(metadata)
        wanted = _Wanted(caller=caller, metadata=metadata or {}, now=self._wall_clock(), most=limit)
        return await self._database.read(partial(_select_page, wanted=wanted, before=row_of(cursor)))

    async def delete(
        self,
        caller: str,
        *,
        memory_ids: Sequence[str] = (),
        key: str | None = None,
        metadata: Mapping[str, object] | None = None,
        everything: bool = False,
    ) -> int:
        check_one_way(memory_ids, key, metadata, everything=everything)
        check_filter(metadata)
        wanted = _Wanted(caller=caller, metadata=metadata or {}, now=self._wall_clock())
        if memory_ids or key is not None:
            wanted = replace(wanted, memory_ids=tuple(memory_ids), key=key)
        count = await self._database.write(partial(_delete, wanted=wanted))
        if not count and (memory_ids or key is not None):
            raise UnknownHandle(NO_SUCH_MEMORY)
        return count

    async def sweep(self) -> int:
        return await self._database.write(self.remove_expired)

    async def remove_expired(self, connection: Connection) -> int:
        """The `Job` of `sweep`, for the store's housekeeping."""
        return await connection.execute(_DELETE_EXPIRED, {"now": self._wall_clock()})

    async def _pending(self, embedder: str, ids: Sequence[int] | None) -> Texts:
        bindings = {"embedder": stored(embedder), "most": EMBEDDED_AT_ONCE, "ids": ids}
        return await self._database.read(
            partial(_select_texts, sql=_SELECT_PENDING if ids is None else _SELECT_PENDING_OF, bindings=bindings)
        )

    async def _keep_vectors(self, embedder: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        ready = self._vectors.ready
        if ready is not None and embedder not in self._indexed:
            await self._database.write(partial(_have_index, embedder=ready))
            self._indexed.add(embedder)
        rows = [
            {"id": row_id, "embedder": stored(embedder), "vector": _text_of(vector)}
            for row_id, vector in vectors.items()
        ]
        await self._database.write(partial(_update_vectors, rows=rows))

    async def _found(
        self,
        connection: Connection,
        *,
        wanted: _Wanted,
        query: str | None,
        vector: NDArray[np.float32] | None,
        limit: int,
    ) -> MemorySearch:
        """The best by word and by vector, each where it is given."""
        rankings: list[Sequence[int]] = []
        if query is not None:
            rankings.append(await _ranked_by_word(connection, query, wanted, alone=vector is None))
        nearest: dict[int, float] = {}
        embedder = self._vectors.ready
        if vector is not None and embedder is not None:
            nearest = await _nearest(connection, vector, wanted, embedder)
            rankings.append(list(nearest))
        scores = fused(rankings)
        best = sorted(scores, key=lambda row_id: -scores[row_id])[:limit]
        memories = {row["id"]: memory_of(row) for row in await connection.select(_SELECT_ROWS, {"ids": best})}
        pending = {"caller": stored(wanted.caller), "embedder": stored(self._vectors.name)}
        [row] = await connection.select(_COUNT_PENDING, pending)
        return MemorySearch(
            hits=tuple(
                MemoryHit(memory=memories[row_id], score=scores[row_id], similarity=nearest.get(row_id))
                for row_id in best
            ),
            by_meaning=vector is not None,
            pending=int(row["pending"]),
        )


_DELETE_EXPIRED = "DELETE FROM memories WHERE expires_at <= :now"
_SELECT_KEYED = "SELECT id, key, memory_id, text, created_at FROM memories WHERE caller = :caller AND key = ANY(:keys)"
_NEXT_IDS = "SELECT nextval(pg_get_serial_sequence('memories', 'id')) AS id FROM generate_series(1, :count)"
_SELECT_COUNTS = "SELECT memories, words FROM memory_callers WHERE caller = :caller"
_DELETE_ROW = "DELETE FROM memories WHERE id = :id"

_UPDATE_MEMORY = """
UPDATE memories SET metadata = :metadata, facts = :facts, source = :source, updated_at = :now, expires_at = :expires_at
WHERE id = :id
"""

_INSERT_WORDS = """
INSERT INTO memory_words (caller, word, id, times)
SELECT :caller, word, :id, times FROM unnest(:words::text[], :times::bigint[]) AS counted (word, times)
"""

# Texts of a length go together, which is when an embedder is fastest.
_SELECT_PENDING = """
SELECT id, text FROM (
  SELECT id, text FROM memories WHERE embedder IS DISTINCT FROM :embedder LIMIT :most
) AS pending ORDER BY length(text)
"""

_SELECT_PENDING_OF = """
SELECT id, text FROM memories WHERE id = ANY(:ids) AND embedder IS DISTINCT FROM :embedder
ORDER BY length(text) LIMIT :most
"""

_UPDATE_VECTOR = """
UPDATE memories SET embedder = :embedder, vector = :vector::vector WHERE id = :id AND embedder IS DISTINCT FROM :embedder
"""

_COUNT_PENDING = """
SELECT count(*) AS pending FROM memories WHERE caller = :caller AND embedder IS DISTINCT FROM :embedder
"""

_SELECT_ROWS = """
SELECT id, memory_id, key, text, metadata, source, created_at, updated_at, expires_at FROM memories WHERE id = ANY(:ids)
"""

_COUNT_WORDS = """
SELECT word, (
  SELECT count(*) FROM (SELECT 1 FROM memory_words WHERE caller = :caller AND word = asked.word LIMIT :most + 1) AS rows
) AS times
FROM unnest(:words::text[]) AS asked (word)
"""

_RANK_WORDS = """
SELECT memories.id FROM unnest(:words::text[], :weights::float8[]) AS asked (word, weight)
JOIN memory_words ON memory_words.caller = :caller AND memory_words.word = asked.word
JOIN memories ON memories.id = memory_words.id
WHERE {condition} GROUP BY memories.id
ORDER BY sum(weight * times * (:k1 + 1) / (times + :k1 * (1 - :b + :b * length / :average))) DESC, memories.id LIMIT :most
"""

_NEWEST_WORDS = """
SELECT memories.id FROM memory_words JOIN memories ON memories.id = memory_words.id
WHERE memory_words.caller = :caller AND word = ANY(:words) AND {condition}
GROUP BY memories.id HAVING count(*) = :count ORDER BY memories.id DESC LIMIT :most
"""

_COMPARE = """
SELECT id, -(vector <#> :vector::vector) AS similarity FROM memories
WHERE {condition} AND embedder = :embedder ORDER BY vector <#> :vector::vector, id LIMIT :most
"""

# The expression and the embedder's name, written out, are those of the index: otherwise it could not be used.
_SEARCH_INDEX = """
SELECT id, -(vector::vector({dimensions}) <#> :vector::vector({dimensions})) AS similarity FROM memories
WHERE {condition} AND embedder = {embedder}
ORDER BY vector::vector({dimensions}) <#> :vector::vector({dimensions}) LIMIT :most
"""

_CREATE_INDEX = """
CREATE INDEX IF NOT EXISTS {name} ON memories USING hnsw ((vector::vector({dimensions})) vector_ip_ops)
WHERE embedder = {embedder}
"""

_USE_INDEX = ("SET LOCAL hnsw.iterative_scan = strict_order", "SET LOCAL hnsw.ef_search = 200")

_SELECT_ALIKE = """
SELECT one.id, other.memory_id, other.similarity
FROM memories AS one LEFT JOIN LATERAL (
  SELECT memory_id, -(earlier.vector <#> one.vector) AS similarity FROM memories AS earlier
  WHERE earlier.caller = one.caller AND earlier.embedder = one.embedder AND earlier.id < one.id
    AND -(earlier.vector <#> one.vector) >= :alike
  ORDER BY earlier.vector <#> one.vector, earlier.id LIMIT :most
) AS other ON true
WHERE one.id = ANY(:ids) AND one.embedder = :embedder
"""

_SELECT_ALIKE_BY_INDEX = """
SELECT one.id, other.memory_id, other.similarity
FROM memories AS one LEFT JOIN LATERAL (
  SELECT * FROM (
    SELECT id, memory_id, -(earlier.vector::vector({dimensions}) <#> one.vector::vector({dimensions})) AS similarity
    FROM memories AS earlier WHERE earlier.caller = one.caller AND earlier.embedder = {embedder}
    ORDER BY earlier.vector::vector({dimensions}) <#> one.vector::vector({dimensions}) LIMIT 20
  ) AS near WHERE near.id < one.id AND near.similarity >= :alike ORDER BY near.similarity DESC LIMIT :most
) AS other ON true
WHERE one.id = ANY(:ids) AND one.embedder = {embedder}
"""


async def _keep(connection: Connection, *, caller: str, memories: Sequence[NewMemory], now: float) -> tuple[_Kept, ...]:
    owner = {"caller": stored(caller)}
    await connection.lock([f"memories {owner['caller']}"])  # their keys and their number
    await connection.run(_DELETE_EXPIRED, {"now": now})
    keys = [stored(memory.key) for memory in memories if memory.key is not None]
    keyed = {row["key"]: row for row in await connection.select(_SELECT_KEYED, {**owner, "keys": keys})} if keys else {}
    ids = [row["id"] for row in await connection.select(_NEXT_IDS, {"count": len(memories)})]
    kept = tuple(
        [
            await _keep_one(connection, memory, columns_of(memory, caller=caller, now=now), old=keyed, row_id=row_id)
            for memory, row_id in zip(memories, ids, strict=True)
        ]
    )
    [row] = await connection.select(_SELECT_COUNTS, owner)
    check_count(row["memories"])
    return kept


async def _keep_one(
    connection: Connection, memory: NewMemory, values: Row, *, old: Mapping[str, Row], row_id: int
) -> _Kept:
    before = old.get(values["key"])
    if before is not None and before["text"] == values["text"]:
        changed = {**values, "id": before["id"], "facts": _facts_of(memory.metadata)}
        await connection.run(_UPDATE_MEMORY, changed)
        return _Kept(id=before["id"], memory_id=before["memory_id"], created=False)
    if before is not None:
        await connection.run(_DELETE_ROW, before)
        values |= {"memory_id": before["memory_id"], "created_at": before["created_at"]}
    row = {name: value for name, value in values.items() if name != "now"} | {"id": row_id, "updated_at": values["now"]}
    await _insert(connection, row, memory.text, memory.metadata)
    return _Kept(id=row_id, memory_id=values["memory_id"], created=before is None)


async def _insert(connection: Connection, row: Row, text: str, metadata: Mapping[str, object]) -> None:
    words = words_of(text)
    row = {**row, "facts": _facts_of(metadata), "length": words.total()}
    await connection.run(insert_into("memories", tuple(row)), row)
    index = {"caller": row["caller"], "id": row["id"], "words": list(words), "times": list(words.values())}
    await connection.run(_INSERT_WORDS, index)


async def insert_moved(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert memories that were somewhere else, as they were: with their ids, and their vectors as bytes of float32."""
    for row in rows:
        vector = None if row["vector"] is None else _text_of(array("f", row["vector"]))
        await _insert(connection, {**row, "vector": vector}, restored(row["text"]), json.loads(row["metadata"]))


def words_of(text: str) -> Counter[str]:
    """How often a text has each word."""
    return Counter(word[:_LONGEST_WORD] for word in folded(indexed(text)).split())


def _facts_of(metadata: Mapping[str, object]) -> list[str]:
    """Each name with its value as one text; names have no ``=``."""
    return [f"{name}={ascii_json(value)}" for name, value in metadata.items()]


def _text_of(vector: NDArray[np.float32] | array[float]) -> str:
    """A vector as pgvector reads it: nine digits say a float32 exactly."""
    return f"[{','.join(f'{value:.9g}' for value in vector.tolist())}]"


async def _select_texts(connection: Connection, *, sql: str, bindings: Row) -> Texts:
    return texts_of(await connection.select(sql, bindings))


async def _update_vectors(connection: Connection, *, rows: Sequence[Row]) -> None:
    await connection.executemany(_UPDATE_VECTOR, rows)


async def _have_index(connection: Connection, *, embedder: Embedder) -> None:
    """Make the index over an embedder's vectors before the first of them is there, which takes no time."""
    if embedder.dimensions > _MOST_INDEXED_DIMENSIONS:
        return
    await connection.lock(["index of memories"])
    await connection.run(_CREATE_INDEX.format(name=_index_of(embedder), **_written(embedder)))


def _index_of(embedder: Embedder) -> str:
    from hashlib import sha256  # noqa: PLC0415 - once in a process's life

    return f"memories_near_{sha256(embedder.name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _written(embedder: Embedder) -> Row:
    """An embedder as constants of a statement."""
    letters = "".join(
        letter if letter.isascii() and letter.isalnum() else f"\\U{ord(letter):08x}" for letter in stored(embedder.name)
    )
    return {"dimensions": embedder.dimensions, "embedder": f"E'{letters}'"}


async def _uses_index(connection: Connection, caller: str, embedder: Embedder) -> bool:
    counted = await connection.select(_SELECT_COUNTS, {"caller": caller})
    if not counted or counted[0]["memories"] <= MOST_COMPARED or embedder.dimensions > _MOST_INDEXED_DIMENSIONS:
        return False
    for setting in _USE_INDEX:
        await connection.run(setting)
    return True


async def _nearest(
    connection: Connection, vector: NDArray[np.float32], wanted: _Wanted, embedder: Embedder
) -> dict[int, float]:
    """Row ids with their similarities, the nearest first."""
    bindings = wanted.bindings()
    sql = _SEARCH_INDEX if await _uses_index(connection, bindings["caller"], embedder) else _COMPARE
    rows = await connection.select(
        sql.format(condition=wanted.condition(), **_written(embedder)),
        {**bindings, "vector": _text_of(vector), "embedder": stored(embedder.name), "most": wanted.most},
    )
    return {row["id"]: row["similarity"] for row in rows}


async def _stored(
    connection: Connection, *, caller: str, kept: Sequence[_Kept], embedder: Embedder
) -> tuple[StoredMemory, ...]:
    """What became of the rows, with the memories that were there before and are like them."""
    sql = _SELECT_ALIKE_BY_INDEX if await _uses_index(connection, stored(caller), embedder) else _SELECT_ALIKE
    bindings = {
        "ids": [row.id for row in kept],
        "embedder": stored(embedder.name),
        "alike": ALIKE,
        "most": MOST_LIKENESSES,
    }
    alike: dict[int, list[Likeness]] = {}
    for row in await connection.select(sql.format(**_written(embedder)), bindings):
        likenesses = alike.setdefault(row["id"], [])
        if row["memory_id"] is not None:
            likenesses.append(Likeness(memory_id=restored(row["memory_id"]), similarity=min(1.0, row["similarity"])))
    return tuple(
        StoredMemory(
            memory_id=row.memory_id,
            created=row.created,
            embedded=row.id in alike,
            duplicates=tuple(alike.get(row.id, ())),
        )
        for row in kept
    )


async def _ranked_by_word(connection: Connection, query: str, wanted: _Wanted, *, alone: bool) -> list[int]:
    """Row ids by BM25 over those words of the query that are not in too many memories.

    Where words ``alone`` are searched and none of them tells memories apart, the newest that have all of them.
    """
    asked = {"words": [folded(term)[:_LONGEST_WORD] for term in terms(query)], "caller": stored(wanted.caller)}
    most = remembering.MOST_ROWS_OF_A_TERM
    times = {row["word"]: row["times"] for row in await connection.select(_COUNT_WORDS, {**asked, "most": most})}
    telling = {word: count for word, count in times.items() if 0 < count <= most}
    ranked = await _rank(connection, telling, wanted) if telling else []
    common = [word for word, count in times.items() if count > most]
    if ranked or not common or not alone:
        return ranked
    bindings = {**wanted.bindings(), "words": common, "count": len(common), "most": wanted.most}
    rows = await connection.select(_NEWEST_WORDS.format(condition=wanted.condition()), bindings)
    return [row["id"] for row in rows]


async def _rank(connection: Connection, times: Mapping[str, int], wanted: _Wanted) -> list[int]:
    bindings = wanted.bindings()
    [counts] = await connection.select(_SELECT_COUNTS, bindings)
    weights = [max(1e-6, math.log((counts["memories"] - count + 0.5) / (count + 0.5))) for count in times.values()]
    ranking = {
        "words": list(times),
        "weights": weights,
        "average": counts["words"] / counts["memories"],
        "k1": _K1,
        "b": _B,
        "most": wanted.most,
    }
    rows = await connection.select(_RANK_WORDS.format(condition=wanted.condition()), {**bindings, **ranking})
    return [row["id"] for row in rows]


async def _select_page(connection: Connection, *, wanted: _Wanted, before: int) -> MemoryPage:
    where, bindings = wanted.condition(), wanted.bindings()
    [count] = await connection.select(f"SELECT count(*) AS total FROM memories WHERE {where}", bindings)  # noqa: S608 - our own
    page = f"SELECT id FROM memories WHERE {where} AND id < :before ORDER BY id DESC LIMIT :limit"  # noqa: S608 - as above
    found = await connection.select(page, {**bindings, "before": before, "limit": wanted.most + 1})
    ids = [row["id"] for row in found[: wanted.most]]
    rows = sorted(await connection.select(_SELECT_ROWS, {"ids": ids}), key=lambda row: -row["id"])
    cursor = str(ids[-1]) if len(found) > wanted.most else None
    return MemoryPage(memories=tuple(map(memory_of, rows)), total=count["total"], cursor=cursor)


async def _delete(connection: Connection, *, wanted: _Wanted) -> int:
    await connection.lock([f"memories {stored(wanted.caller)}"])
    return await connection.execute(f"DELETE FROM memories WHERE {wanted.condition()}", wanted.bindings())  # noqa: S608 - our own
