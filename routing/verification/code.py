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
_FUTURE = re.compile(r"^from __future__ import .*$", re.MULTILINE)
_LONGEST_TEST = 300
_MOST_TESTS = 100
_UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)


def parses(work: Work) -> Finding | None:
    """Every block of the answer that says it is Python or JSON can be parsed as that."""
    blocks = _blocks(work)
    problems = [_problem(language, code) for language, code in blocks if language in _PYTHON or language == "json"]
    if not problems:
        return None
    wrong = [problem for problem in problems if problem]
    if work.wants_code and not wrong and not any(_does_something(code) for _, code in blocks):
        return Finding(check="code", passed=False, detail="there is no Python code in it")
    detail = (
        f"its code cannot be parsed: {'; '.join(wrong[:3])}" if wrong else f"{len(problems)} code blocks can be parsed"
    )
    return Finding(check="code", passed=not wrong, detail=detail)


def program_of(work: Work) -> str | None:
    """The answer's Python with the tests after it: the given ones, and those that the task states; ``None`` without both.

    It is run as a module that somebody imports: what stands under ``if __name__ == "__main__"`` is left alone.
    """
    blocks = [code for language, code in _blocks(work) if language in _PYTHON]
    stated = "\n".join(part for part in (work.tests.strip(), *_stated(f"{work.asked}\n{work.given}")) if part)
    if not blocks or not stated:
        return None
    code = "\n".join(blocks)
    first = [line.strip() for line in _FUTURE.findall(code)]  # where Python wants them
    return "\n".join([*first, '__name__ = "answer"', _FUTURE.sub("", code), "", stated, ""])


def given_tests(text: str) -> str | None:
    """A caller's tests as a program that raises where one fails; ``None`` where there are none in it.

    They are Python with assertions (or whatever else raises), or cases, one a line: ``f(2) == 4``, ``f(2) -> 4``.
    """
    try:
        tree = _parsed(text)
    except _UNREADABLE:
        return "\n".join(_cases(text)) or None
    tree.body = [_asserted(statement) for statement in tree.body]
    raising = (ast.Assert, ast.Raise, ast.Call)
    return ast.unparse(tree) if any(isinstance(node, raising) for node in ast.walk(tree)) else None


def _asserted(statement: ast.stmt) -> ast.stmt:
    """A comparison that stands alone is a case: it is to hold."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Compare):
        return ast.copy_location(ast.Assert(test=statement.value), statement)
    return statement


def _cases(text: str) -> list[str]:
    """The cases, where every line is one: tests of which some were passed over would prove too much."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    cases = [_test_in(_LISTED.sub("", line, count=1)) for line in lines]
    return [case for case in cases if case] if all(cases) else []


def _blocks(work: Work) -> list[tuple[str, str]]:
    """The fenced blocks and their languages; where code is wanted, what says no language is Python, the whole answer too."""
    blocks = [(match["language"].lower(), match["code"]) for match in _FENCED.finditer(work.answer)]
    if not work.wants_code or any(language in _PYTHON for language, _ in blocks):
        return blocks
    plain = [("python", code) for language, code in blocks if not language]
    return plain or [("python", work.answer)]


def _stated(text: str) -> list[str]:
    """Assertions, and examples such as ``f(2) == 4``, as far as they can be parsed."""
    lines = (line.strip() for line in text.splitlines() if len(line) <= _LONGEST_TEST)
    tests = [test for line in lines if (test := _test_in(_LISTED.sub("", line, count=1)))]
    return list(dict.fromkeys(tests))[:_MOST_TESTS]


def _test_in(line: str) -> str | None:
    example = _EXAMPLE.fullmatch(line)
    test = f"assert {example['call']} == ({example['value'].strip()})" if example else line.rstrip("`").rstrip()
    return test if test.startswith("assert ") and _problem("python", test) is None else None


def _does_something(code: str) -> bool:
    """A bare word or number can be parsed as Python too, and is no program."""
    try:
        body = _parsed(code).body
    except _UNREADABLE:
        return False
    return any(not isinstance(statement, ast.Expr) or isinstance(statement.value, ast.Call) for statement in body)


def _parsed(code: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of is the author's business
        return ast.parse(code)


def _problem(language: str, code: str) -> str | None:
    try:
        if language == "json":
            json.loads(code)
        else:
            _parsed(code)
    except json.JSONDecodeError as problem:
        return f"JSON, line {problem.lineno}: {problem.msg}"
    except _UNREADABLE as problem:
        return f"line {problem.lineno}: {problem.msg}" if isinstance(problem, SyntaxError) else str(problem)
    return None
