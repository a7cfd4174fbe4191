"""Checks that need no model: what can be found out about an answer by machine.

    whole.py        it is there, it is not cut off, and it is no refusal
    form.py         the form that was asked for: JSON by its schema, a language, a length
    figures.py      its arithmetic, worked out again
    units.py        its conversions from one unit to another, likewise
    sources.py      its quotations, looked up in the text that was supplied
    code.py         its code: that it can be parsed, and the tests that were stated, as a program to be run
    modes.py        which checks a task asks for, and whether it brings what they need
    this page       the checks, and what they found

Two more pages are pure as well, for checks that do call models: `agreement` compares samples, `judging` asks another model.

A check that does not apply says nothing: an answer that nothing was checked of is not verified. A check never guesses; where it
cannot tell (an equation with unknowns, a quotation of something that was not supplied) it says nothing either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from routing.types import OPINIONS, SAYS_NOTHING_OF_QUALITY, CheckName, Finding
from routing.verification.code import parses
from routing.verification.figures import adds_up
from routing.verification.form import fits_schema, has_length, speaks_language
from routing.verification.sources import quotes_truly
from routing.verification.units import converts_truly
from routing.verification.whole import answers, is_complete
from routing.verification.work import Work

Check = Callable[[Work], Finding | None]

CHECKS: Mapping[CheckName, Check] = {
    "complete": is_complete,
    "answered": answers,
    "schema": fits_schema,
    "code": parses,
    "arithmetic": adds_up,
    "units": converts_truly,
    "quotations": quotes_truly,
    "language": speaks_language,
    "length": has_length,
}
"""In the order in which a failure is told: what is not whole need not be looked at further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, and what was found."""

    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that the answer did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def is_verified(self) -> bool:
        """Whether something of its content or form was checked, and all of it held."""
        return self.says_something and not self.failed

    @property
    def says_something(self) -> bool:
        """Whether a machine checked something of its content or form."""
        return any(finding.check not in SAYS_NOTHING_OF_QUALITY | OPINIONS for finding in self.findings)

    @property
    def request(self) -> str:
        """What to tell the model that is to mend it."""
        problems = "\n".join(f"- {finding.detail}" for finding in self.failed)
        return f"Your answer did not pass these checks:\n{problems}\nGive the whole answer again, corrected."


def verify(work: Work, names: Collection[CheckName] = tuple(CHECKS)) -> Verification:
    """Make those of the named checks that apply, ``complete`` and ``answered`` always; what is not whole ends them."""
    findings: list[Finding] = []
    for name, check in CHECKS.items():
        finding = check(work) if name in names or name in SAYS_NOTHING_OF_QUALITY else None
        if finding is None:
            continue
        findings.append(finding)
        if not finding.passed and finding.check in SAYS_NOTHING_OF_QUALITY:
            break
    return Verification(findings=tuple(findings))
