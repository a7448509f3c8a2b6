"""What cleaning produces: a `Document` that was kept, or a `Dropped` page with its reason."""

from typing import Literal, get_args

import msgspec

from cleaning.usage_signals import UsageSignals

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


class AttributeValues(msgspec.Struct, frozen=True):
    """The values of an attribute of the elements that a CSS selector finds, in page order, as they are written."""

    selector: str
    attribute: str
    values: tuple[str, ...]


class LineChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a difference: `ln` is its number on the side it stands on, `ln1` and `ln2` on both, from 1.

    `content` begins with `+`, `-` or a space.
    """

    type: Literal["add", "del", "normal"]
    content: str
    ln: int | None = None
    ln1: int | None = None
    ln2: int | None = None


class Chunk(msgspec.Struct, frozen=True, rename="camel"):
    """Lines that changed, with three around them; `content` is the chunk's heading, as `@@ -1,3 +1,4 @@`."""

    content: str
    changes: tuple[LineChange, ...]
    old_start: int
    old_lines: int
    new_start: int
    new_lines: int


class Difference(msgspec.Struct, frozen=True):
    """What changed between two texts: as a unified diff, and the same as chunks."""

    text: str
    chunks: tuple[Chunk, ...]
    additions: int
    deletions: int


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A page beside its earlier version. `values` is JSON text: an object of name to previous and current value.

    `seen_at` is when the earlier version was fetched (RFC 3339), None where there is none. `is_lost` where its content
    is no longer kept: then the bytes of both were compared.
    """

    status: Literal["new", "same", "changed", "removed"]
    seen_at: str | None = None
    is_lost: bool = False
    difference: Difference | None = None
    values: str | None = None


class PictureFacts(msgspec.Struct, frozen=True):
    """What is known of a picture of the page: the hash of its bytes, and its size in pixels."""

    sha256: str
    media_type: str
    width: int
    height: int


class Extract(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for besides the main content; None for what was not.

    `markdown` is of the scope asked for. `html` has no scripts and only absolute addresses. `json` is JSON text that
    matches the schema except for what `missing` names; `warnings` are for the lab.
    """

    markdown: str | None = None
    html: str | None = None
    links: tuple[str, ...] | None = None
    images: tuple[str, ...] | None = None
    attributes: tuple[AttributeValues, ...] | None = None
    json: str | None = None
    missing: tuple[str, ...] = ()
    summary: str | None = None
    change: Change | None = None
    picture: PictureFacts | None = None
    warnings: tuple[str, ...] = ()


class Document(msgspec.Struct, frozen=True, tag="document"):
    """A page made readable. All strings are valid UTF-8 text.

    `url` is the address given, not one the page claims. `published` is an ISO 8601 calendar date. `language` is a
    BCP 47 primary subtag. `text` and `markdown` carry the same main content; `links` and `tables` are those of the
    whole page. `head` holds (name, content) pairs of the page's `meta` elements that `cleaning.page_head` knows.
    `extract` is there where more was asked for; the other fields do not depend on it. `usage` is what the markup says
    of the page's use, None where it says nothing.
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
    head: tuple[tuple[str, str], ...] = ()
    extract: Extract | None = None
    usage: UsageSignals | None = None


class Dropped(msgspec.Struct, frozen=True, tag="dropped"):
    """A page that did not become a document: the machine-readable `reason`, and `detail` for a person."""

    url: str
    reason: DropReason
    detail: str = ""
