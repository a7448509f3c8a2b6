"""What labs may send, as structs for the OpenAPI document. The decoders say the same and say more: every refusal of
theirs names the field, what it got, what it accepts and why.

Fields that are refused in any case have no place here; null counts as absent everywhere.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dispatcher.crawl_spec import MAX_LIMIT as MAX_CRAWL
from dispatcher.crawl_spec import SiteMapMode
from dispatcher.dataset_request import MAX_JOBS, MAX_NAME
from dispatcher.datasets import DatasetFormat
from dispatcher.key_request import MAX_CREDITS, MAX_GRACE_S, MAX_PAGES, MAX_RATE
from dispatcher.key_scopes import Scope
from dispatcher.map_request import MAX_LIMIT as MAX_MAP
from dispatcher.map_request import MAX_SEARCH_CHARACTERS
from dispatcher.page_formats import MAX_ATTRIBUTE_SELECTORS, MAX_PROMPT_CHARACTERS, MAX_TAG_CHARACTERS
from dispatcher.page_options import MAX_SELECTORS, MAX_TIMEOUT_MS, MIN_TIMEOUT_MS
from dispatcher.schedule_request import NAME_CHARACTERS
from dispatcher.schedules import Overlap, RequestKind
from dispatcher.scrape_request import MAX_CONCURRENCY, MAX_URLS
from dispatcher.screenshot_format import MAX_HEIGHT, MAX_WIDTH
from dispatcher.search_request import MAX_QUERY, MAX_RESULTS
from dispatcher.webhook import WebhookEvent
from protocol.job import Purpose

Note = Annotated[str, Meta(max_length=1_000)]
PageUrl = Annotated[str, Meta(description="An absolute http or https URL of a public site.", max_length=8_192)]
Milliseconds = Annotated[int, Meta(ge=0)]
Credits = Annotated[int, Meta(ge=1)]
Window = Annotated[int, Meta(ge=1, le=MAX_CONCURRENCY)]


class AttributeSelector(msgspec.Struct, forbid_unknown_fields=True):
    """An attribute of every element that a CSS selector finds."""

    selector: Annotated[str, Meta(min_length=1)]
    attribute: Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARACTERS)]


class AttributesFormat(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="attributes"):
    """Attributes of elements."""

    selectors: Annotated[list[AttributeSelector], Meta(min_length=1, max_length=MAX_ATTRIBUTE_SELECTORS)]


class JsonFormatBody(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="json"):
    """Values of a page: those that a JSON Schema names, found without a model; with a prompt, what a model makes."""

    schema: dict[str, Any] | None = None
    prompt: Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARACTERS)] | None = None


class ChangeTrackingFormat(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="changeTracking"):
    """What changed since the team tracked the page last, under the same tag."""

    modes: list[Literal["git-diff", "json"]] | None = None
    tag: Annotated[str, Meta(min_length=1, max_length=MAX_TAG_CHARACTERS)] | None = None
    schema: dict[str, Any] | None = None


class Viewport(msgspec.Struct, forbid_unknown_fields=True):
    """The window that a page is shown in, in CSS pixels."""

    width: Annotated[int, Meta(ge=1, le=MAX_WIDTH)]
    height: Annotated[int, Meta(ge=1, le=MAX_HEIGHT)]


class ScreenshotFormatBody(
    msgspec.Struct, forbid_unknown_fields=True, tag_field="type", tag="screenshot", rename="camel", kw_only=True
):
    """A picture of the fetched bytes: a PNG, or a JPEG of a quality."""

    full_page: bool | None = None
    quality: Annotated[int, Meta(ge=1, le=100)] | None = None
    viewport: Viewport | None = None


Format = (
    Literal["markdown", "html", "rawHtml", "links", "images", "changeTracking", "summary"]
    | Literal["screenshot", "screenshot@fullPage"]
    | AttributesFormat
    | JsonFormatBody
    | ChangeTrackingFormat
    | ScreenshotFormatBody
)


class Location(msgspec.Struct, forbid_unknown_fields=True):
    """Where from and in which languages: an ISO 3166-1 alpha-2 country code, language tags by preference."""

    country: str | None = None
    languages: Annotated[list[str], Meta(max_length=10)] | None = None


class PageOptions(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What a lab may say of each page. `purpose` is this network's own: it is signed into the record."""

    formats: Annotated[list[Format], Meta(min_length=1)] | None = None
    only_main_content: bool | None = None
    include_tags: Annotated[list[str], Meta(max_length=MAX_SELECTORS)] | None = None
    exclude_tags: Annotated[list[str], Meta(max_length=MAX_SELECTORS)] | None = None
    remove_base64_images: bool | None = msgspec.field(default=None, name="removeBase64Images")
    timeout: Annotated[int, Meta(ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS)] | None = None
    max_age: Milliseconds | None = None
    min_age: Milliseconds | None = None
    store_in_cache: bool | None = None
    lockdown: bool | None = None
    location: Location | None = None
    purpose: Purpose | None = None
    skip_tls_verification: bool | None = None
    zero_data_retention: bool | None = None
    block_ads: bool | None = None
    proxy: Literal["basic", "auto"] | None = None
    origin: Note | None = None
    integration: Note | None = None


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where a job's events go."""

    url: PageUrl
    headers: dict[str, str] | None = None
    metadata: dict[str, Any] | None = None
    events: Annotated[list[WebhookEvent], Meta(min_length=1)] | None = None


class ScrapeBody(PageOptions, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/scrape`."""

    url: PageUrl


class BatchBody(PageOptions, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/batch/scrape`. `budget` is the most credits that the batch may cost."""

    urls: Annotated[list[str], Meta(min_length=1, max_length=MAX_URLS)]
    webhook: str | WebhookBody | None = None
    append_to_id: str | None = None
    ignore_invalid_urls: bool | None = msgspec.field(default=None, name="ignoreInvalidURLs")
    max_concurrency: Window | None = None
    budget: Credits | None = None


class CrawlBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/crawl`. Patterns are regular expressions; `delay` is in seconds."""

    url: PageUrl
    include_paths: list[str] | None = None
    exclude_paths: list[str] | None = None
    regex_on_full_url: bool | None = msgspec.field(default=None, name="regexOnFullURL")
    max_discovery_depth: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    sitemap: SiteMapMode | None = None
    ignore_query_parameters: bool | None = None
    deduplicate_similar_urls: bool | None = msgspec.field(default=None, name="deduplicateSimilarURLs")
    limit: Annotated[int, Meta(ge=1, le=MAX_CRAWL)] | None = None
    crawl_entire_domain: bool | None = None
    allow_external_links: bool | None = None
    allow_subdomains: bool | None = None
    delay: Annotated[float, Meta(ge=0, le=3_600)] | None = None
    max_concurrency: Window | None = None
    webhook: str | WebhookBody | None = None
    scrape_options: PageOptions | None = None
    zero_data_retention: bool | None = None
    budget: Credits | None = None
    purpose: Purpose | None = None
    origin: Note | None = None
    integration: Note | None = None


class MapBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/map`."""

    url: PageUrl
    search: Annotated[str, Meta(max_length=MAX_SEARCH_CHARACTERS)] | None = None
    sitemap: SiteMapMode | None = None
    include_subdomains: bool | None = None
    ignore_query_parameters: bool | None = None
    ignore_cache: bool | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_MAP)] | None = None
    timeout: Annotated[int, Meta(ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS)] | None = None
    location: Location | None = None
    purpose: Purpose | None = None
    origin: Note | None = None
    integration: Note | None = None


class SearchBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/search`: every word of `query` has to be in a page."""

    query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)]
    limit: Annotated[int, Meta(ge=1, le=MAX_RESULTS)] | None = None
    sources: list[Any] | None = None
    scrape_options: dict[str, Any] | None = None
    timeout: Annotated[int, Meta(ge=1)] | None = None
    origin: Note | None = None
    integration: Note | None = None


class EstimateBody(msgspec.Struct, kw_only=True):
    """The body of `POST /v1/estimate`: that of the request itself, and its `kind`."""

    kind: Literal["scrape", "batch_scrape", "crawl"]
    url: str | None = None
    urls: list[str] | None = None


class QueryBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """Which of the pages that the team's jobs fetched; moments are RFC 3339."""

    host: str | None = None
    url_prefix: str | None = None
    from_: str | None = msgspec.field(default=None, name="from")
    to: str | None = None
    language: str | None = None
    page_type: str | None = None
    min_words: Annotated[int, Meta(ge=0)] | None = None
    purpose: Purpose | None = None


class SourceBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a dataset is made of: one of `job`, `jobs`, `query` and `urls`."""

    job: str | None = None
    jobs: Annotated[list[str], Meta(min_length=1, max_length=MAX_JOBS)] | None = None
    query: QueryBody | None = None
    urls: list[str] | None = None
    options: dict[str, Any] | None = None


class DatasetBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v1/datasets`: `job`, or a `source`."""

    job: str | None = None
    source: SourceBody | None = None
    format: DatasetFormat | None = None
    formats: list[DatasetFormat] | None = None
    name: Annotated[str, Meta(max_length=MAX_NAME)] | None = None
    version_of: str | None = None


class VersionBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/datasets/{id}/versions`: what differs from the last version."""

    source: SourceBody | None = None
    format: DatasetFormat | None = None
    formats: list[DatasetFormat] | None = None


class ScheduledRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The request that is repeated: its kind, and the body that the kind's own address takes."""

    kind: RequestKind
    body: dict[str, Any]


class ScheduleBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/schedules`. `cron` has five fields, or is in words: `every day at 09:30`."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)]
    cron: str
    timezone: str | None = None
    request: ScheduledRequest
    webhook: str | WebhookBody | None = None
    enabled: bool | None = None
    overlap: Overlap | None = None


class ScheduleChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of `PATCH /v1/schedules/{id}`: what changes."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS)] | None = None
    cron: str | None = None
    timezone: str | None = None
    request: ScheduledRequest | None = None
    webhook: str | WebhookBody | None = None
    enabled: bool | None = None
    overlap: Overlap | None = None


class KeyBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v1/keys`. `expiresAt` is RFC 3339; limits are of this key alone."""

    name: Annotated[str, Meta(max_length=MAX_NAME)] | None = None
    scopes: Annotated[list[Scope], Meta(min_length=1)] | None = None
    expires_at: str | None = None
    purpose: Purpose | None = None
    rate_per_minute: Annotated[int, Meta(ge=1, le=MAX_RATE)] | None = None
    max_concurrency: Annotated[int, Meta(ge=1, le=MAX_PAGES)] | None = None
    daily_credits: Annotated[int, Meta(ge=0, le=MAX_CREDITS)] | None = None


class RotationBody(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """The body of `POST /v1/keys/{id}/rotate`, which may be left out: how long the old key lives on."""

    grace_seconds: Annotated[int, Meta(ge=0, le=MAX_GRACE_S)] | None = None
