"""YAML: one entry of a mapping changed, every other byte kept.

PyYAML reads the text and says where each node lies. An entry in block style is written, exchanged or cut as lines of its own; a
mapping in flow style (``{…}``) is written anew, which YAML lets us do as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeGuard, cast

import yaml

_ENDLESS = 1 << 30
"""A line width at which PyYAML breaks no string."""


def parsed(text: str) -> Mapping[str, object]:
    """The mapping that the text holds; an empty text holds an empty one.

    Raises:
        ValueError: it is no YAML, or no mapping; the message names line and column.

    """
    try:
        value: object = yaml.safe_load(text)
    except yaml.YAMLError as problem:
        raise ValueError(" ".join(str(problem).split())) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return _mapping({} if value is None else value, "it")


def with_value(text: str, path: Sequence[str], value: object) -> str:
    """The text with this value at that path of two keys, the container's and the entry's.

    Raises:
        ValueError: the text is no YAML, or the container is no mapping.

    """
    outer, key = path
    present = _contained(text, outer)
    if key in present and present[key] == value:
        return text
    root, container = _nodes(text, outer)
    if root is not None and root.flow_style:
        return _in_flow(text, root, {**parsed(text), outer: {**present, key: value}})
    if container is None:
        return _appended(text, {outer: {key: value}})
    if not present:
        return _filled(text, container, {key: value})
    if not _is_block(container):
        return _in_flow(text, container, {**present, key: value})
    first = container.value[0][0].start_mark
    indent = " " * first.column
    start, end = _lines_of(text, container, key) if key in present else (first.index - first.column,) * 2
    return text[:start] + _written({key: value}, indent, text) + text[end:]


def without(text: str, path: Sequence[str]) -> str:
    """The text without the entry at that path; the same text where there is none.

    Raises:
        ValueError: the text is no YAML, or the container is no mapping.

    """
    outer, key = path
    rest = dict(_contained(text, outer))
    root, container = _nodes(text, outer)
    if key not in rest or root is None or container is None:
        return text
    del rest[key]
    if root.flow_style:
        return _in_flow(text, root, {**parsed(text), outer: rest})
    if not _is_block(container):
        return _in_flow(text, container, rest)
    start, end = _lines_of(text, container, key)
    text = text[:start] + text[end:]
    return text if rest else _emptied(text, outer)


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no mapping")  # noqa: TRY004 - the text is wrong, not a type
    return cast("Mapping[str, object]", value)


def _contained(text: str, outer: str) -> Mapping[str, object]:
    value = parsed(text).get(outer)
    return _mapping({} if value is None else value, outer)


def _nodes(text: str, outer: str) -> tuple[yaml.MappingNode | None, yaml.Node | None]:
    """The outermost mapping, and what stands under that key of it."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None, None
    return root, next((value for key, value in reversed(root.value) if key.value == outer), None)


def _is_block(node: yaml.Node) -> TypeGuard[yaml.MappingNode]:
    return isinstance(node, yaml.MappingNode) and not node.flow_style


def _lines_of(text: str, container: yaml.MappingNode, key: str) -> tuple[int, int]:
    """Where the lines of an entry begin and end; comments below it belong to what follows."""
    name, value = next(pair for pair in reversed(container.value) if pair[0].value == key)
    last = _last_of(value)
    if last.end_mark.column == 0 and last.end_mark.index > name.end_mark.index:
        return name.start_mark.index - name.start_mark.column, last.end_mark.index
    newline = text.find("\n", last.end_mark.index)
    return name.start_mark.index - name.start_mark.column, newline + 1 or len(text)


def _last_of(node: yaml.Node) -> yaml.Node:
    """The innermost node that ends a node: a block's own end is only where the next thing begins."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_of(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _last_of(node.value[-1])
    return node


def _appended(text: str, value: Mapping[str, object]) -> str:
    apart = "" if not text or text.endswith("\n") else _newline(text)
    return text + apart + _written(value, "", text)


def _filled(text: str, container: yaml.Node, value: Mapping[str, object]) -> str:
    """The text with a block where a key has nothing, or ``{}``."""
    before, after = text[: container.start_mark.index].rstrip(" "), text[container.end_mark.index :]
    block = _written(value, "  ", text)
    return before + _newline(text) + (block.rstrip("\r\n") + after if after.strip(" ") else block)


def _emptied(text: str, outer: str) -> str:
    _, container = _nodes(text, outer)
    at = container.start_mark.index if container else len(text)
    return f"{text[:at]} {{}}{text[at:]}"


def _in_flow(text: str, node: yaml.Node, value: Mapping[str, object]) -> str:
    written = json.dumps(value, ensure_ascii=False)
    return text[: node.start_mark.index] + written + text[node.end_mark.index :]


def _written(value: Mapping[str, object], indent: str, text: str) -> str:
    """As a block, each line indented and ended as the text's are."""
    dumped = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=_ENDLESS)
    return "".join(f"{indent}{line}{_newline(text)}" for line in dumped.splitlines())


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"
