"""Conditions on a step's answer that a machine can check."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import anyio.to_thread

from routing.errors import InvalidTask
from routing.patterns.specs import Gate
from routing.types import CheckName
from routing.verification import verify
from routing.verification.work import Work

_LONGEST_SEARCH_SECONDS = 1.0
"""A regular expression may be such that no answer is ever found out; longer than this nobody waits for one."""


async def refusal(gate: Gate, asked: str, answer: str) -> str | None:
    """Why an answer does not pass; ``None`` where it does.

    Raises:
        InvalidTask: the regular expression is none.

    """
    found = [*_words(gate, answer.casefold()), *_checks(gate, asked, answer)]
    if gate.matches is not None and not await anyio.to_thread.run_sync(_matches, gate.matches, answer):
        found.append(f"it does not match {gate.matches}")
    return "; ".join(found) or None


def check(gate: Gate | None) -> None:
    """Refuse a gate that nothing could be held against, before anything is paid for.

    Raises:
        InvalidTask: its regular expression or its schema is none, or the schema refers to another document.

    """
    if gate is not None and gate.matches is not None:
        _compiled(gate.matches)
    if gate is not None and gate.form is not None:
        _check_schema(gate.form)


def _check_schema(schema: dict[str, Any]) -> None:
    from jsonschema import SchemaError  # noqa: PLC0415 - 50 ms that only a gate with a schema should pay
    from jsonschema.validators import validator_for  # noqa: PLC0415 - as above

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as problem:
        raise InvalidTask(f"gate.schema is no JSON schema: {problem.message}. Correct it.") from problem
    if outside := sorted(set(_references(schema)) - {"#"}):
        raise InvalidTask(f"gate.schema refers to {outside[0]}: put all of it into the gate.")


def _references(part: object) -> Iterator[str]:
    """Where the references of a schema lead: ``#`` where they stay in it."""
    if isinstance(part, dict):
        row = cast("dict[str, object]", part)
        reference = row.get("$ref", row.get("$dynamicRef", "#"))
        yield "#" if isinstance(reference, str) and reference.startswith("#") else str(reference)
        for value in row.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in cast("list[object]", part):
            yield from _references(value)


def _words(gate: Gate, answer: str) -> Sequence[str]:
    missing = [f'it does not contain "{word}"' for word in gate.contains if word.casefold() not in answer]
    return [*missing, *(f'it contains "{word}"' for word in gate.lacks if word.casefold() in answer)]


def _checks(gate: Gate, asked: str, answer: str) -> Sequence[str]:
    if not gate.checks and gate.form is None:
        return ()
    names: list[CheckName] = [*gate.checks]
    if gate.form is not None:
        names.append("schema")
    work = Work(asked=asked, given=asked, answer=answer, schema=gate.form)
    found = verify(work, names)
    told = [finding.detail for finding in found.failed]
    is_held = gate.form is None or told or any(finding.check == "schema" for finding in found.findings)
    return told if is_held else ["its schema cannot be held against an answer"]


def _matches(pattern: str, answer: str) -> bool:
    try:
        return bool(_compiled(pattern)(answer))
    except TimeoutError:
        return False


def _compiled(pattern: str) -> Callable[[str], object]:
    regex: Any = importlib.import_module("regex")  # it has no types; and few tasks have an expression
    try:
        compiled = regex.compile(pattern)
    except regex.error as problem:
        raise InvalidTask(f"gate.matches {pattern!r} is no regular expression: {problem}. Correct it.") from problem

    def search(answer: str) -> object:
        return compiled.search(answer, timeout=_LONGEST_SEARCH_SECONDS, concurrent=True)

    return search
