"""Microdata (WHATWG HTML, 5) and RDFa Lite 1.1: what a page's markup says of things, as JSON-LD would say it."""

from lxml.html import HtmlElement

from cleaning.structured_data import JsonObject, JsonValue
from cleaning.tree import collapse, text_of

MAX_ITEMS = 1_000
MAX_PROPERTIES = 5_000
MAX_VALUE_CHARACTERS = 5_000
_REFERENCES = {"a": "href", "area": "href", "link": "href", "img": "src", "audio": "src", "embed": "src",
               "iframe": "src", "source": "src", "track": "src", "video": "src", "object": "data"}  # fmt: skip


class _Vocabulary:
    """The names that one of the two ways of marking up gives its attributes."""

    def __init__(self, scope: str, name: str, type_: str) -> None:
        self.scope, self.name, self.type = scope, name, type_


_MICRODATA = _Vocabulary("itemscope", "itemprop", "itemtype")
_RDFA = _Vocabulary("typeof", "property", "typeof")


def read_items(root: HtmlElement) -> list[JsonObject]:
    """Collect the outermost items of a page, in page order, microdata before RDFa."""
    items: list[JsonObject] = []
    for vocabulary in (_MICRODATA, _RDFA):
        budget = [MAX_PROPERTIES]
        for element in root.xpath(f"//*[@{vocabulary.scope}]"):
            is_inner = element.get(vocabulary.name) is not None and any(
                above.get(vocabulary.scope) is not None for above in element.iterancestors()
            )
            if not is_inner:
                items.append(_item(element, vocabulary, budget))
            if len(items) == MAX_ITEMS or budget[0] <= 0:
                break
    return items


def _item(element: HtmlElement, vocabulary: _Vocabulary, budget: list[int]) -> JsonObject:
    item: JsonObject = {}
    if type_ := collapse(element.get(vocabulary.type) or ""):
        item["@type"] = type_
    _collect(element, item, vocabulary, budget)
    return item


def _collect(element: HtmlElement, item: JsonObject, vocabulary: _Vocabulary, budget: list[int]) -> None:
    for child in element:
        if not isinstance(child.tag, str) or budget[0] <= 0:
            continue
        names = (child.get(vocabulary.name) or "").split()
        is_item = child.get(vocabulary.scope) is not None
        if names:
            budget[0] -= 1
            value = _item(child, vocabulary, budget) if is_item else _value(child)
            for name in names:
                _add(item, name.rpartition(":")[2].rpartition("/")[2], value)
        if not is_item:
            _collect(child, item, vocabulary, budget)


def _add(item: JsonObject, name: str, value: JsonValue) -> None:
    if value in ("", None):
        return
    before = item.get(name)
    if before is None:
        item[name] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        item[name] = [before, value]


def _value(element: HtmlElement) -> str:
    """The value of a property (WHATWG HTML, 5.2.4; RDFa also lets `content` stand on any element)."""
    if (content := element.get("content")) is not None:
        return collapse(content)[:MAX_VALUE_CHARACTERS]
    if attribute := _REFERENCES.get(element.tag):
        return (element.get(attribute) or "").strip()[:MAX_VALUE_CHARACTERS]
    if element.tag in {"data", "meter"} and (value := element.get("value")):
        return collapse(value)
    if element.tag == "time" and (moment := element.get("datetime")):
        return collapse(moment)
    return text_of(element, limit=MAX_VALUE_CHARACTERS)
