"""How hard a task is, and how long its answer will be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from routing.analyzer.wording import fold
from routing.types import Category, Complexity

BASE_COMPLEXITY: Mapping[Category, float] = {
    # What an ordinary short task of the category asks of a model.
    "deep_reasoning": 3.0,
    "complex_coding": 2.3,
    "long_document": 3.1,
    "agentic_tool_use": 2.5,
    "qa_retrieval": 1.6,
    "text_generation": 1.9,
    "classification": 1.6,
    "embedding": 1.8,
}

TYPICAL_OUTPUT: Mapping[Category, tuple[int, int]] = {
    # Output tokens at complexity 1 and 5; between them it grows by the same factor a step. An agent's are the sum over its
    # turns (200 to 1,000 tokens each, 5 to 20 of them).
    "deep_reasoning": (1_000, 4_000),
    "complex_coding": (500, 8_000),
    "long_document": (1_000, 10_000),
    "agentic_tool_use": (1_000, 20_000),
    "qa_retrieval": (100, 1_500),
    "text_generation": (200, 3_000),
    "classification": (50, 200),
    "embedding": (50, 500),
}

_LEAST_OUTPUT = 5
_MOST_OUTPUT = 64_000

_TOKENS_PER: Mapping[str, float] = {
    # English prose: 0.75 words a token (OpenAI's guide), 20 words a sentence, 100 a paragraph, 450 a page.
    "word": 1.35,
    "sentence": 27,
    "paragraph": 135,
    "page": 600,
    "line": 14,
    "bullet": 30,
    "item": 45,
    "character": 0.25,
    "token": 1.0,
}
_UNITS: Mapping[str, str] = {
    form: unit
    for unit, forms in {
        "word": "word words palabra palabras mot mots wort worten worter palavra palavras parola parole",
        "sentence": "sentence sentences frase frases oracion oraciones phrase phrases satz satzen satze frasi",
        "paragraph": "paragraph paragraphs parrafo parrafos paragraphe paragraphes absatz absatzen absatze paragrafo "
        "paragrafos paragrafi",
        "page": "page pages pagina paginas pagine seite seiten",
        "line": "line lines linea lineas verse verses verso versos ligne lignes zeile zeilen linha linhas riga righe",
        "bullet": "bullet bullets vineta vinetas puntos points punkte stichpunkte pontos punti",
        "item": "ideas examples ejemplos options opciones tips consejos names nombres titles titulos questions "
        "preguntas ways reasons razones taglines slogans variations",
        "character": "character characters chars caracteres caracter zeichen caratteri",
        "token": "tokens",
    }.items()
    for form in forms.split()
}
_NUMBERS: Mapping[str, int] = {
    word: number
    for number, words in enumerate(
        (
            "one single un una uno une ein eine einem einen um uma",
            "two dos deux zwei dois duas due",
            "three tres trois drei tre",
            "four cuatro quatre vier quatro quattro",
            "five cinco cinq funf cinque",
            "six seis sechs sei",
            "seven siete sept sieben sete sette",
            "eight ocho huit acht oito otto",
            "nine nueve neuf neun nove",
            "ten diez dix zehn dez dieci",
        ),
        start=1,
    )
    for word in words.split()
}
_ASKED_LENGTH = re.compile(
    rf"\b(?P<number>\d{{1,3}}(?:[,.]\d{{3}})?|\d{{1,5}}|{'|'.join(_NUMBERS)})[ -]"
    rf"(?:[a-z]{{3,12}} )?(?P<unit>{'|'.join(_UNITS)})\b"
)
_EAST_LENGTH = re.compile(r"(?P<number>\d{1,5}) ?(?:个)?(?:字|文字|слов\w*|كلمة|शब्द)")
_MOST_PAGES = 20
"""More pages than this are what is given ("a 300 page report"), not what is asked for."""

# "In this sentence" names no length.
_NOT_ASKED = re.compile(r"\b(?:this|these|the following|the|each|per|esta|este|estas|estos|las|los|cada|por) $")
_FORMS: tuple[tuple[re.Pattern[str], int], ...] = (
    (
        re.compile(
            r"\b(?:yes or no|si o no|true or false|oui ou non|ja oder nein|sim ou nao|one label|just the label)\b|是否"
        ),
        5,
    ),
    (re.compile(r"\b(?:haiku|tagline|slogan|subject line|eslogan)\b|俳句"), 30),
    (re.compile(r"\b(?:tweet|caption|one liner|joke|chiste|tuit)\b"), 60),
    (re.compile(r"\b(?:limerick|sonnet|soneto)\b"), 160),
)
_BULLETS = re.compile(r"^[ \t]*+(?:[-*•]|\d{1,2}[.)])[ \t]", re.MULTILINE)
_QUESTION = re.compile(r"[?\uff1f؟]")

_LONG_REQUEST_CHARS = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a task asks for, counted: different words of each kind, list items, questions, characters of instruction."""

    category: Category
    asked_chars: int
    given_chars: int
    hard: int
    easy: int
    large: int
    steps: int
    constraints: int
    questions: int
    math: bool
    trivial: bool


def constraints_listed(asked: str) -> int:
    """List items in an instruction."""
    return len(_BULLETS.findall(asked))


def questions_asked(asked: str) -> int:
    """Question marks in an instruction."""
    return len(_QUESTION.findall(asked))


def complexity_of(demands: Demands) -> Complexity:
    """1 to 5: the category's base, raised by what makes work hard, and lowered where the caller calls it small.

    Each kind of demand has a bound, so that no single one decides: length adds at most 0.8, constraints 1.2, steps 0.9,
    hard words 1.5, a large deliverable 0.8, several questions 0.5, mathematics 0.4, a long paste 0.5.
    """
    if demands.trivial:
        return 1
    raised = (
        min(0.8, 0.3 * math.log2(max(1.0, demands.asked_chars / _LONG_REQUEST_CHARS)))
        + min(1.2, 0.25 * demands.constraints)
        + min(0.9, 0.25 * max(0, demands.steps - 1))
        + min(1.5, 0.55 * demands.hard)
        + min(0.8, 0.4 * demands.large)
        + min(0.5, 0.25 * max(0, demands.questions - 1))
        + 0.4 * demands.math
        + min(0.5, demands.given_chars / 40_000)
    )
    lowered = min(1.0, 0.6 * demands.easy)
    return cast("Complexity", max(1, min(5, round(BASE_COMPLEXITY[demands.category] + raised - lowered))))


def output_tokens(category: Category, complexity: Complexity, asked: str = "", echoed_tokens: int = 0) -> int:
    """Tokens the answer will probably have.

    A length that the caller names decides; else it is what is typical of the category and complexity, and for work that
    gives the text back (translating, editing) at least as much as was given.
    """
    if named := asked_length(asked):
        return max(_LEAST_OUTPUT, min(_MOST_OUTPUT, named))
    low, high = TYPICAL_OUTPUT[category]
    typical = low * math.pow(high / low, (complexity - 1) / 4)
    return min(_MOST_OUTPUT, max(round(typical), round(1.1 * echoed_tokens)))


def asked_length(asked: str) -> int | None:
    """Tokens of the length that an instruction names ("in 500 words", "dos frases", "a haiku"), if it names one."""
    folded = fold(asked)
    for match in _ASKED_LENGTH.finditer(folded):
        number, unit = _number(match["number"]), _UNITS[match["unit"]]
        described = _NOT_ASKED.search(folded[max(0, match.start() - 16) : match.start()])
        if not described and not (unit == "page" and number > _MOST_PAGES):
            return round(number * _TOKENS_PER[unit])
    if east := _EAST_LENGTH.search(folded):
        return int(str(east["number"]))
    return next((tokens for pattern, tokens in _FORMS if pattern.search(folded)), None)


def _number(text: str) -> int:
    return _NUMBERS.get(text) or int(re.sub(r"[,.]", "", text))
