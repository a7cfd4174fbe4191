"""What every store promises about memories, run on each of them: a new backend adds its line to STORES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.errors import InvalidTask, ToolFailed, UnknownHandle
from routing.state import MOST_MEMORY_BYTES, MOST_METADATA_BYTES, Memories, NewMemory, Store, StoredMemory, new_handle
from routing.state.sqlite import SqliteStore
from tests.state.memory_fakes import WordEmbedder
from tests.state.postgres_server import database_of
from tests.state.stores import KINDS

pytestmark = pytest.mark.anyio

MINE = "alice"
THEIRS = "mallory"
UNWELCOME_TEXTS = [
    "\x00 nul",
    "a\x00b",
    "\ud800",
    "\udfff tail",
    'it\'s "quoted" \\ud800',
    "名前 🚂",
    "line\nbreak",
    "*",
]


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


OpenStore = Callable[[Path, Clock, WordEmbedder | None], AbstractAsyncContextManager[Store]]


def sqlite(folder: Path, clock: Clock, embedder: WordEmbedder | None) -> AbstractAsyncContextManager[Store]:
    return SqliteStore(folder / "store.db", wall_clock=clock, embedder=embedder)


def postgres(folder: Path, clock: Clock, embedder: WordEmbedder | None) -> AbstractAsyncContextManager[Store]:
    from routing.state.postgres import PostgresStore  # noqa: PLC0415 - only where psycopg is installed

    return PostgresStore(database_of(folder), wall_clock=clock, embedder=embedder)


STORES: dict[str, OpenStore] = {"sqlite": sqlite, "postgres": postgres}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def embedder() -> WordEmbedder:
    return WordEmbedder(synonyms={"automobile": "car", "auto": "car"})


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[[WordEmbedder | None], Any]:
    """Opens the same store again, as a restarted process would."""
    return partial(STORES[request.param], tmp_path, clock)


@pytest.fixture
async def memories(
    reopen: Callable[[WordEmbedder | None], AbstractAsyncContextManager[Store]], embedder: WordEmbedder
) -> AsyncIterator[Memories]:
    async with reopen(embedder) as opened:
        yield opened.memories


shared_store = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25, deadline=None
)


async def keep(memories: Memories, *texts: str, caller: str = MINE, **more: Any) -> list[str]:
    stored = await memories.store(caller, [NewMemory(text=text, **more) for text in texts])
    return [row.memory_id for row in stored]


async def texts_found(memories: Memories, query: str, caller: str = MINE, **more: Any) -> list[str]:
    return [hit.memory.text for hit in (await memories.search(caller, query, **more)).hits]


async def all_texts(memories: Memories, caller: str = MINE) -> list[str]:
    return [memory.text for memory in (await memories.list(caller, limit=1_000)).memories]


# Storing


async def test_a_memory_comes_back_with_its_source_times_and_metadata(memories: Memories, clock: Clock) -> None:
    new = NewMemory(text="tea", key="drink", metadata={"tags": ["a"], "n": 1}, source="a chat", ttl_seconds=60)

    [stored] = await memories.store(MINE, [new])

    [memory] = (await memories.list(MINE)).memories
    assert stored == StoredMemory(memory_id=memory.memory_id, created=True, embedded=True)
    assert (memory.text, memory.key, memory.metadata, memory.source) == (
        "tea",
        "drink",
        {"tags": ["a"], "n": 1},
        "a chat",
    )
    assert (memory.created_at, memory.updated_at, memory.expires_at) == (clock.now, clock.now, clock.now + 60)
    assert (await memories.search(MINE, "tea")).hits[0].memory == memory


@shared_store
@given(text=st.text(st.characters(), min_size=1, max_size=30).filter(str.strip), source=st.text(st.characters()))
async def test_any_text_comes_back_as_it_was(memories: Memories, text: str, source: str) -> None:
    caller = new_handle("caller") + text

    await memories.store(caller, [NewMemory(text=text, source=source, metadata={"of": text}, key=text)])

    [memory] = (await memories.list(caller, metadata={"of": text})).memories
    assert (memory.text, memory.source, memory.metadata, memory.key) == (text, source, {"of": text}, text)
    assert await memories.delete(caller, key=text) == 1


@pytest.mark.parametrize("text", UNWELCOME_TEXTS)
async def test_any_text_may_be_searched_for(memories: Memories, text: str) -> None:
    await keep(memories, text)

    assert await texts_found(memories, text) == [text]


async def test_a_key_that_is_stored_again_changes_the_memory_and_keeps_its_id(memories: Memories, clock: Clock) -> None:
    [first] = await memories.store(MINE, [NewMemory(text="lives in Rome", key="home")])
    made = clock.now
    clock.now += 5

    [second] = await memories.store(MINE, [NewMemory(text="lives in Oslo", key="home")])

    assert (second.memory_id, second.created) == (first.memory_id, False)
    [memory] = (await memories.list(MINE)).memories
    assert (memory.text, memory.created_at, memory.updated_at) == ("lives in Oslo", made, clock.now)
    assert await texts_found(memories, "Rome", mode="word") == []
    assert await texts_found(memories, "Oslo", mode="word") == ["lives in Oslo"]
    assert await texts_found(memories, "Rome", mode="meaning") == ["lives in Oslo"]


async def test_a_key_whose_text_is_the_same_is_not_embedded_again(memories: Memories, embedder: WordEmbedder) -> None:
    await memories.store(MINE, [NewMemory(text="tea", key="drink")])

    [again] = await memories.store(MINE, [NewMemory(text="tea", key="drink", metadata={"n": 2}, ttl_seconds=9)])

    [memory] = (await memories.list(MINE)).memories
    assert (again.created, again.embedded, memory.metadata) == (False, True, {"n": 2})
    assert memory.expires_at is not None
    assert embedder.asked == ["tea"]


async def test_the_same_key_of_another_caller_is_another_memory(memories: Memories) -> None:
    await memories.store(MINE, [NewMemory(text="mine", key="k")])
    await memories.store(THEIRS, [NewMemory(text="theirs", key="k")])

    assert (await all_texts(memories), await all_texts(memories, THEIRS)) == (["mine"], ["theirs"])


async def test_what_says_the_same_as_an_earlier_memory_is_told_and_kept(memories: Memories) -> None:
    [car, _] = await keep(memories, "the user owns a car", "the user drinks tea")

    [again] = await memories.store(MINE, [NewMemory(text="the user owns a automobile")])
    [other] = await memories.store(THEIRS, [NewMemory(text="the user owns a automobile")])

    assert [(like.memory_id, round(like.similarity, 3)) for like in again.duplicates] == [(car, 1.0)]
    assert other.duplicates == ()
    assert len(await all_texts(memories)) == 3


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        (NewMemory(text=" \n"), "its text is empty"),
        (
            NewMemory(text="é" * (MOST_MEMORY_BYTES // 2 + 1)),
            "32,770 bytes, and 32,768 are the most. Store it in parts",
        ),
        (NewMemory(text="x", key=""), "its key must have 1 to 256 characters"),
        (NewMemory(text="x", metadata={"of": "m" * 1_000_000}), "its metadata has 1,000,010 bytes"),
        (NewMemory(text="x", metadata={'a"b': 1}), "a name in metadata must be"),
        (NewMemory(text="x", metadata={"f": float("nan")}), "its metadata is not JSON"),
        (NewMemory(text="x", metadata={"f": object()}), "its metadata is not JSON"),
        (NewMemory(text="x", source="s" * 1_025), "its source has more than 1,024 characters"),
        (NewMemory(text="x", ttl_seconds=0), "more than 0 seconds"),
        (NewMemory(text="x", ttl_seconds=float("nan")), "more than 0 seconds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_kept_is_named_and_nothing_is_stored(
    memories: Memories, new: NewMemory, problem: str
) -> None:
    with pytest.raises(InvalidTask, match=problem) as refused:
        await memories.store(MINE, [NewMemory(text="fine"), new])

    assert "memory 2 of 2" in str(refused.value)
    assert await all_texts(memories) == []


async def test_as_much_as_is_allowed_is_kept(memories: Memories) -> None:
    metadata = {"m": "x" * (MOST_METADATA_BYTES - len('{"m": ""}'))}

    await memories.store(MINE, [NewMemory(text="x" * MOST_MEMORY_BYTES, metadata=metadata)])

    [memory] = (await memories.list(MINE)).memories
    assert (len(memory.text), memory.metadata) == (MOST_MEMORY_BYTES, metadata)


@pytest.mark.parametrize("count", [0, 1_001])
async def test_the_number_of_memories_at_once_is_bounded(memories: Memories, count: int) -> None:
    with pytest.raises(InvalidTask, match="1 to 1,000 memories at once"):
        await memories.store(MINE, [NewMemory(text=f"{n}") for n in range(count)])


async def test_two_of_one_key_at_once_are_refused(memories: Memories) -> None:
    with pytest.raises(InvalidTask, match="the same key"):
        await memories.store(MINE, [NewMemory(text="a", key="k"), NewMemory(text="b", key="k")])


async def test_a_caller_who_has_the_most_is_told_what_to_do_and_others_may_go_on(
    memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.state.remembering.MOST_MEMORIES", 3)
    await keep(memories, "1", "2")

    with pytest.raises(InvalidTask, match=r"would make 4 memories, and 3 are the most.*Delete"):
        await keep(memories, "3", "4")

    assert len(await keep(memories, "3")) == 1
    assert len(await keep(memories, "1", "2", "3", caller=THEIRS)) == 3


# Searching


async def test_meaning_finds_what_no_word_finds(memories: Memories) -> None:
    await keep(memories, "car", "boat", "tea")

    assert (await texts_found(memories, "automobile", mode="meaning"))[0] == "car"
    assert await texts_found(memories, "automobile", mode="word") == []
    assert (await texts_found(memories, "automobile"))[0] == "car"


async def test_what_leads_by_meaning_and_by_word_has_a_score_of_one(memories: Memories) -> None:
    await keep(memories, "green tea", "red car")

    found = await memories.search(MINE, "green tea")

    assert found.by_meaning
    assert found.hits[0].memory.text == "green tea"
    assert found.hits[0].score == pytest.approx(1)
    assert found.hits[0].similarity == pytest.approx(1)
    assert 0 < found.hits[1].score < 0.5


async def test_two_rankings_are_joined_by_reciprocal_rank(memories: Memories) -> None:
    await keep(memories, "auto", "boat auto x y z")

    hits = (await memories.search(MINE, "automobile boat")).hits

    # By meaning auto comes first and boat second; by word there is only boat. A first rank is worth 1/61, a second 1/62.
    assert [hit.memory.text for hit in hits] == ["boat auto x y z", "auto"]
    assert [hit.score for hit in hits] == pytest.approx([(61 / 62 + 61 / 61) / 2, 61 / 61 / 2])


async def test_no_more_are_found_than_asked_for(memories: Memories) -> None:
    await keep(memories, *(f"tea {n}" for n in range(30)))

    for mode in ("hybrid", "meaning", "word"):
        assert len(await texts_found(memories, "tea", limit=7, mode=mode)) == 7


async def test_a_filter_finds_all_that_fit_however_far_down_they_are(memories: Memories) -> None:
    await keep(memories, *(f"tea tea tea {n}" for n in range(300)), metadata={"kind": "noise", "n": 1})
    await keep(memories, "a thing once said of tea and of much else", metadata={"kind": "signal", "n": 1})

    for mode in ("hybrid", "meaning", "word"):
        found = await texts_found(memories, "tea", limit=5, metadata={"kind": "signal", "n": 1}, mode=mode)
        assert found == ["a thing once said of tea and of much else"]


@pytest.mark.parametrize(
    "value", ["text", "é", "\ud800 é", 1, 1.5, True, False, None, ["a", {"b": 1}], {"x": [1]}, "1", "true", ""]
)
async def test_a_filter_is_by_the_very_value(memories: Memories, value: object) -> None:
    values = ["text", "é", "\ud800 é", 1, 1.5, True, False, None, ["a", {"b": 1}], {"x": [1]}, "1", "true", "", "other"]
    for number, other in enumerate(values):
        await keep(memories, f"memory {number}", metadata={"v": other, "also": "\udfff"})
    await keep(memories, "without")

    page = await memories.list(MINE, metadata={"v": value})

    assert [memory.metadata["v"] for memory in page.memories] == [value]
    assert page.total == 1


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("私は寿司屋で働いています", "寿司"),
        ("用户住在上海浦东", "上海"),
        ("ผู้ใช้ชอบกาแฟดำ", "กาแฟ"),
        ("사용자는 커피를 좋아합니다", "커피"),
        ("उपयोगकर्ता को चाय पसंद है", "चाय"),
        ("Пользователь живёт в Москве", "москве"),
        ("Der Nutzer mag Käse", "kase"),
        ("المستخدم يحب القهوة", "القهوة"),
        ("El usuario habla español", "ESPANOL"),
        ("猫", "猫"),
        ("黒猫がいる", "猫"),
        ("the user's e-mail is ada@example.org", "ada@example.org"),
    ],
)
async def test_words_are_found_in_scripts_with_and_without_spaces(memories: Memories, text: str, query: str) -> None:
    await keep(memories, text, "something else entirely")

    assert await texts_found(memories, query, mode="word") == [text]


async def test_a_word_that_every_memory_has_finds_the_newest(
    memories: Memories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.state.remembering.MOST_ROWS_OF_A_TERM", 5)
    await keep(memories, *(f"user fact {n}" for n in range(10)), "user likes rare tea")

    assert (await texts_found(memories, "user fact", mode="word", limit=3)) == [f"user fact {n}" for n in (9, 8, 7)]
    assert (await texts_found(memories, "user rare", mode="word", limit=3)) == ["user likes rare tea"]


async def test_nothing_is_found_where_nothing_is(memories: Memories) -> None:
    found = await memories.search(MINE, "tea")

    assert (found.hits, found.by_meaning, found.pending) == ((), True, 0)
    assert await texts_found(memories, "?!", mode="word") == []


# Other callers


async def test_what_a_caller_stores_no_other_caller_finds_lists_or_deletes(memories: Memories) -> None:
    [mine] = await keep(memories, "my secret tea", metadata={"kind": "x"})
    await keep(memories, "their tea", caller=THEIRS)

    assert await texts_found(memories, "secret tea", THEIRS) == ["their tea"]
    assert await texts_found(memories, "secret", THEIRS, mode="word") == []
    assert await all_texts(memories, THEIRS) == ["their tea"]
    assert (await memories.list(THEIRS, metadata={"kind": "x"})).total == 0
    assert await memories.delete(THEIRS, metadata={"kind": "x"}) == 0
    assert await memories.delete(THEIRS, everything=True) == 1
    with pytest.raises(UnknownHandle):
        await memories.delete(THEIRS, memory_ids=[mine])
    assert await all_texts(memories) == ["my secret tea"]


async def test_unknown_foreign_expired_and_deleted_memories_get_the_same_answer(
    memories: Memories, clock: Clock
) -> None:
    [foreign] = await keep(memories, "theirs", caller=THEIRS, key="k")
    [expired] = await keep(memories, "old", ttl_seconds=5)
    [deleted] = await keep(memories, "gone")
    await memories.delete(MINE, memory_ids=[deleted])
    clock.now += 5
    answers: set[str] = set()

    for handle in (foreign, expired, deleted, "mem_x", "\ud800", '"', ""):
        with pytest.raises(UnknownHandle) as refused:
            await memories.delete(MINE, memory_ids=[handle])
        answers.add(str(refused.value))
    with pytest.raises(UnknownHandle) as refused:
        await memories.delete(MINE, key="k")

    assert answers == {str(refused.value)}
    assert await all_texts(memories, THEIRS) == ["theirs"]


# Listing


async def test_pages_show_every_memory_once_the_newest_first_even_while_they_are_deleted(memories: Memories) -> None:
    await keep(memories, *(f"{n}" for n in range(10)))
    seen: list[str] = []
    cursor = None
    while True:
        page = await memories.list(MINE, limit=4, cursor=cursor)
        seen += [memory.text for memory in page.memories]
        await memories.delete(MINE, memory_ids=[memory.memory_id for memory in page.memories])
        if (cursor := page.cursor) is None:
            break

    assert seen == [f"{n}" for n in range(9, -1, -1)]
    assert page.total == 2


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "٣", "9" * 40, "\ud800"])
async def test_a_cursor_that_is_none_is_refused(memories: Memories, cursor: str) -> None:
    with pytest.raises(InvalidTask, match="no cursor"):
        await memories.list(MINE, cursor=cursor)


# Deleting and expiring


async def test_memories_are_deleted_by_id_key_metadata_or_all(memories: Memories) -> None:
    ids = await keep(memories, "a", "b", "c")
    await memories.store(MINE, [NewMemory(text="keyed", key="k")])
    await keep(memories, "x", "y", metadata={"kind": "z"})
    await keep(memories, "rest")

    assert await memories.delete(MINE, memory_ids=[*ids[:2], "mem_unknown"]) == 2
    assert await memories.delete(MINE, key="k") == 1
    assert await memories.delete(MINE, metadata={"kind": "z"}) == 2
    assert sorted(await all_texts(memories)) == ["c", "rest"]
    assert await memories.delete(MINE, everything=True) == 2
    assert await memories.delete(MINE, everything=True) == 0
    assert await texts_found(memories, "a b c keyed x y rest") == []


@pytest.mark.parametrize("choice", [{}, {"key": "k", "everything": True}, {"memory_ids": ["a"], "key": "k"}])
async def test_deleting_wants_one_way_of_choosing(memories: Memories, choice: dict[str, Any]) -> None:
    with pytest.raises(InvalidTask, match="in one way"):
        await memories.delete(MINE, **choice)


async def test_a_memory_expires_by_the_stores_clock_and_is_then_swept(memories: Memories, clock: Clock) -> None:
    await keep(memories, "tea for now", ttl_seconds=60, metadata={"m": 1})
    await keep(memories, "tea for good")
    clock.now += 59.9
    assert len(await texts_found(memories, "tea")) == 2
    clock.now += 0.1

    for mode in ("hybrid", "meaning", "word"):
        assert await texts_found(memories, "tea", mode=mode) == ["tea for good"]
    assert await all_texts(memories) == ["tea for good"]
    assert await memories.delete(MINE, metadata={"m": 1}) == 0
    assert (await memories.sweep(), await memories.sweep()) == (1, 0)


async def test_the_key_of_an_expired_memory_is_free(memories: Memories, clock: Clock) -> None:
    [old] = await memories.store(MINE, [NewMemory(text="a", key="k", ttl_seconds=1)])
    clock.now += 1

    [new] = await memories.store(MINE, [NewMemory(text="b", key="k")])

    assert new.created
    assert new.memory_id != old.memory_id


# Embedders that come, go and change


async def test_without_an_embedder_memories_are_kept_and_found_by_word(
    reopen: Callable[[WordEmbedder | None], AbstractAsyncContextManager[Store]],
) -> None:
    async with reopen(None) as store:
        [stored] = await store.memories.store(MINE, [NewMemory(text="green tea")])
        found = await store.memories.search(MINE, "tea")

        assert not stored.embedded
        assert [hit.memory.text for hit in found.hits] == ["green tea"]
        assert (found.by_meaning, found.hits[0].similarity) == (False, None)
        with pytest.raises(ToolFailed, match=r"python server\.py pull"):
            await store.memories.search(MINE, "tea", mode="meaning")


async def found_by_meaning(memories: Memories, query: str) -> list[str]:
    """What meaning finds once nothing is left to be embedded."""
    with anyio.fail_after(10):
        while (await memories.search(MINE, query)).pending:
            await anyio.lowlevel.checkpoint()
    return await texts_found(memories, query, mode="meaning")


async def test_what_was_stored_before_the_embedder_came_is_embedded_later(
    memories: Memories, embedder: WordEmbedder
) -> None:
    embedder.is_here = False
    await keep(memories, "car", *(f"{n}" for n in range(300)))
    embedder.is_here = True

    assert (await found_by_meaning(memories, "automobile"))[0] == "car"


async def test_a_restart_embeds_nothing_again(
    reopen: Callable[[WordEmbedder | None], AbstractAsyncContextManager[Store]],
) -> None:
    async with reopen(WordEmbedder()) as store:
        await keep(store.memories, "green tea", "red car")
    embedder = WordEmbedder()

    async with reopen(embedder) as store:
        assert await texts_found(store.memories, "tea", mode="meaning", limit=1) == ["green tea"]

    assert embedder.asked == []


async def test_another_embedder_embeds_everything_anew_and_until_then_words_are_searched(
    reopen: Callable[[WordEmbedder | None], AbstractAsyncContextManager[Store]],
) -> None:
    async with reopen(WordEmbedder("old")) as store:
        await keep(store.memories, "green tea", "red car")
    embedder = WordEmbedder("new", synonyms={"vehicle": "car"})
    embedder.gate = anyio.Event()

    async with reopen(embedder) as store:
        found = await store.memories.search(MINE, "tea")
        assert ([hit.memory.text for hit in found.hits], found.pending) == (["green tea"], 2)
        embedder.gate.set()
        assert (await found_by_meaning(store.memories, "vehicle"))[0] == "red car"

    assert sorted(embedder.asked) == ["green tea", "red car"]


async def test_a_slow_embedder_does_not_hold_up_what_is_stored(
    memories: Memories, embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.state.remembering.EMBEDDING_SECONDS", 0.01)
    embedder.gate = anyio.Event()

    [stored] = await memories.store(MINE, [NewMemory(text="car")])

    assert not stored.embedded
    assert await texts_found(memories, "car", mode="word") == ["car"]
    embedder.gate.set()
    assert await found_by_meaning(memories, "automobile") == ["car"]


async def test_a_memory_that_changes_while_it_is_embedded_never_has_the_vector_of_its_old_text(
    memories: Memories, embedder: WordEmbedder
) -> None:
    embedder.gate = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(memories.store, MINE, [NewMemory(text="tea", key="k")])
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(memories.store, MINE, [NewMemory(text="car", key="k")])
        await anyio.wait_all_tasks_blocked()
        embedder.gate.set()

    [hit] = (await memories.search(MINE, "automobile", mode="meaning")).hits
    assert hit.memory.text == "car"
    assert hit.similarity == pytest.approx(1)


async def test_many_callers_store_and_search_at_once(memories: Memories) -> None:
    async def use(caller: str) -> None:
        for number in range(5):
            await keep(memories, f"tea {number} of {caller}", caller=caller)
            assert len(await texts_found(memories, "tea", caller)) == number + 1

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(use, f"caller {number}")
