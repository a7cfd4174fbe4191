from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.assembler import Assembler
from routing.errors import ContextOverflow
from routing.tokens import TokenCounter
from routing.types import Message, ModelRequest, ModelSelection, Task, ToolCall, ToolSpec
from tests.builders import analysis, catalog, model, task

COUNTER = TokenCounter(Path("/nowhere"))
SEARCH = ToolSpec(name="web_search", description="Search.", input_schema={"type": "object"})
RUN = ToolSpec(name="execute_python", description="Run.", input_schema={"type": "object"})


def assemble(a_task: Task, *windows: int, toolbox: dict[str, ToolSpec] | None = None, **facts: Any) -> ModelRequest:
    models = [model(f"acme/m{index}", context_window=window) for index, window in enumerate(windows or (100_000,))]
    selection = ModelSelection(
        primary_model=models[0].model_id,
        provider="acme",
        fallback_models=tuple(one.model_id for one in models[1:]),
        estimated_cost_microusd=0,
        reasoning="",
    )
    assembler = Assembler(counter=COUNTER, toolbox=toolbox or {})
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


def test_a_tool_is_granted_where_the_caller_wants_it_and_the_category_allows_it() -> None:
    toolbox = {"web_search": SEARCH, "execute_python": RUN}
    wanted = replace(task(), tools=("web_search", "execute_python"))

    assert assemble(wanted, toolbox=toolbox).tools == (SEARCH,)
    assert assemble(task(), toolbox=toolbox).tools == ()
    assert assemble(wanted).tools == ()


@given(st.integers(0, 12), st.integers(0, 80), st.integers(300, 3_000))
def test_what_is_assembled_always_fits_and_keeps_the_newest_turns(count: int, words: int, window: int) -> None:
    history = turns(count, words)

    request = assemble(replace(task("now"), history=history), window)

    assert COUNTER.count_messages(request.messages, request.system).tokens + 100 <= window
    assert request.messages[:-1] == history[len(history) - len(request.messages) + 1 :]
