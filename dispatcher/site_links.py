"""The links of a site as a map lists them: each page once, with what is known of it, in the order of a search."""

import re
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.registered_domain import registered_domain
from dispatcher.similar_urls import url_key, without_query, without_www
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url

_WORD: Final = re.compile(r"\w+")
_IN_URL, _IN_TITLE, _IN_DESCRIPTION = 3, 2, 1
_WHOLE: Final = 5
"""How much more it is worth to hold all words of a search, side by side, than one of them."""


class MappedLink(msgspec.Struct, frozen=True):
    """A page of a site. Without a title of its own a page has that of the first link to it."""

    url: str
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class SiteLinks:
    """Owns what a map has found. Not more than `most` pages are kept."""

    def __init__(
        self,
        start: AllowedUrl,
        *,
        include_subdomains: bool,
        ignore_query: bool,
        most: int,
        test_sites: TestSites = NO_TEST_SITES,
    ) -> None:
        self._subdomains, self._ignore_query, self._most, self._test_sites = (
            include_subdomains,
            ignore_query,
            most,
            test_sites,
        )
        self._hosts: set[str] = set()
        self._domains: set[str] = set()
        self._found: dict[str, MappedLink] = {}
        self.add_site(start.href)

    @property
    def is_full(self) -> bool:
        """Whether no more pages are kept."""
        return len(self._found) >= self._most

    def add_site(self, href: str) -> None:
        """A host whose pages belong to this map: that of the start page, and where it was found."""
        url = check_url(href, test_sites=self._test_sites)
        if isinstance(url, AllowedUrl):
            self._hosts.add(without_www(url.origin_host))
            self._domains.add(registered_domain(url.host))

    def add(self, href: str, title: str = "", description: str = "") -> None:
        """Take up a page, or what is new about it."""
        url = check_url(without_query(href) if self._ignore_query else href, test_sites=self._test_sites)
        if not isinstance(url, AllowedUrl) or not self._is_near(url):
            return
        key = url_key(url, similar_is_same=True)
        known = self._found.get(key)
        if known is None:
            if not self.is_full:
                self._found[key] = MappedLink(url.href, title or UNSET, description or UNSET)
        else:
            self._found[key] = MappedLink(
                known.url, known.title or title or UNSET, known.description or description or UNSET
            )

    def _is_near(self, url: AllowedUrl) -> bool:
        if without_www(url.origin_host) in self._hosts:
            return True
        return self._subdomains and registered_domain(url.host) in self._domains

    def ranked(self, search: str) -> list[MappedLink]:
        """Return the pages: by how well they answer a search, else in the order they were found in."""
        links = list(self._found.values())
        words = list(dict.fromkeys(_WORD.findall(search.lower())))
        if not words:
            return links
        return sorted(links, key=lambda link: -_relevance(link, words))


def _relevance(link: MappedLink, words: list[str]) -> int:
    texts = ((link.url, _IN_URL), (link.title or "", _IN_TITLE), (link.description or "", _IN_DESCRIPTION))
    score = 0
    for text, weight in texts:
        found = _WORD.findall(text.lower())
        known = set(found)
        # A word itself counts twice what a word that only holds it does.
        score += weight * sum(2 * (word in known) or any(word in each for each in known) for word in words)
        if " ".join(words) in " ".join(found):
            score += weight * _WHOLE
    return score
