"""JSON with comments and trailing commas: one value changed, every other byte kept.

The text is first made plain: comments and trailing commas become blanks, so that each character keeps its place. The
standard library's decoder then does all the reading, and says where each value ends. What is new is put in front of the other
members of an object: nothing that is there needs a comma, and no comment loses what it stands beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\r\n]*|/\*.*?\*/|\A\ufeff', re.DOTALL)
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=[ \t\r\n]*[}\]])', re.DOTALL)
_BLANKS = re.compile(r"[ \t\r\n]*")
_REST_OF_LINE = re.compile(r"[ \t]*(?=\r?\n)")
_INDENT = re.compile(r"[ \t]*\Z")
_LINE_INDENT = re.compile(r"\A[ \t]*")
_FIRST_INDENT = re.compile(r"\A\s*\{\s*\n([ \t]+)\"")
_ALONE = re.compile(r"[ \t]*,?[ \t]*(?:\r?\n|\Z)")
_DECODER = json.JSONDecoder()

Path = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    key: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Object:
    """Where an object lies: ``start`` is its brace, ``end`` the closing one."""

    start: int
    end: int
    members: tuple[_Member, ...]


def parsed(text: str) -> Mapping[str, object]:
    """The object that the text holds; an empty text holds an empty one.

    Raises:
        ValueError: it is no JSON, or no object; the message names line and column.

    """
    plain = _plain(text)
    if not plain.strip():
        return {}
    try:
        value: object = json.loads(plain)
    except json.JSONDecodeError as problem:
        before = text[: problem.pos]
        line, column = before.count("\n") + 1, problem.pos - before.rfind("\n")
        raise ValueError(f"{problem.msg}, at line {line}, column {column}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - the text is wrong, not a type
    return cast("Mapping[str, object]", value)


def with_value(text: str, path: Path, value: object) -> str:
    """The text with this value at that path; objects on the way are made where they are missing.

    An object that is there is not written anew: its members are changed, added and taken out one by one.

    Raises:
        ValueError: the text is no JSON, or something on the way is no object.

    """
    present: object = parsed(text)
    if not _plain(text).strip():
        text += ("" if not text or text.endswith("\n") else "\n") + "{}\n"
    for depth, key in enumerate(path):
        members = _mapping(present, path[:depth])
        if key not in members:
            return _inserted(text, path[:depth], key, _nested(path[depth + 1 :], value))
        present = members[key]
    return _changed(text, path, present, value)


def without(text: str, path: Path) -> str:
    """The text without the member at that path; the same text where there is none.

    Raises:
        ValueError: the text is no JSON, or something on the way is no object.

    """
    present: object = parsed(text)
    for depth, key in enumerate(path):
        members = _mapping(present, path[:depth])
        if key not in members:
            return text
        present = members[key]
    return without(_removed(text, path), path)


def _changed(text: str, path: Path, present: object, value: object) -> str:
    if present == value:
        return text
    if not (isinstance(present, Mapping) and isinstance(value, Mapping)):
        return _replaced(text, path, value)
    old, new = cast("Mapping[str, object]", present), cast("Mapping[str, object]", value)
    for key in old.keys() - new.keys():
        text = without(text, (*path, key))
    for key in new:
        text = with_value(text, (*path, key), new[key])
    return text


def _mapping(value: object, path: Path) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{'.'.join(path)} is no object")  # noqa: TRY004 - the text is wrong, not a type
    return cast("Mapping[str, object]", value)


def _nested(path: Path, value: object) -> object:
    for key in reversed(path):
        value = {key: value}
    return value


def _uncommented(text: str) -> str:
    """The same text, blanks for comments."""
    return _COMMENT.sub(lambda found: found[1] or " " * len(found[0]), text)


def _plain(text: str) -> str:
    """The same text as strict JSON, each character at its place."""
    return _TRAILING_COMMA.sub(lambda found: found[1] or " ", _uncommented(text))


def _past_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def _object_at(plain: str, start: int) -> _Object:
    """The object whose brace is there; the text was found to be JSON before."""
    members: list[_Member] = []
    at = _past_blanks(plain, start + 1)
    while plain[at] != "}":
        key, colon = _DECODER.raw_decode(plain, at)
        value = _past_blanks(plain, _past_blanks(plain, colon) + 1)
        _, end = _DECODER.raw_decode(plain, value)
        members.append(_Member(key=key, start=at, value=value, end=end))
        at = _past_blanks(plain, end)
        at = _past_blanks(plain, at + 1) if plain[at] == "," else at
    return _Object(start=start, end=at, members=tuple(members))


def _object(text: str, path: Path) -> _Object:
    """Where the object at that path lies; of members of one name the last one counts, as it does for JSON's readers."""
    plain = _plain(text)
    found = _object_at(plain, _past_blanks(plain, 0))
    for key in path:
        found = _object_at(plain, _member(found, key).value)
    return found


def _member(container: _Object, key: str) -> _Member:
    return next(member for member in reversed(container.members) if member.key == key)


def _inserted(text: str, path: Path, key: str, value: object) -> str:
    """The text with a new member in front of the object's others: on a line of its own where they have lines."""
    container = _object(text, path)
    comma = "," if container.members else ""
    indent, newline = _indent_within(text, container), _newline(text)
    own_line = f"{newline}{indent}{json.dumps(key)}: {_dumped(value, indent, text)}{comma}"
    rest = _REST_OF_LINE.match(_uncommented(text), container.start + 1)
    if rest and rest.end() < container.end:
        return text[: rest.end()] + own_line + text[rest.end() :]
    here = container.start + 1
    if text[here : container.end].strip():
        return text[:here] + f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}{comma}" + text[here:]
    return text[:here] + own_line + newline + _indent_at(text, container.start) + text[container.end :]


def _replaced(text: str, path: Path, value: object) -> str:
    member = _member(_object(text, path[:-1]), path[-1])
    return text[: member.value] + _dumped(value, _indent_at(text, member.start), text) + text[member.end :]


def _removed(text: str, path: Path) -> str:
    """The text without a member, its line, and the one comma that goes with it."""
    container = _object(text, path[:-1])
    member = _member(container, path[-1])
    uncommented = _uncommented(text)
    after = _past_blanks(uncommented, member.end)
    before = [other.end for other in container.members if other.end < member.start]
    cuts = [(_start_of(text, member), member.end)]
    if uncommented[after] == ",":
        cuts.insert(0, (after, after + 1))
    elif before:
        comma = _past_blanks(uncommented, before[-1])
        cuts.append((comma, comma + 1))
    end = container.end
    for first, last in cuts:
        text, end = text[:first] + text[last:], end - (last - first)
    emptied = len(container.members) == 1 and not text[container.start + 1 : end].strip()
    return text[: container.start + 1] + text[end:] if emptied else text


def _start_of(text: str, member: _Member) -> int:
    """Where to cut from: the end of the line before, unless a comment there would then swallow the rest of this line."""
    start = member.start - len(_found(_INDENT, text[: member.start]))
    if not text[:start].endswith("\n"):
        return start
    if not _ALONE.match(text, member.end):
        return member.start
    return start - (2 if text[:start].endswith("\r\n") else 1)


def _indent_within(text: str, container: _Object) -> str:
    """The indentation of the object's members: that of the first where it begins a line."""
    if container.members:
        start = container.members[0].start
        indent = _found(_INDENT, text[:start])
        if text[: start - len(indent)].endswith("\n"):
            return indent
    return _indent_at(text, container.start) + _unit(text)


def _indent_at(text: str, at: int) -> str:
    """The indentation of the line that this place is on."""
    return _found(_LINE_INDENT, text[text.rfind("\n", 0, at) + 1 : at])


def _unit(text: str) -> str:
    """One step of indentation, as the file's outermost members have it."""
    first = _FIRST_INDENT.search(_uncommented(text))
    return first[1] if first else "  "


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[0] if found else ""


def _dumped(value: object, indent: str, text: str) -> str:
    lines = json.dumps(value, indent=_unit(text), ensure_ascii=False).split("\n")
    return f"{_newline(text)}{indent}".join(lines)
