"""JSON with comments: one value changes, and nothing else does."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts import jsonc

PATH = ("mcpServers", "pointsman")
ENTRY = {"command": "/a b/python", "args": ["/a b/server.py"]}
OURS = 123_456
KEYS = st.sampled_from(["mcpServers", "pointsman", "a", "b // c", 'qu"ote', "käse", "", "x,]}"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just("/* no comment */ // none , }"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
BLANK = st.sampled_from(
    ["", "", " ", "\n", "\r\n", "\n\t", " // it's, {here}\n", "/* a }, \n b */", "\n  // own line\r\n  "]
)


@st.composite
def written(draw: st.DrawFn, value: object) -> str:
    """Some way to write a value, with blanks, comments and trailing commas wherever they are allowed."""
    if isinstance(value, dict):
        pairs = cast("dict[str, object]", value)
        members = [
            json.dumps(key) + (f":{each}" if each == OURS else f"{draw(BLANK)}:{draw(BLANK)}{draw(written(each))}")
            for key, each in pairs.items()
        ]
        return "{" + draw(joined(members)) + "}"
    if isinstance(value, list):
        items = cast("list[object]", value)
        return "[" + draw(joined([draw(written(each)) for each in items])) + "]"
    return json.dumps(value, ensure_ascii=draw(st.booleans()))


@st.composite
def joined(draw: st.DrawFn, parts: list[str]) -> str:
    trailing = draw(st.booleans())
    commas = [*("," for _ in parts[1:]), "," if trailing else ""]
    inside = (f"{draw(BLANK)}{part}{draw(BLANK)}{comma}" for part, comma in zip(parts, commas, strict=False))
    return "".join(inside) + draw(BLANK)


@st.composite
def files(draw: st.DrawFn, servers: st.SearchStrategy[Any]) -> tuple[dict[str, Any], str]:
    """A file that has servers, as a value and as it is written."""
    outside = draw(st.dictionaries(KEYS, VALUES, max_size=3))
    keys = draw(st.permutations([*(outside.keys() - {"mcpServers"}), "mcpServers"]))
    value = {key: draw(servers) if key == "mcpServers" else outside[key] for key in keys}
    return value, draw(st.sampled_from(["", "\ufeff"])) + draw(BLANK) + draw(written(value)) + draw(BLANK)


OTHERS = st.dictionaries(KEYS.filter(lambda key: key != "pointsman"), VALUES, min_size=1, max_size=3)


@given(file=files(OTHERS))
def test_adding_an_entry_inserts_one_piece_and_keeps_every_other_byte(file: tuple[dict[str, Any], str]) -> None:
    value, text = file
    after = jsonc.with_value(text, PATH, ENTRY)

    assert jsonc.parsed(after) == {**value, "mcpServers": {**value["mcpServers"], "pointsman": ENTRY}}
    same = next((at for at, (old, new) in enumerate(zip(text, after, strict=False)) if old != new), len(text))
    assert after.endswith(text[same:])


@given(file=files(OTHERS))
def test_what_is_added_and_taken_out_again_leaves_the_very_same_bytes(file: tuple[dict[str, Any], str]) -> None:
    _, text = file
    assert jsonc.without(jsonc.with_value(text, PATH, ENTRY), PATH) == text


@given(file=files(st.dictionaries(KEYS, VALUES, max_size=3)), entry=st.dictionaries(KEYS, VALUES, max_size=3))
def test_any_file_can_be_given_any_entry_and_a_second_time_changes_nothing(
    file: tuple[dict[str, Any], str], entry: dict[str, Any]
) -> None:
    value, text = file
    after = jsonc.with_value(text, PATH, entry)

    assert jsonc.parsed(after) == {**value, "mcpServers": {**value["mcpServers"], "pointsman": entry}}
    assert jsonc.with_value(after, PATH, entry) == after


@st.composite
def with_ours_somewhere(draw: st.DrawFn) -> dict[str, Any]:
    others = draw(st.dictionaries(KEYS.filter(lambda key: key != "pointsman"), VALUES, max_size=3))
    return {key: others.get(key, OURS) for key in draw(st.permutations([*others, "pointsman"]))}


@given(file=files(with_ours_somewhere()))
def test_an_entry_is_taken_out_wherever_it_stands_and_every_comment_stays(file: tuple[dict[str, Any], str]) -> None:
    value, text = file
    after = jsonc.without(text, PATH)

    rest = {key: each for key, each in value["mcpServers"].items() if key != "pointsman"}
    assert jsonc.parsed(after) == {**value, "mcpServers": rest}
    assert _comments(after) == _comments(text)


@given(value=with_ours_somewhere(), indent=st.sampled_from([None, 2, "\t"]))
def test_strict_json_stays_strict(value: dict[str, Any], indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    rest = {key: each for key, each in value.items() if key != "pointsman"}

    assert json.loads(jsonc.with_value(text, ("new",), ENTRY)) == {**value, "new": ENTRY}
    assert json.loads(jsonc.without(text, ("pointsman",))) == rest


def _comments(text: str) -> list[str]:
    found = re.finditer(r'"(?:[^"\\]|\\.)*"|(//[^\r\n]*|/\*.*?\*/)', text, re.DOTALL)
    return [match[1].rstrip() for match in found if match[1]]


def test_a_new_entry_stands_first_with_the_indentation_of_its_neighbours() -> None:
    text = '{\n\t// my servers\n\t"mcpServers": {\n\t\t"a": {}, // the first\n\t},\n}\n'
    new = '\n\t\t"pointsman": {\n\t\t\t"command": "x"\n\t\t},'
    assert jsonc.with_value(text, PATH, {"command": "x"}) == text.replace('{\n\t\t"a"', f'{{{new}\n\t\t"a"')


def test_missing_objects_are_made_on_the_way() -> None:
    assert jsonc.with_value("", PATH, {}) == '{\n  "mcpServers": {\n    "pointsman": {}\n  }\n}\n'
    assert jsonc.with_value("{}\r\n", ("a",), 1) == '{\r\n  "a": 1\r\n}\r\n'
    assert jsonc.with_value("// only a comment", ("a",), 1) == '// only a comment\n{\n  "a": 1\n}\n'
    assert jsonc.with_value('{"x":1}', ("a",), 1) == '{ "a": 1,"x":1}'


def test_a_present_entry_changes_only_where_it_differs() -> None:
    text = '{"mcpServers": {"pointsman": {"command": "old", /* mine */ "disabled": true, "args": ["x"]}}}'
    wanted = {"command": "new", "disabled": True, "args": ["x"]}
    assert jsonc.with_value(text, PATH, wanted) == text.replace("old", "new")


def test_of_keys_that_stand_twice_the_last_counts_and_both_go() -> None:
    text = '{"mcpServers": {"pointsman": 1, "pointsman": 2, "a": 3}}'
    assert jsonc.parsed(jsonc.with_value(text, PATH, 5))["mcpServers"] == {"pointsman": 5, "a": 3}
    assert jsonc.without(text, PATH) == '{"mcpServers": { "a": 3}}'


def test_an_emptied_object_is_closed_up() -> None:
    assert jsonc.without('{\n  "mcpServers": {\n    "pointsman": {}\n  }\n}\n', PATH) == '{\n  "mcpServers": {}\n}\n'
    assert jsonc.without('{"mcpServers": {"pointsman": {} /* mine */}}', PATH) == '{"mcpServers": { /* mine */}}'


def test_taking_out_an_entry_never_lets_a_comment_swallow_the_rest_of_its_line() -> None:
    text = '{"mcpServers": { // note\n  "pointsman": {}, "b": 1\n}}'
    assert jsonc.parsed(jsonc.without(text, PATH)) == {"mcpServers": {"b": 1}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n  // fine\n  a: 1\n}", "line 3, column 3"),
        ('{"a": 1', "line 1"),
        ('{"a": 1,,}', "line 1"),
        ("[1]", "no object"),
        ('{"mcpServers": []}', "mcpServers is no object"),
        ("[" * 100_000, "nested"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        jsonc.with_value(text, PATH, ENTRY)
