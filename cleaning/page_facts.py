"""What a page states, in the forms a schema is filled from: things with properties, labels with values, tables."""

import re
from collections.abc import Iterator
from functools import cached_property

import msgspec
from lxml.html import HtmlElement

from cleaning.document import Table
from cleaning.items import read_items
from cleaning.property_names import meaning, meanings
from cleaning.structured_data import JsonObject, JsonValue, ReadStructuredData
from cleaning.tables import extract_tables
from cleaning.tree import collapse, text_of

MAX_THINGS = 3_000
MAX_LABELS = 5_000
MAX_MARKED = 20_000
MAX_VALUE_CHARACTERS = 5_000
_LABEL = re.compile(r"\s*([^:：\n]{2,40}?)\s*[:：]\s+(\S.*)", re.S)
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_FRAME = ("nav", "footer", "aside")
_MARKS = ("class", "id", "data-testid", "data-field", "data-qa", "rel")
_TOKEN = re.compile(r"[\s]+")


class PageFacts:
    """Owns what was read of one page; each part is read when it is first asked for.

    `known` are the values other steps found: title, author, date, language, address, main text.
    """

    def __init__(self, root: HtmlElement, base: str, stated: ReadStructuredData, known: dict[str, str]) -> None:
        self.root, self.base, self._stated, self.known = root, base, stated, known

    @cached_property
    def things(self) -> list[JsonObject]:
        """JSON-LD objects and marked up items, outer before inner."""
        found: list[JsonObject] = []
        stack: list[JsonValue] = [*reversed(read_items(self.root)), *reversed(self._stated.values)]
        while stack and len(found) < MAX_THINGS:
            value = stack.pop()
            if isinstance(value, list):
                stack.extend(reversed(value))
            elif isinstance(value, dict):
                if any(not name.startswith("@") for name in value):
                    found.append(value)
                stack.extend(inner for inner in reversed(list(value.values())) if isinstance(inner, dict | list))
        return found

    @cached_property
    def metas(self) -> dict[str, list[JsonValue]]:
        """`meta` contents by what their name means, without the vocabulary before it."""
        found: dict[str, list[JsonValue]] = {}
        for meta in self.root.iter("meta"):
            name = (meta.get("property") or meta.get("name") or "").strip()
            content = collapse(meta.get("content") or "")[:MAX_VALUE_CHARACTERS]
            if name and content:
                for key in {meaning(name), meaning(re.split(r"[:.]", name, maxsplit=1)[-1])}:
                    found.setdefault(key, []).append(content)
        return found

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The data tables."""
        return extract_tables(self.root)

    @cached_property
    def labels(self) -> dict[str, list[JsonValue]]:
        """Values by what their label means: definition lists, rows of two cells, `Label: value`, headings."""
        found: dict[str, list[JsonValue]] = {}
        for number, (label, value) in enumerate(self._labelled()):
            if label and value and len(label) <= 60:
                for key in meanings(label.rstrip(":： ")):
                    found.setdefault(key, []).append(value)
            if number == MAX_LABELS:
                break
        return found

    def _labelled(self) -> Iterator[tuple[str, str]]:
        for term in self.root.iter("dt"):
            for value in term.itersiblings():
                if value.tag == "dd":
                    yield _text(term), _text(value)
                    break
                if value.tag == "dt":
                    continue
                break
        for row in self.root.iter("tr"):
            cells = [cell for cell in row if cell.tag in {"td", "th"}]
            if len(cells) == 2:
                yield _text(cells[0]), _text(cells[1])
        for element in self.root.iter("p", "li", "div", "span", "td", "label"):
            if len(element) <= 8 and 0 < _own_size(element) <= 400 and (match := _LABEL.fullmatch(_text(element))):
                yield match[1], match[2]
        for heading in self.root.iter(*_HEADINGS[1:]):
            body = [_text(element) for element in _under(heading)]
            yield _text(heading), "\n".join(part for part in body if part)[:MAX_VALUE_CHARACTERS]

    @cached_property
    def marked(self) -> "dict[str, list[HtmlElement]]":
        """Elements by what a word of their class, id or data attributes means; those of the page's frame last."""
        return marked_in(self.root)

    def lists_under(self, keys: tuple[str, ...]) -> list[JsonValue]:
        """Return the items of the list under the first heading or label that means one of the names."""
        for heading in self.root.iter(*_HEADINGS[1:], "dt", "strong", "b"):
            if not set(meanings(_text(heading).rstrip(":： "))) & set(keys):
                continue
            scope = heading if heading.tag in _HEADINGS or heading.tag == "dt" else heading.getparent()
            for element in _under(scope) if scope is not None else []:
                items = element if element.tag in {"ul", "ol"} else next(element.iter("ul", "ol"), None)
                if items is not None and (texts := _items(items)):
                    return list(texts)
        return []


class Record(msgspec.Struct, frozen=True):
    """One of several similar things of a page: its values by name, and the element it stands in, if it has its own."""

    values: JsonObject
    element: HtmlElement | None = None


def marked_in(root: HtmlElement) -> dict[str, list[HtmlElement]]:
    """Find elements by the words of their class, id and data attributes."""
    found: dict[str, list[HtmlElement]] = {}
    framed: dict[str, list[HtmlElement]] = {}
    number = 0
    for element in root.iter():
        if not isinstance(element.tag, str) or element.tag in {"html", "body", "head"}:
            continue
        keys: dict[str, None] = {}
        for mark in _MARKS:
            for token in _TOKEN.split(element.get(mark) or "")[:12]:
                keys.update(dict.fromkeys(meanings(token)) if token else {})
        if not keys:
            continue
        number += 1
        place = framed if next(element.iterancestors(*_FRAME), None) is not None else found
        for key in keys:
            place.setdefault(key, []).append(element)
        if number == MAX_MARKED:
            break
    for key, elements in framed.items():
        found.setdefault(key, []).extend(elements)
    return found


def value_in(element: HtmlElement, *, address: bool) -> str:
    """Return what an element says: its address where one is asked for, a machine-readable value, else its text."""
    if address or element.tag == "img":
        inner = element if element.get("href") or element.get("src") else next(element.iter("img", "a", "source"), None)
        if inner is not None and (found := inner.get("src") or inner.get("href")):
            return str(found).strip()
    if element.tag == "time" and element.get("datetime"):
        return collapse(element.get("datetime"))
    if element.tag in {"meta", "data", "meter", "input"} and (found := element.get("content") or element.get("value")):
        return collapse(found)
    return _text(element)


def table_records(table: Table) -> list[JsonObject]:
    """Return the rows of a table that has a header as objects."""
    if not table.header:
        return []
    return [{name: cell for name, cell in zip(table.header, row, strict=True) if name} for row in table.rows]


def _text(element: HtmlElement) -> str:
    return text_of(element, limit=MAX_VALUE_CHARACTERS)


def _own_size(element: HtmlElement) -> int:
    return sum(len(text) for text in element.itertext())


def _items(element: HtmlElement) -> list[str]:
    return [text for item in element if item.tag == "li" and (text := _text(item))]


def _under(heading: HtmlElement) -> list[HtmlElement]:
    """The elements that follow a heading before the next one, at most 20."""
    found: list[HtmlElement] = []
    for element in heading.itersiblings():
        if element.tag in _HEADINGS or len(found) == 20:
            break
        if isinstance(element.tag, str):
            found.append(element)
    return found
