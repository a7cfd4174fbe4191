"""The code of an answer: whether it can be parsed, and the program that tries it on the tests which were stated."""

from __future__ import annotations

import ast
import json
import re
import warnings

from routing.types import Finding
from routing.verification.work import Work

_FENCED = re.compile(
    r"^[ \t]*```[ \t]*(?P<language>[\w+#.-]*)[^\n]*\n(?P<code>.*?)^[ \t]*```", re.DOTALL | re.MULTILINE
)
_PYTHON = frozenset({"python", "py", "python3"})
_LISTED = re.compile(r"[-*>]*\s*`?")
_EXAMPLE = re.compile(
    r"(?P<call>[a-z_]\w*\(.{0,120}?\))`?\s*(?:==|->|\u2192|=>|returns|should return|gives)\s*`?(?P<value>[^`]+?)`?[.,;]?",
    re.IGNORECASE,
)
_LONGEST_TEST = 300
_MOST_TESTS = 100


def parses(work: Work) -> Finding | None:
    """Every block of the answer that says it is Python or JSON can be parsed as that."""
    blocks = [(match["language"].lower(), match["code"]) for match in _FENCED.finditer(work.answer)]
    problems = [_problem(language, code) for language, code in blocks if language in _PYTHON or language == "json"]
    if not problems:
        return None
    wrong = [problem for problem in problems if problem]
    detail = (
        f"its code cannot be parsed: {'; '.join(wrong[:3])}" if wrong else f"{len(problems)} code blocks can be parsed"
    )
    return Finding(check="code", passed=not wrong, detail=detail)


def program_of(work: Work, tests: str = "") -> str | None:
    """The answer's Python with the tests after it: the given ones, and those that the task states; ``None`` without both."""
    blocks = [match["code"] for match in _FENCED.finditer(work.answer) if match["language"].lower() in _PYTHON]
    stated = "\n".join(part for part in (tests.strip(), *_stated(f"{work.asked}\n{work.given}")) if part)
    if not blocks or not stated:
        return None
    return "\n".join([*blocks, "", stated, ""])


def _stated(text: str) -> list[str]:
    """Assertions, and examples such as ``f(2) == 4``, as far as they can be parsed."""
    lines = (line.strip() for line in text.splitlines() if len(line) <= _LONGEST_TEST)
    tests = [test for line in lines if (test := _test_in(_LISTED.sub("", line, count=1)))]
    return list(dict.fromkeys(tests))[:_MOST_TESTS]


def _test_in(line: str) -> str | None:
    example = _EXAMPLE.fullmatch(line)
    test = f"assert {example['call']} == ({example['value'].strip()})" if example else line.rstrip("`").rstrip()
    return test if test.startswith("assert ") and _problem("python", test) is None else None


def _problem(language: str, code: str) -> str | None:
    try:
        if language == "json":
            json.loads(code)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what it warns of is the author's business
                ast.parse(code)
    except json.JSONDecodeError as problem:
        return f"JSON, line {problem.lineno}: {problem.msg}"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        return f"line {problem.lineno}: {problem.msg}" if isinstance(problem, SyntaxError) else str(problem)
    return None
