"""The conversation between a model and the tools it was granted: its calls are run, their results sent back, until it answers.

A model's mistakes (an unknown tool, arguments that do not fit) are answered to the model, which can mend its call. When the
rounds run out it is asked once more, with its tools forbidden, so that the work so far ends in an answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio

from routing.types import (
    LOCAL_CALLER,
    Answer,
    Conversation,
    Image,
    Message,
    ModelRequest,
    OnProgress,
    Progress,
    Toolbox,
    ToolCall,
    ToolOutcome,
    ToolSpec,
    ToolUse,
)

MOST_ROUNDS = 10
TOOL_TIMEOUT_SECONDS = 60.0
LONGEST_RESULT_CHARS = 20_000
"""About 5,000 tokens: a result longer than this is cut, and says so."""

_OUT_OF_ROUNDS = "No more tool calls are possible. Answer now with what you have found out."
Ask = Callable[[ModelRequest], Awaitable[Answer]]
BookTool = Callable[[ToolUse], None]
"""Takes note of a tool's run at once: what was paid for is known even where no answer comes of it."""


def unbooked(_use: ToolUse) -> None:
    """Nobody keeps books."""


class NoTools:
    """A toolbox with nothing in it."""

    @property
    def specs(self) -> Mapping[str, ToolSpec]:
        """No tools."""
        return {}

    async def look(self) -> None:
        """Nothing to see."""

    async def run(self, name: str, arguments: Mapping[str, object], *, caller: str) -> ToolOutcome:  # noqa: ARG002 - the Protocol's signature
        """Refuse."""
        return ToolOutcome(text=f"there is no tool {name!r}", is_error=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLoop:
    """Runs conversations, their tools on behalf of ``caller``. ``clock`` is monotonic, in seconds."""

    toolbox: Toolbox
    caller: str = LOCAL_CALLER
    most_rounds: int = MOST_ROUNDS
    timeout_seconds: float = TOOL_TIMEOUT_SECONDS
    clock: Callable[[], float] = field(default=time.monotonic)

    async def converse(self, request: ModelRequest, ask: Ask, on_progress: OnProgress, book: BookTool) -> Conversation:
        """Ask until the model answers without a call, and book each tool that was run. Raises what ``ask`` raises."""
        images: list[Image] = []
        for _ in range(self.most_rounds):
            answer = await ask(request)
            calls = answer.response.tool_calls
            if not calls:
                return Conversation(answer=answer, images=tuple(images))
            outcomes = await self._run_all(calls, request, on_progress, book)
            images += [image for outcome in outcomes for image in outcome.images]
            request = replace(request, messages=(*request.messages, *_turn(answer, outcomes)))
        last_word = Message(role="user", content=_OUT_OF_ROUNDS)
        answer = await ask(replace(request, messages=(*request.messages, last_word), tools_forbidden=True))
        return Conversation(answer=answer, images=tuple(images))

    async def _run_all(
        self, calls: Sequence[ToolCall], request: ModelRequest, on_progress: OnProgress, book: BookTool
    ) -> list[ToolOutcome]:
        """Run the calls of one round side by side; the outcomes in the order of the calls."""
        await on_progress(Progress(message=f"running {', '.join(call.name for call in calls)}"))
        outcomes: dict[int, ToolOutcome] = {}

        async def run(place: int, call: ToolCall) -> None:
            started = self.clock()
            outcomes[place] = outcome = _cut(await self._run(call, request))
            took = round(1000 * (self.clock() - started))
            book(
                ToolUse(
                    name=call.name,
                    is_error=outcome.is_error,
                    latency_ms=took,
                    cost_microusd=outcome.cost_microusd,
                )
            )

        async with anyio.create_task_group() as group:
            for place, call in enumerate(calls):
                group.start_soon(run, place, call)
        return [outcomes[place] for place in range(len(calls))]

    async def _run(self, call: ToolCall, request: ModelRequest) -> ToolOutcome:
        granted = {tool.name: tool for tool in request.tools}
        if call.name not in granted:
            known = ", ".join(granted) or "none"
            return ToolOutcome(text=f"there is no tool {call.name!r}. Available: {known}.", is_error=True)
        arguments = _arguments_of(call)
        problem = arguments if isinstance(arguments, str) else _misfit(arguments, granted[call.name].input_schema)
        if isinstance(arguments, str) or problem:
            return ToolOutcome(text=f"{call.name} was not run: {problem}. Correct the arguments.", is_error=True)
        with anyio.move_on_after(self.timeout_seconds):
            return await self.toolbox.run(call.name, arguments, caller=self.caller)
        return ToolOutcome(text=f"{call.name} did not finish within {self.timeout_seconds:g} s.", is_error=True)


def _arguments_of(call: ToolCall) -> Mapping[str, object] | str:
    """The arguments as an object, or what is wrong with them."""
    try:
        parsed: object = json.loads(call.arguments)
    except json.JSONDecodeError as error:
        return f"its arguments are not JSON ({error.msg} at character {error.pos})"
    if not isinstance(parsed, dict):
        return "its arguments are not a JSON object"
    return cast("dict[str, object]", parsed)


def _misfit(arguments: Mapping[str, object], schema: Mapping[str, object]) -> str | None:
    """What keeps arguments from fitting a schema, in one line."""
    from jsonschema.validators import validator_for  # noqa: PLC0415 - 50 ms that only a task with tools should pay

    plain: dict[str, Any] = {**schema}
    errors = validator_for(plain)(plain).iter_errors(cast("dict[str, Any]", arguments))
    return next((f"{error.json_path}: {error.message}" for error in errors), None)


def _cut(outcome: ToolOutcome) -> ToolOutcome:
    over = len(outcome.text) - LONGEST_RESULT_CHARS
    if over <= 0:
        return outcome
    return replace(outcome, text=f"{outcome.text[:LONGEST_RESULT_CHARS]}\n[cut: {over:,} more characters]")


def _turn(answer: Answer, outcomes: Sequence[ToolOutcome]) -> list[Message]:
    """The model's calls and their results, as messages."""
    response = answer.response
    called = Message(role="assistant", content=response.text, tool_calls=response.tool_calls, native=response.native)
    results = [
        Message(role="tool", content=outcome.text, tool_call_id=call.id)
        for call, outcome in zip(response.tool_calls, outcomes, strict=True)
    ]
    return [called, *results]
