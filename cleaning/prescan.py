"""A linear look at the markup before any parser sees it.

Parsers take time quadratic in the depth of the tree and in the attributes of one tag. This scan reads the text once, by
the tokenizer's rules (WHATWG HTML, 13.2.5), and keeps the stack of open elements closely enough to bound the depth of
the tree: it may count too deep on broken markup, and too shallow only by a small constant factor. It is a cheap early
refusal; the guarantee against a stalled parser is that the worker process can be killed.
"""

import re

import msgspec

MAX_DEPTH = 2000
MAX_ATTRIBUTES = 1000

# An attribute takes at least two characters, so a shorter tag cannot hold more than MAX_ATTRIBUTES of them.
_SHORTEST_FLOOD = 2 * MAX_ATTRIBUTES

_SPACE = r"[\t\n\f\r ]"
# Possessive throughout: each character is consumed once, and a failed match is never retried in another way.
_ATTRIBUTE = (
    rf"[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rf"(?:{_SPACE}*+={_SPACE}*+(?:\"[^\"]*+\"?+|'[^']*+'?+|[^\t\n\f\r >\"'][^\t\n\f\r >]*+)?+)?+"
)
_TOKEN = re.compile(
    rf"<(?:"
    rf"!--(?:-?+>|(?:[^-]|-(?!-!?+>))*+(?:--!?+>)?+)"
    rf"|(?P<close>/?+)(?P<name>[a-zA-Z][^\t\n\f\r />]*+)(?P<attributes>(?:[\t\n\f\r /]++|{_ATTRIBUTE})*+)>?+"
    rf"|[!?/][^>]*+>?+)"
)
_ATTRIBUTES = re.compile(_ATTRIBUTE)

_RAW_TEXT = frozenset({"script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes"})
_RAW_TEXT_END = {name: re.compile(rf"</{name}(?=[\t\n\f\r />])", re.I) for name in _RAW_TEXT}

# fmt: off
_VOID = frozenset({
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input", "keygen", "link",
    "meta", "param", "source", "track", "wbr", "image",
})
# A start tag of these ends its open sibling, or they only stand inside an element counted below, with its weight.
_SELF_ENDING = frozenset({
    "html", "head", "body", "p", "li", "dt", "dd", "option", "optgroup", "tr", "td", "th", "thead", "tbody", "tfoot",
    "colgroup", "caption", "rb", "rt", "rp", "rtc",
})
_WEIGHT = {"table": 4, "ul": 2, "ol": 2, "dl": 2, "menu": 2, "select": 2, "ruby": 2}
_FORMATTING = frozenset({
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
})
_SCOPE = frozenset({"table", "template", "object", "applet", "marquee", "svg", "math"})
_SPECIAL = _SCOPE | frozenset({
    "address", "article", "aside", "blockquote", "button", "center", "details", "dir", "div", "dl", "fieldset",
    "figcaption", "figure", "footer", "form", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup",
    "listing", "main", "menu", "nav", "noscript", "ol", "pre", "search", "section", "select", "summary", "ul",
})
# fmt: on


class Prescan(msgspec.Struct, frozen=True):
    """Deepest nesting and most attributes on one tag, each counted only until its limit is passed."""

    depth: int
    attributes: int

    @property
    def too_deep(self) -> bool:
        """Whether elements nest deeper than `MAX_DEPTH`."""
        return self.depth > MAX_DEPTH

    @property
    def too_many_attributes(self) -> bool:
        """Whether one tag carries more than `MAX_ATTRIBUTES` attributes."""
        return self.attributes > MAX_ATTRIBUTES


class _OpenElements:
    """The stack of open elements. Work per tag is constant, or paid for by the elements it closes."""

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._places: dict[str, list[int]] = {}
        self._scopes: list[int] = []
        self._specials: list[int] = []
        self.depth = 0
        self.deepest = 0

    def open(self, name: str) -> None:
        place = len(self._stack)
        self._stack.append(name)
        self._places.setdefault(name, []).append(place)
        if name in _SPECIAL:
            self._specials.append(place)
            if name in _SCOPE:
                self._scopes.append(place)
        self.depth += _WEIGHT.get(name, 1)
        self.deepest = max(self.deepest, self.depth)

    def holds(self, name: str) -> bool:
        return bool(self._places.get(name))

    def close(self, name: str) -> None:
        places = self._places.get(name)
        if not places:
            return
        place = places[-1]
        if name in _FORMATTING:
            # The adoption agency (13.2.6.4.7) takes the element away and leaves what stands inside it open.
            places.pop()
            self._stack[place] = ""
            self.depth -= 1
            return
        barriers = self._scopes if name in _SPECIAL else self._specials
        if barriers and barriers[-1] > place:
            return
        while len(self._stack) > place:
            self._pop()

    def _pop(self) -> None:
        name = self._stack.pop()
        if not name:
            return
        place = self._places[name].pop()
        if self._specials and self._specials[-1] == place:
            self._specials.pop()
        if self._scopes and self._scopes[-1] == place:
            self._scopes.pop()
        self.depth -= _WEIGHT.get(name, 1)


def prescan(text: str) -> Prescan:
    """Measure the nesting and the attributes of an HTML text, in time linear in its length.

    Stops at the first limit passed, so what follows is not counted.
    """
    elements = _OpenElements()
    most_attributes = 0
    position = 0
    match_token = _TOKEN.search
    while (token := match_token(text, position)) is not None:
        position = token.end()
        written = token["name"]
        if written is None:
            continue
        name = written.lower()
        if token["close"]:
            elements.close(name)
            continue
        start, end = token.span("attributes")
        if end - start > _SHORTEST_FLOOD:
            most_attributes = max(most_attributes, _count_attributes(text, start, end))
            if most_attributes > MAX_ATTRIBUTES:
                break
        if name in _VOID or name in _SELF_ENDING:
            continue
        foreign = elements.holds("svg") or elements.holds("math")
        # Behind an unquoted value a slash belongs to the value and closes nothing.
        if foreign and text[end - 1] == "/" and (end - start == 1 or text[end - 2] in "\t\n\f\r \"'"):
            continue
        if name in _RAW_TEXT and not foreign:
            closing = _RAW_TEXT_END[name].search(text, position)
            if closing is None:
                break
            position = closing.start()
            continue
        if name == "plaintext":
            break
        elements.open(name)
        if elements.depth > MAX_DEPTH:
            break
    return Prescan(elements.deepest, most_attributes)


def _count_attributes(text: str, start: int, end: int) -> int:
    count = 0
    for count, _ in enumerate(_ATTRIBUTES.finditer(text, start, end), start=1):
        if count > MAX_ATTRIBUTES:
            break
    return count
