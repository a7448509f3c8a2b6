"""Turns the files under `pages/` and `layouts/` into the bytes the site serves.

A page file is a TOML head between two `+++` lines, then the HTML of its main part. A layout is an HTML file in which
`{{name}}` stands for a value of the head; everything but the prepared HTML slots is escaped.
"""

import datetime
import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from dispatcher.demo.site.almanac import almanac_html

SITE_DIR: Final = Path(__file__).parent
_SLOT: Final = re.compile(r"\{\{([a-z_]+)\}\}")
_RAW_SLOTS: Final = frozenset({"content", "json_ld", "alternates", "nav", "charset_meta"})

Coding = Literal["identity", "gzip", "br"]


class NavLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One navigation entry: visible label and host-relative address."""

    label: str
    href: str


class PageHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The TOML head of a page file.

    `layout` names a file of `layouts/`, or is `raw` for a page that brings its whole HTML. `charset_in` says where
    the charset is declared: the Content-Type header, a meta element, or both. `coding` is the best content coding the
    server has for this page. `alternates` maps a language tag to the host-relative address of the translation.
    """

    layout: str
    title: str
    published: datetime.date
    lang: str = "en"
    dir: Literal["ltr", "rtl"] = "ltr"
    author: str = ""
    description: str = ""
    section: str = ""
    site_name: str = ""
    footer: str = ""
    schema: str = "Article"
    charset: str = "utf-8"
    charset_in: Literal["header", "meta", "both"] = "both"
    coding: Coding = "gzip"
    alternates: dict[str, str] = {}
    nav: tuple[NavLink, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A page ready to serve: its address, encoded body, media type with parameters, date and best content coding."""

    path: str
    body: bytes
    content_type: str
    modified: datetime.date
    coding: Coding


def load_pages(site_dir: Path = SITE_DIR) -> dict[str, Page]:
    """Read and render every page, the generated almanac included, keyed by host-relative path.

    Raises `OSError` if the site folder cannot be read, `msgspec.ValidationError` for a bad head and `KeyError` for a
    layout that does not exist or that names an unknown slot.
    """
    layouts = {file.stem: file.read_text("utf-8") for file in (site_dir / "layouts").glob("*.html")}
    root = site_dir / "pages"
    pages = {}
    for file in sorted(root.rglob("*.html")):
        relative = file.relative_to(root).with_suffix("").as_posix()
        path = "/" + (relative.removesuffix("index") if relative.split("/")[-1] == "index" else relative)
        pages[path] = render(path, file.read_text("utf-8"), layouts)
    head = 'layout = "plain"\ntitle = "The Wendale Almanac"\npublished = 2026-01-02\nauthor = "Wend Flood Wardens"\n'
    pages["/almanac"] = render("/almanac", f"+++\n{head}+++\n{almanac_html()}", layouts)
    return pages


def render(path: str, source: str, layouts: dict[str, str]) -> Page:
    """Render one page file's text; `layouts` maps a layout's name to its HTML. Errors as `load_pages`."""
    _, head_text, content = source.split("+++\n", 2)
    head = msgspec.toml.decode(head_text, type=PageHead)
    text = content if head.layout == "raw" else _fill(layouts[head.layout], _slots(path, head, content))
    content_type = "text/html" if head.charset_in == "meta" else f"text/html; charset={head.charset}"
    return Page(path, text.encode(head.charset), content_type, head.published, head.coding)


def _fill(layout: str, slots: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return slots[name] if name in _RAW_SLOTS else html.escape(slots[name])

    return _SLOT.sub(value, layout)


def _slots(path: str, head: PageHead, content: str) -> dict[str, str]:
    published = head.published.isoformat()
    return {
        "path": path,
        "title": head.title,
        "lang": head.lang,
        "dir": head.dir,
        "author": head.author,
        "description": head.description,
        "section": head.section,
        "site_name": head.site_name,
        "footer": head.footer,
        "published": published,
        "published_words": f"{head.published.day} {head.published:%B %Y}",
        "content": content,
        "charset_meta": "" if head.charset_in == "header" else f'<meta charset="{head.charset}">',
        "nav": "".join(f'<li><a href="{html.escape(x.href)}">{html.escape(x.label)}</a></li>' for x in head.nav),
        "alternates": "\n".join(
            f'<link rel="alternate" hreflang="{html.escape(tag)}" href="{html.escape(href)}">'
            for tag, href in head.alternates.items()
        ),
        "json_ld": _json_ld(path, head, published),
    }


def _json_ld(path: str, head: PageHead, published: str) -> str:
    thing = {
        "@context": "https://schema.org",
        "@type": head.schema,
        "headline": head.title,
        "description": head.description,
        "inLanguage": head.lang,
        "datePublished": published,
        "author": {"@type": "Person", "name": head.author},
        "mainEntityOfPage": path,
    }
    text = json.dumps(thing, ensure_ascii=False).replace("</", "<\\/")
    return f'<script type="application/ld+json">{text}</script>'
