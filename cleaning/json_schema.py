"""JSON Schemas as labs write them: checked before they are used, and values held against them.

Nothing is fetched for a schema: its references stay inside it.
"""

import functools
from collections.abc import Mapping

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from cleaning.structured_data import JsonObject, JsonValue

MAX_SCHEMA_BYTES = 65_536
MAX_SCHEMA_DEPTH = 30
MAX_FAULTS = 20
_REGISTRY: "Registry[bool | Mapping[str, object]]" = Registry()


def schema_fault(schema: JsonValue) -> str | None:
    """Say why a value cannot be used as a schema; None for one that can."""
    if not isinstance(schema, dict):
        return "it is no object"
    if len(msgspec.json.encode(schema)) > MAX_SCHEMA_BYTES:
        return f"it is longer than {MAX_SCHEMA_BYTES} bytes"
    if (fault := _reference_fault(schema, 0)) is not None:
        return fault
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"it is no JSON Schema: {error.message[:200]} at /{'/'.join(str(step) for step in error.absolute_path)}"
    if not any(name in schema for name in ("properties", "items", "$ref", "anyOf", "oneOf", "allOf")):
        return "it names no properties"
    return None


def schema_of(text: str) -> JsonObject:
    """Return the schema of a text that `schema_fault` found nothing wrong with."""
    return _read(text)


def faults_of(text: str, value: JsonValue) -> tuple[str, ...]:
    """Say where a value does not match a schema, as `/price: 'x' is not of type 'number'`."""
    validator = Draft202012Validator(_read(text), registry=_REGISTRY)
    found: list[str] = []
    try:
        for error in validator.iter_errors(value):
            found.append(_words(error))
            if len(found) == MAX_FAULTS:
                break
    except (Unresolvable, RecursionError) as error:
        found.append(f"the schema cannot be followed to its end: {str(error)[:200]}")
    return tuple(found)


@functools.lru_cache(maxsize=100)
def _read(text: str) -> JsonObject:
    read: JsonValue = msgspec.json.decode(text)
    return read if isinstance(read, dict) else {}


def _words(error: ValidationError) -> str:
    return f"/{'/'.join(str(step) for step in error.absolute_path)}: {error.message[:200]}"


def _reference_fault(value: JsonValue, depth: int) -> str | None:
    if depth > MAX_SCHEMA_DEPTH:
        return f"it is nested deeper than {MAX_SCHEMA_DEPTH}"
    if isinstance(value, dict):
        for name in ("$ref", "$dynamicRef"):
            reference = value.get(name)
            if isinstance(reference, str) and not reference.startswith("#"):
                return f"{name} {reference[:80]!r} leads out of the schema; write what it names under $defs"
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((fault for item in inner if (fault := _reference_fault(item, depth + 1)) is not None), None)
