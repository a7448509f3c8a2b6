"""What cleaning produces: a `Document` that was kept, or a `Dropped` page with its reason."""

from typing import Literal, get_args

import msgspec

PageType = Literal["article", "forum", "documentation", "product", "listing", "collection", "service", "other"]

DropReason = Literal[
    "empty_body",
    "http_status",
    "not_html",
    "undecodable",
    "too_large",
    "too_deep",
    "too_many_attributes",
    "unparsable",
    "no_text",
    "timeout",
    "worker_crashed",
    "duplicate",
]

DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)
PAGE_TYPES: tuple[PageType, ...] = get_args(PageType)


class Link(msgspec.Struct, frozen=True):
    """One hyperlink of the page.

    `url` is absolute, http or https, normalised by the WHATWG URL rules. `text` is the anchor's text with white space
    collapsed. `rel` is the attribute as written, lower case, empty when absent.
    """

    url: str
    text: str = ""
    rel: str = ""


class Table(msgspec.Struct, frozen=True):
    """One data table. Every row is as wide as the widest; a spanning cell's text is repeated in each place it covers.

    `header` is empty when the page marks none.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class StructuredData(msgspec.Struct, frozen=True):
    """Facts the page states about itself in machine-readable form.

    `json_ld` holds one JSON text per well-formed JSON-LD script, in page order, white space removed. `open_graph` holds
    (property, content) pairs of the `og:`, `article:`, `product:` and `book:` vocabularies, in page order.
    """

    json_ld: tuple[str, ...] = ()
    open_graph: tuple[tuple[str, str], ...] = ()


class Document(msgspec.Struct, frozen=True, tag="document"):
    """A page made readable. All strings are valid UTF-8 text.

    `url` is the address given, not one the page claims. `published` is an ISO 8601 calendar date. `language` is a
    BCP 47 primary subtag. `text` and `markdown` carry the same main content; `links` and `tables` are those of the
    whole page.
    """

    url: str
    text: str
    markdown: str
    title: str | None = None
    author: str | None = None
    published: str | None = None
    language: str | None = None
    page_type: PageType = "other"
    links: tuple[Link, ...] = ()
    tables: tuple[Table, ...] = ()
    structured_data: StructuredData = StructuredData()


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """A page that did not become a document: the machine-readable `reason`, and `detail` for a person."""

    url: str
    reason: DropReason
    detail: str = ""
