"""Writes the schema as TypeScript declarations, one interface for each signed payload, message and part of one."""

from collections.abc import Mapping
from typing import cast

Schema = Mapping[str, object]

_HEADING = (
    "// Exported from protocol/: change it there, then run `make schema`.\n"
    "// Field meanings and bounds stand in protocol/PROTOCOL.md.\n"
)
_PLAIN = {"string": "string", "integer": "number", "boolean": "boolean", "null": "null"}


def write_declarations(definitions: Mapping[str, Schema]) -> str:
    """Return a TypeScript module for the `$defs` of a JSON Schema. ValueError names a construct it does not know.

    Members that have a default are not optional: a decoder fills them in (PROTOCOL.md, section 2.3).
    """
    return _HEADING + "".join(f"\n{_declaration(name, schema)}" for name, schema in definitions.items())


def _declaration(name: str, schema: Schema) -> str:
    if schema.get("type") != "object":
        return f"export type {name} = {_type(schema)};\n"
    properties = cast("Mapping[str, Schema]", schema["properties"])
    members = "".join(f"  readonly {member}: {_type(value)};\n" for member, value in properties.items())
    return f"export interface {name} {{\n{members}}}\n"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(_literal(value) for value in cast("list[object]", schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(option) for option in cast("list[Schema]", schema["anyOf"]))
    kind = str(schema.get("type"))
    if kind == "array":
        return _list(schema)
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"Readonly<Record<string, {_type(cast('Schema', schema['additionalProperties']))}>>"
    if kind not in _PLAIN:
        raise ValueError(f"no TypeScript is known for {schema}")
    return _PLAIN[kind]


def _list(schema: Schema) -> str:
    if "prefixItems" in schema:
        items = ", ".join(_type(item) for item in cast("list[Schema]", schema["prefixItems"]))
        return f"readonly [{items}]"
    item = _type(cast("Schema", schema["items"]))
    return f"readonly ({item})[]" if "|" in item or " " in item else f"readonly {item}[]"


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
