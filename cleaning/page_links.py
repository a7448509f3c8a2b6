"""The links of a page and what it says of itself, without its text: for pages that become no document, and for maps."""

import msgspec
from ada_url import URL

from cleaning.charset import Undecodable, body_kind, decode
from cleaning.document import Link
from cleaning.links import extract_links
from cleaning.prescan import prescan
from cleaning.tree import base_url, collapse, parse_html, text_of

_SHOWN = 1_000


class PageLinks(msgspec.Struct, frozen=True, tag="page_links"):
    """The hyperlinks of a page, its title and its description; empty where it is no HTML."""

    links: tuple[Link, ...] = ()
    title: str | None = None
    description: str | None = None


def read_links(body: bytes, *, url: str, content_type: str | None) -> PageLinks:
    """Read the links of a fetched page. Hostile input: run it where it can be killed."""
    if body_kind(body, content_type) != "html":
        return PageLinks()
    decoded = decode(body, content_type)
    if isinstance(decoded, Undecodable):
        return PageLinks()
    found = prescan(decoded.text)
    if found.too_deep or found.too_many_attributes:
        return PageLinks()
    root = parse_html(decoded.text)
    if root is None or not URL.can_parse(url):
        return PageLinks()
    title = next((text_of(element, limit=_SHOWN) for element in root.iter("title")), "")
    described = (
        collapse(element.get("content") or "")[:_SHOWN]
        for element in root.iter("meta")
        if (element.get("name") or element.get("property") or "").lower() in {"description", "og:description"}
    )
    links = extract_links(root, base_url(root, url))
    return PageLinks(links, title or None, next(filter(None, described), None))
