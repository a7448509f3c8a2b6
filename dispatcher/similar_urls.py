"""When two URLs are one page of a crawl: the key under which a URL is taken up once."""

import hashlib
from urllib.parse import urlsplit, urlunsplit

from protocol.urls import AllowedUrl

_INDEX_PAGES = ("/index.html", "/index.php")


def without_www(host: str) -> str:
    """Leave out the `www.` that a host may begin with."""
    return host.removeprefix("www.")


def without_query(href: str) -> str:
    """Leave out what follows the path of a normalised URL."""
    return href.partition("?")[0]


def path_of(href: str) -> str:
    """Return the path of a normalised URL."""
    return urlsplit(href).path or "/"


def url_key(url: AllowedUrl, *, similar_is_same: bool) -> str:
    """Return the key of a URL: the same for the same page, 64 hexadecimal digits.

    With `similar_is_same` http and https, a host with and without `www.`, a path with and without a slash at its end,
    and `index.html` or `index.php` at the end of a path and nothing there are the same page. A fragment never counts.
    """
    named = _similar(url) if similar_is_same else url.href
    return hashlib.sha256(named.encode()).hexdigest()


def map_key(href: str) -> str:
    """Return the key of a site map's URL; no page has the same."""
    return hashlib.sha256(b"map " + href.encode()).hexdigest()


def _similar(url: AllowedUrl) -> str:
    parts = urlsplit(url.href)
    path = parts.path
    for page in _INDEX_PAGES:
        path = path.removesuffix(page)
    return urlunsplit(("", without_www(url.origin_host), path.rstrip("/"), parts.query, ""))
