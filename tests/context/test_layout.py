"""A request begins with what stays the same (system, tools, history): the next one is read from the provider's cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from routing.assembler import Assembler
from routing.dispatch.providers import anthropic, compatible, google, openai
from routing.tokens import TokenCounter
from routing.types import Message, ModelRequest, ModelSelection, Target, Task, ToolOutcome, ToolSpec
from tests.builders import analysis, catalog, model, target

ROWS = catalog(model("acme/one"))
CHOSEN = ModelSelection(
    primary_model="acme/one", provider="acme", fallback_models=(), estimated_cost_microusd=1, reasoning=""
)
SAID = (Message(role="user", content="My name is Ada."), Message(role="assistant", content="Hello, Ada."))


class Shelf:
    """Two tools."""

    @property
    def specs(self) -> dict[str, ToolSpec]:
        schema = {"type": "object", "properties": {"q": {"type": "string"}}}
        names = ("web_search", "memory_search")
        return {name: ToolSpec(name=name, description=name, input_schema=schema) for name in names}

    async def look(self) -> None:
        """Nothing changes."""

    async def run(self, name: str, arguments: object, *, caller: str) -> ToolOutcome:
        raise AssertionError


def assembled(prompt: str, history: tuple[Message, ...], tools: tuple[str, ...]) -> ModelRequest:
    task = Task(prompt=prompt, system="Be brief.", history=history, tools=tools)
    assembler = Assembler(counter=TokenCounter(Path("nowhere")), toolbox=Shelf())
    return assembler.assemble(task, analysis(), CHOSEN, ROWS)


def _json(body: Callable[[ModelRequest, Target], Any], key: str) -> Callable[[ModelRequest], tuple[str, list[str]]]:
    def parts(request: ModelRequest) -> tuple[str, list[str]]:
        whole = {name: part for name, part in body(request, target()).items() if name != key}
        turns = cast("list[object]", body(request, target())[key])
        return json.dumps(whole), [_unmarked(turn) for turn in turns]

    return parts


def _of_google(request: ModelRequest) -> tuple[str, list[str]]:
    config = google.body_of(request, target()).model_dump_json(exclude={"http_options"}, fallback=str)
    return config, [content.model_dump_json() for content in google.messages_of(request, target())]


def _unmarked(turn: object) -> str:
    """A turn without Anthropic's marks, which say how far to cache and are no part of the text."""
    return json.dumps(turn).replace(', "cache_control": {"type": "ephemeral"}', "")


WIRES: dict[str, Callable[[ModelRequest], tuple[str, list[str]]]] = {
    "openai": _json(openai.body_of, "input"),
    "anthropic": _json(anthropic.body_of, "messages"),
    "compatible": _json(compatible.body_of, "messages"),
    "google": _of_google,
}


@pytest.mark.parametrize("wire", WIRES)
def test_the_next_turn_sends_what_was_sent_before_and_appends_to_it(wire: str) -> None:
    first = assembled(SAID[0].content, (), ("web_search", "memory_search"))
    second = assembled("What is my name?", SAID, ("memory_search", "web_search"))

    stable, turns = WIRES[wire](first)
    stable_after, turns_after = WIRES[wire](second)

    assert stable_after == stable
    assert turns_after[: len(turns)] == turns
    assert "What is my name?" in turns_after[-1]


def test_the_prompt_is_the_last_message_and_the_only_one_that_is_new() -> None:
    request = assembled("What is my name?", SAID, ())

    assert request.messages == (*SAID, Message(role="user", content="What is my name?"))
    assert request == assembled("What is my name?", SAID, ())
    assert replace(request, messages=request.messages[:-1]).system == "Be brief."
