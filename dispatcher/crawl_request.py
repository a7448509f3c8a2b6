"""Labs' requests to crawl a site: JSON in the shape of Firecrawl's v2 API to a typed request, or a rejection.

As in `scrape_request` nothing is ignored silently: a field that would change the result and is not honoured is refused
by name, with the reason. `purpose` and `budget` are this network's own.
"""

import difflib
from typing import Final, get_args

import msgspec

from dispatcher.crawl_scope import PathPatterns
from dispatcher.crawl_spec import DEFAULT_LIMIT, MAX_LIMIT, CrawlSpec, SiteMapMode
from dispatcher.jobs import ScrapeOptions
from dispatcher.page_options import OPTION_FIELDS, decode_options
from dispatcher.request_fields import (
    JsonObject,
    JsonValue,
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
from dispatcher.scrape_request import BUDGET, WINDOW, url_code
from dispatcher.similar_urls import without_query
from dispatcher.webhook import Webhook, read_webhook
from protocol.urls import NO_TEST_SITES, AllowedUrl, Reason, Refusal, TestSites, check_url

MAX_PATTERNS: Final = 100
MAX_DEPTH: Final = 10_000
MAX_DELAY_S: Final = 3_600
SITE_MAP_MODES: Final[tuple[SiteMapMode, ...]] = get_args(SiteMapMode)
_FLAG: Final = Rule("true or false", is_flag)
_RULES: Final[dict[str, Rule]] = {
    "origin": Rule("a string of at most 1000 characters", is_text),
    "integration": Rule("a string of at most 1000 characters", is_text),
    "regexOnFullURL": _FLAG,
    "ignoreQueryParameters": _FLAG,
    "deduplicateSimilarURLs": _FLAG,
    "crawlEntireDomain": _FLAG,
    "allowExternalLinks": _FLAG,
    "allowSubdomains": _FLAG,
    "zeroDataRetention": _FLAG,
    "sitemap": Rule(" or ".join(SITE_MAP_MODES), lambda value: value in SITE_MAP_MODES),
    "maxDiscoveryDepth": Rule(f"a whole number from 0 to {MAX_DEPTH}", lambda value: is_whole(value, 0, MAX_DEPTH)),
    "limit": Rule(f"a whole number from 1 to {MAX_LIMIT}", lambda value: is_whole(value, 1, MAX_LIMIT)),
    "delay": Rule(
        f"seconds from 0 to {MAX_DELAY_S}",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_DELAY_S,
    ),
    "maxConcurrency": WINDOW,
    "budget": BUDGET,
    "prompt": Rule("nothing", lambda _: False, "no model chooses a crawl's options; name them"),
    "ignoreRobotsTxt": only(False, reason="robots.txt is always honoured"),
    "robotsUserAgent": Rule("nothing", lambda _: False, "the network has one user agent, MeadowBot"),
    "ignoreSitemap": Rule("nothing", lambda _: False, "it is sitemap: skip, include or only"),
    "maxDepth": Rule("nothing", lambda _: False, "it is maxDiscoveryDepth"),
    "allowBackwardLinks": Rule("nothing", lambda _: False, "it is crawlEntireDomain"),
}
_READ: Final = ("url", "includePaths", "excludePaths", "scrapeOptions", "webhook", "purpose")


class CrawlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to crawl. `start` is the normalised start page; `warnings` tell what is not honoured; `named` are the
    options of pages that the request names."""

    spec: CrawlSpec
    start: AllowedUrl
    options: ScrapeOptions
    warnings: tuple[str, ...] = ()
    webhook: Webhook | None = None
    named: frozenset[str] = frozenset()


def decode_crawl(
    body: bytes,
    *,
    patterns: PathPatterns,
    test_sites: TestSites = NO_TEST_SITES,
    has_model: bool = False,
    has_browser: bool = False,
) -> CrawlRequest | Rejected:
    """Decode the body of `POST /v2/crawl`."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems = _against_rules(fields)
    written = fields.get("url")
    if not isinstance(written, str):
        got = shown(written) if "url" in fields else "nothing"
        problems.insert(0, Problem("url", got, "an absolute http or https URL"))
    include = _patterns(fields, "includePaths", patterns, problems)
    exclude = _patterns(fields, "excludePaths", patterns, problems)
    pages = _page_fields(fields, problems)
    decoded = decode_options(pages, has_model=has_model, has_browser=has_browser)
    problems += [_inside(problem) for problem in decoded.problems]
    webhook = read_webhook(fields["webhook"], test_sites=test_sites) if "webhook" in fields else None
    if isinstance(webhook, list):
        problems += webhook
        webhook = None
    if problems:
        if fields.get("ignoreRobotsTxt") is True or pages.get("ignoreRobotsTxt") is True:
            return rejected(problems, status=403, code="ROBOTS_ALWAYS_HONOURED")
        return rejected(problems)
    start = check_url(str(written), test_sites=test_sites)
    if isinstance(start, AllowedUrl) and fields.get("ignoreQueryParameters") is True:
        start = check_url(without_query(start.href), test_sites=test_sites)
    if isinstance(start, Refusal):
        problem = Problem("url", shown(written), "an absolute http or https URL of a public site", start.detail)
        status = 400 if start.reason in {Reason.MALFORMED, Reason.TOO_LONG} else 403
        return rejected([problem], status=status, code=url_code(start.reason))
    spec = _spec(fields, start, include, exclude)
    options = msgspec.structs.replace(
        decoded.options,
        max_concurrency=1 if spec.delay_ms else spec.max_concurrency,
        delay_ms=spec.delay_ms,
        zero_data_retention=decoded.options.zero_data_retention or fields.get("zeroDataRetention") is True,
    )
    return CrawlRequest(
        spec=spec,
        start=start,
        options=options,
        warnings=(*decoded.warnings, *_warnings(fields)),
        webhook=webhook,
        named=frozenset(pages.keys() & OPTION_FIELDS),
    )


def _against_rules(fields: JsonObject) -> list[Problem]:
    problems: list[Problem] = []
    known = {*_RULES, *_READ}
    for name, value in fields.items():
        rule = _RULES.get(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            if name in OPTION_FIELDS:
                hint = f"it goes into scrapeOptions: {name}"
            problems.append(Problem(name[:100], shown(value), "nothing", hint))
        elif rule is not None and not rule.admits(value):
            problems.append(Problem(name, shown(value), rule.accepts, rule.reason))
    return problems


def _patterns(fields: JsonObject, name: str, patterns: PathPatterns, problems: list[Problem]) -> tuple[str, ...]:
    given = fields.get(name)
    if given is None:
        return ()
    accepts = f"a list of at most {MAX_PATTERNS} regular expressions (RE2 syntax)"
    if not isinstance(given, list) or len(given) > MAX_PATTERNS:
        got = f"a list of {len(given)}" if isinstance(given, list) else shown(given)
        problems.append(Problem(name, got, accepts))
        return ()
    found: list[str] = []
    for place, pattern in enumerate(given):
        fault = patterns.fault(pattern) if isinstance(pattern, str) else "it is no string"
        if fault is not None:
            problems.append(Problem(f"{name}[{place}]", shown(pattern), "a regular expression (RE2 syntax)", fault))
        elif isinstance(pattern, str) and pattern:
            found.append(pattern)
    return tuple(found)


def _page_fields(fields: JsonObject, problems: list[Problem]) -> JsonObject:
    """The options of pages: those of scrapeOptions, and the purpose of the whole crawl."""
    given = fields.get("scrapeOptions", {})
    if not isinstance(given, dict):
        problems.append(Problem("scrapeOptions", shown(given), "an object: the options of POST /v2/scrape"))
        return {}
    pages: JsonObject = {name: value for name, value in given.items() if value is not None}
    if "purpose" in fields:
        pages.setdefault("purpose", fields["purpose"])
    return pages


def _inside(problem: Problem) -> Problem:
    return msgspec.structs.replace(problem, field=f"scrapeOptions.{problem.field}")


def _spec(fields: JsonObject, start: AllowedUrl, include: tuple[str, ...], exclude: tuple[str, ...]) -> CrawlSpec:
    delay, budget = fields.get("delay"), fields.get("budget")
    limit = _whole(fields.get("limit")) or DEFAULT_LIMIT
    return CrawlSpec(
        url=start.href,
        include_paths=include,
        exclude_paths=exclude,
        regex_on_full_url=fields.get("regexOnFullURL") is True,
        max_discovery_depth=_whole(fields.get("maxDiscoveryDepth")),
        sitemap=next((mode for mode in SITE_MAP_MODES if mode == fields.get("sitemap")), "include"),
        ignore_query_parameters=fields.get("ignoreQueryParameters") is True,
        deduplicate_similar_urls=fields.get("deduplicateSimilarURLs") is not False,
        limit=min(limit, budget) if isinstance(budget, int) else limit,
        crawl_entire_domain=fields.get("crawlEntireDomain") is True,
        allow_external_links=fields.get("allowExternalLinks") is True,
        allow_subdomains=fields.get("allowSubdomains") is True,
        delay_ms=round(delay * 1000) if isinstance(delay, int | float) else 0,
        max_concurrency=_whole(fields.get("maxConcurrency")),
    )


def _whole(value: JsonValue) -> int | None:
    return value if isinstance(value, int) else None


def _warnings(fields: JsonObject) -> tuple[str, ...]:
    if fields.get("delay") and (_whole(fields.get("maxConcurrency")) or 1) > 1:
        return ("with a delay one page is visited at a time: maxConcurrency is 1",)
    return ()
