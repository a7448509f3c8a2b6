"""The forms of a page that a lab asked for, in the JSON shapes of Firecrawl's v2 API."""

from collections.abc import Callable
from typing import Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from cleaning.document import AttributeValues, Change, Chunk, Difference, Document, LineChange, PictureFacts
from dispatcher.jobs import ScrapeOptions

_Form = TypeVar("_Form")


class ChangedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a difference; `ln` is its number on its side, `ln1` and `ln2` on both, from 1. `content` begins with
    `+`, `-` or a space, and the member of the type's name is true."""

    type: Literal["add", "del", "normal"]
    normal: bool | UnsetType = UNSET
    add: bool | UnsetType = UNSET
    deleted: bool | UnsetType = msgspec.field(name="del", default=UNSET)
    ln: int | UnsetType = UNSET
    ln1: int | UnsetType = UNSET
    ln2: int | UnsetType = UNSET
    content: str


class ChangedChunk(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Lines that changed with those around them; `content` is the heading."""

    content: str
    changes: tuple[ChangedLine, ...]
    old_start: int
    old_lines: int
    new_start: int
    new_lines: int


class ChangedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A page's markdown as a file of a difference, which has no name."""

    source: None = msgspec.field(name="from", default=None)
    to: None = None
    chunks: tuple[ChangedChunk, ...]
    additions: int
    deletions: int


class ChangedFiles(msgspec.Struct, frozen=True):
    """The difference's files: always one."""

    files: tuple[ChangedFile, ...]


class DifferenceView(msgspec.Struct, frozen=True):
    """What changed: as a unified diff, and the same in parts."""

    text: str
    json: ChangedFiles


class ChangeTracking(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page beside the version the team tracked before: null and `new` (or `removed`) where there is none.

    `visibility` is always `visible`: pages are found by their links, sitemaps and the lab's own lists. `json` names the
    values that changed, each with `previous` and `current`.
    """

    previous_scrape_at: str | None
    change_status: Literal["new", "same", "changed", "removed"]
    visibility: Literal["visible"] = "visible"
    diff: DifferenceView | UnsetType = UNSET
    json: msgspec.Raw | UnsetType = UNSET


class PageForms(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The forms asked for; `json` is the page's own value, encoded, `screenshot` where the picture lies."""

    markdown: str | UnsetType = UNSET
    html: str | UnsetType = UNSET
    raw_html: str | UnsetType = UNSET
    links: tuple[str, ...] | UnsetType = UNSET
    images: tuple[str, ...] | UnsetType = UNSET
    attributes: tuple[AttributeValues, ...] | UnsetType = UNSET
    json: msgspec.Raw | UnsetType = UNSET
    summary: str | UnsetType = UNSET
    change_tracking: ChangeTracking | UnsetType = UNSET
    screenshot: str | UnsetType = UNSET


_NULL: Final = msgspec.Raw(b"null")


def forms_of(
    document: Document | None, options: ScrapeOptions, *, picture_url: Callable[[PictureFacts], str]
) -> tuple[PageForms, list[str]]:
    """Return what is asked for of a document, and warnings about what is not there. Of a page without a document there
    is empty markdown and no link; rawHtml is not of the document. `picture_url` makes the address of its picture."""
    names = options.formats
    if document is None:
        forms = PageForms(
            markdown="" if "markdown" in names else UNSET,
            links=() if "links" in names else UNSET,
        )
        return forms, []
    extract = document.extract
    if extract is None:
        markdown, links = document.markdown, _links(document)
        forms = PageForms(
            markdown=markdown if "markdown" in names else UNSET, links=links if "links" in names else UNSET
        )
        return forms, [f"{name} is left out: the page was cleaned without it" for name in names if name in _DERIVED]
    warnings = list(extract.warnings)
    change = extract.change
    if change is not None and change.is_lost:
        warnings.append("changeTracking: the earlier version is no longer kept: only its bytes were compared")
    return PageForms(
        markdown=_first(extract.markdown, document.markdown) if "markdown" in names else UNSET,
        html=_present(extract.html),
        links=_first(extract.links, _links(document)) if "links" in names else UNSET,
        images=_present(extract.images),
        attributes=_present(extract.attributes),
        json=(_NULL if extract.json is None else msgspec.Raw(extract.json.encode())) if "json" in names else UNSET,
        summary=_present(extract.summary),
        change_tracking=_tracking(change) if change is not None and options.tracking is not None else UNSET,
        screenshot=UNSET if extract.picture is None or options.screenshot is None else picture_url(extract.picture),
    ), warnings


_DERIVED: Final = ("html", "images", "attributes", "json", "summary", "changeTracking", "screenshot")


def _links(document: Document) -> tuple[str, ...]:
    return tuple(dict.fromkeys(link.url for link in document.links))


def _tracking(change: Change) -> ChangeTracking:
    return ChangeTracking(
        previous_scrape_at=change.seen_at,
        change_status=change.status,
        diff=UNSET if change.difference is None else _difference(change.difference),
        json=UNSET if change.values is None else msgspec.Raw(change.values.encode()),
    )


def _difference(difference: Difference) -> DifferenceView:
    file = ChangedFile(
        chunks=tuple(_chunk(chunk) for chunk in difference.chunks),
        additions=difference.additions,
        deletions=difference.deletions,
    )
    return DifferenceView(difference.text, ChangedFiles((file,)))


def _chunk(chunk: Chunk) -> ChangedChunk:
    return ChangedChunk(
        content=chunk.content,
        changes=tuple(_line(change) for change in chunk.changes),
        old_start=chunk.old_start,
        old_lines=chunk.old_lines,
        new_start=chunk.new_start,
        new_lines=chunk.new_lines,
    )


def _line(change: LineChange) -> ChangedLine:
    return ChangedLine(
        type=change.type,
        normal=True if change.type == "normal" else UNSET,
        add=True if change.type == "add" else UNSET,
        deleted=True if change.type == "del" else UNSET,
        ln=_present(change.ln),
        ln1=_present(change.ln1),
        ln2=_present(change.ln2),
        content=change.content,
    )


def _first(form: _Form | None, other: _Form) -> _Form:
    return other if form is None else form


def _present(form: _Form | None) -> _Form | UnsetType:
    return UNSET if form is None else form
