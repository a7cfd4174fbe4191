"""The category ``embedding``: which texts a task means, and what their vectors say.

texts_in      a prompt's own list of texts, where the caller did not pass them apart
wanted_of     vectors, a ranking by a query, or the pairs that are alike
embeddings_of the answer, from the vectors;  spoken  the same for people and models
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

from routing.types import EmbeddingForm, Embeddings, Similarity, Task, Vector

_MOST_PAIRS = 50
_SHOWN_CHARS = 200
_BULLET = re.compile(r"^\s*(?:[-*•·‣▪–]|\(?\d{1,3}[.):、\uff0e]|\(?[a-zA-Z][.)])\s*(?=\S)")
_QUOTED = re.compile(
    r"[\"“„«「『]([^\"“”„«»「」『』]{2,}?)[\"”“»」』]|(?<!\w)['\u2018]([^'\u2018\u2019]{2,}?)['\u2019](?!\w)"
)
_COLON = re.compile(r"[:\uff1a]\s*")
_VECTORS = re.compile(
    r"embed|vector|vektor|incrust|plongement|einbett|представлени|вектор|эмбеддинг|嵌入|向量|埋め込み|ベクトル|एम्बेड|वेक्टर|متجه|تضمين",
    re.IGNORECASE,
)
_ALIKE = re.compile(
    r"cluster|group|dedup|duplicat|near-dup|same meaning|agrup|doublon|regroup|doppel|grupp|raggrup|duplicad|похож|дубл|"
    r"聚类|重复|去重|分组|グループ|重複|समूह|मिलते|تكرار|متشابه|تجميع",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of the texts; a ranking is by ``query``, which is embedded with them, before them."""

    form: EmbeddingForm
    texts: tuple[str, ...]
    query: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Everything that needs a vector."""
        return self.texts if self.query is None else (self.query, *self.texts)


def texts_in(prompt: str) -> tuple[str, ...]:
    """The texts that a prompt lists: a JSON array, bullets, the lines or the quotations after its instruction.

    None where it lists none.
    """
    return _array_in(prompt) or _bullets_in(prompt) or _lines_after_colon(prompt) or _quotations_in(prompt)


def wanted_of(task: Task) -> Wanted:
    """Read the form from the prompt: words for vectors, words for likeness, else the prompt is what to rank by."""
    instruction = _instruction(task)
    quoted = [text for text in _quotations_in(instruction) if text not in task.texts]
    if len(task.texts) > 1 and _ALIKE.search(instruction):
        return Wanted(form="pairs", texts=task.texts)
    if quoted:
        return Wanted(form="ranking", texts=task.texts, query=quoted[0])
    if _VECTORS.search(instruction):
        return Wanted(form="vectors", texts=task.texts)
    return Wanted(form="ranking", texts=task.texts, query=instruction)


def embeddings_of(wanted: Wanted, vectors: Sequence[Vector]) -> Embeddings:
    """What the vectors of `Wanted.inputs` say; similarities are sorted, the nearest first.

    Imports numpy: run it in a worker thread.
    """
    if wanted.form == "vectors":
        return Embeddings(form="vectors", texts=wanted.texts, vectors=tuple(vectors))
    import numpy as np  # noqa: PLC0415 - 0.1 s that only this category should pay

    rows = np.array(vectors)
    rows = rows / (np.abs(rows).max(axis=1, keepdims=True) + np.finfo(float).tiny)  # so that no square underflows
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(float).tiny)
    if wanted.form == "ranking":
        cosines: list[float] = (units[1:] @ units[0]).tolist()
        found = [Similarity(text=index, similarity=cosine) for index, cosine in enumerate(cosines)]
    else:
        table: list[list[float]] = (units @ units.T).tolist()
        couples = combinations(range(len(table)), 2)
        found = [Similarity(text=one, other=other, similarity=table[one][other]) for one, other in couples]
    found.sort(key=lambda row: -row.similarity)
    return Embeddings(form=wanted.form, texts=wanted.texts, similarities=tuple(found[: _most(wanted)]))


def spoken(embeddings: Embeddings) -> str:
    """The answer in words; vectors are for programs, so of them only their number and length."""
    texts, rows = embeddings.texts, embeddings.similarities
    if embeddings.form == "vectors":
        return f"{len(texts)} vectors of {len(embeddings.vectors[0])} dimensions, in embeddings.vectors."
    if embeddings.form == "ranking":
        return "\n".join(
            f"{place}. {row.similarity:.3f} {_shown(texts[row.text])}" for place, row in enumerate(rows, 1)
        )
    return "\n".join(
        f"{row.similarity:.3f} {_shown(texts[row.text])} ~ {_shown(texts[row.other or 0])}" for row in rows
    )


def _most(wanted: Wanted) -> int:
    return len(wanted.texts) if wanted.form == "ranking" else _MOST_PAIRS


def _instruction(task: Task) -> str:
    """The prompt without the texts that it lists."""
    if task.texts != texts_in(task.prompt):
        return task.prompt
    rest = task.prompt
    for text in sorted(task.texts, key=len, reverse=True):
        rest = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)|{re.escape(json.dumps(text, ensure_ascii=False))}", " ", rest)
    lines = (_BULLET.sub("", line + " x").removesuffix("x").strip() for line in rest.splitlines())
    return " ".join(line for line in lines if line.strip("[],\"' ")).strip() or task.prompt


def _array_in(prompt: str) -> tuple[str, ...]:
    start = prompt.find("[")
    if start < 0:
        return ()
    try:
        array: object = json.JSONDecoder().raw_decode(prompt, start)[0]
    except json.JSONDecodeError:
        return ()
    items = cast("list[object]", array) if isinstance(array, list) else []
    texts = [item for item in items if isinstance(item, str) and item.strip()]
    return tuple(texts) if len(texts) == len(items) else ()


def _bullets_in(prompt: str) -> tuple[str, ...]:
    lines = [line for line in prompt.splitlines() if _BULLET.match(line)]
    return tuple(_BULLET.sub("", line).strip() for line in lines) if len(lines) > 1 else ()


def _lines_after_colon(prompt: str) -> tuple[str, ...]:
    """The lines below the first one that ends in a colon, or what follows the colon of a single line."""
    lines = prompt.splitlines()
    heads = [index for index, line in enumerate(lines) if line.rstrip().endswith((":", "\uff1a"))]
    if heads:
        return tuple(line.strip() for line in lines[heads[0] + 1 :] if line.strip())
    head, *rest = _COLON.split(prompt, maxsplit=1)
    if not rest or not rest[0].strip() or len(head) > _SHOWN_CHARS:
        return ()
    return _quotations_in(rest[0]) or tuple(part.strip() for part in re.split(r"\n|;|\uff1b", rest[0]) if part.strip())


def _quotations_in(text: str) -> tuple[str, ...]:
    return tuple((double or single).strip() for double, single in _QUOTED.findall(text) if (double or single).strip())


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}…"
