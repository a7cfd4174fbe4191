"""An answer as the checks see it, and what a check says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from routing.types import FinishReason

CheckName = Literal["complete", "answered", "schema", "code", "tests", "arithmetic", "quotations", "language", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task and its answer. ``asked`` is the instruction, ``given`` the text it is about, where they can be told apart."""

    asked: str
    answer: str
    given: str = ""
    finish_reason: FinishReason = "stop"
    schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a check was passed; ``detail`` is what was found, in words that help to mend it."""

    check: CheckName
    passed: bool
    detail: str
