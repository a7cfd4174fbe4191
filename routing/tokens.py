"""How many tokens a text is: exact where the vocabulary is at hand, an estimate that says so where it is not.

Nothing here touches the network. The vocabularies are files in one folder, under the names that tiktoken's own cache
uses, so that a cache that is already filled can be pointed at; until `TokenCounter.load` has read them (0.3 s, in a worker
thread) every count is an estimate.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from routing.types import Message, TokenCount, ToolSpec

if TYPE_CHECKING:
    from tiktoken import Encoding

DEFAULT_TOKENIZER = "o200k_base"

MESSAGE_TOKENS = 4
"""What the chat format adds to a message: 3 for its frame and 1 for the name of its role.

Source: OpenAI cookbook, "How to count tokens with tiktoken"; the other vendors publish nothing nearer.
"""

REPLY_TOKENS = 3
"""What primes the reply, once a request. Same source."""

PIECE_CHARS = 50_000
"""Texts are encoded in pieces of at most this: tiktoken 0.14 overflows its stack on a run of 1,000,000 tabs."""

_BORDER_REACH = 2_000
_SAMPLE_WHOLE = 8_000
_SAMPLE_WINDOW = 2_000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A published byte-pair vocabulary: its file, the sha256 of that file, and the patterns that split text for it."""

    file_name: str
    sha256: str
    alternatives: tuple[str, ...]


VOCABULARIES: Mapping[str, Vocabulary] = {
    # Facts of `tiktoken_ext.openai_public`, whose constructors would download the file; a test holds the two together.
    "o200k_base": Vocabulary(
        file_name="fb374d419588a4632f3f557e76b4b70aebbca790",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        alternatives=(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        ),
    ),
    "cl100k_base": Vocabulary(
        file_name="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        alternatives=(
            r"'(?i:[sdmt]|ll|ve|re)",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"\p{N}{1,3}+",
            r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
            r"\s++$",
            r"\s*[\r\n]",
            r"\s+(?!\S)",
            r"\s",
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CharsPerToken:
    """Characters per token by kind of character. Code comes out of its symbols, prose out of its letters."""

    latin: float
    digits: float
    symbols: float
    cjk: float
    cyrillic_to_arabic: float
    indic_and_thai: float


CHARS_PER_TOKEN: Mapping[str, CharsPerToken] = {
    # Fitted by least squares to prose (en, es, de, zh, ja, ko, ru, ar, hi), Python, JSON, Markdown and digits. On those
    # texts the estimate is within a sixth of the true count; short texts in scripts other than Latin scatter more.
    "o200k_base": CharsPerToken(
        latin=5.1, digits=1.8, symbols=1.4, cjk=1.4, cyrillic_to_arabic=4.2, indic_and_thai=3.6
    ),
    "cl100k_base": CharsPerToken(
        latin=4.4, digits=1.8, symbols=1.5, cjk=0.9, cyrillic_to_arabic=1.9, indic_and_thai=1.0
    ),
    # The mean of Llama 3 and Llama 4.
    "llama": CharsPerToken(latin=4.8, digits=1.8, symbols=1.4, cjk=1.5, cyrillic_to_arabic=3.6, indic_and_thai=2.4),
    # Tekken, the vocabulary of Mistral's models since Nemo.
    "mistral": CharsPerToken(latin=4.9, digits=0.9, symbols=1.4, cjk=1.4, cyrillic_to_arabic=3.6, indic_and_thai=2.7),
    "deepseek": CharsPerToken(latin=4.4, digits=1.8, symbols=1.5, cjk=1.6, cyrillic_to_arabic=3.2, indic_and_thai=1.7),
    "qwen": CharsPerToken(latin=4.4, digits=0.9, symbols=1.6, cjk=1.5, cyrillic_to_arabic=3.2, indic_and_thai=1.1),
    # Unpublished; the vendor's guide says about 3.5 characters per token. Kept on the dear side of it.
    "anthropic": CharsPerToken(latin=3.8, digits=1.6, symbols=1.2, cjk=0.9, cyrillic_to_arabic=1.8, indic_and_thai=1.0),
    # Unpublished; the vendor's guide says about 4 characters per token, and each digit is one.
    "gemini": CharsPerToken(latin=4.4, digits=0.9, symbols=1.3, cjk=1.4, cyrillic_to_arabic=3.4, indic_and_thai=2.7),
    # Unpublished: between o200k_base and cl100k_base.
    "grok": CharsPerToken(latin=4.5, digits=1.8, symbols=1.4, cjk=1.2, cyrillic_to_arabic=3.0, indic_and_thai=1.8),
}

# The runs of characters that are not Latin letters; what remains counts as Latin. Of a run of whitespace one character
# counts, because every vocabulary has tokens for indentation.
_SPACES = re.compile(r"\s{2,}")
_DIGITS = re.compile(r"[0-9]+")
_SYMBOLS = re.compile(r"[!-/:-@\[-`{-~]+")
_CJK = re.compile(
    "[\u1100-\u11ff\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\U0001f000-\U0003ffff]+"
)
_CYRILLIC_TO_ARABIC = re.compile("[\u0370-\u08ff]+")
_INDIC_AND_THAI = re.compile("[\u0900-\u10ff\u1200-\u1dff\ua800-\uabff]+")

# After a letter or digit and before one of these, both patterns always end a match and never look further, so the pieces
# on either side have as many tokens as the whole.
_BORDER = re.compile(r"[^\W_][ \n,.;:!?、。\uff0c]")


class TokenCounter:
    """Counts tokens with the vocabularies in a folder. Threads may share it.

    A file that is absent, unreadable or does not have its sha256 is left alone, and its tokenizer stays an estimate; call
    `load` again once it has been fetched.
    """

    def __init__(self, vocabularies: Path, *, published: Mapping[str, Vocabulary] = VOCABULARIES) -> None:
        self._folder = vocabularies
        self._published = published
        self._encodings: dict[str, Encoding] = {}
        self._loading = threading.Lock()
        self._folder_was: int | None = None

    def ready(self, tokenizer: str) -> bool:
        """Whether counts for this tokenizer are exact by now."""
        return tokenizer in self._encodings

    async def load(self) -> None:
        """Read the vocabularies that came into the folder since it was last read, in a worker thread."""
        folder_is = _modified_at(self._folder)
        if folder_is != self._folder_was:
            await anyio.to_thread.run_sync(self._load)
            self._folder_was = folder_is

    def count(self, text: str, tokenizer: str = DEFAULT_TOKENIZER) -> TokenCount:
        """Count the tokens of a text. What looks like a special token counts as the plain text that it is.

        An unknown tokenizer is estimated as ``o200k_base``. Takes about 50 ms for a million characters.
        """
        if encoding := self._encodings.get(tokenizer):
            return _encoded(text, encoding)
        estimate = _estimate(text, tokenizer)
        if yardstick := self._encodings.get(DEFAULT_TOKENIZER):
            estimate *= _encoded(text, yardstick).tokens / max(1.0, _estimate(text, DEFAULT_TOKENIZER))
        return TokenCount(tokens=round(estimate) or min(1, len(text)), exact=False)

    def count_messages(
        self,
        messages: Iterable[Message],
        system: str = "",
        tools: Sequence[ToolSpec] = (),
        tokenizer: str = DEFAULT_TOKENIZER,
    ) -> TokenCount:
        """Count a whole request in the chat format, the priming of the reply included.

        Tools and tool calls make the count inexact: how a provider writes them into the prompt is not published.
        """
        conversation = tuple(messages)
        texts = [*([system] if system else []), *(message.content for message in conversation)]
        extras = [*_calls_of(conversation), *map(_schema_text, tools)]
        counts = [self.count(text, tokenizer) for text in (*texts, *extras)]
        tokens = sum(count.tokens for count in counts) + MESSAGE_TOKENS * len(texts) + REPLY_TOKENS
        return TokenCount(tokens=tokens, exact=not extras and all(count.exact for count in counts))

    def at_most(self, messages: Iterable[Message], system: str = "") -> int:
        """No fewer tokens than `count_messages` finds without tools, at once: no token is shorter than a byte."""
        conversation = tuple(messages)
        texts = [system, *(message.content for message in conversation)]
        sizes = (len(text.encode(errors="surrogatepass")) for text in (*texts, *_calls_of(conversation)))
        return sum(sizes) + MESSAGE_TOKENS * len(texts) + REPLY_TOKENS

    def _load(self) -> None:
        with self._loading:
            for name, vocabulary in self._published.items():
                if name not in self._encodings and (ranks := _ranks(self._folder / vocabulary.file_name, vocabulary)):
                    self._encodings[name] = _encoding(name, vocabulary, ranks)


def _modified_at(folder: Path) -> int | None:
    """When a file was last put into the folder or taken out, in nanoseconds; ``None`` where there is no such folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _ranks(path: Path, vocabulary: Vocabulary) -> dict[bytes, int]:
    """The tokens in a vocabulary file and their ranks; none where it is absent or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
        _LOG.warning("%s is not the published vocabulary: counts stay estimates until it is fetched again", path)
        return {}
    return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines())}


def _encoding(name: str, vocabulary: Vocabulary, ranks: dict[bytes, int]) -> Encoding:
    from tiktoken import Encoding  # noqa: PLC0415 - importing this module must stay cheap

    # Without special tokens: in a prompt they are the plain text that somebody wrote.
    return Encoding(name, pat_str="|".join(vocabulary.alternatives), mergeable_ranks=ranks, special_tokens={})


def _encoded(text: str, encoding: Encoding) -> TokenCount:
    tokens, exact = 0, True
    for piece, whole in pieces(text, PIECE_CHARS):
        tokens += len(encoding.encode_ordinary(piece))
        exact = exact and whole
    return TokenCount(tokens=tokens, exact=exact)


def pieces(text: str, limit: int) -> Iterator[tuple[str, bool]]:
    """Cut a text into pieces of at most ``limit`` characters; the flag is false where a run had to be cut inside.

    Such a cut moves the count by a token or two.
    """
    start = 0
    while len(text) - start > limit:
        border = _last_border(text, start, start + limit)
        end = border or start + limit
        yield text[start:end], border is not None
        start = end
    yield text[start:], True


def _last_border(text: str, start: int, end: int) -> int | None:
    reach = max(start, end - _BORDER_REACH)
    return max((match.end() - 1 for match in _BORDER.finditer(text, reach, end)), default=None)


def _estimate(text: str, tokenizer: str) -> float:
    """Tokens by kind of character, from a sample of at most 8,000 characters."""
    ratio = CHARS_PER_TOKEN.get(tokenizer, CHARS_PER_TOKEN[DEFAULT_TOKENIZER])
    sample = _sample(text)
    spaces = len("".join(_SPACES.findall(sample))) - len(_SPACES.findall(sample))
    digits, symbols = (len("".join(pattern.findall(sample))) for pattern in (_DIGITS, _SYMBOLS))
    cjk, middle, indic = (
        0 if sample.isascii() else len("".join(pattern.findall(sample)))
        for pattern in (_CJK, _CYRILLIC_TO_ARABIC, _INDIC_AND_THAI)
    )
    latin = len(sample) - spaces - digits - symbols - cjk - middle - indic
    tokens = (
        latin / ratio.latin
        + digits / ratio.digits
        + symbols / ratio.symbols
        + cjk / ratio.cjk
        + middle / ratio.cyrillic_to_arabic
        + indic / ratio.indic_and_thai
    )
    return tokens * len(text) / max(1, len(sample))


def _sample(text: str) -> str:
    """All of a short text; four windows, evenly apart, of a long one."""
    if len(text) <= _SAMPLE_WHOLE:
        return text
    stride = (len(text) - _SAMPLE_WINDOW) // 3
    return "".join(text[start : start + _SAMPLE_WINDOW] for start in (0, stride, 2 * stride, 3 * stride))


def _calls_of(messages: Iterable[Message]) -> Iterator[str]:
    return (f"{call.name} {call.arguments}" for message in messages for call in message.tool_calls)


def _schema_text(tool: ToolSpec) -> str:
    shown = {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
    return json.dumps(shown, ensure_ascii=False, default=dict)
