"""Memories in SQLite: rows, their words in an FTS5 index, their vectors as float32 blobs and in a matrix for each caller.

    store    rows and words in one write, then vectors: in the foreground for `EMBEDDING_SECONDS`, the rest behind
    search   by word in the index, by meaning in the matrix, joined by reciprocal rank (Cormack et al., SIGIR 2009)
    delete   row, words and vector are overwritten, and the write-ahead log is emptied

Each method names its SQL function, which runs inside a transaction that `Database` opened. Before a search the matrix is
brought up to date from the file, in the transaction that reads it, so what another process has committed is found too.
"""

# pyright: reportUnknownMemberType=false
# apsw's stubs name collections.abc.Buffer, which Python 3.11 has not got; under 3.12 nothing is unknown.

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import apsw

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
from routing.state.columns import json_text, stored
from routing.state.database import BUSY_TIMEOUT_MS, Database, select
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
from routing.state.tables import Row
from routing.state.words import indexed, terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from routing.state.vectors import VectorIndex

_DELETED_ONE_BY_ONE = 200
_MOST_MATRICES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A row that was written."""

    id: int
    memory_id: str
    created: bool


class SqliteMemories:
    """The `routing.state.Memories` in ``database``, which is the file at ``path``. Without ``embedder``, by word only."""

    def __init__(
        self, *, database: Database, path: Path, wall_clock: Callable[[], float], embedder: Embedder | None
    ) -> None:
        self._database = database
        self._path = path
        self._wall_clock = wall_clock
        self._matrices: OrderedDict[str, VectorIndex] = OrderedDict()
        self._vectors = Vectors(embedder, pending=self._pending, keep=self._keep_vectors)

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
        if self._vectors.ready is None:
            return tuple(StoredMemory(memory_id=row.memory_id, created=row.created, embedded=False) for row in kept)
        await self._vectors.embed_now([row.id for row in kept])
        return await self._database.read(partial(self._stored, caller=caller, kept=kept))

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
        by_word, vector = await asyncio.gather(
            self._ranked_by_word(query, wanted) if mode != "meaning" else _none(),
            self._vectors.of_query(query) if mode != "word" else _none(),
        )
        if mode == "meaning" and vector is None:
            raise not_by_meaning()
        if vector is None and not by_word:
            by_word = await self._database.read(partial(_newest_by_word, query=query, wanted=wanted))
        job = partial(self._found, wanted=wanted, by_word=by_word, vector=vector, limit=limit)
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
        if caller in self._matrices:
            await self._database.read(partial(self._matrix, caller=caller))
        await anyio.to_thread.run_sync(_empty_log, self._path)
        return count

    async def sweep(self) -> int:
        return await self._database.write(self.remove_expired)

    def remove_expired(self, connection: apsw.Connection) -> int:
        """The `Job` of `sweep`, for the store's housekeeping."""
        return _forget(connection, _EXPIRED, {"now": self._wall_clock()})

    # Vectors

    async def _pending(self, embedder: str, ids: Sequence[int] | None) -> Texts:
        if ids is None:
            return await self._database.read(partial(_select_pending, embedder=embedder))
        return await self._database.read(partial(_select_pending_of, embedder=embedder, ids=ids))

    async def _keep_vectors(self, embedder: str, vectors: Mapping[int, NDArray[np.float32]]) -> None:
        blobs = {row_id: vector.tobytes() for row_id, vector in vectors.items()}
        await self._database.write(partial(_insert_vectors, embedder=embedder, blobs=blobs))

    def _matrix(self, connection: apsw.Connection, *, caller: str) -> VectorIndex | None:
        """The caller's vectors as of now; ``None`` where there is no embedder.

        The transaction reads first when the lock is held, so whoever comes later sees at least as much.
        """
        embedder = self._vectors.ready
        if embedder is None:
            return None
        from routing.state.vectors import VectorIndex  # noqa: PLC0415 - numpy is not wanted before there are vectors

        matrix = self._matrices.setdefault(caller, VectorIndex(embedder.dimensions))
        self._matrices.move_to_end(caller)
        while len(self._matrices) > _MOST_MATRICES:
            self._matrices.popitem(last=False)
        with matrix.lock:
            _bring_up_to_date(connection, matrix, {"caller": stored(caller), "embedder": embedder.name})
        return matrix

    def _stored(self, connection: apsw.Connection, *, caller: str, kept: Sequence[_Kept]) -> tuple[StoredMemory, ...]:
        """What became of the rows, with the memories that were there before and are like them."""
        matrix = self._matrix(connection, caller=caller)
        alike = matrix.alike([row.id for row in kept], ALIKE) if matrix is not None else {}
        others = [row_id for pairs in alike.values() for row_id, _ in pairs[:MOST_LIKENESSES]]
        names = {row["id"]: row["memory_id"] for row in _select_rows(connection, others)}
        return tuple(
            StoredMemory(
                memory_id=row.memory_id,
                created=row.created,
                embedded=row.id in alike,
                duplicates=tuple(
                    Likeness(memory_id=names[other], similarity=min(1.0, similarity))
                    for other, similarity in alike.get(row.id, ())[:MOST_LIKENESSES]
                    if other in names
                ),
            )
            for row in kept
        )

    # Searching

    async def _ranked_by_word(self, query: str, wanted: _Wanted) -> Sequence[int]:
        return await self._database.read(partial(_rank_by_word, query=query, wanted=wanted))

    def _found(
        self,
        connection: apsw.Connection,
        *,
        wanted: _Wanted,
        by_word: Sequence[int] | None,
        vector: NDArray[np.float32] | None,
        limit: int,
    ) -> MemorySearch:
        """The best by word and by vector, each where it is given."""
        rankings = [by_word] if by_word is not None else []
        matrix = self._matrix(connection, caller=wanted.caller)
        nearest: dict[int, float] = {}
        if vector is not None and matrix is not None:
            ranking = chain.from_iterable(matrix.nearest(vector, wanted.most))
            nearest = _first_visible(connection, ranking, wanted)
            rankings.append(list(nearest))
        scores = fused(rankings)
        best = sorted(scores, key=lambda row_id: -scores[row_id])[:limit]
        memories = {row["id"]: memory_of(row) for row in _select_rows(connection, best)}
        return MemorySearch(
            hits=tuple(
                MemoryHit(memory=memories[row_id], score=scores[row_id], similarity=nearest.get(row_id))
                for row_id in best
            ),
            by_meaning=vector is not None,
            pending=self._count_pending(connection, wanted.caller),
        )

    def _count_pending(self, connection: apsw.Connection, caller: str) -> int:
        bindings = {"caller": stored(caller), "embedder": self._vectors.name}
        [row] = select(connection, _COUNT_PENDING, bindings)
        return int(row["pending"])


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
        """SQL over the columns of memories. A value is compared as JSON text, in both ways that `json_text` may write it."""
        parts = ["caller = :caller", "(expires_at IS NULL OR expires_at > :now)"]
        parts += ["memory_id IN (SELECT value FROM json_each(:memory_ids))"] if self.memory_ids else []
        parts += ["key = :key"] if self.key is not None else []
        parts += [f"metadata -> :name{n} IN (:value{n}, :ascii{n})" for n in range(len(self.metadata))]
        return " AND ".join(parts)

    def bindings(self) -> Row:
        """The values that `condition` names."""
        values: Row = {"caller": stored(self.caller), "now": self.now, "key": stored(self.key)}
        values["memory_ids"] = json_text([stored(memory_id) for memory_id in self.memory_ids])
        for n, (name, value) in enumerate(self.metadata.items()):
            values |= {f"name{n}": name, f"value{n}": json_text(value), f"ascii{n}": ascii_json(value)}
        return values


_EXPIRED = "expires_at <= :now"

_SELECT_KEYED = "SELECT id, memory_id, text, created_at FROM memories WHERE caller = :caller AND key = :key"
_COUNT_MEMORIES = "SELECT count(*) AS count FROM memories WHERE caller = :caller"

_INSERT_MEMORY = """
INSERT INTO memories (memory_id, caller, key, text, metadata, source, created_at, updated_at, expires_at)
VALUES (:memory_id, :caller, :key, :text, :metadata, :source, :created_at, :now, :expires_at)
"""

_UPDATE_MEMORY = """
UPDATE memories SET metadata = :metadata, source = :source, updated_at = :now, expires_at = :expires_at WHERE id = :id
"""

_INSERT_WORDS = "INSERT INTO memory_words (rowid, words) VALUES (:id, :words)"
_INSERT_PENDING = "INSERT INTO memory_vectors (id, caller) VALUES (:id, :caller)"
_DELETE_OTHER_VECTOR = "DELETE FROM memory_vectors WHERE id = :id AND embedder IS NOT :embedder"

_INSERT_VECTOR = """
INSERT INTO memory_vectors (id, caller, embedder, vector)
SELECT id, caller, :embedder, :vector FROM memories WHERE id = :id ON CONFLICT (id) DO NOTHING
"""

# Texts of a length go together, which is when an embedder is fastest.
_SELECT_PENDING = """
SELECT id, text FROM memories WHERE id IN (
  SELECT id FROM memory_vectors WHERE embedder IS NULL OR embedder < :embedder OR embedder > :embedder LIMIT :most)
ORDER BY length(text)
"""

_SELECT_PENDING_OF = """
SELECT id, text FROM memories JOIN memory_vectors USING (id)
WHERE id IN (SELECT value FROM json_each(:ids)) AND embedder IS NOT :embedder ORDER BY length(text) LIMIT :most
"""

_COUNT_PENDING = """
SELECT (SELECT count(*) FROM memory_vectors WHERE caller = :caller AND embedder IS NULL)
  + (SELECT count(*) FROM memory_vectors WHERE caller = :caller AND embedder < :embedder)
  + (SELECT count(*) FROM memory_vectors WHERE caller = :caller AND embedder > :embedder) AS pending
"""

_SELECT_FORGOTTEN = "SELECT forgotten FROM memory_callers WHERE caller = :caller"
_SELECT_LIVE = "SELECT id FROM memory_vectors WHERE caller = :caller AND embedder = :embedder"

_SELECT_NEW_VECTORS = """
SELECT change, id, vector FROM memory_vectors WHERE caller = :caller AND embedder = :embedder AND change > :change
ORDER BY change LIMIT 4096
"""

_HAS_MANY = """
SELECT count(*) > :most AS many FROM
  (SELECT 1 FROM memory_words WHERE memory_words MATCH :match LIMIT :most + 1)
"""

_RANK_WORDS = "SELECT rowid AS id FROM memory_words WHERE memory_words MATCH :match ORDER BY rank"
_NEWEST_WORDS = "SELECT rowid AS id FROM memory_words WHERE memory_words MATCH :match ORDER BY rowid DESC"

_SELECT_ROWS = """
SELECT id, memory_id, key, text, metadata, source, created_at, updated_at, expires_at FROM memories
WHERE id IN (SELECT value FROM json_each(:ids))
"""


def _keep(connection: apsw.Connection, *, caller: str, memories: Sequence[NewMemory], now: float) -> tuple[_Kept, ...]:
    _forget(connection, _EXPIRED, {"now": now})
    kept = tuple(_keep_one(connection, caller=caller, memory=memory, now=now) for memory in memories)
    [row] = select(connection, _COUNT_MEMORIES, {"caller": stored(caller)})
    check_count(row["count"])
    return kept


def _keep_one(connection: apsw.Connection, *, caller: str, memory: NewMemory, now: float) -> _Kept:
    values = columns_of(memory, caller=caller, now=now)
    for old in select(connection, _SELECT_KEYED, values) if memory.key is not None else ():
        values |= {"memory_id": old["memory_id"], "created_at": old["created_at"]}
        if old["text"] == values["text"]:
            connection.execute(_UPDATE_MEMORY, {**values, "id": old["id"]})
            return _Kept(id=old["id"], memory_id=old["memory_id"], created=False)
        _forget(connection, "id = :id", {"id": old["id"]})
        return _Kept(id=_insert(connection, values, memory), memory_id=old["memory_id"], created=False)
    return _Kept(id=_insert(connection, values, memory), memory_id=values["memory_id"], created=True)


def _insert(connection: apsw.Connection, values: Row, memory: NewMemory) -> int:
    connection.execute(_INSERT_MEMORY, values)
    row_id = connection.last_insert_rowid()
    connection.execute(_INSERT_WORDS, {"id": row_id, "words": indexed(memory.text)})
    connection.execute(_INSERT_PENDING, {"id": row_id, "caller": values["caller"]})
    return row_id


def _insert_vectors(connection: apsw.Connection, *, embedder: str, blobs: Mapping[int, bytes]) -> None:
    """Rows that are gone by now are passed over, and so are those that have such a vector."""
    for row_id, blob in blobs.items():
        connection.execute(_DELETE_OTHER_VECTOR, {"id": row_id, "embedder": embedder})
        connection.execute(_INSERT_VECTOR, {"id": row_id, "embedder": embedder, "vector": blob})


def _select_pending(connection: apsw.Connection, *, embedder: str) -> Texts:
    return texts_of(select(connection, _SELECT_PENDING, {"embedder": embedder, "most": EMBEDDED_AT_ONCE}))


def _select_pending_of(connection: apsw.Connection, *, embedder: str, ids: Sequence[int]) -> Texts:
    """As `_select_pending`, but only of these rows."""
    bindings = {"embedder": embedder, "ids": json.dumps(ids), "most": EMBEDDED_AT_ONCE}
    return texts_of(select(connection, _SELECT_PENDING_OF, bindings))


def _bring_up_to_date(connection: apsw.Connection, matrix: VectorIndex, of: Row) -> None:
    """Take in the vectors that were written since, after letting go of those that were deleted."""
    import numpy as np  # noqa: PLC0415 - as in `SqliteMemories._matrix`

    forgotten = sum(row["forgotten"] for row in select(connection, _SELECT_FORGOTTEN, of))
    if forgotten != matrix.forgotten:
        matrix.keep(np.fromiter((row_id for (row_id,) in connection.execute(_SELECT_LIVE, of)), np.int64))
        matrix.forgotten = forgotten
    while rows := select(connection, _SELECT_NEW_VECTORS, {**of, "change": matrix.change}):
        vectors = np.frombuffer(b"".join(row["vector"] for row in rows), np.float32).reshape(len(rows), -1)
        matrix.add([row["id"] for row in rows], vectors)
        matrix.change = rows[-1]["change"]


def _rank_by_word(connection: apsw.Connection, *, query: str, wanted: _Wanted) -> list[int]:
    """Row ids by BM25 over those words of the query that are not in too many memories."""
    telling = [word for word in _quoted_terms(query) if not _has_many(connection, word)]
    return _match(connection, _RANK_WORDS, " OR ".join(telling), wanted)


def _newest_by_word(connection: apsw.Connection, *, query: str, wanted: _Wanted) -> list[int]:
    """Row ids of the newest memories that have all the words of the query that are in many: nothing else tells them apart."""
    common = [word for word in _quoted_terms(query) if _has_many(connection, word)]
    return _match(connection, _NEWEST_WORDS, " AND ".join(common), wanted)


def _match(connection: apsw.Connection, sql: str, match: str, wanted: _Wanted) -> list[int]:
    ranked = connection.execute(sql, {"match": match}) if match else ()
    return list(_first_visible(connection, ((row_id, 0.0) for (row_id,) in ranked), wanted))


def _quoted_terms(query: str) -> list[str]:
    return [f'"{term}"' for term in terms(query)]


async def _none() -> None:
    """In the place of a search that is not asked for."""


def _has_many(connection: apsw.Connection, word: str) -> bool:
    [row] = select(connection, _HAS_MANY, {"match": word, "most": remembering.MOST_ROWS_OF_A_TERM})
    return bool(row["many"])


def _first_visible(
    connection: apsw.Connection, ranking: Iterable[tuple[int, float]], wanted: _Wanted
) -> dict[int, float]:
    """The first ``wanted.most`` of a ranking that are wanted, in its order, with what stands beside them."""
    visible: dict[int, float] = {}
    for some in _chunks(ranking, wanted.most):
        ids = {row["id"] for row in _select_visible(connection, [row_id for row_id, _ in some], wanted)}
        visible |= {row_id: beside for row_id, beside in some if row_id in ids}
        if len(visible) >= wanted.most:
            break
    return dict(list(visible.items())[: wanted.most])


def _chunks(ranking: Iterable[tuple[int, float]], size: int) -> Iterator[list[tuple[int, float]]]:
    chunk: list[tuple[int, float]] = []
    for pair in ranking:
        chunk.append(pair)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _select_visible(connection: apsw.Connection, ids: Sequence[int], wanted: _Wanted) -> list[Row]:
    # CROSS JOIN keeps its order: the ids first, never all of the caller's memories.
    ranked = "(SELECT value AS ranked_id FROM json_each(:ids))"
    sql = f"SELECT id FROM {ranked} CROSS JOIN memories ON id = ranked_id WHERE {wanted.condition()}"  # noqa: S608
    return select(connection, sql, {**wanted.bindings(), "ids": json.dumps(ids)})


def _select_rows(connection: apsw.Connection, ids: Sequence[int]) -> list[Row]:
    return select(connection, _SELECT_ROWS, {"ids": json.dumps(ids)})


def _select_page(connection: apsw.Connection, *, wanted: _Wanted, before: int) -> MemoryPage:
    where, bindings = wanted.condition(), wanted.bindings()
    [count] = select(connection, f"SELECT count(*) AS total FROM memories WHERE {where}", bindings)  # noqa: S608 - our own
    page = f"SELECT id FROM memories WHERE {where} AND id < :before ORDER BY id DESC LIMIT :limit"  # noqa: S608 - as above
    found = select(connection, page, {**bindings, "before": before, "limit": wanted.most + 1})
    ids = [row["id"] for row in found[: wanted.most]]
    rows = sorted(_select_rows(connection, ids), key=lambda row: -row["id"])
    cursor = str(ids[-1]) if len(found) > wanted.most else None
    return MemoryPage(memories=tuple(map(memory_of, rows)), total=count["total"], cursor=cursor)


def _delete(connection: apsw.Connection, *, wanted: _Wanted) -> int:
    return _forget(connection, wanted.condition(), wanted.bindings())


def _forget(connection: apsw.Connection, condition: str, bindings: Row) -> int:
    """Delete rows, and with them words and vectors, so that nothing of them is left in the file."""
    found = select(connection, f"SELECT id FROM memories WHERE {condition}", bindings)  # noqa: S608 - our own conditions
    if len(found) <= _DELETED_ONE_BY_ONE:
        connection.executemany("DELETE FROM memory_words WHERE rowid = :id", found)
    else:
        _forget_many_words(connection, found)
    connection.executemany("DELETE FROM memories WHERE id = :id", found)
    return len(found)


def _forget_many_words(connection: apsw.Connection, rows: Sequence[Row]) -> None:
    """Build the index anew from what is left: 0.3 s for 100,000 memories, where one secure delete takes a millisecond."""
    connection.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('secure-delete', 0)")
    connection.executemany("DELETE FROM memory_words WHERE rowid = :id", rows)
    connection.execute("INSERT INTO memory_words (memory_words) VALUES ('rebuild')")
    connection.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('secure-delete', 1)")


def _empty_log(path: Path) -> None:
    """Fold the write-ahead log into the file and cut it to nothing: it holds pages as they were before a deletion.

    Where readers keep it busy for longer than `BUSY_TIMEOUT_MS`, a later checkpoint does it.
    """
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.pragma("journal_mode")  # until it has read the file, a connection knows of no log
        with suppress(apsw.BusyError):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()
