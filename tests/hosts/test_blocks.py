"""YAML: one entry changes, and nothing else does."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hosts import blocks

PATH = ("extensions", "pointsman")
ENTRY = {"type": "stdio", "cmd": "C:\\Program Files\\python.exe", "args": ["server.py"], "envs": {"KEY": "a: b # c"}}
CONFIG = """\
# my goose
GOOSE_PROVIDER: openai   # the default

extensions:
  # built in
  developer:
    enabled: true
    type: builtin

  memory: {enabled: false}   # not now
# the end
GOOSE_MODE: |
  auto
"""
NAMES = st.sampled_from(["developer", "a b", "käse", "on", "1", "x: y", "#"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab \n:#'\"-", max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A file with at least one extension, a comment or an empty line before each of its keys."""
    value = {
        "before": draw(VALUES),
        "extensions": draw(st.dictionaries(NAMES, VALUES, min_size=1)),
        "after": draw(VALUES),
    }
    text = "".join(
        draw(st.sampled_from(["", "# note\n", "\n"]))
        + yaml.safe_dump({key: each}, allow_unicode=True, default_flow_style=False)
        for key, each in value.items()
    )
    return value, text if draw(st.booleans()) else text.replace("\n", "\r\n")


@given(file=files())
def test_an_entry_is_added_and_taken_out_again_to_the_very_same_bytes(file: tuple[dict[str, Any], str]) -> None:
    value, text = file
    after = blocks.with_value(text, PATH, ENTRY)

    assert yaml.safe_load(after) == {**value, "extensions": {**value["extensions"], "pointsman": ENTRY}}
    assert blocks.with_value(after, PATH, ENTRY) == after
    assert blocks.without(after, PATH) == text


def test_a_new_entry_is_lines_of_its_own_before_the_others() -> None:
    after = blocks.with_value(CONFIG, PATH, {"cmd": "x", "args": ["y"]})
    assert after == CONFIG.replace("  developer:\n", "  pointsman:\n    cmd: x\n    args:\n    - y\n  developer:\n")


def test_an_entry_is_exchanged_or_taken_out_between_others_and_their_comments_stay() -> None:
    text = CONFIG.replace(
        "  memory:", "  # ours\n  pointsman:\n    cmd: x  # old\n    description: |\n      two\n      lines\n  memory:"
    )

    assert blocks.with_value(text, PATH, {"cmd": "y"}) == CONFIG.replace(
        "  memory:", "  # ours\n  pointsman:\n    cmd: y\n  memory:"
    )
    assert blocks.without(text, PATH) == CONFIG.replace("  memory:", "  # ours\n  memory:")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "extensions:\n  pointsman:\n    cmd: x\n"),
        ("a: 1", "a: 1\nextensions:\n  pointsman:\n    cmd: x\n"),
        ("# only a comment\n", "# only a comment\nextensions:\n  pointsman:\n    cmd: x\n"),
        ("extensions:\n", "extensions:\n  pointsman:\n    cmd: x\n"),
        ("extensions: {}\nb: 2\n", "extensions:\n  pointsman:\n    cmd: x\nb: 2\n"),
        ("extensions: # none yet\nb: 2\n", "extensions:\n  pointsman:\n    cmd: x # none yet\nb: 2\n"),
        ("extensions: {a: 1} # flow\n", 'extensions: {"a": 1, "pointsman": {"cmd": "x"}} # flow\n'),
        ("{a: 1}\n", '{"a": 1, "extensions": {"pointsman": {"cmd": "x"}}}\n'),
    ],
)
def test_a_file_without_a_block_of_extensions_gets_one(text: str, after: str) -> None:
    assert blocks.with_value(text, PATH, {"cmd": "x"}) == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("extensions:\n  pointsman:\n    cmd: x", "extensions: {}\n"),
        ("extensions: # mine\n  pointsman:\n    cmd: x\nb: 2\n", "extensions: {} # mine\nb: 2\n"),
        ("extensions: {a: 1, pointsman: {}}\n", 'extensions: {"a": 1}\n'),
        ('{"extensions": {"pointsman": {}}}', '{"extensions": {}}'),
        ("extensions:\n  a: 1\n", "extensions:\n  a: 1\n"),
        ("a: 1\n", "a: 1\n"),
        ("", ""),
    ],
)
def test_taking_out_the_only_entry_leaves_an_empty_mapping(text: str, after: str) -> None:
    assert blocks.without(text, PATH) == after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\n", "line 2"),
        ("- 1\n", "no mapping"),
        ("extensions: [1]\n", "extensions is no mapping"),
        ("a: 1\n---\nb: 2\n", "line 2"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        blocks.with_value(text, PATH, ENTRY)
