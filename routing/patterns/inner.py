"""Answers that only a pattern reads: plans, verdicts, choices, as JSON of a model's own form."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from routing.errors import PatternStopped
from routing.patterns.tree import Written

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)


class Inner(BaseModel):
    """A form of such an answer. Bounds would be refused by some providers' schemas, so whoever reads it keeps them."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Form = TypeVar("Form", bound=Inner)


def read(form: type[Form], written: Written) -> Form:
    """The answer in its form.

    Raises:
        PatternStopped: it has another.

    """
    fenced = _FENCE.match(written.text)
    try:
        return form.model_validate_json(fenced[1] if fenced else written.text)
    except ValidationError as problem:
        found = "; ".join(error["msg"] for error in problem.errors(include_url=False, include_input=False)[:3])
        raise PatternStopped(f"{written.name} ({written.model_id}) did not answer in its form: {found}.") from problem


def listed(rows: Sequence[str]) -> str:
    """Rows with their numbers."""
    return "\n".join(f"{number}. {row}" for number, row in enumerate(rows, start=1))


def results(rows: Sequence[tuple[str, str | None]]) -> str:
    """What was done, by title; what is missing says so."""
    return "\n\n".join(
        f"## {title}\n\n{text or '(This part is missing: it could not be done.)'}" for title, text in rows
    )
