"""Which links a crawl follows: those of its site, and what its lab opens or closes besides.

The site is the host of the start page, with or without `www.`, over http and https; where the start page was redirected
elsewhere, the host it came to as well.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec

from dispatcher.crawl_spec import CrawlSpec
from dispatcher.registered_domain import registered_domain
from dispatcher.similar_urls import path_of, url_key, without_query, without_www
from protocol.urls import NO_TEST_SITES, AllowedUrl, Refusal, TestSites, check_url

# fmt: off
_FILES: Final = frozenset({
    "png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "tiff", "svg", "ico", "css", "js", "mjs", "map", "json",
    "xml", "rss", "atom", "woff", "woff2", "ttf", "otf", "eot", "mp3", "mp4", "m4a", "m4v", "mov", "avi", "mkv",
    "webm", "wav", "flac", "ogg", "ogv", "wmv", "flv", "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt",
    "ods", "odp", "epub", "zip", "gz", "tgz", "bz2", "xz", "7z", "rar", "tar", "exe", "msi", "dmg", "pkg", "deb",
    "rpm", "apk", "iso", "bin", "jar", "swf", "csv", "tsv", "parquet",
})
# fmt: on
"""Endings of paths that are no pages."""
_INDEX_PAGES: Final = ("/index.html", "/index.php")


class PathPatterns(Protocol):
    """The port: regular expressions whose matching takes time linear in the text."""

    def fault(self, pattern: str) -> str | None:
        """Say what is wrong with a pattern; None where it can be used."""
        ...

    async def any_of(self, patterns: Sequence[str], texts: Sequence[str]) -> list[bool]:
        """Tell for each text whether one of the patterns is found in it. Does not hold up the event loop."""
        ...


class FoundUrl(msgspec.Struct, frozen=True):
    """A page that was found: its key, its normalised URL and host, and its depth."""

    key: str
    url: str
    host: str
    depth: int


class Scope:
    """Decides for one crawl. `site_url` is where its start page was found."""

    def __init__(
        self, spec: CrawlSpec, *, site_url: str, patterns: PathPatterns, test_sites: TestSites = NO_TEST_SITES
    ) -> None:
        self._spec, self._patterns, self._test_sites = spec, patterns, test_sites
        starts = [url for text in (spec.url, site_url) if isinstance(url := self.check(text), AllowedUrl)]
        self._hosts = {without_www(url.origin_host) for url in starts}
        self._domains = {registered_domain(url.host) for url in starts}
        self._paths = tuple({_folder(path_of(url.href)) for url in starts})

    def check(self, href: str) -> AllowedUrl | Refusal:
        """Apply the URL rules, without the query where this crawl ignores it."""
        wanted = without_query(href) if self._spec.ignore_query_parameters else href
        return check_url(wanted, test_sites=self._test_sites)

    def key(self, url: AllowedUrl) -> str:
        """Return the key that a page is taken up by."""
        return url_key(url, similar_is_same=self._spec.deduplicate_similar_urls)

    def admits_depth(self, depth: int) -> bool:
        """Tell whether pages of this depth are asked for."""
        return self._spec.max_discovery_depth is None or depth <= self._spec.max_discovery_depth

    async def admitted(self, hrefs: Iterable[str], *, depth: int) -> list[FoundUrl]:
        """Return the pages that this crawl may ask for among links, each once, in their order."""
        if not self.admits_depth(depth):
            return []
        found: dict[str, AllowedUrl] = {}
        for href in dict.fromkeys(hrefs):
            url = self.check(href)
            if isinstance(url, AllowedUrl) and self._is_near(url) and not is_file(url.href):
                found.setdefault(self.key(url), url)
        chosen = await self._chosen([url.href for url in found.values()])
        return [
            FoundUrl(key, url.href, url.origin_host, depth)
            for (key, url), is_chosen in zip(found.items(), chosen, strict=True)
            if is_chosen
        ]

    def _is_near(self, url: AllowedUrl) -> bool:
        spec = self._spec
        if without_www(url.origin_host) in self._hosts:
            return spec.crawl_entire_domain or path_of(url.href).startswith(self._paths)
        if spec.allow_external_links:
            return True
        return spec.allow_subdomains and registered_domain(url.host) in self._domains

    async def _chosen(self, hrefs: Sequence[str]) -> list[bool]:
        spec = self._spec
        texts = list(hrefs) if spec.regex_on_full_url else [path_of(href) for href in hrefs]
        chosen = [True] * len(texts)
        if spec.exclude_paths and texts:
            chosen = [not found for found in await self._patterns.any_of(spec.exclude_paths, texts)]
        if spec.include_paths and texts:
            included = await self._patterns.any_of(spec.include_paths, texts)
            chosen = [kept and found for kept, found in zip(chosen, included, strict=True)]
        return chosen


def is_file(href: str) -> bool:
    """Tell whether a URL names a file that is no page, by the ending of its path."""
    name = path_of(href).rpartition("/")[2]
    return name.rpartition(".")[2].lower() in _FILES if "." in name else False


def _folder(path: str) -> str:
    for page in _INDEX_PAGES:
        if path.endswith(page):
            return path.removesuffix(page) + "/"
    return path
