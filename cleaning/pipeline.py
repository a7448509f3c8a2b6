"""One page, from bytes to a document: the steps in their order."""

import re
from copy import deepcopy
from html import escape
from typing import Final

from ada_url import URL
from lxml.html import HtmlElement
from msgspec.structs import replace

from cleaning.charset import Undecodable, body_kind, decode
from cleaning.document import Document, Dropped, DropReason
from cleaning.extraction import ParsedPage, extract
from cleaning.language import detect_language
from cleaning.links import extract_links, resolve
from cleaning.main_text import extract_main_text, tidy
from cleaning.metadata import extract_metadata_of
from cleaning.page_head import read_head
from cleaning.page_type import classify
from cleaning.prescan import MAX_ATTRIBUTES, MAX_DEPTH, prescan
from cleaning.structured_data import extract_structured_data
from cleaning.tables import extract_tables
from cleaning.tree import base_url, parse_html
from cleaning.usage_markup import extract_usage_signals
from cleaning.wants import NOTHING_MORE, Wants

MAX_BODY_BYTES: Final = 20 * 1024 * 1024
_UNKNOWN_URL = "http://unknown.invalid/"
_WORD = re.compile(r"\w")


def to_document(
    body: bytes, *, url: str, content_type: str | None = None, wants: Wants = NOTHING_MORE
) -> Document | Dropped:
    """Turn a fetched page into a document, or say why not.

    `body` is the decoded content (no Content-Encoding left), `url` its absolute address, `content_type` the header as
    received. `wants` is what to derive besides the main content: the document's `extract`, and nothing else of it. A
    page without main text is a document where something else of it is wanted. The same input always gives the same
    result; nothing is fetched. A hostile body can take long or much memory in the parsers:
    `cleaning.adapters.worker_pool` bounds both.
    """

    def dropped(reason: DropReason, detail: str = "") -> Dropped:
        return Dropped(url, reason, detail)

    if not body.strip(b" \t\r\n\x00\xef\xbb\xbf"):
        return dropped("empty_body", f"{len(body)} bytes, none of them text")
    if len(body) > MAX_BODY_BYTES:
        return dropped("too_large", f"{len(body)} bytes; at most {MAX_BODY_BYTES}")
    kind = body_kind(body, content_type)
    if kind == "other":
        return dropped("not_html", f"content type {(content_type or '').partition(';')[0].strip()[:100]}")
    if kind == "binary":
        return dropped("not_html", "the body is binary data")
    decoded = decode(body, content_type)
    if isinstance(decoded, Undecodable):
        return dropped("undecodable", decoded.detail)
    if kind == "text":
        return _plain(decoded.text, url, wants) or dropped("no_text", "no word in a plain text body")
    found = prescan(decoded.text)
    if found.too_deep:
        return dropped("too_deep", f"elements nest deeper than {MAX_DEPTH}")
    if found.too_many_attributes:
        return dropped("too_many_attributes", f"a tag has more than {MAX_ATTRIBUTES} attributes")
    root = parse_html(decoded.text)
    if root is None:
        return dropped("unparsable", "no element found in the markup")
    page = _page(root, decoded.text, url, depth=found.depth, wants=wants)
    return page or dropped("no_text", "no main text found in the page")


def _plain(text: str, url: str, wants: Wants) -> Document | None:
    text = tidy(text)
    if not _WORD.search(text):
        return None
    document = Document(url=url, text=text, markdown=text, language=detect_language(text, None))
    root = parse_html(f"<pre>{escape(text)}</pre>") if wants != NOTHING_MORE else None
    if root is None:
        return document
    parsed = ParsedPage(root, url, depth=2, stated=extract_structured_data(root))
    extracted = extract(parsed, document, wants)
    whole = text if wants.has_scope and not wants.include else extracted.markdown
    return replace(document, extract=replace(extracted, markdown=whole))


def _page(root: HtmlElement, html: str, url: str, *, depth: int, wants: Wants) -> Document | None:
    address = url if URL.can_parse(url) else _UNKNOWN_URL
    base = base_url(root, address)
    links = extract_links(root, base)
    tables = extract_tables(root)
    stated = extract_structured_data(root)
    kind = classify(root, address, stated)
    metadata = extract_metadata_of(root, address, kind, stated)
    usage = extract_usage_signals(root, base)
    as_sent = root if wants == NOTHING_MORE else deepcopy(root)
    _absolute_links(root, base)
    main = extract_main_text(root, html, base=base, kind=kind, depth=depth)
    if not _WORD.search(main.text) and wants == NOTHING_MORE:
        return None
    document = Document(
        url=url,
        text=main.text,
        markdown=main.markdown,
        title=metadata.title,
        author=metadata.author,
        published=metadata.published,
        language=detect_language(main.text, root),
        page_type=kind,
        links=links,
        tables=tables,
        structured_data=stated.data,
        head=read_head(root, base),
        usage=usage,
    )
    if wants == NOTHING_MORE:
        return document
    return replace(document, extract=extract(ParsedPage(as_sent, base, depth, stated), document, wants))


def _absolute_links(root: HtmlElement, base: str) -> None:
    """Write each anchor's address out in full, and take away those that are not http or https."""
    for element in root.iter("a"):
        href = element.get("href")
        if href is None:
            continue
        target = resolve(href, base)
        if target is None:
            del element.attrib["href"]
        else:
            element.set("href", target)
