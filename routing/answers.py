"""Answers given again: the very same question, or one alike in meaning, by the same caller in the same circumstances.

    may_be_kept      not what is time-dependent, uses tools, holds secrets, shows pictures or asks for vectors
    key_of           a digest of all that matters: caller, prompt, system, history, images, constraints, schema, registry
    AnswerCache      finds and keeps; off unless ``POINTSMAN_ANSWER_CACHE`` says ``exact`` or ``semantic``

By meaning, only questions are compared that are short, and agree in their numbers, names, quotations and negations: embeddings
find "12 * 7" and "12 * 8" very much alike.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Literal, cast

from routing.analyzer.reading import read
from routing.catalog import Catalog
from routing.errors import AssetError, SettingsError, StoreUnavailable
from routing.state import AnswerKey, Answers, AnswerToKeep, Embedder, SpareAnswer
from routing.types import Answer, CachedBy, Conversation, Image, ModelResponse, Task, TaskAnalysis, VerificationStep

_log = logging.getLogger(__name__)

LONGEST_ANSWER_BYTES = 256 * 1024
LONGEST_ALIKE_CHARS = 1_000
"""Of a longer question, the embedding says too little."""

_MATTERS_NOT = frozenset({"session_id", "caller", "deadline_seconds", "parent_id"})
"""Fields of a task and its constraints that do not change what is asked; every other one, new ones too, is part of the key."""

_TIME_DEPENDENT = r"""\b(?:
      today|tonight|yesterday|tomorrow|now|nowadays|current(?:ly)?|latest|newest|recent(?:ly)?|news|weather|forecast|up.to.date
      |this\s(?:week|month|year|morning|evening)|(?:last|next)\s(?:week|month|year|night)|live\sscores?|stock\sprices?|right\snow
      |so\sfar|these\sdays|as\sof|what\s(?:time|day|date|year)|how\s(?:long|many\sdays)\s(?:until|since|ago)|ago|still|just\snow
      |exchange\srates?|random(?:ly)?|surprise\sme|another|again
      |hoy|ayer|anoche|ahora|actual(?:es|mente)?|[úu]ltim[oa]s?|reciente(?:s|mente)?|noticias?|clima|pron[óo]stico|ma[ñn]ana
      |est[ae]\s(?:semana|mes|a[ñn]o|noche)|pr[óo]xim[oa]s?|qu[ée]\s(?:hora|d[íi]a|fecha|a[ñn]o)|cotizaci[óo]n|al\sazar|aleatori[oa]s?
      |otr[oa]|hace\s(?:poco|un|una|dos|tres)|todav[íi]a|a[úu]n
      |aujourd'hui|maintenant|demain|heute|gestern|morgen|jetzt|aktuell\w*|neueste\w*|hoje|agora|ontem|amanh[ãa]|oggi|ieri|adesso
    )\b
    |今天|现在|最新|昨天|明天|今日|昨日|明日|今の|오늘|지금|сегодня|сейчас|вчера|завтра|последни"""
_TELLING = r"""\d+(?:[.,]\d+)*|"[^"]*"|'[^'\s][^']*'|«[^»]*»|“[^”]*”|[-+*/=<>%^]|(?<=[^.!?¿¡\s]\s)[^\W\d_]*[A-ZÁÉÍÓÚÑ][\w-]*
    |\b(?i:not|no|never|without|none|except|only|more|less|before|after|n['\u2019]t|nunca|sin|jam[áa]s|excepto|solo|m[áa]s|menos|antes
    |despu[ée]s|nicht|kein\w*|ohne|pas|sans|n[ãa]o|non|senza)\b"""
"""What makes two questions different however alike they are: numbers, quotations, signs, names inside a sentence, negations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """An answer that is given again, and how it was found."""

    answer: SpareAnswer
    by: CachedBy

    @property
    def conversation(self) -> Conversation:
        """As the model's own answer came."""
        response = ModelResponse(text=self.answer.text, finish_reason="stop", usage=self.answer.usage)
        return Conversation(answer=Answer(model_id=self.answer.model_id, response=response, usage=self.answer.usage))


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that may have been asked before; ``vector`` where it is looked for by meaning."""

    key: AnswerKey
    vector: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCache:
    """Finds and keeps answers. ``threshold`` is the least cosine; bounds are for each caller. It fails without harm."""

    store: Answers
    mode: Literal["exact", "semantic"]
    ttl_seconds: float = 3_600
    threshold: float = 0.97
    most_rows: int = 10_000
    most_bytes: int = 64 * 1024 * 1024
    embedder: Embedder | None = None

    async def question(self, task: Task, analysis: TaskAnalysis, catalog: Catalog) -> Question | None:
        """What the task is known by; ``None`` where its answer must not be given twice."""
        if not may_be_kept(task, analysis):
            return None
        key = key_of(task, catalog, "" if self.embedder is None else self.embedder.name)
        return Question(key=key, vector=await self._vector(task))

    async def find(self, question: Question, catalog: Catalog) -> Hit | None:
        """An answer that was given to it before, by a model that there still is."""
        try:
            if found := await self.store.find(question.key):
                return _hit(found, "exact", catalog)
            if question.vector:
                found = await self.store.alike(question.key, question.vector, least=self.threshold)
                return _hit(found, "semantic", catalog) if found else None
        except (SettingsError, StoreUnavailable):
            _log.warning("answers that were given before could not be looked up", exc_info=True)
        return None

    async def keep(
        self, question: Question, conversation: Conversation, verification: tuple[VerificationStep, ...]
    ) -> None:
        """Keep an answer that is whole and failed no check."""
        answer = conversation.answer
        failed = any(step.failed for step in verification if step.returned)
        text = answer.response.text
        size = len(text.encode("utf-8", "surrogatepass"))
        if (
            failed
            or answer.response.finish_reason != "stop"
            or conversation.images
            or not 0 < size <= LONGEST_ANSWER_BYTES
        ):
            return
        kept = AnswerToKeep(
            text=text,
            model_id=answer.model_id,
            usage=answer.usage,
            ttl_seconds=self.ttl_seconds,
            most_rows=self.most_rows,
            most_bytes=self.most_bytes,
            vector=question.vector,
        )
        try:
            await self.store.keep(question.key, kept)
        except (SettingsError, StoreUnavailable):
            _log.warning("an answer could not be kept to be given again", exc_info=True)

    async def _vector(self, task: Task) -> tuple[float, ...]:
        """The meaning of a short question; nothing where that is not looked for, or the weights are not here."""
        if self.mode != "semantic" or self.embedder is None or len(task.prompt) > LONGEST_ALIKE_CHARS:
            return ()
        if not self.embedder.available():
            return ()
        try:
            [vector] = await self.embedder.embed([task.prompt], purpose="query")
        except AssetError:
            return ()
        return tuple(map(float, vector))


def may_be_kept(task: Task, analysis: TaskAnalysis) -> bool:
    """Whether the same answer is right again later: no tools, nothing that changes with time, nothing secret."""
    if task.parent_id is not None:  # steps of one route are often meant to differ: samples, drafts, votes
        return False
    if task.texts or task.tools or analysis.requires_tool_use or analysis.tools_named or analysis.sensitive:
        return False
    asked = f"{task.system or ''}\n{read(task.prompt).asked}"
    return not (task.beyond_budgets or _compiled(_TIME_DEPENDENT, re.IGNORECASE).search(asked))


def key_of(task: Task, catalog: Catalog, embedder: str) -> AnswerKey:
    """What the question is known by. ``context`` is all but its wording, and what must agree in any wording of it."""
    circumstances = json.dumps(
        [_plain(replace(task, history=task.history or ())), _registry_digest(catalog)],
        sort_keys=True,
        ensure_ascii=True,
        separators=(",", ":"),
    )
    telling = json.dumps([embedder, sorted(found.casefold() for found in _compiled(_TELLING, 0).findall(task.prompt))])
    return AnswerKey(
        caller=task.caller,
        digest=_digest(f"{circumstances}\n{json.dumps(task.prompt)}"),
        context=_digest(f"{circumstances}\n{telling}"),
    )


@functools.cache
def _compiled(pattern: str, flags: int) -> re.Pattern[str]:
    """On first use: compiling them takes a few milliseconds."""
    return re.compile(pattern, flags | re.VERBOSE)


def _hit(found: SpareAnswer, by: CachedBy, catalog: Catalog) -> Hit | None:
    return Hit(answer=found, by=by) if found.model_id in catalog.models else None


@functools.lru_cache(maxsize=4)
def _registry_digest(catalog: Catalog) -> str:
    """The registry as it is, who can be called, and the policy; another one may choose another model."""
    return _digest(f"{catalog.policy}\n{sorted(catalog.access)}\n{catalog.registry.model_dump_json()}")


def _plain(value: object, *, top: bool = True) -> object:
    """A value as JSON, dataclasses by their fields but for the prompt and what matters not."""
    if isinstance(value, Image):
        return [value.media_type, hashlib.sha256(value.data).hexdigest()]
    if is_dataclass(value):
        names = [
            one.name for one in fields(value) if one.name not in _MATTERS_NOT and not (top and one.name == "prompt")
        ]
        return {name: _plain(getattr(value, name), top=False) for name in names}
    if isinstance(value, Mapping):
        return {str(key): _plain(part, top=False) for key, part in cast("Mapping[object, object]", value).items()}
    if isinstance(value, frozenset):
        return sorted(map(str, cast("frozenset[object]", value)))
    if isinstance(value, tuple | list):
        return [_plain(part, top=False) for part in cast("Sequence[object]", value)]
    return value if isinstance(value, str | int | float | bool) or value is None else repr(value)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
