"""Title, author and date of a page.

What the page states in JSON-LD and OpenGraph comes first, then what its markup shows (trafilatura and htmldate). A
title that the page shows as its heading and repeats in its `title` is believed before any statement.
"""

import re
from datetime import date
from itertools import islice

import msgspec
from lxml.html import HtmlElement
from trafilatura.metadata import extract_metadata

from cleaning.document import PageType
from cleaning.structured_data import JsonValue, ReadStructuredData, types_of
from cleaning.tree import EXTRACTOR_FAULTS, collapse, text_of

MAX_TITLE_CHARACTERS = 500
MAX_AUTHOR_CHARACTERS = 300
MAX_HEADINGS = 20

# Kinds of page that have an author and a date of their own; elsewhere a date in the markup is a copyright year or a
# review's. `other` is in because nothing is known of it.
_DATED: frozenset[PageType] = frozenset({"article", "forum", "other"})

# htmldate takes no date after this; a clock would make the same page give two documents.
_LATEST_DATE = "2099-12-31"
_EARLIEST_YEAR = 1990

_SITE_SEPARATOR = re.compile(r"\s+(?:[|–—·•»]|-|::)\s+")
_ISO_DATE = re.compile(r"\s*(\d{4})-(\d{2})-(\d{2})(?!\d)")
_WORDS = re.compile(r"\w+")


class Metadata(msgspec.Struct, frozen=True):
    """What is known of the page; `published` is an ISO 8601 calendar date."""

    title: str | None
    author: str | None
    published: str | None


def extract_metadata_of(root: HtmlElement, url: str, kind: PageType, stated: ReadStructuredData) -> Metadata:
    """Collect title, author and date. `root` is left unchanged."""
    author = _stated_author(stated)
    published = _stated_date(stated)
    if kind in _DATED and (author is None or published is None):
        shown_author, shown_date = _shown(root, url)
        author = author or shown_author
        published = published or shown_date
    return Metadata(_title(root, stated), author, published)


def _title(root: HtmlElement, stated: ReadStructuredData) -> str | None:
    title = next((text_of(element, limit=MAX_TITLE_CHARACTERS) for element in root.iter("title")), "")
    open_graph = stated.open_graph("og:title") or ""
    named = f" {_normal(title)} {_normal(open_graph)} "
    headings = [text_of(element, limit=MAX_TITLE_CHARACTERS) for element in islice(root.iter("h1"), MAX_HEADINGS)]
    for heading in headings:
        if (normal := _normal(heading)) and f" {normal} " in named:
            return heading
    for node in stated.nodes():
        headline = node.get("headline")
        if isinstance(headline, str) and collapse(headline):
            return collapse(headline)[:MAX_TITLE_CHARACTERS]
    for candidate in (open_graph, title):
        if candidate:
            return (_SITE_SEPARATOR.split(candidate)[0] or candidate)[:MAX_TITLE_CHARACTERS]
    return next((heading for heading in headings if heading), None)


def _normal(text: str) -> str:
    return " ".join(_WORDS.findall(text.lower()))


def _stated_author(stated: ReadStructuredData) -> str | None:
    for node in stated.nodes():
        if "Review" in types_of(node):
            continue
        names = list(dict.fromkeys(_names(node.get("author"))))
        if names:
            return ", ".join(names)[:MAX_AUTHOR_CHARACTERS]
    name = stated.open_graph("article:author") or stated.open_graph("book:author")
    return name if name and "://" not in name and not name.isdecimal() else None


def _names(author: JsonValue) -> list[str]:
    if isinstance(author, str):
        name = collapse(author)
        return [name] if name and "://" not in name else []
    if isinstance(author, dict):
        return _names(author.get("name")) if not isinstance(author.get("name"), dict) else []
    if isinstance(author, list):
        return [name for entry in author[:50] if isinstance(entry, (str, dict)) for name in _names(entry)]
    return []


def _stated_date(stated: ReadStructuredData) -> str | None:
    for name in ("datePublished", "dateCreated", "uploadDate"):
        for node in stated.nodes():
            value = node.get(name)
            if "Review" not in types_of(node) and isinstance(value, str) and (found := iso_date(value)) is not None:
                return found
    for name in ("article:published_time", "book:release_date", "og:article:published_time"):
        if (found := iso_date(stated.open_graph(name) or "")) is not None:
            return found
    return None


def iso_date(text: str) -> str | None:
    """Return the calendar date an ISO 8601 date or time starts with. None when it is none, or before 1990."""
    match = _ISO_DATE.match(text)
    if match is None:
        return None
    try:
        found = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
    return found.isoformat() if found.year >= _EARLIEST_YEAR else None


def _shown(root: HtmlElement, url: str) -> tuple[str | None, str | None]:
    """Author and date as the markup shows them."""
    try:
        found = extract_metadata(
            root, url, {"original_date": True, "extensive_search": False, "max_date": _LATEST_DATE}, extensive=False
        )
    except EXTRACTOR_FAULTS:
        return None, None
    author = collapse(found.author or "")[:MAX_AUTHOR_CHARACTERS]
    return author or None, iso_date(found.date or "")
