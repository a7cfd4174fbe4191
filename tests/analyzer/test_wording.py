"""Looking the lexicon's words up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.analyzer.language import language_of
from routing.analyzer.lexicon import CUES, Cue
from routing.analyzer.wording import LEXICON, Index, Place, fold, is_greeting

BAKING = Cue(label="baking", leads=True, weights={}, entries=("bake", "knead*", "puff pastr*", "烤", "крем*"))
INDEX = Index([BAKING])


@pytest.mark.parametrize("cue", CUES, ids=[cue.label for cue in CUES])
def test_every_entry_of_the_lexicon_can_be_found(cue: Cue) -> None:
    for entry in cue.entries:
        found = LEXICON.find(entry.replace("*", ""))
        assert entry in found[cue.label].entries


def test_labels_and_entries_are_unique() -> None:
    assert len({cue.label for cue in CUES}) == len(CUES)
    for cue in CUES:
        assert sorted(set(cue.entries)) == sorted(cue.entries), cue.label


@pytest.mark.parametrize("text", ["BAKE!", "kneading", "make puff pastries", "今天烤面包", "торт из крема", "Báke"])
def test_words_stems_phrases_and_other_scripts_are_found(text: str) -> None:
    assert INDEX.find(text)["baking"].entries


@pytest.mark.parametrize("text", ["baker", "unkneaded", "puff the pastry", "puff", "cream"])
def test_only_whole_words_stems_and_phrases_are_found(text: str) -> None:
    assert INDEX.find(text) == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Bake a cake", Place.OPENS_SENTENCE),
        ("Could you please bake a cake?", Place.OPENS_SENTENCE),
        ("It is late. Bake a cake", Place.OPENS_SENTENCE),
        ("Buy flour and bake a cake", Place.OPENS_CLAUSE),
        ("Buy flour, bake a cake", Place.OPENS_CLAUSE),
        ("They always bake on Sundays", Place.INSIDE),
    ],
)
def test_the_place_of_a_word_in_its_sentence_is_told(text: str, place: Place) -> None:
    assert INDEX.find(text)["baking"].place == place


def test_folding_drops_accents_of_latin_letters_and_keeps_other_marks() -> None:
    assert fold("Ça ÉTÉ Übung mañana") == "ca ete ubung manana"
    assert fold("किताब が 한국어") == "किताब が 한국어"


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize("text", ["hello", "Good morning!", "muchas gracias", "こんにちは", "how are you?"])
def test_greetings_are_known(text: str) -> None:
    assert is_greeting(text)


@pytest.mark.parametrize(
    "text", ["", "?!", "hello world in Rust", "thanks for the report, now translate it", "你好用英语怎么说才最自然呢"]
)
def test_what_is_more_than_a_greeting_is_none(text: str) -> None:
    assert not is_greeting(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the station, and how do I get there?", "en"),
        ("¿Dónde está la estación y cómo llego?", "es"),
        ("Où est la gare, et comment y aller ?", "fr"),
        ("Wo ist der Bahnhof und wie komme ich dahin?", "de"),
        ("Größe, Maß, Straße", "de"),
        ("Onde fica a estação e como é que eu chego lá? Não sei.", "pt"),
        ("Dove è la stazione e come ci arrivo? Non lo so, è questo il problema", "it"),
        ("车站在哪里", "zh"),
        ("駅はどこですか", "ja"),
        ("역이 어디에 있나요?", "ko"),
        ("Где находится вокзал?", "ru"),
        ("Де знаходиться вокзал, чи далеко він? Її видно", "uk"),
        ("أين المحطة؟", "ar"),
        ("स्टेशन कहाँ है?", "hi"),
        ("สถานีอยู่ที่ไหน", "th"),
        ("def f(x): return x", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_told_by_script_and_by_little_words(text: str, language: str) -> None:
    assert language_of(text) == language
