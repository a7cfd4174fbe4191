"""The arithmetic of an answer, worked out again.

Only what stands there in full is checked: numbers, + - × ÷, powers and brackets on the left of an equals sign, one number on
its right. An equation with a letter in it, a date or a version is none of it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from routing.types import Finding
from routing.verification.work import Work

_MOST_EQUATIONS = 200
_LONGEST_SIDE = 120
_HIGHEST_POWER = 64
_HIGHEST_BASE = 10**6

_SIGN = re.compile("(?<![=<>!:~])(?:=|\u2248|\u2245|~=)(?!=)")
_LEFT = re.compile(r"[\d\s.,()+*/^$-]*\Z")
_RIGHT = re.compile(
    r"[ \t]*(?P<number>-?[$]?\d+(?:,\d{3})*(?:\.\d+)?)(?P<percent>[ \t]*%)?(?![\w(^*/+]|[.,]\d|[ \t]*[-+*/^][ \t]*[\d(])"
)
_A_NUMBER_TWICE = re.compile(r"\d[\d.,]*\s+[\d.]")
_AS_PYTHON = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u20ac": "$", "\u00a3": "$"})
_ONLY_DIGITS = str.maketrans("", "", "$,")


def adds_up(work: Work) -> Finding | None:
    """Every equation of plain numbers holds, to the digits that it shows."""
    told = [one for one, _ in zip(_equations(work.answer.translate(_AS_PYTHON)), range(_MOST_EQUATIONS), strict=False)]
    if not told:
        return None
    wrong = [text for text, holds in told if not holds]
    detail = f"this does not add up: {'; '.join(wrong[:3])}" if wrong else f"{len(told)} equations add up"
    return Finding(check="arithmetic", passed=not wrong, detail=detail)


def _equations(text: str) -> Iterator[tuple[str, bool]]:
    """Each equation that can be worked out, and whether it holds."""
    for sign in _SIGN.finditer(text):
        line = text[max(0, text.rfind("\n", 0, sign.start()) + 1, sign.start() - _LONGEST_SIDE) : sign.start()]
        left, right = _left_side(line), _RIGHT.match(text, sign.end())
        value = _worked_out(left) if left and right else None
        if value is not None and right is not None:
            shown = f"{left} {sign[0]}{right[0]}"
            yield shown, _holds(value, right["number"].translate(_ONLY_DIGITS), is_percent=right["percent"] is not None)


def _left_side(line: str) -> str | None:
    """The expression that ends a line, if nothing but numbers and signs belongs to it."""
    found = _LEFT.search(line)
    start = found.start() if found else len(line)
    side = line[start:].strip()
    if start and not line[start : start + 1].isspace() and not side.startswith(("(", "$")):
        return None  # it goes on in what stands before it: 2x + 3, a.b
    side = side.lstrip(".,+*/^) ").replace("$", "").replace(",", "").replace("^", "**")
    return None if _A_NUMBER_TWICE.search(side) else side


def _worked_out(side: str) -> Fraction | None:
    """The exact value of an expression with at least one operation; ``None`` where it is none."""
    try:
        node = ast.parse(side, mode="eval").body
        return _value(node) if isinstance(node, ast.BinOp) else None
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def _holds(left: Fraction, number: str, *, is_percent: bool) -> bool:
    shown = Decimal(number)
    right, digit = Fraction(shown), Fraction(10) ** int(shown.as_tuple().exponent)
    return _near(left, right, digit) or (is_percent and _near(left * 100, right, digit))


def _near(left: Fraction, right: Fraction, digit: Fraction) -> bool:
    """Equal, or rounded to the last digit that is shown; digits beyond the point may also have been cut."""
    over = right - left
    was_cut = digit < 1 and right * over <= 0 and abs(over) < digit
    return -digit / 2 < over <= digit / 2 or was_cut


def _value(node: ast.expr) -> Fraction:
    """The exact value of numbers and the four operations; small whole powers too.

    Raises:
        ValueError: there is something else in it.

    """
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if not isinstance(node, ast.BinOp):
        raise ValueError("not plain arithmetic")  # noqa: TRY004 - it is the text that is wrong
    return _applied(node.op, _value(node.left), _value(node.right))


def _applied(sign: ast.operator, left: Fraction, right: Fraction) -> Fraction:
    match sign:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow() if right.denominator == 1 and abs(right) <= _HIGHEST_POWER and abs(left) <= _HIGHEST_BASE:
            return left ** int(right)
        case _:
            raise ValueError("not plain arithmetic")
