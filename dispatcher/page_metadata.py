"""What a document says of itself: its metadata in the names of Firecrawl's v2 API, and this network's own."""

from http import HTTPStatus
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from cleaning.document import Document
from cleaning.page_head import FAVICON
from dispatcher.compliance_signals import Compliance
from dispatcher.jobs import Job
from dispatcher.page_cost import Cost
from dispatcher.page_provenance import Provenance
from protocol.record import Record


class PageFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the page states in its head, as it is written there; nothing where it states nothing."""

    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    keywords: str | UnsetType = UNSET
    robots: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    og_title: str | UnsetType = UNSET
    og_description: str | UnsetType = UNSET
    og_url: str | UnsetType = UNSET
    og_image: str | UnsetType = UNSET
    og_audio: str | UnsetType = UNSET
    og_determiner: str | UnsetType = UNSET
    og_locale: str | UnsetType = UNSET
    og_locale_alternate: tuple[str, ...] | UnsetType = UNSET
    og_site_name: str | UnsetType = UNSET
    og_video: str | UnsetType = UNSET
    favicon: str | UnsetType = UNSET
    dc_terms_created: str | UnsetType = UNSET
    dc_date_created: str | UnsetType = UNSET
    dc_date: str | UnsetType = UNSET
    dc_terms_type: str | UnsetType = UNSET
    dc_type: str | UnsetType = UNSET
    dc_terms_audience: str | UnsetType = UNSET
    dc_terms_subject: str | UnsetType = UNSET
    dc_subject: str | UnsetType = UNSET
    dc_description: str | UnsetType = UNSET
    dc_terms_keywords: str | UnsetType = UNSET
    modified_time: str | UnsetType = UNSET
    published_time: str | UnsetType = UNSET
    article_tag: str | UnsetType = UNSET
    article_section: str | UnsetType = UNSET


class Metadata(PageFacts, frozen=True, kw_only=True, rename="camel"):
    """A document's metadata. `source_url` is the URL asked for, `url` the one that answered.

    `error` is the phrase of an HTTP status of 400 and above. A page that was fetched before for another request has the
    cache state `hit`, is free, and `cached_at` (RFC 3339) is when it was fetched. `position` is the page's place in the
    lab's list, from 0. `dropped` says why cleaning kept no document.
    """

    source_url: str = msgspec.field(name="sourceURL")
    url: str
    status_code: int
    error: str | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    proxy_used: Literal["basic"] = "basic"
    cache_state: Literal["hit", "miss"]
    cached_at: str | UnsetType = UNSET
    credits_used: int
    scrape_id: str
    position: int
    dropped: str | UnsetType = UNSET
    provenance: Provenance
    cost: Cost
    compliance: Compliance


_HEAD = {
    "keywords": "keywords",
    "robots": "robots",
    FAVICON: "favicon",
    "dcterms.created": "dc_terms_created",
    "dc.date.created": "dc_date_created",
    "dc.date": "dc_date",
    "dcterms.type": "dc_terms_type",
    "dc.type": "dc_type",
    "dcterms.audience": "dc_terms_audience",
    "dcterms.subject": "dc_terms_subject",
    "dc.subject": "dc_subject",
    "dc.description": "dc_description",
    "dcterms.keywords": "dc_terms_keywords",
    "og:title": "og_title",
    "og:description": "og_description",
    "og:url": "og_url",
    "og:image": "og_image",
    "og:audio": "og_audio",
    "og:determiner": "og_determiner",
    "og:locale": "og_locale",
    "og:site_name": "og_site_name",
    "og:video": "og_video",
    "article:modified_time": "modified_time",
    "article:tag": "article_tag",
    "article:section": "article_section",
}


def page_facts(document: Document | None) -> PageFacts:
    """Return what a page states; of a property that repeats, the first."""
    if document is None:
        return PageFacts()
    stated: dict[str, str] = {}
    for name, content in (*document.head, *document.structured_data.open_graph):
        stated.setdefault(name, content)
    named = {field: stated.get(name) or UNSET for name, field in _HEAD.items()}
    locales = tuple(content for name, content in document.structured_data.open_graph if name == "og:locale:alternate")
    return PageFacts(
        **named,
        title=document.title or UNSET,
        description=stated.get("description") or stated.get("og:description") or UNSET,
        language=document.language or UNSET,
        author=document.author or UNSET,
        published_time=document.published or UNSET,
        og_locale_alternate=locales or UNSET,
    )


def metadata_of(
    job: Job,
    record: Record,
    document: Document | None,
    *,
    provenance: Provenance,
    cost: Cost,
    compliance: Compliance,
    cached_at: str | None,
) -> Metadata:
    """Put a document's metadata together. `cached_at` is None for a page that was fetched for this job."""
    facts = page_facts(document)
    return Metadata(
        **{name: getattr(facts, name) for name in PageFacts.__struct_fields__},
        source_url=job.url,
        url=record.final_url,
        status_code=record.status,
        error=_phrase(record.status),
        content_type=record.content_type or UNSET,
        cache_state="miss" if cached_at is None else "hit",
        cached_at=UNSET if cached_at is None else cached_at,
        credits_used=cost.credits,
        scrape_id=job.job_id,
        position=job.position,
        dropped=job.dropped or UNSET,
        provenance=provenance,
        cost=cost,
        compliance=compliance,
    )


def _phrase(status: int) -> str | UnsetType:
    if status < 400:
        return UNSET
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"
