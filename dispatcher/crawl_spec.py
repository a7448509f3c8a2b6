"""What a lab asked for when it started a crawl, as the ledger keeps it."""

from typing import Final, Literal

import msgspec

DEFAULT_LIMIT: Final = 10_000
MAX_LIMIT: Final = 1_000_000

SiteMapMode = Literal["skip", "include", "only"]


class CrawlSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Where a crawl goes. JSON names are those of the API.

    `include_paths` and `exclude_paths` are regular expressions in the syntax of RE2, looked for in a URL's path, or in
    all of it with `regex_on_full_url`. `limit` is how many pages may be asked for that are not refused.
    """

    url: str
    include_paths: tuple[str, ...] = ()
    exclude_paths: tuple[str, ...] = ()
    regex_on_full_url: bool = msgspec.field(default=False, name="regexOnFullURL")
    max_discovery_depth: int | None = None
    sitemap: SiteMapMode = "include"
    ignore_query_parameters: bool = False
    deduplicate_similar_urls: bool = msgspec.field(default=True, name="deduplicateSimilarURLs")
    limit: int = DEFAULT_LIMIT
    crawl_entire_domain: bool = False
    allow_external_links: bool = False
    allow_subdomains: bool = False
    delay_ms: int = 0
    max_concurrency: int | None = None

    @property
    def most_waiting(self) -> int:
        """How many pages may wait to be asked for: enough to make up for a refusal of each one that was."""
        return max(1_000, self.limit)
