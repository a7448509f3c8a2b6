"""Hyperlinks of a page: absolute, http or https, normalised."""

from ada_url import URL
from lxml.html import HtmlElement

from cleaning.document import Link
from cleaning.tree import collapse, text_of

MAX_LINKS = 10_000
MAX_URL_BYTES = 2048
MAX_TEXT_CHARACTERS = 1000

_PROTOCOLS = frozenset({"http:", "https:"})


def extract_links(root: HtmlElement, base: str) -> tuple[Link, ...]:
    """Collect `a` and `area` links in page order, each (url, text, rel) once, at most `MAX_LINKS`.

    Links to another place in the same page (`#...`), with user information or longer than 2048 bytes are left out.
    """
    links: dict[Link, None] = {}
    resolved: dict[str, str | None] = {}
    for element in root.iter("a", "area"):
        href = element.get("href")
        if not href or href.lstrip().startswith("#"):
            continue
        if href not in resolved:
            resolved[href] = resolve(href, base)
        url = resolved[href]
        if url is None:
            continue
        text = text_of(element, limit=MAX_TEXT_CHARACTERS) or collapse(element.get("alt") or "")[:MAX_TEXT_CHARACTERS]
        links[Link(url, text, collapse(element.get("rel") or "").lower())] = None
        if len(links) == MAX_LINKS:
            break
    return tuple(links)


def resolve(href: str, base: str) -> str | None:
    """Resolve a reference against a base by the WHATWG URL standard. None unless it is a plain http(s) address."""
    try:
        url = URL(href.strip(), base)
    except ValueError:
        return None
    if url.protocol not in _PROTOCOLS or url.username or url.password:
        return None
    normalised: str = url.href
    return normalised if len(normalised.encode()) <= MAX_URL_BYTES else None
