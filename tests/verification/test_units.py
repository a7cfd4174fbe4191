"""Conversions between units are worked out again, and of what cannot be told nothing is said."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.verification.units import converts_truly
from routing.verification.work import Work


def holds(answer: str) -> bool | None:
    finding = converts_truly(Work(asked="Convert it.", answer=answer))
    return finding.passed if finding else None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("5 km = 5,000 m", True),
        ("5 km = 500 m", False),
        ("So 1 mile = 1.609 km.", True),
        ("1 mile = 1.6 km", True),  # rounded, as people do
        ("1 mile = 1.8 km", False),
        ("- 3 ft = 0.9144 m\n- 2 h = 120 min", True),
        ("- 3 ft = 0.9144 m\n- 2 h = 100 min", False),
        ("100 °C = 212 °F", True),
        ("100 °F ≈ 37.8 °C", True),
        ("32 °F = 1 °C", False),
        ("-40 °C = -40 °F", True),
        ("0 K = −273.15 °C", True),
        ("60 mph = 96.56 km/h", True),
        ("60 mph = 69.56 km/h", False),
        ("1,500 g is equal to 1.5 kg", True),
        ("6 ft ≈ 180 cm", True),  # about
        ("6 ft = 180 cm", False),
        ("5 km = 5.000 m", True),  # five thousand, as much of Europe writes it
        ("10 gallons = 37.9 litres", True),  # American ones
        ("10 gallons = 45.5 litres", True),  # and British ones
        ("10 gallons = 30 litres", False),
        ("64 KB = 65536 bytes", True),
        ("64 KB = 64000 bytes", True),
        ("3 horas = 180 minutos", True),
    ],
)
def test_a_conversion_holds_to_the_digits_that_it_shows(answer: str, expected: object) -> None:
    assert holds(answer) is expected


@pytest.mark.parametrize(
    "answer",
    [
        "It is 5 km away.",
        "5 kg = 12 km",  # nonsense, or another sense of one of them
        "3 * 2 km = 6000 m",
        "6 ft 2 in = 188 cm",
        "5 ft and 2 in = 157 cm",
        "5 ft = 1 m 52 cm",
        "1 h = 30 min + 30 min",
        "v = 5 m in 2 s",
        "10 km (5 km each way)",
        "1,5 km = 1500 m",
    ],
)
def test_of_parts_of_sums_and_of_unlike_things_nothing_is_said(answer: str) -> None:
    assert holds(answer) is None


def test_what_is_wrong_is_quoted() -> None:
    finding = converts_truly(Work(asked="", answer="First, 2 days = 50 hours."))

    assert finding is not None
    assert finding.detail == "this conversion is wrong: 2 days = 50 hours"


@given(metres=st.integers(1, 10**6), off=st.fractions(Fraction(1, 20), Fraction(9)))
def test_a_true_conversion_holds_and_one_that_is_off_by_a_twentieth_does_not(metres: int, off: Fraction) -> None:
    true = metres * 100

    assert holds(f"{metres} m = {true} cm") is True
    assert holds(f"{metres} m = {round(true * (1 + off)) + 1} cm") is False
