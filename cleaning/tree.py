"""The parsed page: one lxml tree per page, read by every step after it."""

import re
from collections.abc import Callable, Iterator

from ada_url import URL
from lxml.etree import ErrorTypes, LxmlError, XMLSyntaxError
from lxml.html import HtmlElement, HTMLParser, document_fromstring

LXML_DEPTH = 250
"""libxml2 leaves out what nests deeper than about this; deeper pages take their text from another parser."""

EXTRACTOR_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    LxmlError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What third-party extractors raise on markup they did not expect: never memory, the system, or an interruption."""

_HIDDEN = ("script", "style", "template", "noscript")
_WHITE_SPACE = re.compile(r"\s+")


# lxml carries no types of its own.
_new_parser: Callable[..., HTMLParser] = HTMLParser
_parse: Callable[..., HtmlElement] = document_fromstring


def parse_html(text: str) -> HtmlElement | None:
    """Parse an HTML text. None when the parser finds no element in it; MemoryError when it is given no memory."""
    # Bytes with a fixed encoding: libxml2 would refuse a str that carries an XML encoding declaration.
    parser = _new_parser(
        encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False, default_doctype=False
    )
    try:
        root = _parse(text.encode("utf-8"), parser=parser)
    except (LxmlError, ValueError, AssertionError) as error:
        if isinstance(error, XMLSyntaxError) and error.code == ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("no memory for the parsed page") from error
        return None
    return root


def collapse(text: str) -> str:
    """Join runs of white space into one space and strip the ends."""
    return _WHITE_SPACE.sub(" ", text).strip()


def text_of(element: HtmlElement, *, limit: int, without: tuple[str, ...] = ()) -> str:
    """Text inside an element, white space collapsed, at most `limit` characters.

    Scripts, styles and the elements named in `without` are left out.
    """
    parts: list[str] = []
    size = 0
    for part in _texts(element, _HIDDEN + without):
        parts.append(part)
        size += len(part)
        if size > 4 * limit:
            break
    return collapse("".join(parts))[:limit].rstrip()


def _texts(element: HtmlElement, without: tuple[str, ...]) -> Iterator[str]:
    if element.text:
        yield element.text
    for child in element:
        if isinstance(child.tag, str):
            if child.tag == "br":
                yield " "
            elif child.tag not in without:
                yield from _texts(child, without)
                if child.tag in _BLOCKS:
                    yield " "
        if child.tail:
            yield child.tail


_BLOCKS = frozenset({"p", "div", "li", "tr", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd", "table"})


def base_url(root: HtmlElement, url: str) -> str:
    """Address that relative links start from: the first `base` with an href (WHATWG HTML, 2.4.3), else the page's."""
    for element in root.iter("base"):
        href = element.get("href")
        if href is not None:
            try:
                return URL(href.strip(), url).href
            except ValueError:
                return url
    return url
