"""What a caller says of a pattern, as strict data: `parse` says in its error what the forms are.

The bounds are small on purpose: a pattern multiplies what a task costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from routing.errors import InvalidTask
from routing.types import Pattern, Role

MOST_STEPS = 10
MOST_SECTIONS = 10
MOST_SAMPLES = 7
MOST_SUBTASKS = 8
MOST_ROUNDS = 5
MOST_CRITERIA = 10
LONGEST_TEMPLATE = 20_000
TOP_SCORE = 10

FORMS = """\
{"kind": "chain", "steps": [{"prompt": "Outline: {input}", "gate": {"contains": ["Risks"]}}, {"prompt": "Write: {previous}"}]}
{"kind": "sections", "sections": ["Judge its security", "Judge its tests"], "merge": "One list, the worst first"}
{"kind": "best_of", "samples": 3, "choose": "vote"} or "choose": "judge" with "criteria"
{"kind": "orchestrate", "subtasks": 5}
{"kind": "evaluate", "criteria": ["every claim has a source"], "rounds": 3, "enough": 8}
gate: contains, lacks (words), matches (regular expression), schema (JSON schema), checks (code, arithmetic, quotations, …)"""

GateCheck = Literal["code", "arithmetic", "quotations", "language", "length"]
"""Those of `routing.verification` that can be made by its name alone, and here and now."""

_Template = Annotated[str, Field(min_length=1, max_length=LONGEST_TEMPLATE)]
_Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=50)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Gate(_Part):
    """What an answer must be for the next step to begin; case does not matter in words, and does in ``matches``."""

    contains: _Words = ()
    lacks: _Words = ()
    matches: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    form: dict[str, Any] | None = Field(None, alias="schema")
    checks: tuple[GateCheck, ...] = ()


class ChainStep(_Part):
    """One step: ``{input}`` is the task, ``{previous}`` what the step before gave; where neither stands, it is put last."""

    prompt: _Template
    gate: Gate | None = None
    role: Role = "single"


class Chain(_Part):
    """Steps, each from what the one before gave."""

    pattern: ClassVar[Pattern] = "prompt_chaining"
    kind: Literal["chain"]
    steps: tuple[ChainStep, ...] = Field(min_length=1, max_length=MOST_STEPS)


class Sections(_Part):
    """Parts of the work that do not need each other, side by side; without ``merge`` they are put one after the other."""

    pattern: ClassVar[Pattern] = "parallelization"
    kind: Literal["sections"]
    sections: tuple[_Template, ...] = Field(min_length=2, max_length=MOST_SECTIONS)
    merge: _Template | None = None


class BestOf(_Part):
    """The same task several times: what most agree on, or what a judge finds best."""

    pattern: ClassVar[Pattern] = "parallelization"
    kind: Literal["best_of"]
    samples: int = Field(3, ge=2, le=MOST_SAMPLES)
    choose: Literal["vote", "judge"] = "vote"
    criteria: Annotated[tuple[_Template, ...], Field(max_length=MOST_CRITERIA)] = ()


class Orchestrate(_Part):
    """A planner divides the task into at most so many ``subtasks``, workers do them, a synthesizer puts them together."""

    pattern: ClassVar[Pattern] = "orchestrator_workers"
    kind: Literal["orchestrate"]
    subtasks: int = Field(5, ge=1, le=MOST_SUBTASKS)


class Evaluate(_Part):
    """Drafts, judged by another model (0 to 10) until one scores ``enough``, for at most so many ``rounds``."""

    pattern: ClassVar[Pattern] = "evaluator_optimizer"
    kind: Literal["evaluate"]
    criteria: tuple[_Template, ...] = Field(min_length=1, max_length=MOST_CRITERIA)
    rounds: int = Field(3, ge=1, le=MOST_ROUNDS)
    enough: int = Field(8, ge=0, le=TOP_SCORE)


Spec = Chain | Sections | BestOf | Orchestrate | Evaluate
_ADAPTER: TypeAdapter[Spec] = TypeAdapter(Annotated[Spec, Field(discriminator="kind")])
KINDS = frozenset({"chain", "sections", "best_of", "orchestrate", "evaluate"})


def parse(document: Mapping[str, object]) -> Spec:
    """Read a specification.

    Raises:
        InvalidTask: it is none; the message says what is wrong, and what the forms are.

    """
    try:
        return _ADAPTER.validate_json(json.dumps(document))
    except ValidationError as problem:
        raise InvalidTask(f"pattern: {_spoken(problem)}. The forms are:\n{FORMS}\n") from None


def _spoken(problem: ValidationError) -> str:
    return "; ".join(f"{_place(error['loc'])}{error['msg']}" for error in problem.errors(include_url=False)[:3])


def _place(location: tuple[int | str, ...]) -> str:
    names = [str(step) for place, step in enumerate(location) if place or step not in KINDS]
    return f"{'.'.join(names)}: " if names else ""
