"""Which checks a task asks for, and whether it brings what they need."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from routing.errors import InvalidTask
from routing.types import CheckName, Task
from routing.verification.code import given_tests

FEWEST_SAMPLES, MOST_SAMPLES = 3, 7
LONGEST_TESTS = 50_000
LONGEST_CRITERIA = 20_000
"""In characters."""


def checks_of(task: Task, usual: Sequence[CheckName]) -> Collection[CheckName]:
    """The checks by machine that an answer is put to, ``usual`` being those of its category."""
    alone: dict[str, tuple[CheckName, ...]] = {"schema": ("schema",), "code": ("code", "tests")}
    given: tuple[CheckName, ...] = ("code", "tests") if task.tests else ()
    form: tuple[CheckName, ...] = ("schema",) if task.response_schema else ()
    return {*alone.get(task.verify, usual), *given, *form}


def check_request(task: Task) -> None:
    """Refuse a task that asks to be verified by what it does not bring, or brings what it does not ask for.

    Raises:
        InvalidTask: it says what to give or to leave out.

    """
    if task.verify == "schema" and task.response_schema is None:
        raise InvalidTask("verify 'schema' needs response_schema.")
    if (task.verify == "custom") != bool(task.criteria.strip()):
        raise InvalidTask("verify 'custom' and criteria go together: say what a good answer is, or leave both out.")
    if task.samples is not None and (task.verify != "self" or not FEWEST_SAMPLES <= task.samples <= MOST_SAMPLES):
        raise InvalidTask(f"samples is from {FEWEST_SAMPLES} to {MOST_SAMPLES}, and for verify 'self' alone.")
    if task.tests and task.verify == "none":
        raise InvalidTask("tests are given and verify is 'none'. Leave one of them out.")
    if len(task.tests) > LONGEST_TESTS or len(task.criteria) > LONGEST_CRITERIA:
        raise InvalidTask(f"tests have at most {LONGEST_TESTS:,} characters, and criteria {LONGEST_CRITERIA:,}.")
    if task.tests and given_tests(task.tests) is None:
        raise InvalidTask("there is no test in tests. Give Python with assertions, or a case a line: f(2) == 4.")
