"""Counting: equal to tiktoken's own where a vocabulary is there, marked as an estimate where not.

The tests named after a vocabulary need its file; the others use one of 262 tokens made here.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import anyio
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from routing.tokens import CHARS_PER_TOKEN, PIECE_CHARS, VOCABULARIES, TokenCounter, Vocabulary, pieces
from routing.types import Message, TokenCount, ToolCall, ToolSpec

MERGES = (b"he", b"ll", b"hell", b" a", b"  ", b".\n")
TINY_FILE = b"\n".join(
    base64.b64encode(token) + b" " + str(rank).encode()
    for rank, token in enumerate((*(bytes((byte,)) for byte in range(256)), *MERGES))
)
TINY = Vocabulary(
    file_name="tiny",
    sha256=hashlib.sha256(TINY_FILE).hexdigest(),
    alternatives=VOCABULARIES["o200k_base"].alternatives,
)

CORPUS = {
    "prose": "The pointsman's job isn't hard: he'll watch, wait, and throw the lever.  Twice a day.\n\nThen home.",
    "python": "def total(xs: list[int]) -> int:\n    return sum(x**2 for x in xs)  # no odd\n\n\nassert total([]) == 0\n",
    "json": '{"id": 1234567, "tags": ["a", "b"], "price": 19.99, "nested": {"ok": true, "none": null}}',
    "chinese": "请用三句话概括这段文字、并解释它的影响。2026年11月",
    "japanese": "この文章を三文で要約し、影響を説明してください。カタカナも。",
    "hindi": "अदालत ने कल फैसला सुनाया कि कंपनी को मुआवजा देना होगा।",
    "arabic": "قضت المحكمة أمس بأن على الشركة تعويض العمال.",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 😀",
    "whitespace": "a \t\t  b\r\n\r\n   \n\tc      ",
    "special tokens": "<|endoftext|> and <|im_start|>system<|im_end|><|fim_prefix|>",
    "controls": "nul \x00 and bell \x07 and \u200b\u202e",
    "empty": "",
}


def counter_of(folder: Path, **published: Vocabulary) -> TokenCounter:
    return TokenCounter(folder, published=published or {"o200k_base": TINY})


@pytest.fixture
async def tiny(tmp_path: Path, anyio_backend: str) -> TokenCounter:
    (tmp_path / "tiny").write_bytes(TINY_FILE)
    counter = counter_of(tmp_path)
    await counter.load()
    return counter


def refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError("a socket was opened")


@pytest.fixture(scope="session")
def published(vocabularies: Path) -> TokenCounter:
    counter = TokenCounter(vocabularies)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        anyio.run(counter.load)
    return counter


@pytest.fixture(scope="session")
def reference(vocabularies: Path) -> dict[str, tiktoken.Encoding]:
    """What tiktoken itself builds when its cache is the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(vocabularies))
        return {name: tiktoken.get_encoding(name) for name in VOCABULARIES}


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
def test_a_count_equals_tiktokens_own(
    published: TokenCounter, reference: dict[str, tiktoken.Encoding], name: str, text: str
) -> None:
    theirs = reference[name].encode(text, disallowed_special=())
    assert published.count(text, name) == TokenCount(tokens=len(theirs), exact=True)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_long_text_is_counted_in_pieces_without_losing_a_token(
    published: TokenCounter, reference: dict[str, tiktoken.Encoding], name: str
) -> None:
    text = "\n".join(CORPUS.values()) * 300
    assert len(text) > 3 * PIECE_CHARS
    theirs = reference[name].encode(text, disallowed_special=())
    assert published.count(text, name) == TokenCount(tokens=len(theirs), exact=True)


@pytest.mark.parametrize("run", ["a", " ", "\t", "\n", ".", "你", "😀", "\ud800"])
def test_a_million_of_one_character_is_counted_and_marked_inexact(published: TokenCounter, run: str) -> None:
    count = published.count(run * 1_000_000)
    assert 1_000 < count.tokens <= 3_000_000
    assert not count.exact


@pytest.mark.parametrize(("hello", "prompt_tokens"), [("Hello", 8), ("Hello!", 9)])
def test_a_greeting_costs_what_openai_bills_for_it(published: TokenCounter, hello: str, prompt_tokens: int) -> None:
    message = Message(role="user", content=hello)
    assert published.count_messages([message]) == TokenCount(tokens=prompt_tokens, exact=True)


@pytest.mark.parametrize("text", [text for text in CORPUS.values() if len(text) > 60])
def test_an_estimate_from_characters_is_within_a_third_of_the_count(
    published: TokenCounter, tmp_path: Path, text: str
) -> None:
    unloaded = TokenCounter(tmp_path)
    for name in VOCABULARIES:
        count = published.count(text, name).tokens
        assert count * 0.67 <= unloaded.count(text, name).tokens <= count * 1.5


@pytest.mark.parametrize("name", VOCABULARIES)
def test_the_patterns_and_hashes_are_tiktokens(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def load(_url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        asked.append(expected_hash)
        return {}

    module = importlib.import_module("tiktoken_ext.openai_public")
    monkeypatch.setattr(module, "load_tiktoken_bpe", load)
    theirs: dict[str, Any] = module.ENCODING_CONSTRUCTORS[name]()
    assert theirs["pat_str"] == "|".join(VOCABULARIES[name].alternatives)
    assert asked == [VOCABULARIES[name].sha256]


@pytest.mark.anyio
async def test_a_vocabulary_in_the_folder_makes_counts_exact(tiny: TokenCounter) -> None:
    assert tiny.ready("o200k_base")
    assert tiny.count("hello a") == TokenCount(tokens=3, exact=True)  # hell · o · " a"


@pytest.mark.anyio
async def test_special_token_text_is_counted_as_the_text_that_it_is(tiny: TokenCounter) -> None:
    assert tiny.count("<|endoftext|>") == TokenCount(tokens=13, exact=True)


@pytest.mark.anyio
async def test_lone_surrogates_and_nuls_are_counted(tiny: TokenCounter) -> None:
    assert tiny.count("\ud83d\x00") == TokenCount(
        tokens=4, exact=True
    )  # the replacement character's 3 bytes, and the nul


def test_without_a_vocabulary_a_count_is_a_marked_estimate(tmp_path: Path) -> None:
    counter = counter_of(tmp_path)
    assert not counter.ready("o200k_base")
    assert counter.count("The quick brown fox jumps over the lazy dog.") == TokenCount(tokens=9, exact=False)


@pytest.mark.anyio
async def test_a_damaged_vocabulary_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "tiny").write_bytes(TINY_FILE[:-1])
    counter = counter_of(tmp_path)
    await counter.load()
    assert not counter.ready("o200k_base")
    assert "not the published vocabulary" in caplog.text


@pytest.mark.anyio
async def test_a_vocabulary_that_arrives_later_is_read_by_the_next_load(tmp_path: Path) -> None:
    counter = counter_of(tmp_path)
    await counter.load()
    assert not counter.ready("o200k_base")
    (tmp_path / "tiny").write_bytes(TINY_FILE)
    await counter.load()
    assert counter.ready("o200k_base")


@pytest.mark.anyio
async def test_another_family_is_estimated_relative_to_the_exact_count(tiny: TokenCounter, tmp_path: Path) -> None:
    text = "a prompt with no merges in it"
    exact = tiny.count(text).tokens
    ratio = CHARS_PER_TOKEN["o200k_base"].latin / CHARS_PER_TOKEN["anthropic"].latin
    assert tiny.count(text, "anthropic") == TokenCount(tokens=round(exact * ratio), exact=False)


def test_an_unknown_tokenizer_is_estimated_like_the_default_one(tmp_path: Path) -> None:
    counter = TokenCounter(tmp_path)
    assert counter.count("some words here", "nobody's") == counter.count("some words here", "o200k_base")


@given(st.text(), st.sampled_from([*CHARS_PER_TOKEN]))
def test_only_the_empty_text_has_no_tokens(text: str, tokenizer: str) -> None:
    count = TokenCounter(Path("nowhere")).count(text, tokenizer).tokens
    assert (count == 0) == (text == "")


@given(st.text(min_size=1), st.integers(1, 9), st.sampled_from([*CHARS_PER_TOKEN]))
def test_a_longer_text_is_never_estimated_shorter(text: str, times: int, tokenizer: str) -> None:
    counter = TokenCounter(Path("nowhere"))
    assert counter.count(text, tokenizer).tokens <= counter.count(text * times, tokenizer).tokens


def test_a_long_text_is_estimated_from_windows_all_over_it(tmp_path: Path) -> None:
    counter = TokenCounter(tmp_path)
    english, chinese = counter.count("word " * 20_000).tokens, counter.count("你好吗朋" * 25_000).tokens
    mixed = counter.count("word " * 20_000 + "你好吗朋" * 25_000).tokens
    assert mixed == pytest.approx(english + chinese, rel=0.05)


@given(st.text(alphabet="ab 1.,'\n😀", max_size=60), st.integers(4, 12))
def test_pieces_join_to_the_text_and_cut_exactly_where_they_say_so(text: str, limit: int) -> None:
    encoding = tiktoken.Encoding(
        "tiny",
        pat_str="|".join(TINY.alternatives),
        mergeable_ranks={
            **{bytes((byte,)): byte for byte in range(256)},
            b" a": 256,
            b"aa": 257,
            b".\n": 258,
            b"  ": 259,
        },
        special_tokens={},
    )
    cut = list(pieces(text, limit))
    assert "".join(piece for piece, _ in cut) == text
    assert all(len(piece) <= limit for piece, _ in cut)
    if all(exact for _, exact in cut):
        assert sum(len(encoding.encode_ordinary(piece)) for piece, _ in cut) == len(encoding.encode_ordinary(text))


@pytest.mark.anyio
async def test_a_conversation_is_its_texts_and_the_frames_around_them(tiny: TokenCounter) -> None:
    history = [Message(role="user", content="he"), Message(role="assistant", content="ll")]
    frames = 3 * 4 + 3
    assert tiny.count_messages(history, system="hell") == TokenCount(tokens=3 + frames, exact=True)
    assert tiny.count_messages(history) == TokenCount(tokens=2 + frames - 4, exact=True)


@pytest.mark.anyio
async def test_tools_and_tool_calls_are_counted_but_not_as_exact(tiny: TokenCounter) -> None:
    call = ToolCall(id="1", name="he", arguments="{}")
    message = Message(role="assistant", content="", tool_calls=(call,))
    assert tiny.count_messages([message]) == TokenCount(tokens=4 + 4 + 3, exact=False)  # he · " " · { · }
    spec = ToolSpec(name="web_search", description="Searches.", input_schema={"type": "object"})
    with_tool = tiny.count_messages([message], tools=[spec])
    assert with_tool.tokens > tiny.count_messages([message]).tokens + 30


@pytest.fixture(scope="module")
def counters(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenCounter, ...]:
    """One that counts and one that estimates."""
    folder = tmp_path_factory.mktemp("vocabularies")
    estimating = counter_of(folder)
    (folder / "tiny").write_bytes(TINY_FILE)
    counting = counter_of(folder)
    anyio.run(counting.load)
    return counting, estimating


@given(
    st.lists(st.text(st.characters() | st.characters(categories=["Cs"]), max_size=40), min_size=1, max_size=3),
    st.text(max_size=9),
)
def test_no_request_has_more_tokens_than_is_said_without_counting(
    counters: tuple[TokenCounter, ...], texts: list[str], system: str
) -> None:
    call = ToolCall(id="a", name="web_search", arguments=texts[0])
    said = (
        *(Message(role="user", content=text) for text in texts),
        Message(role="assistant", content="", tool_calls=(call,)),
    )

    for counter in counters:
        assert counter.count_messages(said, system).tokens <= counter.at_most(said, system)


def test_importing_the_module_leaves_tiktoken_unloaded() -> None:
    check = "import sys, routing.tokens; sys.exit('tiktoken' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, cwd=Path(__file__).parents[1]).returncode == 0
