"""Images of a page: absolute addresses, in page order, each once."""

import re
from collections.abc import Iterator

from lxml.html import HtmlElement

from cleaning.links import resolve
from cleaning.tree import collapse

MAX_IMAGES = 5_000
MAX_INLINE_CHARACTERS = 2_000_000
"""Images written into the page itself are listed until they pass this together."""

# WHATWG HTML, 4.8.4.2.1: candidates are separated by commas, each an address and at most one descriptor.
_CANDIDATE = re.compile(r"\s*,*\s*([^\s,]\S*?)(?:,(?=\s|$)|\s+([^,]*)(?:,|$)|$)")
_STYLE_URL = re.compile(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)'"\s]*))\s*\)""", re.I)
_IMAGE_METAS = frozenset({"og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src"})
_LAZY = ("data-src", "data-original", "data-lazy-src")


def extract_images(roots: list[HtmlElement], base: str, *, inline: bool) -> tuple[str, ...]:
    """Collect images of `img`, `picture`, `video`, `input`, icons, preview `meta`s and style attributes.

    Images in the page itself (`data:`) are listed with `inline` alone.
    """
    found: dict[str, None] = {}
    room = MAX_INLINE_CHARACTERS
    for reference in (reference for root in roots for reference in _references(root)):
        if reference[:5].lower() == "data:":
            is_image = inline and reference[5:11].lower() == "image/" and len(reference) <= room
            if is_image and reference not in found:
                found[reference] = None
                room -= len(reference)
        elif reference.strip() and (url := resolve(reference, base)) is not None:
            found[url] = None
        if len(found) == MAX_IMAGES:
            break
    return tuple(found)


def candidates(srcset: str) -> list[str]:
    """Return the addresses of a `srcset`."""
    return [match[1] for match in _CANDIDATE.finditer(srcset) if match[1]][:50]


def _references(root: HtmlElement) -> Iterator[str]:
    for element in root.iter("img", "source", "video", "input", "link", "meta", "image"):
        tag = element.tag
        if tag == "meta":
            name = (element.get("property") or element.get("name") or "").strip().lower()
            if name in _IMAGE_METAS:
                yield collapse(element.get("content") or "")
        elif tag == "link":
            if "icon" in (element.get("rel") or "").lower():
                yield element.get("href") or ""
        elif tag == "video":
            yield element.get("poster") or ""
        elif tag == "source":
            if (parent := element.getparent()) is not None and parent.tag == "picture":
                yield from candidates(element.get("srcset") or "")
        elif tag == "input":
            if (element.get("type") or "").lower() == "image":
                yield element.get("src") or ""
        else:
            yield element.get("src") or ""
            for name in _LAZY:
                yield element.get(name) or ""
            yield from candidates(element.get("srcset") or "")
    for element in root.xpath(".//*[contains(@style, 'url(')]"):
        for match in _STYLE_URL.finditer(element.get("style") or ""):
            yield match[1] or match[2] or match[3] or ""
