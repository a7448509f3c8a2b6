"""What a JSON Schema says of one value: its kind, its references followed, whether it may be null."""

from cleaning.property_names import meaning
from cleaning.structured_data import JsonObject, JsonValue

MAX_DEPTH = 12


class Shapes:
    """Reads the parts of one schema."""

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema

    def resolved(self, schema: JsonValue) -> JsonObject | None:
        """A schema with its references followed, and of several choices the first that is not null."""
        for _ in range(MAX_DEPTH):
            if not isinstance(schema, dict):
                return None
            schema = self.followed(schema)
            if not isinstance(schema, dict):
                return None
            choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
            if not isinstance(choices, list) or "properties" in schema:
                return schema
            resolved = (self.followed(choice) for choice in choices)
            picked = next((shape for shape in resolved if isinstance(shape, dict) and kind_of(shape) != "null"), None)
            if picked is None:
                return None
            schema = picked
        return None

    def followed(self, schema: JsonValue) -> JsonValue:
        """A schema with its references followed; None where they lead nowhere."""
        for _ in range(MAX_DEPTH):
            reference = schema.get("$ref") if isinstance(schema, dict) else None
            if not isinstance(reference, str) or not reference.startswith("#"):
                return schema
            schema = self._schema
            for step in reference.removeprefix("#").strip("/").split("/"):
                if step and isinstance(schema, dict):
                    schema = schema.get(step.replace("~1", "/").replace("~0", "~"))
        return None


def kind_of(shape: JsonObject) -> str:
    """Return a schema's type, of several the first that is not null; without one what its keywords suggest."""
    declared = shape.get("type")
    if isinstance(declared, list):
        declared = next((name for name in declared if name != "null"), "null")
    if isinstance(declared, str):
        return declared
    return "object" if "properties" in shape else "array" if "items" in shape else "string"


def may_be_null(shape: JsonValue) -> bool:
    """Tell whether a schema admits null."""
    if not isinstance(shape, dict):
        return False
    declared = shape.get("type")
    choices = shape.get("anyOf") or shape.get("oneOf")
    return (isinstance(declared, list) and "null" in declared) or (
        isinstance(choices, list)
        and any(isinstance(choice, dict) and choice.get("type") == "null" for choice in choices)
    )


def wants_address(shape: JsonObject, name: str) -> bool:
    """Tell whether a property is the address of something: by its format, or by a name that means one."""
    return shape.get("format") in {"uri", "url", "iri", "uri-reference"} or (
        kind_of(shape) == "string" and meaning(name) in {"url", "image", "video"}
    )
