"""JSON schemas as a host pays for them: everything that does not help a model to call a tool costs its tokens.

pydantic's titles repeat the names; ``null`` beside every optional argument says only that it may be left out; in a result, what
a field may hold is told by the value itself, so the schema keeps names, types and the descriptions that carry meaning.
"""

from __future__ import annotations

from typing import Any, TypeAlias, cast

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Object = dict[str, Any]

_SAID_BY_THE_VALUE = frozenset({"enum", "required", "additionalProperties", "default", "minimum", "maximum", "$defs"})


def input_schema(schema: Object) -> Object:
    """The arguments of a tool: strict, described, and without what an optional argument has anyway."""
    definitions = schema.get("$defs", {})
    return cast("Object", _without(_inlined(schema, definitions), frozenset({"$defs"}), nullable=False))


def output_schema(schema: Object) -> Object:
    """The data of a result: the names of its fields, with their types."""
    definitions = {name: {**row, "description": None} for name, row in schema.get("$defs", {}).items()}
    return cast("Object", _without(_inlined(schema, definitions), _SAID_BY_THE_VALUE, nullable=True))


def _inlined(node: Json, definitions: Object) -> Json:
    """Every ``$ref`` replaced by what it refers to; our models nest, they never recur."""
    match node:
        case {"$ref": str(reference)}:
            beside = {key: value for key, value in node.items() if key != "$ref"}
            return _inlined({**definitions[reference.rsplit("/", 1)[1]], **beside}, definitions)
        case dict():
            return {key: _inlined(value, definitions) for key, value in node.items()}
        case list():
            return [_inlined(item, definitions) for item in node]
        case _:
            return node


def _without(node: Json, keys: frozenset[str], *, nullable: bool) -> Json:
    match node:
        case {"anyOf": [dict(value), {"type": "null"}]}:
            beside = {key: part for key, part in node.items() if key not in ("anyOf", "default")}
            merged: Json = {**value, **beside}
            lean = _without(merged, keys, nullable=nullable)
            return {**lean, "type": [value["type"], "null"]} if nullable and isinstance(lean, dict) else lean
        case {"properties": dict(properties)}:
            kept = {name: _without(part, keys, nullable=nullable) for name, part in properties.items()}
            rest = {key: part for key, part in node.items() if key != "properties"}
            return {**cast("Object", _without(rest, keys, nullable=nullable)), "properties": kept}
        case dict():
            dropped = keys | {"title"}
            return {
                key: _without(part, keys, nullable=nullable)
                for key, part in node.items()
                if key not in dropped and part is not None
            }
        case list():
            return [_without(item, keys, nullable=nullable) for item in node]
        case _:
            return node
