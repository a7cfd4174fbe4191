"""What can be found out about an answer by machine, and what cannot."""

from __future__ import annotations

import socket
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.types import Finding
from routing.verification import Verification, verify
from routing.verification.code import given_tests, program_of
from routing.verification.work import Work
from tests.upstream import Upstream

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
REPORT = (
    "The annual report of the harbour says that 4,120 ships called last year. It adds: the northern quay will be closed "
    "from May until the end of August, and “smaller boats” are asked to use the old basin instead. Fees stay as they are."
)


def checked(answer: str, asked: str = "Do it.", **parts: Any) -> Verification:
    return verify(Work(asked=asked, answer=answer, **parts))


def found(verification: Verification, check: str) -> Finding | None:
    return next((finding for finding in verification.findings if finding.check == check), None)


def passed(verification: Verification, check: str) -> bool | None:
    finding = found(verification, check)
    return None if finding is None else finding.passed


# Whole


def test_an_ordinary_answer_of_which_nothing_can_be_checked_is_not_verified() -> None:
    verification = checked("Paris is the capital of France.")

    assert not verification.failed
    assert not verification.is_verified


@pytest.mark.parametrize(
    ("answer", "finish_reason", "said"),
    [
        ("", "stop", "empty"),
        (" \n", "stop", "empty"),
        ("Once upon", "length", "cut off"),
        ("x", "content_filter", "filter"),
    ],
)
def test_an_empty_or_cut_answer_fails_and_nothing_else_is_looked_at(answer: str, finish_reason: Any, said: str) -> None:
    verification = checked(answer, finish_reason=finish_reason, schema=SCHEMA)

    [finding] = verification.findings
    assert not finding.passed
    assert said in finding.detail
    assert said in verification.request


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot provide that information.",
        "Sorry, I am unable to access the internet.",
        "As an AI language model, I do not have opinions.",
        "Lo siento, pero no puedo ayudar con eso.",
        "Désolé, mais je ne peux pas répondre à cette question.",
        "Leider kann ich dabei nicht helfen.",
        "Desculpe, não posso ajudar com isso.",
        "Mi dispiace, ma non posso aiutarti.",
        "抱歉\uff0c我无法回答这个问题。",
        "申し訳ありませんが、お答えできません。",
        "Извините, но я не могу вам помочь.",
    ],
)
def test_a_refusal_is_no_answer(answer: str) -> None:
    assert passed(checked(answer), "answered") is False


@pytest.mark.parametrize(
    "answer",
    [
        "We cannot conclude that the two are equal, because the sample is too small.",
        "I can't find a date in this text; the only year it names is 1923.",
        "You cannot divide by zero.",
        "Sorry for the confusion in the table above: the total is 12.",
        "I'm sorry, but I can't " + "x" * 500,
    ],
)
def test_an_answer_that_says_what_cannot_be_is_none(answer: str) -> None:
    assert passed(checked(answer), "answered") is True


# Form


def test_json_is_held_to_its_schema_and_the_place_of_the_fault_is_told() -> None:
    good = checked('{"name": "Ada", "age": 36}', schema=SCHEMA)
    fenced = checked('```json\n{"name": "Ada", "age": 36}\n```', schema=SCHEMA)
    misfit = checked('{"name": "Ada", "age": "36"}', schema=SCHEMA)
    no_json = checked("Name: Ada", schema=SCHEMA)

    assert good.is_verified
    assert fenced.is_verified
    assert "$.age" in misfit.request
    assert "line 1, column 1" in no_json.request


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "{upstream}/secret"},
        {"$ref": "#/nowhere"},
        {"type": "nonsense"},
        {"type": 7},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_be_followed_tells_nothing_and_fetches_nothing(
    schema: dict[str, Any], upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[object] = []

    def connect(_: object, address: object) -> None:
        reached.append(address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    followed = {
        name: value.format(upstream=upstream.url) if name == "$ref" else value for name, value in schema.items()
    }

    assert passed(checked('"Ada"', schema=followed), "schema") is None
    assert reached == []


@pytest.mark.parametrize(
    ("asked", "answer", "holds"),
    [
        ("Translate into Spanish: …", "El gato está en la casa y no quiere salir porque llueve mucho.", True),
        ("Translate into Spanish: …", "The cat is in the house and does not want to go out in the rain.", False),
        ("Responde en inglés.", "The cat is in the house and does not want to go out in the rain.", True),
        ("Antworte auf Deutsch.", "Die Katze ist in dem Haus und will nicht in den Regen.", True),
        ("Réponds en français.", "Die Katze ist in dem Haus und will nicht in den Regen.", False),
        (
            "Translate to Japanese",
            "猫は家の中にいて、雨の中に出たがりません。とても静かです。猫は家の中にいて、雨の中に出たがりません。",
            True,
        ),
        ("Translate from English to French or to German", "The cat is in the house and does not want to go out.", None),
        ("Translate into Spanish: cat", "El gato.", None),
        ("What is the capital of France?", "The capital of France is Paris, a city on the river Seine.", None),
    ],
)
def test_the_language_that_was_named_is_the_language_of_the_answer(asked: str, answer: str, holds: object) -> None:
    assert passed(checked(answer, asked), "language") is holds


WORDS = "word " * 50


@pytest.mark.parametrize(
    ("asked", "answer", "holds"),
    [
        ("Summarise in at most 50 words.", WORDS, True),
        ("Summarise in at most 40 words.", WORDS, False),
        ("Summarise in no more than 46 words.", WORDS, True),  # what counts as a word differs
        ("Write at least 100 words.", WORDS, False),
        ("Resume en máximo 30 palabras.", WORDS, False),
        ("Fasse es in höchstens 60 Wörtern zusammen.", WORDS, True),
        ("Answer in exactly three sentences.", "One. Two. Three.", True),
        ("Answer in exactly three sentences.", "One. Two.", False),
        ("Give me exactly 2 bullet points.", "- one\n- two", True),
        ("Give me exactly 2 bullet points.", "- one\n- two\n- three", False),
        ("Write an essay of some length.", WORDS, None),
        ("It has 5 words.", WORDS, None),
    ],
)
def test_a_bound_on_the_length_is_counted(asked: str, answer: str, holds: object) -> None:
    assert passed(checked(answer, asked), "length") is holds


# Figures


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ("12 * 7 = 84", True),
        ("So 12 × 7 = 86 in all.", False),
        ("(3 + 4) * 2 = 14", True),
        ("1,250 + 750 = 2,000", True),
        ("$1,250.50 + $0.50 = $1,251", True),
        ("10 / 3 = 3.33", True),
        ("10 / 3 = 3.34", False),
        ("20 / 3 = 6.66", True),
        ("20 / 3 = 6.67", True),
        ("5 + 4 = 10", False),
        ("10 / 4 = 2", False),
        ("2/3 ≈ 0.667", True),
        ("7 ÷ 2 = 3.5", True),
        ("2^10 = 1024", True),
        ("2**10 = 1000", False),
        ("15 / 60 = 25%", True),
        ("15 / 60 = 20%", False),
        ("5 - 8 = −3", True),
        ("5 / 0 = 3", None),
        ("x + 3 = 7", None),
        ("2x + 3 = 7", None),
        ("a = 3 + 4", None),
        ("On 2024-05-03 = day one", None),
        ("version 3.2.1 = 4", None),
        ("3 + 4 = 7x", None),
        ("f(2) = 4", None),
        ("There are no figures here.", None),
    ],
)
def test_equations_of_plain_numbers_are_worked_out_again(answer: str, holds: object) -> None:
    assert passed(checked(answer), "arithmetic") is holds


@given(left=st.integers(-999, 999), right=st.integers(-999, 999), off=st.integers(-5, 5))
def test_a_sum_holds_exactly_where_it_is_right(left: int, right: int, off: int) -> None:
    assert passed(checked(f"We get {left} + {right} = {left + right + off}."), "arithmetic") is (off == 0)


@given(top=st.integers(1, 9_999), bottom=st.integers(1, 999), digits=st.integers(0, 5))
def test_a_quotient_may_be_rounded_to_any_number_of_digits(top: int, bottom: int, digits: int) -> None:
    shown = (Decimal(top) / bottom).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)

    assert passed(checked(f"{top} / {bottom} = {shown}"), "arithmetic") is True
    assert passed(checked(f"{top} / {bottom} = {shown + Decimal(2).scaleb(-digits)}"), "arithmetic") is False


# Sources


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        ('It says: "the northern quay will be closed from May until the end of August".', True),
        ("It says: “The northern quay will be closed … until the end of August”.", True),
        (
            "It says: \"the northern quay will be closed [...] and 'smaller boats' are asked to use the old basin\".",
            True,
        ),
        ('It says: "the southern quay will be closed from May until the end of August".', False),
        ("> the northern quay will be closed from June until the end of August", False),
        ("It calls them “smaller boats”.", None),
        ("The northern quay closes in May.", None),
    ],
)
def test_quotations_stand_in_the_text_that_was_supplied(answer: str, holds: object) -> None:
    assert passed(checked(answer, given=REPORT), "quotations") is holds


def test_quotations_of_what_was_not_supplied_cannot_be_checked() -> None:
    assert passed(checked('"To be or not to be, that is the question" is from Hamlet.'), "quotations") is None


# Code


def test_python_and_json_that_cannot_be_parsed_are_found_with_their_line() -> None:
    good = checked("```python\ndef f(x):\n    return x\n```")
    broken = checked("Here:\n```python\ndef f(x)\n    return x\n```\nand\n```json\n{'a': 1}\n```")

    assert good.is_verified
    assert "line 1" in broken.request
    assert "JSON, line 1" in broken.request
    assert passed(checked("```js\nlet x =\n```"), "code") is None


ANSWER = "```python\ndef double(x):\n    return 2 * x\n```"


@pytest.mark.parametrize(
    ("asked", "test"),
    [
        ("Write double.\nassert double(2) == 4", "assert double(2) == 4"),
        ("Write double.\n- `double(2) == 4`", "assert double(2) == (4)"),
        ("Write double.\n>>> double(2) -> 4", "assert double(2) == (4)"),
        ("Write double.\ndouble([1]) should return [1, 1].", "assert double([1]) == ([1, 1])"),
    ],
)
def test_the_tests_that_a_task_states_become_a_program(asked: str, test: str) -> None:
    program = program_of(Work(asked=asked, answer=ANSWER))

    assert program is not None
    assert program.endswith(f"\n{test}\n")
    assert "return 2 * x" in program


def test_without_tests_or_without_code_there_is_nothing_to_run() -> None:
    assert program_of(Work(asked="Write double.", answer=ANSWER)) is None
    assert program_of(Work(asked="assert double(2) == 4", answer="It doubles.")) is None
    assert program_of(Work(asked="Write double.", answer=ANSWER, tests="assert double(1) == 2")) is not None


def run(program: str | None) -> None:
    assert program is not None
    exec(program, {"__name__": "__main__"})  # noqa: S102 - our own words


def test_an_answers_code_is_imported_not_started() -> None:
    started = (
        "```python\nfrom __future__ import annotations\nx = 1\nif __name__ == '__main__':\n    raise SystemExit\n```"
    )
    later = "And:\n```python\nfrom __future__ import annotations\ny = 2\n```"

    run(program_of(Work(asked="Write x.", answer=f"{started}\n{later}", tests="assert x + y == 3")))


def test_where_code_is_wanted_it_is_found_without_its_fence_or_its_language() -> None:
    plain, unnamed = "def f(x):\n    return x", "Here:\n```\ndef f(x):\n    return x\n```"

    for answer in (plain, unnamed):
        work = Work(asked="Write f.", answer=answer, tests="assert f(1) == 1", wants_code=True)
        assert verify(work).is_verified
        run(program_of(work))
    assert program_of(Work(asked="Write f.", answer=plain, tests="assert f(1) == 1")) is None


def test_where_code_is_wanted_an_answer_without_any_fails() -> None:
    essay, word = "I would write a loop that goes over the list.", "Paris"

    assert "cannot be parsed" in checked(essay, wants_code=True).request
    assert "no Python code" in checked(word, wants_code=True).request
    assert passed(checked(word), "code") is None


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ("assert f(2) == 4", "assert f(2) == 4"),
        ("f(2) == 4\nf(3) == 6", "assert f(2) == 4\nassert f(3) == 6"),
        ("f(2) -> 4\n- `f(3)` returns 6.", "assert f(2) == (4)\nassert f(3) == (6)"),
        ("if f(2) != 4:\n    raise ValueError", "if f(2) != 4:\n    raise ValueError"),
        ("f(2) -> 4\nand so on", None),
        ("f('\\d') == 1", "assert f('\\\\d') == 1"),
        ("it should work", None),
        ("x = 1", None),
    ],
)
def test_a_callers_tests_are_assertions_or_cases_and_none_of_them_is_passed_over(
    tests: str, program: str | None
) -> None:
    assert given_tests(tests) == program


# Hostile


@given(answer=st.text(max_size=400), asked=st.text(max_size=200), given_text=st.text(max_size=400))
def test_no_text_makes_a_check_fail_unexpectedly(answer: str, asked: str, given_text: str) -> None:
    for finding in checked(answer, asked, given=given_text, schema=SCHEMA).findings:
        assert finding.detail


@pytest.mark.parametrize("piece", ["(((1 + ", "1 + ", "```python\n", '"aaaa aaaa ', "> ", "2**", "f(1) == ", "- "])
def test_long_repetitive_answers_are_checked_in_no_time(piece: str) -> None:
    answer = piece * (200_000 // len(piece))

    verify(Work(asked=answer, answer=answer, given=answer[:50_000]))
    program_of(Work(asked=answer, answer=answer))
