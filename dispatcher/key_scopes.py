"""What an API key may do: scopes, and which of them each address of the lab API takes.

An address that is not listed takes `read` to be read and `scrape` for anything else: a new route is closed until it has
a line here.
"""

from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args

Scope = Literal["scrape", "crawl", "datasets", "read", "webhooks", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
LAB_SCOPES: Final[tuple[Scope, ...]] = ("scrape", "crawl", "datasets", "read", "webhooks")
"""What a key may do that was made without naming scopes: everything but managing its team's keys."""

_READING: Final = frozenset({"GET", "HEAD"})
ANY_KEY: Final[frozenset[Scope]] = frozenset()


class _Area(NamedTuple):
    """An address and everything below it. Any one of the scopes is enough; none listed: any key."""

    path: str
    reading: frozenset[Scope]
    writing: frozenset[Scope]


def _area(path: str, writing: tuple[Scope, ...], reading: tuple[Scope, ...] | None = None) -> _Area:
    return _Area(path, frozenset(writing if reading is None else reading), frozenset(writing))


AREAS: Final = (
    _area("/v2/scrape", ("scrape",)),
    _area("/v2/batch/scrape", ("scrape",), ("read", "scrape")),
    _area("/v2/pictures", ("scrape", "crawl"), ("read", "scrape", "crawl")),
    _area("/v2/crawl", ("crawl",), ("read", "crawl")),
    _area("/v2/map", ("crawl",)),
    _area("/v2/search", ("read",)),
    _area("/r", ("scrape",)),
    _area("/v1/datasets", ("datasets",), ("read", "datasets")),
    _area("/v1/schedules", ("scrape", "crawl", "datasets"), ("read", "scrape", "crawl", "datasets")),
    _area("/v1/webhooks", ("webhooks",)),
    _area("/v1/keys", ("admin",)),
    _area("/v1/audit-log", ("admin",)),
    _area("/v1/credits", ("read", "admin")),
    _area("/v1/usage", ("read", "admin")),
    _area("/v1/estimate", ()),
    _area("/v2/concurrency-check", ()),
    _area("/v2/team", ()),
)
"""Every address stands below one of these at most."""
_ELSEWHERE: Final = _Area("", frozenset({"read"}), frozenset({"scrape"}))


@lru_cache(maxsize=1_000)
def scopes_for(method: str, path: str) -> frozenset[Scope]:
    """The scopes of which a key needs any one; empty where any key will do. `path` may be a route's pattern."""
    found = next((area for area in AREAS if path == area.path or path.startswith(area.path + "/")), _ELSEWHERE)
    return found.reading if method in _READING else found.writing
