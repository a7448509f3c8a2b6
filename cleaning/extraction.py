"""What a lab asked for besides the main content, derived of one parsed page."""

import msgspec
from lxml.html import HtmlElement

from cleaning.changes import told_change
from cleaning.document import AttributeValues, Document, Extract
from cleaning.images import extract_images
from cleaning.json_extraction import Filled, fill_schema
from cleaning.links import extract_links
from cleaning.main_text import extract_main_text
from cleaning.page_facts import PageFacts
from cleaning.page_markdown import render_page
from cleaning.page_scope import reduced, scoped, to_html
from cleaning.selectors import find_all
from cleaning.structured_data import ReadStructuredData
from cleaning.tree import LXML_DEPTH
from cleaning.wants import Wants

MAX_ATTRIBUTE_VALUES = 10_000
MAX_VALUE_CHARACTERS = 10_000


class ParsedPage(msgspec.Struct, frozen=True):
    """A page as the steps before left it. `root` is as the page was sent; nothing here changes it."""

    root: HtmlElement
    base: str
    depth: int
    stated: ReadStructuredData


def extract(page: ParsedPage, document: Document, wants: Wants) -> Extract:
    """Derive what `wants` names; `document` is what was made of the page without it."""
    warnings: list[str] = []
    if page.depth > LXML_DEPTH:
        warnings.append(f"the page nests deeper than {LXML_DEPTH} elements: what lies deeper is left out")
    markdown = _markdown(page, document, wants) if wants.has_scope else None
    filled = Filled(None)
    if wants.schema is not None:
        filled = fill_schema(wants.schema, _facts(page, document))
    roots = find_all(page.root, wants.include) if wants.include else [page.root]
    change = None
    if wants.tracking is not None:
        facts = _facts(page, document)
        change = told_change(
            wants.tracking,
            document.markdown if markdown is None else markdown,
            lambda schema: fill_schema(schema, facts).json,
        )
    html = None
    if wants.html:
        html = to_html(scoped(page.root, page.base, wants, main_only=not wants.whole_page))
    return Extract(
        markdown=markdown,
        html=html,
        links=_links(page, wants) if wants.links and (wants.include or wants.exclude) else None,
        images=_images(page, roots, wants) if wants.images else None,
        attributes=_attributes(page.root, wants) if wants.attributes else None,
        json=filled.json,
        missing=filled.missing,
        change=change,
        warnings=(*warnings, *filled.warnings),
    )


def _facts(page: ParsedPage, document: Document) -> PageFacts:
    known = {
        "name": document.title,
        "author": document.author,
        "datepublished": document.published,
        "inlanguage": document.language,
        "articlebody": document.text,
        "url": document.url,
    }
    return PageFacts(page.root, page.base, page.stated, {name: value for name, value in known.items() if value})


def _markdown(page: ParsedPage, document: Document, wants: Wants) -> str:
    if wants.include or wants.whole_page:
        return render_page(scoped(page.root, page.base, wants, main_only=False))
    left = reduced(page.root, wants.exclude)
    html = to_html(left)
    return extract_main_text(left, html, base=page.base, kind=document.page_type, depth=page.depth).markdown


def _links(page: ParsedPage, wants: Wants) -> tuple[str, ...]:
    tree = scoped(page.root, page.base, wants, main_only=False)
    return tuple(dict.fromkeys(link.url for link in extract_links(tree, page.base)))


def _images(page: ParsedPage, roots: list[HtmlElement], wants: Wants) -> tuple[str, ...]:
    if wants.exclude:
        without = reduced(page.root, wants.exclude)
        roots = find_all(without, wants.include) if wants.include else [without]
    return extract_images(roots, page.base, inline=wants.keep_inline_images)


def _attributes(root: HtmlElement, wants: Wants) -> tuple[AttributeValues, ...]:
    found: list[AttributeValues] = []
    room = MAX_ATTRIBUTE_VALUES
    for want in wants.attributes:
        values = [
            value[:MAX_VALUE_CHARACTERS]
            for element in find_all(root, (want.selector,))
            if (value := element.get(want.attribute)) is not None
        ][:room]
        room -= len(values)
        found.append(AttributeValues(want.selector, want.attribute, tuple(values)))
    return tuple(found)
