"""JSON-LD and OpenGraph: what a page states about itself in machine-readable form.

JSON-LD scripts are read as publishers write them: wrapped in comments or CDATA marks, with raw line breaks inside
strings. A script that is still no JSON is left out.
"""

import json
import re
from collections.abc import Iterator

import msgspec
from lxml.html import HtmlElement

from cleaning.document import StructuredData
from cleaning.tree import collapse

MAX_JSON_LD_CHARACTERS = 1_000_000
MAX_JSON_LD_SCRIPTS = 100
MAX_NODES = 5000
MAX_PROPERTIES = 500
MAX_PROPERTY_CHARACTERS = 5000

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
JsonObject = dict[str, JsonValue]

_OPEN_GRAPH = re.compile(r"(?:og|article|product|book|profile|music|video):[\w:.-]+", re.I)
_CONTAINERS = ("@graph", "mainEntity", "mainEntityOfPage", "itemListElement", "item", "subjectOf", "about")


class ReadStructuredData(msgspec.Struct, frozen=True):
    """`data` as it goes into a document, and the JSON-LD values behind it for the steps that read them."""

    data: StructuredData
    values: tuple[JsonValue, ...]

    def nodes(self) -> Iterator[JsonObject]:
        """Visit the JSON-LD objects, those inside `@graph`, lists and main entities too, outer before inner."""
        stack: list[JsonValue] = list(reversed(self.values))
        for _ in range(MAX_NODES):
            if not stack:
                return
            value = stack.pop()
            if isinstance(value, list):
                stack.extend(reversed(value))
            elif isinstance(value, dict):
                yield value
                stack.extend(value[key] for key in reversed(_CONTAINERS) if isinstance(value.get(key), (dict, list)))

    def open_graph(self, name: str) -> str | None:
        """First value of an OpenGraph property, by its lower-case name."""
        return next((value for key, value in self.data.open_graph if key == name), None)


def types_of(node: JsonObject) -> tuple[str, ...]:
    """Return a node's `@type` names without their vocabulary prefix."""
    declared = node.get("@type")
    names = declared if isinstance(declared, list) else [declared]
    return tuple(re.split(r"[/#:]", name)[-1] for name in names if isinstance(name, str))


def extract_structured_data(root: HtmlElement) -> ReadStructuredData:
    """Read every JSON-LD script and OpenGraph property of a page."""
    texts: list[str] = []
    values: list[JsonValue] = []
    size = 0
    for script in root.iter("script"):
        if not (script.get("type") or "").strip().lower().startswith("application/ld+json"):
            continue
        source = script.text or ""
        size += len(source)
        if size > MAX_JSON_LD_CHARACTERS or len(texts) == MAX_JSON_LD_SCRIPTS:
            break
        read = _read_json(source)
        if read is not None:
            text, value = read
            texts.append(text)
            values.append(value)
    return ReadStructuredData(StructuredData(tuple(texts), _open_graph(root)), tuple(values))


def _read_json(source: str) -> tuple[str, JsonValue] | None:
    """Return the JSON text without white space, and its value. None unless it is an object or a list."""
    source = _strip_wrapping(source)
    try:
        value: JsonValue = json.loads(source, strict=False)
        # Encoding refuses what JSON text in UTF-8 cannot carry: lone surrogates, numbers beyond its range.
        text = msgspec.json.encode(value).decode()
    except (ValueError, RecursionError, OverflowError):
        return None
    return (text, value) if isinstance(value, (dict, list)) and value else None


def _strip_wrapping(source: str) -> str:
    """Cut what stands before the first brace and behind the last: comment and CDATA marks, a trailing semicolon."""
    source = source.replace("<![CDATA[", "").replace("]]>", "")
    start = min((place for place in (source.find("{"), source.find("[")) if place >= 0), default=0)
    end = max(source.rfind("}"), source.rfind("]"))
    return source[start : end + 1]


def _open_graph(root: HtmlElement) -> tuple[tuple[str, str], ...]:
    pairs: dict[tuple[str, str], None] = {}
    for meta in root.iter("meta"):
        name = (meta.get("property") or meta.get("name") or "").strip()
        content = collapse(meta.get("content") or "")[:MAX_PROPERTY_CHARACTERS]
        if content and len(name) <= 100 and _OPEN_GRAPH.fullmatch(name):
            pairs[name.lower(), content] = None
            if len(pairs) == MAX_PROPERTIES:
                break
    return tuple(pairs)
