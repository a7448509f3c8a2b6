"""Labs' requests to map a site: JSON in the shape of Firecrawl's v2 API to a typed request, or a rejection."""

import difflib
from typing import Final

import msgspec

from dispatcher.crawl_request import SITE_MAP_MODES
from dispatcher.crawl_spec import SiteMapMode
from dispatcher.jobs import ScrapeOptions
from dispatcher.page_options import OPTION_FIELDS, decode_options
from dispatcher.request_fields import (
    JsonObject,
    Problem,
    Rejected,
    Rule,
    is_flag,
    is_text,
    is_whole,
    only,
    read_object,
    rejected,
    shown,
)
from dispatcher.scrape_request import url_code
from protocol.urls import NO_TEST_SITES, AllowedUrl, Reason, Refusal, TestSites, check_url

DEFAULT_LIMIT: Final = 5_000
MAX_LIMIT: Final = 100_000
MAX_SEARCH_CHARACTERS: Final = 500
_FLAG: Final = Rule("true or false", is_flag)
_RULES: Final[dict[str, Rule]] = {
    "origin": Rule("a string of at most 1000 characters", is_text),
    "integration": Rule("a string of at most 1000 characters", is_text),
    "search": Rule(
        f"a string of at most {MAX_SEARCH_CHARACTERS} characters",
        lambda value: isinstance(value, str) and len(value) <= MAX_SEARCH_CHARACTERS,
    ),
    "sitemap": Rule(" or ".join(SITE_MAP_MODES), lambda value: value in SITE_MAP_MODES),
    "includeSubdomains": _FLAG,
    "ignoreQueryParameters": _FLAG,
    "ignoreCache": _FLAG,
    "limit": Rule(f"a whole number from 1 to {MAX_LIMIT}", lambda value: is_whole(value, 1, MAX_LIMIT)),
    "ignoreRobotsTxt": only(False, reason="robots.txt is always honoured"),
    "useIndex": only(False, reason="there is no index: a map is made of what the site says now"),
}
_OPTIONS: Final[tuple[str, ...]] = ("timeout", "location", "purpose")


class MapRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to map a site. `options.timeout_ms` is how long the answer may take."""

    start: AllowedUrl
    options: ScrapeOptions
    search: str = ""
    sitemap: SiteMapMode = "include"
    include_subdomains: bool = True
    ignore_query_parameters: bool = True
    limit: int = DEFAULT_LIMIT
    named: frozenset[str] = frozenset()


def decode_map(body: bytes, *, test_sites: TestSites = NO_TEST_SITES) -> MapRequest | Rejected:
    """Decode the body of `POST /v2/map`."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems = _against_rules(fields)
    written = fields.get("url")
    if not isinstance(written, str):
        got = shown(written) if "url" in fields else "nothing"
        problems.insert(0, Problem("url", got, "an absolute http or https URL"))
    wanted: JsonObject = {name: fields[name] for name in _OPTIONS if name in fields}
    decoded = decode_options(wanted)
    problems += decoded.problems
    if problems:
        if fields.get("ignoreRobotsTxt") is True:
            return rejected(problems, status=403, code="ROBOTS_ALWAYS_HONOURED")
        return rejected(problems)
    start = check_url(str(written), test_sites=test_sites)
    if isinstance(start, Refusal):
        problem = Problem("url", shown(written), "an absolute http or https URL of a public site", start.detail)
        status = 400 if start.reason in {Reason.MALFORMED, Reason.TOO_LONG} else 403
        return rejected([problem], status=status, code=url_code(start.reason))
    search, limit = fields.get("search"), fields.get("limit")
    return MapRequest(
        start=start,
        options=decoded.options,
        search=search if isinstance(search, str) else "",
        sitemap=next((mode for mode in SITE_MAP_MODES if mode == fields.get("sitemap")), "include"),
        include_subdomains=fields.get("includeSubdomains") is not False,
        ignore_query_parameters=fields.get("ignoreQueryParameters") is not False,
        limit=limit if isinstance(limit, int) else DEFAULT_LIMIT,
        named=frozenset(wanted.keys() & OPTION_FIELDS),
    )


def _against_rules(fields: JsonObject) -> list[Problem]:
    problems: list[Problem] = []
    known = {*_RULES, *_OPTIONS, "url"}
    for name, value in fields.items():
        rule = _RULES.get(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            problems.append(Problem(name[:100], shown(value), "nothing", hint))
        elif rule is not None and not rule.admits(value):
            problems.append(Problem(name, shown(value), rule.accepts, rule.reason))
    return problems
