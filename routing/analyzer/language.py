"""Which language a text is in: by script, and for Latin script by the little words that every sentence has."""

from __future__ import annotations

import re

from routing.analyzer.wording import fold

DEFAULT_LANGUAGE = "en"
_LOOKED_AT = 1_500
_ENOUGH_OF_A_SCRIPT = 0.15

# ISO 639-1 code and the letters that tell it; asked in this order, so kana come before the Han that Japanese shares.
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("uk", re.compile("[іїєґ]", re.IGNORECASE)),
    ("ru", re.compile("[\u0400-\u04ff]")),
    ("fa", re.compile("[پچژگی]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("he", re.compile("[\u0590-\u05ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("bn", re.compile("[\u0980-\u09ff]")),
    ("ta", re.compile("[\u0b80-\u0bff]")),
    ("th", re.compile("[\u0e00-\u0e7f]")),
    ("el", re.compile("[\u0370-\u03ff]")),
)
# Some letters are few even where they decide.
_ENOUGH = {"ja": 0.05, "uk": 0.02, "fa": 0.04}

_LATIN: dict[str, frozenset[str]] = {
    code: frozenset(words.split())
    for code, words in {
        "en": "the of and to is what how this that for with please write are you it my do does from into can "
        "which who when an be",
        "es": "el los las estos estas que de en un una por para con este esta como es escribe cual y del lo mi puedes "
        "sobre al se si cuando entre dos calcula qué cómo traduce resume clasifica explica hola dame",
        "fr": "de un le les des une est que dans pour avec ce cette sur du et quel quelle comment moi je vous au "
        "qui pas en ces ou par",
        "de": "guten wie geht ihnen ins der die das und ist ein eine für fur mit von zu den dem wie was auf "
        "nicht ich bitte im des diese diesen mir sind",
        "pt": "de o os as um uma para com que do da em não nao por é este esta como você voce sobre dos das qual "
        "mais ao no na",
        "it": "il lo gli che di un una per con del della come è questo questa sono nel alla mi quale delle su dei perché",
        "nl": "de het een van en is dat voor met op niet zijn wat hoe ik deze naar geef schrijf",
        "pl": "i w na z do nie jest to się co jak dla przez czy ten oraz",
        "tr": "bir ve bu için ile ne nas\u0131l m\u0131 da de olarak çok yaz",
        "sv": "och att det en är på som för med av till inte hur vad jag",
    }.items()
}
_LATIN_WITH = {
    word: [code for code, known in _LATIN.items() if word in known] for word in frozenset[str]().union(*_LATIN.values())
}
_TELLING = {
    "es": re.compile("[ñ¿¡]"),
    "de": re.compile("ß"),
    "pt": re.compile("[ãõ]"),
    "fr": re.compile("[œ]"),
    "tr": re.compile("[\u0131ğş]"),
}
_WORD = re.compile(r"[^\W\d_]{2,}")


def language_of(text: str) -> str:
    """ISO 639-1 code of the language of a text's first 1,500 characters; ``en`` where nothing tells."""
    start = text[:_LOOKED_AT]
    return _by_script(start) or _by_words(start)


def _by_script(text: str) -> str | None:
    letters = 0 if text.isascii() else sum(map(len, _WORD.findall(text)))
    if not letters:
        return None
    for code, pattern in _SCRIPTS:
        if len(pattern.findall(text)) > letters * _ENOUGH.get(code, _ENOUGH_OF_A_SCRIPT):
            return code
    return None


def _by_words(text: str) -> str:
    lowered = text.lower()
    is_ascii = lowered.isascii()
    words = [*_WORD.findall(lowered), *(() if is_ascii else _WORD.findall(fold(text)))]
    hits = dict.fromkeys(_LATIN, 0)
    for word in words:
        for code in _LATIN_WITH.get(word, ()):
            hits[code] += 1
    for code, letters in () if is_ascii else _TELLING.items():
        hits[code] += 2 * len(letters.findall(lowered))
    best = max(hits, key=hits.__getitem__)
    return best if hits[best] else DEFAULT_LANGUAGE
