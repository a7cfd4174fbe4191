"""Messages go to the right profile, in English and Spanish, without a model and at once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.analyzer import RulesAnalyzer
from routing.errors import RegistryError
from routing.profiles import ProfilingAnalyzer, with_profile
from routing.profiles.chooser import Chooser, fitted
from routing.registry import Profile, Registry, load_registry
from routing.tokens import TokenCounter
from routing.types import Constraints, Task
from tests.builders import analysis, model, registry

HERE = Path(__file__).parent
SHIPPED = HERE.parent.parent / "registry.json"
IN_ONE_MS = 0.001


@cache
def shipped() -> Registry:
    return load_registry(SHIPPED)


@cache
def chooser() -> Chooser:
    return fitted(shipped().profiles)


def rows(name: str) -> list[tuple[str, str]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [(profile, message) for profile, _, message in (line.partition("\t") for line in lines)]


def wrong(name: str) -> list[tuple[str, str, str]]:
    told = [(profile, chooser().choose(message), message) for profile, message in rows(name)]
    return [row for row in told if row[0] != row[1]]


def test_the_messages_of_the_table_go_where_they_belong() -> None:
    missed = wrong("messages.tsv")

    assert len(rows("messages.tsv")) >= 60
    assert len(missed) <= 3, missed


def test_messages_that_nobody_fitted_to_mostly_do_too() -> None:
    assert len(wrong("blind.tsv")) <= 0.08 * len(rows("blind.tsv")), "figures only: these stay unread"


def test_plain_tasks_are_nobodys_but_generals() -> None:
    table = HERE.parent / "analyzer" / "prompts.tsv"
    tasks = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    told = [chooser().choose(prompt) for category, _, _, prompt in tasks if category != "qa_retrieval"]

    assert len(told) > 200
    assert told.count("general") >= 0.95 * len(told)


@pytest.mark.parametrize(
    ("message", "profile"),
    [
        ("¿Cuánto cuesta el plan pro?", "sales"),
        ("My invoice is wrong", "support"),
        ("hola 👋", "small_talk"),
        ("How does it work?", "faq"),
        ("write a function", "general"),
        ("HOLAAAA", "small_talk"),
        ("cuanto CUESTA el plan pro", "sales"),
        ('Translate into German: "My invoice is wrong"', "general"),
        ("用Python写一个快速排序函数", "general"),
        ("...", "general"),
        ("👋", "small_talk"),
        ("Summarise this:\n\n" + "My order never arrived. " * 200, "general"),
    ],
)
def test_accents_capitals_drawn_out_letters_and_pastes_do_not_mislead(message: str, profile: str) -> None:
    assert chooser().choose(message) == profile


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_one_of_the_profiles_and_always_the_same(text: str) -> None:
    assert chooser().choose(text) == chooser().choose(text)
    assert chooser().choose(text) in shipped().profiles


def test_a_message_takes_less_than_a_millisecond() -> None:
    messages = [message for _, message in rows("messages.tsv")]

    def seconds() -> float:
        begun = time.perf_counter()
        for message in messages:
            chooser().choose(message)
        return (time.perf_counter() - begun) / len(messages)

    seconds()
    assert min(seconds() for _ in range(5)) < IN_ONE_MS


def test_a_profile_that_the_user_adds_takes_its_messages_and_leaves_the_others(tmp_path: Path) -> None:
    row = {
        "examples": [
            "Is the pool heated?",
            "I want a room with a view of the sea",
            "Quiero reservar una habitación doble",
        ],
        "keywords": ["room*", "habitacion*", "pool", "check-in"],
        "system_prompt": "You are the hotel's desk.",
    }
    overlay = tmp_path / "registry.json"
    overlay.write_text(json.dumps({"profiles": {"hotel": row}}), encoding="utf-8")
    own = fitted(load_registry(SHIPPED, overlay).profiles)

    assert own.choose("Do you have a free room for tonight?") == "hotel"
    assert own.choose("¿Hay habitaciones libres?") == "hotel"
    assert own.choose("My invoice is wrong") == "support"


def test_a_mistake_in_a_profile_is_named(tmp_path: Path) -> None:
    overlay = tmp_path / "registry.json"
    overlay.write_text(json.dumps({"profiles": {"hotel": {"examples": [], "prompt": "x"}}}), encoding="utf-8")

    with pytest.raises(RegistryError, match=r"profiles 'hotel', field examples.*profiles 'hotel', field prompt"):
        load_registry(SHIPPED, overlay)


SALES = Profile(
    examples=("What does it cost?",), system_prompt="Sell.", cost_preference="cheapest", min_quality=40, tools=()
)
ROWS = registry(model("acme/one"), profiles={"sales": SALES.model_dump()})
FOUND = replace(analysis(), profile="sales")


def test_an_applied_profile_fills_in_what_the_caller_left_open() -> None:
    applied = with_profile(Task(prompt="price?"), FOUND, ROWS, usual="balanced")

    assert (applied.system, applied.tools) == ("Sell.", ())
    assert applied.constraints == Constraints(cost_preference="cheapest", min_quality=40)


def test_what_the_caller_says_itself_wins_over_its_profile() -> None:
    wishes = Constraints(cost_preference="best_quality", min_quality=70)
    task = Task(prompt="price?", system="Be brief.", tools=("web_search",), constraints=wishes)

    assert with_profile(task, FOUND, ROWS, usual="balanced") == task


def test_a_profile_that_the_registry_no_longer_has_changes_nothing() -> None:
    task = Task(prompt="price?")

    assert with_profile(task, replace(FOUND, profile="gone"), ROWS, usual="balanced") == task


@pytest.mark.anyio
async def test_the_analysis_names_the_profile_and_follows_the_registry(tmp_path: Path) -> None:
    current = shipped().profiles
    analyzer = ProfilingAnalyzer(inner=RulesAnalyzer(TokenCounter(tmp_path)), profiles=lambda: current)

    assert (await analyzer.analyze(Task(prompt="My invoice is wrong"))).profile == "support"
    current = {"only": Profile(examples=("anything",))}
    assert (await analyzer.analyze(Task(prompt="My invoice is wrong"))).profile == "only"
    current = {}
    assert (await analyzer.analyze(Task(prompt="My invoice is wrong"))).profile is None
