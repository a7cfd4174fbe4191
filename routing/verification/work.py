"""An answer as the checks see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from routing.types import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A task and its answer. ``asked`` is the instruction, ``given`` the text it is about, where they can be told apart.

    ``tests`` is a program that raises where a test of the caller's fails. Where it ``wants_code``, an answer without
    any fails.
    """

    asked: str
    answer: str
    given: str = ""
    finish_reason: FinishReason = "stop"
    schema: Mapping[str, object] | None = None
    tests: str = ""
    wants_code: bool = False
