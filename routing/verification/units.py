"""The conversions of an answer, worked out again: "5 km = 5,000 m", "100 °F ≈ 37.8 °C".

A table of our own, and not a library of units: those are slow to load, and read one unit where a name has several. Here a
conversion holds if any reading of its names makes it hold (gallons of two countries, megabytes of two sizes), and where no
reading has both sides measure the same thing, nothing is said.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from routing.types import Finding
from routing.verification.work import Work

Scale = tuple[str, Fraction, Fraction]
"""What is measured; how many of its base unit one of these is; and where its zero lies, in its own steps."""

_NOTHING = Fraction(0)
_SLACK, _SLACK_ABOUT = Fraction(1, 100), Fraction(5, 100)
"""What a conversion may be off by, beside the digits it shows: a mile is often 1.6 km, and "about" is often a round figure."""

_MOST_CONVERSIONS = 100
_KIBI = 1024

_ROWS: tuple[tuple[str, str, str], ...] = (
    # what is measured · how many of its base unit · names; case counts only where both cases are units
    ("length", "1", "m|metre|metres|meter|meters|metro|metros"),
    ("length", "1000", "km|kilometre|kilometres|kilometer|kilometers|kilómetro|kilómetros"),
    ("length", "0.01", "cm|centimetre|centimetres|centimeter|centimeters|centímetro|centímetros"),
    ("length", "0.001", "mm|millimetre|millimetres|millimeter|millimeters|milímetro|milímetros"),
    ("length", "0.000001", "µm|μm|um|micrometre|micrometres|micrometer|micrometers|micron|microns"),
    ("length", "0.000000001", "nm|nanometre|nanometres|nanometer|nanometers"),
    ("length", "1609.344", "mi|mile|miles|milla|millas"),
    ("length", "1852", "nmi|nm|nautical mile|nautical miles"),
    ("length", "0.9144", "yd|yard|yards|yarda|yardas"),
    ("length", "0.3048", "ft|foot|feet|pie|pies"),
    ("length", "0.0254", "in|inch|inches|pulgada|pulgadas"),
    ("mass", "1", "kg|kilogram|kilograms|kilo|kilos|kilogramo|kilogramos"),
    ("mass", "0.001", "g|gram|grams|gramo|gramos"),
    ("mass", "0.000001", "mg|milligram|milligrams|miligramo|miligramos"),
    ("mass", "0.000000001", "µg|μg|mcg|microgram|micrograms"),
    ("mass", "1000", "t|tonne|tonnes|ton|tons|metric ton|metric tons|tonelada|toneladas"),
    ("mass", "907.18474", "ton|tons|short ton|short tons"),
    ("mass", "1016.0469088", "ton|tons|long ton|long tons"),
    ("mass", "0.45359237", "lb|lbs|pound|pounds|libra|libras"),
    ("mass", "0.028349523125", "oz|ounce|ounces|onza|onzas"),
    ("mass", "6.35029318", "stone|st"),
    ("time", "1", "s|sec|secs|second|seconds|segundo|segundos"),
    ("time", "0.001", "ms|millisecond|milliseconds|milisegundo|milisegundos"),
    ("time", "60", "min|mins|minute|minutes|minuto|minutos"),
    ("time", "3600", "h|hr|hrs|hour|hours|hora|horas"),
    ("time", "86400", "d|day|days|día|días"),
    ("time", "604800", "wk|week|weeks|semana|semanas"),
    ("volume", "1", "l|litre|litres|liter|liters|litro|litros"),
    ("volume", "0.001", "ml|millilitre|millilitres|milliliter|milliliters|cc|mililitro|mililitros"),
    ("volume", "3.785411784", "gal|gallon|gallons|us gallon|us gallons|galón|galones"),
    ("volume", "4.54609", "gal|gallon|gallons|imperial gallon|imperial gallons"),
    ("volume", "0.473176473", "pt|pint|pints"),
    ("volume", "0.56826125", "pt|pint|pints"),
    ("volume", "0.946352946", "qt|quart|quarts"),
    ("volume", "0.2365882365", "cup|cups|taza|tazas"),
    ("volume", "0.25", "cup|cups|taza|tazas"),
    ("speed", "1", "m/s"),
    ("speed", "0.3048", "ft/s"),
    ("speed", "1/3.6", "km/h|kph|kmh"),
    ("speed", "0.44704", "mph|mi/h"),
    ("speed", "1852/3600", "kn|knot|knots"),
    ("area", "1", "m2|m²|sq m"),
    ("area", "1000000", "km2|km²|sq km"),
    ("area", "10000", "ha|hectare|hectares|hectárea|hectáreas"),
    ("area", "4046.8564224", "acre|acres"),
    ("area", "0.09290304", "ft2|ft²|sq ft"),
    ("energy", "1", "joule|joules"),
    ("energy", "1000", "kj|kilojoule|kilojoules"),
    ("energy", "4184", "kcal|kilocalorie|kilocalories"),
    ("energy", "3600000", "kwh"),
    ("data", "1", "byte|bytes"),
)
_DATA = "kb|kilobyte|kilobytes", "mb|megabyte|megabytes", "gb|gigabyte|gigabytes", "tb|terabyte|terabytes"
_TEMPERATURES: tuple[tuple[str, str, str], ...] = (
    ("1", "273.15", "°c|degrees celsius|celsius|degrees c"),
    ("5/9", "459.67", "°f|degrees fahrenheit|fahrenheit|degrees f"),
    ("1", "0", "k|kelvin|kelvins"),
)


def _fraction(text: str) -> Fraction:
    over, _, under = text.partition("/")
    return Fraction(over) / Fraction(under or 1)


def _table() -> dict[str, list[Scale]]:
    table: dict[str, list[Scale]] = {}
    rows: list[tuple[Scale, str]] = [((kind, _fraction(factor), _NOTHING), names) for kind, factor, names in _ROWS]
    for power, names in enumerate(_DATA, start=1):
        rows += [(("data", Fraction(step) ** power, _NOTHING), names) for step in (1000, _KIBI)]
    rows += [(("temperature", _fraction(factor), Fraction(zero)), names) for factor, zero, names in _TEMPERATURES]
    for scale, names in rows:
        for name in names.split("|"):
            table.setdefault(name, []).append(scale)
    return table


_ABOUT = ("\u2248", "\u2245", "~")
_GOES_ON_AFTER = re.compile(r"[ \t]*(?:[-+*/\u00d7\u00f7\u2212^]|(?:and[ ]|y[ ])?\d)")
_BULLET = re.compile(r"\s*(?:[-*\u2022]|\d+[.)])[ \t]+\Z")
_A_POINT_BEFORE_THREE = re.compile(r"\A-?\d{1,3}\.\d{3}\Z")
_BEFORE_CHARS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """The units by name, a conversion between two of them, and what shows that one began before its left side."""

    units: Mapping[str, list[Scale]]
    conversion: re.Pattern[str]
    goes_on_before: re.Pattern[str]


@functools.cache
def _reader() -> _Reader:
    """Made for the first answer that is read: 8 ms that the server's start does without."""
    units = _table()
    names = "|".join(sorted(map(re.escape, units), key=len, reverse=True))
    quantity = r"(?P<{0}>[-\u2212]?\d+(?:,\d{{3}})*(?:\.\d+)?)\s?(?P<{0}_unit>" + names + r")(?![\w/^\u00b2\u00b3])"
    sign = r"(?P<sign>=|\u2248|\u2245|~=|equals|is\s+(?:equal|equivalent)\s+to)\s*(?P<about>about|approximately|~)?"
    conversion = rf"{quantity.format('left')}\s*{sign}\s*{quantity.format('right')}"
    before = rf"(?:[-+*/\u00d7\u00f7\u2212^=\u2248]\s*|\d[.,]?\s*|[.,]|\d\s?(?:{names})(?:\s+(?:and|y))?\s*)\Z"
    return _Reader(
        units=units,
        conversion=re.compile(conversion, re.IGNORECASE),
        goes_on_before=re.compile(before, re.IGNORECASE),
    )


def converts_truly(work: Work) -> Finding | None:
    """Every conversion of one quantity to another unit holds, to the digits that it shows."""
    told = [one for one, _ in zip(_conversions(work.answer), range(_MOST_CONVERSIONS), strict=False)]
    if not told:
        return None
    wrong = [text for text, holds in told if not holds]
    detail = f"this conversion is wrong: {'; '.join(wrong[:3])}" if wrong else f"{len(told)} conversions hold"
    return Finding(check="units", passed=not wrong, detail=detail)


def _conversions(text: str) -> Iterator[tuple[str, bool]]:
    """Each conversion that can be worked out, and whether it holds."""
    reader = _reader()
    for found in reader.conversion.finditer(text):
        before = text[max(0, found.start() - _BEFORE_CHARS) : found.start()].rpartition("\n")[2]
        if (reader.goes_on_before.search(before) and not _BULLET.match(before)) or _GOES_ON_AFTER.match(
            text, found.end()
        ):
            continue  # a part of a sum, or of a quantity in two units
        readings = [
            (one, other)
            for one in reader.units[found["left_unit"].lower()]
            for other in reader.units[found["right_unit"].lower()]
            if one[0] == other[0]
        ]
        if readings:
            about = found["about"] is not None or found["sign"].startswith(_ABOUT)
            slack = _SLACK_ABOUT if about else _SLACK
            holds = any(
                _holds(_converted(Fraction(left), *reading), right, slack)
                for reading in readings
                for left in _numbers(found["left"])
                for right in _numbers(found["right"])
            )
            yield found[0], holds


def _converted(value: Fraction, one: Scale, other: Scale) -> Fraction:
    return (value + one[2]) * one[1] / other[1] - other[2]


def _holds(value: Fraction, shown: str, slack: Fraction) -> bool:
    digit = Fraction(1, 10 ** len(shown.partition(".")[2]))
    return abs(value - Fraction(shown)) <= max(digit / 2, slack * abs(value))


def _numbers(text: str) -> list[str]:
    """How a number may be meant: 5.000 is five, or five thousand as much of Europe writes it."""
    plain = text.replace(",", "").replace("\u2212", "-")
    return [plain, plain.replace(".", "")] if _A_POINT_BEFORE_THREE.search(plain) else [plain]
