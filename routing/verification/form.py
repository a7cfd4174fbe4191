"""Whether an answer has the form that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from routing.types import Finding
from routing.verification.work import Work

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)

LANGUAGES: Mapping[str, str] = {
    # how a language is named in the languages that tasks come in → ISO 639-1
    **dict.fromkeys(("english", "ingles", "anglais", "englisch", "inglese"), "en"),
    **dict.fromkeys(("spanish", "espanol", "espagnol", "spanisch", "castellano", "espanhol", "spagnolo"), "es"),
    **dict.fromkeys(("french", "frances", "francais", "franzosisch", "francese"), "fr"),
    **dict.fromkeys(("german", "aleman", "allemand", "deutsch", "alemao", "tedesco"), "de"),
    **dict.fromkeys(("portuguese", "portugues", "portugais", "portugiesisch", "portoghese"), "pt"),
    **dict.fromkeys(("italian", "italiano", "italien", "italienisch"), "it"),
    **dict.fromkeys(("chinese", "chino", "chinois", "chinesisch", "mandarin"), "zh"),
    **dict.fromkeys(("japanese", "japones", "japonais", "japanisch"), "ja"),
    **dict.fromkeys(("hindi",), "hi"),
    **dict.fromkeys(("arabic", "arabe", "arabisch"), "ar"),
    **dict.fromkeys(("russian", "ruso", "russe", "russisch", "russo"), "ru"),
    **dict.fromkeys(("dutch",), "nl"),
    **dict.fromkeys(("korean",), "ko"),
}
_INTO = re.compile(
    rf"\b(?:in|into|to|en|al|au|auf|ins|em|para o|in|a)\s+(?:el\s+|le\s+|l')?(?P<language>{'|'.join(LANGUAGES)})\b"
)
_FEWEST_LETTERS = 40
"""Of a shorter answer the language cannot be told."""

_LENGTH = re.compile(
    r"""
    (?P<bound>at\ most|no\ more\ than|not\ more\ than|under|fewer\ than|less\ than|maximum(?:\ of)?|max\.?|up\ to|within
      |at\ least|no\ fewer\ than|minimum(?:\ of)?|exactly|como\ maximo|maximo|menos\ de|al\ menos|exactamente
      |hochstens|maximal|mindestens|genau|au\ plus|moins\ de|au\ moins|exactement)\s+
    (?:of\ |de\ )?(?P<number>\d{1,4}|one|two|three|four|five|six|seven|eight|nine|ten)\s+
    (?P<unit>words?|palabras?|worter[n]?|mots?|sentences?|frases?|oraciones|satze[n]?|phrases?|bullet(?:\s+point)?s?|bullets)
    """,
    re.VERBOSE,
)
_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_LEAST = ("at least", "no fewer", "minimum", "al menos", "mindestens", "au moins")
_EXACT = ("exactly", "exactamente", "genau", "exactement")
_SENTENCE_ENDS = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019)]*(?=\s|\Z)")
_BULLET = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s+\S", re.MULTILINE)
_SLACK = 0.1
"""What counts as a word differs by so much."""


def fits_schema(work: Work) -> Finding | None:
    """JSON by the schema that came with the task. What a schema refers to outside of itself is not fetched."""
    if work.schema is None:
        return None
    from jsonschema.validators import validator_for  # noqa: PLC0415 - 50 ms that only a task with a schema should pay
    from referencing import Registry  # noqa: PLC0415 - as above

    fenced = _FENCE.match(work.answer)
    try:
        document: Any = json.loads(fenced[1] if fenced else work.answer)
    except json.JSONDecodeError as problem:
        where = f"line {problem.lineno}, column {problem.colno}"
        return Finding(check="schema", passed=False, detail=f"it is not JSON: {problem.msg} at {where}")
    plain: dict[str, Any] = {**work.schema}
    validator = validator_for(plain)(plain, registry=Registry())
    try:
        misfits = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]
    except Exception:  # noqa: BLE001 - a schema can be wrong in any way, which tells nothing of the answer
        return None
    detail = f"it does not fit the schema: {'; '.join(misfits[:3])}" if misfits else "it fits the JSON schema"
    return Finding(check="schema", passed=not misfits, detail=detail)


def _folded(text: str) -> str:
    from routing.analyzer.wording import fold  # noqa: PLC0415 - the rules are imported with the first task

    return fold(text)


def speaks_language(work: Work) -> Finding | None:
    """The language that the instruction names, of an answer that is long enough to tell."""
    from routing.analyzer.language import language_of  # noqa: PLC0415 - the rules are imported with the first task

    named = [LANGUAGES[match["language"]] for match in _INTO.finditer(_folded(work.asked))]
    if len(set(named)) != 1 or sum(letter.isalpha() for letter in work.answer) < _FEWEST_LETTERS:
        return None
    spoken, wanted = language_of(work.answer), named[0]
    detail = (
        f"it is in {wanted}" if spoken == wanted else f"it was asked for in language {wanted!r} and is in {spoken!r}"
    )
    return Finding(check="language", passed=spoken == wanted, detail=detail)


def has_length(work: Work) -> Finding | None:
    """The number of words, sentences or bullet points that the instruction bounds."""
    bound = _LENGTH.search(_folded(work.asked))
    if bound is None or work.schema is not None:
        return None
    number = _NUMBERS.get(bound["number"]) or int(bound["number"])
    unit, counted = _counted(bound["unit"], work.answer)
    slack = _SLACK if unit == "words" else 0.0
    wanted = " ".join(bound["bound"].split())
    held = counted <= number * (1 + slack)
    if wanted.startswith(_LEAST):
        held = counted >= number * (1 - slack)
    elif wanted.startswith(_EXACT):
        held = number * (1 - slack) <= counted <= number * (1 + slack)
    detail = f"it has {counted} {unit}; asked for were {bound[0]}"
    return Finding(check="length", passed=held, detail=detail)


def _counted(unit: str, answer: str) -> tuple[str, int]:
    if unit.startswith(("word", "palabra", "wort", "mot")):
        return "words", len(answer.split())
    if unit.startswith("bullet"):
        return "bullet points", len(_BULLET.findall(answer))
    return "sentences", max(1, len(_SENTENCE_ENDS.findall(answer)))
