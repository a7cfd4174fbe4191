from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.assembler import Assembler
from routing.errors import ContextOverflow
from routing.tokens import TokenCounter
from routing.types import Message, ModelRequest, ModelSelection, Task, ToolCall, ToolOutcome, ToolSpec
from tests.builders import analysis, catalog, model, task

COUNTER = TokenCounter(Path("/nowhere"))
SEARCH = ToolSpec(name="web_search", description="Search.", input_schema={"type": "object"})
RUN = ToolSpec(name="execute_python", description="Run.", input_schema={"type": "object"})


@dataclass(slots=True)
class Shelf:
    """A toolbox that is only looked into."""

    specs: dict[str, ToolSpec]

    async def look(self) -> None: ...

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:
        raise AssertionError(name)


def assemble(a_task: Task, *windows: int, toolbox: dict[str, ToolSpec] | None = None, **facts: Any) -> ModelRequest:
    models = [model(f"acme/m{index}", context_window=window) for index, window in enumerate(windows or (100_000,))]
    selection = ModelSelection(
        primary_model=models[0].model_id,
        provider="acme",
        fallback_models=tuple(one.model_id for one in models[1:]),
        estimated_cost_microusd=0,
        reasoning="",
    )
    assembler = Assembler(counter=COUNTER, toolbox=Shelf(toolbox or {}))
    return assembler.assemble(a_task, analysis(**facts), selection, catalog(*models))


def turns(count: int, words: int = 50) -> tuple[Message, ...]:
    return tuple(
        Message(role=role, content=f"{index} " + "word " * words)
        for index in range(count)
        for role in ("user", "assistant")
    )


def test_the_categorys_system_prompt_is_used_where_the_task_brings_none() -> None:
    assert assemble(task()).system == "Answer."
    assert assemble(replace(task(), system="Be brief.")).system == "Be brief."
    assert assemble(replace(task(), system="")).system == ""


def test_the_prompt_follows_the_history() -> None:
    request = assemble(replace(task("now"), history=turns(1)))

    assert [message.role for message in request.messages] == ["user", "assistant", "user"]
    assert request.messages[-1].content == "now"


def test_the_output_is_bounded_by_the_caller_the_category_and_the_models() -> None:
    assert assemble(task()).max_output_tokens == 1_000
    assert assemble(task(max_tokens=50)).max_output_tokens == 50
    assert assemble(task(max_tokens=100_000)).max_output_tokens == 8_000


def test_the_oldest_turns_are_dropped_when_the_window_is_full_and_the_caller_is_told() -> None:
    request = assemble(replace(task("now"), history=turns(10)), 500)

    kept = [message.content.split()[0] for message in request.messages[:-1]]
    assert kept == [number for index in range(10 - len(kept) // 2, 10) for number in (str(index),) * 2]
    assert 0 < len(kept) < 20
    assert f"The {20 - len(kept)} oldest messages were left out" in request.notices[0]


def test_the_request_fits_the_smallest_window_among_the_candidates() -> None:
    long = replace(task("now"), history=turns(10))

    assert assemble(long, 100_000, 500).messages == assemble(long, 500).messages


def test_a_tools_result_never_stands_without_its_call() -> None:
    call = ToolCall(id="a", name="web_search", arguments="{}")
    history = (
        Message(role="user", content="old " * 800),
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="found", tool_call_id="a"),
        Message(role="assistant", content="done"),
    )

    request = assemble(replace(task("now"), history=history), 400)

    assert [message.role for message in request.messages] == ["user"]


def test_a_prompt_that_does_not_fit_by_itself_is_an_error_and_never_cut() -> None:
    with pytest.raises(ContextOverflow, match="Shorten it"):
        assemble(task("word " * 2_000), 500)


TOOLBOX = {"web_search": SEARCH, "execute_python": RUN}


def test_a_tool_is_granted_where_the_caller_wants_it_and_the_category_allows_it() -> None:
    wanted = replace(task(), tools=("web_search", "execute_python"))

    assert assemble(wanted, toolbox=TOOLBOX).tools == (SEARCH,)
    assert assemble(wanted, toolbox=TOOLBOX, requires_tool_use=True).tools == (SEARCH,)
    assert assemble(replace(task(), tools=()), toolbox=TOOLBOX, requires_tool_use=True).tools == ()
    assert assemble(wanted).tools == ()


def test_a_caller_who_says_nothing_gets_tools_where_the_task_needs_them() -> None:
    assert assemble(task(), toolbox=TOOLBOX).tools == ()
    assert assemble(task(), toolbox=TOOLBOX, requires_tool_use=True).tools == (SEARCH,)


def test_of_tools_that_the_prompt_names_only_those_are_given() -> None:
    recall = replace(SEARCH, name="memory_search")
    toolbox = {**TOOLBOX, "memory_search": recall}

    named = assemble(task(), toolbox=toolbox, requires_tool_use=True, tools_named=("memory_search",))

    assert named.tools == (recall,)


def test_a_tool_that_was_asked_for_and_withheld_is_told_with_the_reason() -> None:
    wanted = replace(task(), tools=("execute_python", "memory_search"))

    assert assemble(wanted, toolbox=TOOLBOX).notices == (
        "The model was not given execute_python: qa_retrieval tasks do without it.",
        "The model was not given memory_search: this server has no such tool at the moment; `doctor` says why.",
    )


@given(st.integers(0, 12), st.integers(0, 80), st.integers(300, 3_000))
def test_what_is_assembled_always_fits_and_keeps_the_newest_turns(count: int, words: int, window: int) -> None:
    history = turns(count, words)

    request = assemble(replace(task("now"), history=history), window)

    assert COUNTER.count_messages(request.messages, request.system).tokens + 100 <= window
    assert request.messages[:-1] == history[len(history) - len(request.messages) + 1 :]
