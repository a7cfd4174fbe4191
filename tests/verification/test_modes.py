"""Which checks a task asks for, what it must bring for them, and what a judge is asked and says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import InvalidTask
from routing.types import Finding, Task, VerificationStep
from routing.verification.judging import question, verdict_of
from routing.verification.modes import check_request, checks_of

TASK = Task(prompt="Do it.")
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"arithmetic"}),
        ({"tests": "assert f(1)"}, {"arithmetic", "code", "tests"}),
        ({"verify": "schema", "response_schema": SCHEMA}, {"schema"}),
        ({"verify": "code"}, {"code", "tests"}),
        ({"verify": "code", "response_schema": SCHEMA}, {"code", "tests", "schema"}),
        ({"verify": "self"}, {"arithmetic"}),
        ({"verify": "custom", "criteria": "Be kind."}, {"arithmetic"}),
    ],
)
def test_a_mode_and_what_is_given_say_which_checks_are_made(changes: dict[str, Any], expected: set[str]) -> None:
    assert checks_of(replace(TASK, **changes), ("arithmetic",)) == expected


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verify": "schema"}, "needs response_schema"),
        ({"verify": "custom"}, "go together"),
        ({"verify": "custom", "criteria": "  "}, "go together"),
        ({"criteria": "Be kind."}, "go together"),
        ({"verify": "self", "samples": 2}, "from 3 to 7"),
        ({"verify": "self", "samples": 8}, "from 3 to 7"),
        ({"samples": 3}, "for verify 'self' alone"),
        ({"verify": "none", "tests": "assert f(1)"}, "Leave one of them out"),
        ({"tests": "it works"}, "no test in tests"),
        ({"tests": "x" * 50_001}, "at most 50,000"),
    ],
)
def test_what_a_mode_lacks_or_does_not_use_is_refused_with_what_to_do(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidTask, match=said):
        check_request(replace(TASK, **changes))


def test_what_fits_together_is_taken() -> None:
    check_request(replace(TASK, verify="custom", criteria="Be kind.", tests="f(2) == 4"))
    check_request(replace(TASK, verify="self", samples=7))
    check_request(replace(TASK, verify="none"))


# The judge


@pytest.mark.parametrize(
    ("said", "passed", "detail"),
    [
        ('{"meets": true, "problems": []}', True, "acme/judge judged that it meets the criteria"),
        ('```json\n{"meets": false, "problems": ["It is rude."]}\n```', False, "acme/judge judged: It is rude."),
        ('{"meets": false, "problems": []}', False, "acme/judge judged: it does not meet the criteria"),
    ],
)
def test_a_verdict_says_who_judged(said: str, passed: Any, detail: str) -> None:
    assert verdict_of(said, "acme/judge") == Finding(check="judged", passed=passed, detail=detail)


@pytest.mark.parametrize("said", ["", "Yes, it is fine.", '{"meets": "very much"}', '{"problems": []}'])
def test_what_is_no_verdict_says_nothing(said: str) -> None:
    assert verdict_of(said, "acme/judge") is None


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_task_and_no_answer_can_end_the_marks_round_it(task: str, answer: str) -> None:
    content = question(task, answer, "Be kind.").messages[0].content
    mark = content.partition(">")[0]

    assert content.count(f"{mark}>") == 1
    assert mark.removeprefix("<task ") not in f"{task}{answer}"


# What it all amounts to


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ({"complete": True, "answered": True}, "unchecked"),
        ({"complete": True, "arithmetic": True}, "verified"),
        ({"complete": True, "arithmetic": True, "judged": True}, "judged"),
        ({"complete": True, "agreement": True}, "agreed"),
        ({"complete": True, "arithmetic": True, "judged": False}, "failed"),
        ({"complete": False}, "failed"),
    ],
)
def test_only_what_a_machine_checked_is_called_verified(checks: dict[Any, bool], verdict: str) -> None:
    findings = tuple(Finding(check=name, passed=passed, detail="") for name, passed in checks.items())

    assert VerificationStep(kind="answer", model_id="m", findings=findings, cost_microusd=0).verdict == verdict
