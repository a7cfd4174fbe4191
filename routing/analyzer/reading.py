"""Taking a prompt apart: what is asked, and what it is asked about.

"Summarise this:" followed by a page of Python asks for a summary, not for Python. So what is pasted (fenced, quoted, "
"tagged,
after a colon, or simply long) is kept apart from the words round it, and the rules listen to those.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD_CHARS = 4_000
TAIL_CHARS = 2_000
"""Of a long prompt only this much is read at either end: instructions stand there, and the work stays bounded."""

_ASKED_CHARS = 1_500
_PARAGRAPH_CHARS = 400
_OPENING_CHARS = 700
_CLOSING_CHARS = 300

# What marks off a paste. Each alternative runs to its end mark or, where that is missing, to the end of the text.
_MARKED = re.compile(
    r"""
      ```.*?(?:```|\Z)                                     # a fence
    | ~~~.*?(?:~~~|\Z)
    | \"\"\".*?(?:\"\"\"|\Z)                               # triple quotes
    | <(?P<tag>[a-z_]{3,20})>.*?(?:</(?P=tag)>|\Z)         # <document> … </document>
    | (?<!\w)"[^"\n]{12,}"                                 # a quoted sentence
    | [\u201c\u201e][^\u201c-\u201e\n]{20,}[\u201c\u201d]
    | «[^«»\n]{20,}»
    | 「[^「」\n]{8,}」
    | ^>[^\n]*$                                            # a quoted line of an email
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)

# "Review: …", "Texto: …": what follows the colon is given, not asked.
_LABELLED = re.compile(
    r"""
    ^[ \t]*+(?:input|text|article|passage|context|document|email|e-mail|message|review|tweet|comment|ticket|transcript|abstract
    |headline|sentence|paragraph|content|source|original|data|log|logs|output|html|csv|json|invoice|notes|draft|answer|response
    |texto|art[ií]culo|contexto|documento|correo|mensaje|rese[ñn]a|comentario|frase|p[áa]rrafo|contenido|datos|factura|notas
    |texte|courriel|avis|nachricht|bewertung|testo|recensione|mensagem|avalia[çc][ãa]o
    |文本|原文|文章|评论|内容|テキスト|本文|レビュー|текст|отзыв|النص|पाठ)
    [ \t]*+[:\uff1a].*\Z
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE | re.IGNORECASE,
)

# "Translate to Spanish: …": a verb that works on given text, then a colon.
_WORKED_ON = re.compile(
    r"""
    \A(?P<asked>[^\n:]{0,60}?\b(?:translat|summari[sz]|classif|categori[sz]|proofread|paraphras|rephras|rewrit|reword|correct|extract
    |improve|polish|shorten|assign|intent|urgen|sort|convert|format|continue|label|sentiment|spam|mejor|acort|orden|urgente|intenci|tldr|traduc|traduz|traduis|tradu[iz]|resum|clasific|corrig|corrij|reescrib|reformul|extra[ei]|etiquet
    |[üu]bersetz|zusammenfass|klassifizier|korrigier|riassum|riscriv|перевед|классифиц|исправ)
    [^\n:]{0,120}:)\s+(?P<given>\S.*)\Z
    """,
    re.DOTALL | re.VERBOSE | re.IGNORECASE,
)
_WORKED_ON_EAST = re.compile(r"\A(?P<asked>[^\n:\uff1a]{0,80}[:\uff1a])\s*(?P<given>\S.*)\Z", re.DOTALL)
_COLON = re.compile("[:\uff1a]")
_EAST = re.compile("[\u0900-\u097f\u3040-\u30ff\u4e00-\u9fff\u0600-\u06ff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A prompt taken apart.

    ``asked`` and ``given`` are what was read of the instruction and of the pasted material; ``given_chars`` is the length
    of all of the material, read or not.
    """

    asked: str
    given: str
    given_chars: int


def read(prompt: str) -> Reading:
    """Take a prompt apart, looking at no more than its first 4,000 and last 2,000 characters."""
    text = _ends(prompt)
    asked, given = _without_marked(text)
    asked, more = _without_worked_on(asked)
    asked, rest = _without_bulk(asked)
    material = "\n".join(part for part in (given, more, rest) if part)
    if not asked.strip():
        asked, material = (text, "") if len(text) <= _ASKED_CHARS else (text[:_OPENING_CHARS], text[_OPENING_CHARS:])
    hidden = len(prompt) - len(text)
    return Reading(asked=asked, given=material, given_chars=len(material) + max(0, hidden))


def _ends(prompt: str) -> str:
    if len(prompt) <= HEAD_CHARS + TAIL_CHARS:
        return prompt
    return f"{prompt[:HEAD_CHARS]}\n\n{prompt[-TAIL_CHARS:]}"


def _without_marked(text: str) -> tuple[str, str]:
    given: list[str] = []

    def keep(match: re.Match[str]) -> str:
        given.append(match[0])
        return " "

    return _MARKED.sub(keep, text), "\n".join(given)


def _without_worked_on(asked: str) -> tuple[str, str]:
    if not _COLON.search(asked):
        return asked, ""
    if match := _WORKED_ON.match(asked) or (_EAST.search(asked[:80]) and _WORKED_ON_EAST.match(asked)):
        return match["asked"], match["given"]
    if (match := _LABELLED.search(asked)) and match.start() > 0:
        return asked[: match.start()], match[0]
    return asked, ""


def _without_bulk(asked: str) -> tuple[str, str]:
    """Of a long text that nothing marks off, the instruction is in the short paragraphs at its ends."""
    if len(asked) <= _ASKED_CHARS:
        return asked, ""
    paragraphs = [part for part in asked.split("\n\n") if part.strip()]
    ends = {0, 1, len(paragraphs) - 2, len(paragraphs) - 1} & set(range(len(paragraphs)))
    short = [index for index in sorted(ends) if len(paragraphs[index]) <= _PARAGRAPH_CHARS]
    if short and len(paragraphs) > len(short):
        rest = [part for index, part in enumerate(paragraphs) if index not in short]
        return "\n".join(paragraphs[index] for index in short), "\n".join(rest)
    return f"{asked[:_OPENING_CHARS]}\n{asked[-_CLOSING_CHARS:]}", asked[_OPENING_CHARS:-_CLOSING_CHARS]
