"""JSON schemas as a host pays for them: everything that does not help a model to call a tool costs its tokens.

pydantic's titles repeat the names; ``null`` beside every optional argument says only that it may be left out; in a result, what
a field may hold is told by the value itself, so the schema keeps names, types and the descriptions that carry meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

Object = dict[str, Any]

_SAID_BY_THE_VALUE = frozenset({"enum", "required", "additionalProperties", "default", "minimum", "maximum"})


def input_schema(schema: Object) -> Object:
    """The arguments of a tool: strict and described, without what an optional argument has anyway."""
    return _Diet(definitions=schema.get("$defs", {}), dropped=frozenset(), nullable=False).lean(schema)


def output_schema(schema: Object) -> Object:
    """The data of a result: the names of its fields, with their types. What is inside of them, their own names tell."""
    named: dict[str, Object] = schema.get("$defs", {})
    definitions = {
        name: {key: part for key, part in row.items() if key not in ("description", "properties")}
        for name, row in named.items()
    }
    fields = _Diet(definitions=definitions, dropped=_SAID_BY_THE_VALUE | {"items"}, nullable=True).lean(schema)
    return {key: part for key, part in fields.items() if key != "description"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Diet:
    """What is left out. Our models nest and never recur, so every definition can stand where it is referred to."""

    definitions: dict[str, Object]
    dropped: frozenset[str]
    nullable: bool

    def lean(self, node: Object) -> Object:
        node = self._collapsed(self._resolved(node))
        gone = self.dropped | {"$defs", "title"}
        return {key: self._part(key, part) for key, part in node.items() if key not in gone}

    def _part(self, key: str, part: object) -> object:
        if key == "properties":
            return {name: self.lean(row) for name, row in cast("dict[str, Object]", part).items()}
        if isinstance(part, dict):
            return self.lean(cast("Object", part))
        if isinstance(part, list):
            return [self._part("", item) for item in cast("list[object]", part)]
        return part

    def _resolved(self, node: Object) -> Object:
        if "$ref" not in node:
            return node
        name = str(node["$ref"]).rsplit("/", 1)[1]
        return {**self.definitions[name], **{key: part for key, part in node.items() if key != "$ref"}}

    def _collapsed(self, node: Object) -> Object:
        """``X or null`` as X, or as a type that may be null."""
        choices: list[Object] = node.get("anyOf", [])
        values = [self._resolved(choice) for choice in choices if choice != {"type": "null"}]
        if len(values) != 1 or len(choices) != 2:  # noqa: PLR2004 - X, and null
            return node
        beside = {key: part for key, part in node.items() if key not in ("anyOf", "default")}
        either = {"type": [values[0]["type"], "null"]} if self.nullable else {}
        return {**values[0], **beside, **either}
