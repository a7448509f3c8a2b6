"""Labs' scrape requests: JSON in the shape of Firecrawl's v2 API to a typed request, or a rejection with its reasons.

Nothing is ignored silently: a field that would change the result and is not honoured yet is refused by name. Members
that are null count as absent. `purpose` is this network's own field.
"""

import difflib
import re
from typing import Final, get_args

import msgspec

from dispatcher.countries import COUNTRIES
from dispatcher.jobs import BatchKind, ScrapeOptions
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
from protocol.job import Purpose
from protocol.urls import NO_TEST_SITES, AllowedUrl, Reason, Refusal, TestSites, check_url

MAX_URLS: Final = 100_000
REQUEST_BYTES: Final = 10 * 1024 * 1024
MIN_TIMEOUT_MS: Final = 1_000
MAX_TIMEOUT_MS: Final = 300_000
FORMATS: Final = ("markdown", "rawHtml", "links")
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)

TLS_WARNING: Final = (
    "skipTlsVerification is not honoured: certificates are always verified, or provenance would mean nothing"
)
_FORMATS_REFUSED: Final = {
    "html": "cleaned HTML is not offered; rawHtml is the page as the site sent it",
    "json": "extraction by a model is not offered",
    "summary": "summaries are not offered",
    "images": "lists of images are not offered",
    "screenshot": "pages are not rendered",
    "screenshot@fullPage": "pages are not rendered",
    "changeTracking": "comparison with earlier visits is not offered",
    "attributes": "selectors are not offered; rawHtml holds every attribute",
    "branding": "branding profiles are not offered",
}
_NO_BROWSER: Final = "pages are fetched as the site sends them, without a browser"
_NO_CACHE: Final = "every page is fetched afresh"
_POLL: Final = "results are read with GET on the batch"

_OPTION_FIELDS: Final = frozenset(
    {
        "formats",
        "onlyMainContent",
        "timeout",
        "maxAge",
        "location",
        "purpose",
        "skipTlsVerification",
        "zeroDataRetention",
    }
)
_PASSED: Final[dict[str, Rule]] = {
    "origin": Rule("a string of at most 1000 characters", is_text),
    "integration": Rule("a string of at most 1000 characters", is_text),
    "removeBase64Images": Rule("true or false", is_flag),
    "blockAds": Rule("true or false", is_flag),
    "storeInCache": Rule("true or false", is_flag),
    "proxy": only("basic", "auto", reason="nodes connect directly and as themselves"),
    "fastMode": only(False, reason="there is one mode"),
    "mobile": only(False, reason=_NO_BROWSER),
    "waitFor": only(0, reason=_NO_BROWSER),
    "actions": only([], reason=_NO_BROWSER),
    "headers": only({}, reason="requests carry the network's own headers; location.languages sets Accept-Language"),
    "includeTags": only([], reason="selectors are not offered"),
    "excludeTags": only([], reason="selectors are not offered"),
    "parsers": only([], reason="only HTML and plain text become documents"),
    "minAge": only(0, reason=_NO_CACHE),
    "lockdown": only(False, reason=_NO_CACHE),
    "redactPII": only(False, reason="redaction is not offered"),
    "ignoreRobotsTxt": only(False, reason="robots.txt is always honoured"),
    "robotsUserAgent": Rule("nothing", lambda _: False, "the network has one user agent, MeadowBot"),
    "useMock": Rule("nothing", lambda _: False, "pages are really fetched"),
    "profile": Rule("nothing", lambda _: False, _NO_BROWSER),
    "auditMetadata": Rule("nothing", lambda _: False, "it would not be kept"),
}
_PASSED_IN_BATCHES: Final[dict[str, Rule]] = {
    "webhook": Rule("nothing", lambda _: False, f"webhooks are not offered; {_POLL}"),
    "appendToId": Rule("nothing", lambda _: False, "a batch is complete once accepted; post another one"),
    "maxConcurrency": Rule("nothing", lambda _: False, "each site's own pace decides how fast it is read"),
    "ignoreInvalidURLs": Rule("true or false", is_flag),
}
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_MAX_LANGUAGES = 10


class InvalidUrl(msgspec.Struct, frozen=True):
    """A URL of a batch that was left out, as the lab wrote it, and why."""

    url: str
    code: str
    error: str


class ScrapeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to scrape. `urls` are normalised and in the lab's order; `warnings` tell what is not honoured."""

    kind: BatchKind
    urls: tuple[AllowedUrl, ...]
    options: ScrapeOptions
    invalid: tuple[InvalidUrl, ...] = ()
    warnings: tuple[str, ...] = ()


def decode_scrape(body: bytes, *, test_sites: TestSites = NO_TEST_SITES) -> ScrapeRequest | Rejected:
    """Decode the body of `POST /v2/scrape`: one URL and its options."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    decoded = _options(fields, own=("url",), rules=_PASSED)
    url = fields.get("url")
    if not isinstance(url, str):
        decoded.problems.insert(0, _missing_or_wrong(fields, "url", "an absolute http or https URL"))
    if (rejection := _rejection(fields, decoded.problems)) is not None:
        return rejection
    allowed = check_url(str(url), test_sites=test_sites)
    if isinstance(allowed, Refusal):
        return _url_rejected(str(url), allowed)
    return ScrapeRequest(kind="scrape", urls=(allowed,), options=decoded.options(), warnings=tuple(decoded.warnings))


def decode_batch(body: bytes, *, test_sites: TestSites = NO_TEST_SITES) -> ScrapeRequest | Rejected:
    """Decode the body of `POST /v2/batch/scrape`: a list of URLs and the options they share.

    URLs that may not be asked for are left out and listed, unless `ignoreInvalidURLs` is false or none is left.
    """
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    decoded = _options(fields, own=("urls",), rules=_PASSED | _PASSED_IN_BATCHES)
    urls = fields.get("urls")
    accepts = f"a list of 1 to {MAX_URLS} absolute http or https URLs"
    written: list[str] = []
    if not isinstance(urls, list):
        decoded.problems.insert(0, _missing_or_wrong(fields, "urls", accepts))
    elif not 0 < len(urls) <= MAX_URLS:
        decoded.problems.insert(0, Problem("urls", f"a list of {len(urls)}", accepts))
    else:
        for place, url in enumerate(urls):
            if isinstance(url, str):
                written.append(url)
            else:
                decoded.problems.append(Problem(f"urls[{place}]", shown(url), "a string"))
    if (rejection := _rejection(fields, decoded.problems)) is not None:
        return rejection
    allowed: list[AllowedUrl] = []
    invalid: list[InvalidUrl] = []
    for url in written:
        checked = check_url(url, test_sites=test_sites)
        if isinstance(checked, Refusal):
            invalid.append(InvalidUrl(url, url_code(checked.reason), checked.detail))
        else:
            allowed.append(checked)
    if invalid and (not allowed or fields.get("ignoreInvalidURLs") is False):
        problems = [Problem("urls", shown(item.url), "a URL that may be asked for", item.error) for item in invalid]
        return rejected(problems, code="INVALID_URLS")
    return ScrapeRequest(
        kind="batch_scrape",
        urls=tuple(allowed),
        options=decoded.options(),
        invalid=tuple(invalid),
        warnings=tuple(decoded.warnings),
    )


def url_code(reason: Reason) -> str:
    """Return the API's code for a refused URL, as `URL_SCHEME`."""
    return f"URL_{reason.value.upper()}"


def _url_rejected(url: str, refusal: Refusal) -> Rejected:
    problem = Problem("url", shown(url), "an absolute http or https URL of a public site", refusal.detail)
    status = 400 if refusal.reason in {Reason.MALFORMED, Reason.TOO_LONG} else 403
    return rejected([problem], status=status, code=url_code(refusal.reason))


class _Decoded:
    """Owns what is read of a request's options until they are known to be right."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.formats: tuple[str, ...] = ("markdown",)
        self.timeout_ms = ScrapeOptions().timeout_ms
        self.max_age_ms = 0
        self.accept_language: str | None = None
        self.purpose: Purpose = "train-ai"
        self.country: str | None = None
        self.zero_data_retention = False

    def options(self) -> ScrapeOptions:
        return ScrapeOptions(
            formats=self.formats,
            timeout_ms=self.timeout_ms,
            max_age_ms=self.max_age_ms,
            accept_language=self.accept_language,
            purpose=self.purpose,
            country=self.country,
            zero_data_retention=self.zero_data_retention,
        )

    def refuse(self, field: str, got: JsonValue, accepts: str, reason: str | None = None) -> None:
        self.problems.append(Problem(field, shown(got), accepts, reason))


def _options(fields: JsonObject, *, own: tuple[str, ...], rules: dict[str, Rule]) -> _Decoded:
    decoded = _Decoded()
    known = {*own, *rules, *_OPTION_FIELDS}
    for name, value in fields.items():
        rule = rules.get(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            decoded.refuse(name[:100], value, "nothing", hint)
        elif rule is not None and not rule.admits(value):
            decoded.refuse(name, value, rule.accepts, rule.reason)
    _read_formats(decoded, fields)
    timeout, max_age, purpose = fields.get("timeout"), fields.get("maxAge"), fields.get("purpose")
    if timeout is not None:
        if is_whole(timeout, MIN_TIMEOUT_MS, MAX_TIMEOUT_MS) and isinstance(timeout, int):
            decoded.timeout_ms = timeout
        else:
            decoded.refuse("timeout", timeout, f"whole milliseconds from {MIN_TIMEOUT_MS} to {MAX_TIMEOUT_MS}")
    if max_age is not None:
        if is_whole(max_age, 0, 2**53) and isinstance(max_age, int):
            decoded.max_age_ms = max_age
        else:
            decoded.refuse("maxAge", max_age, "whole milliseconds, 0 or more")
    if purpose is not None:
        found = next((known_purpose for known_purpose in PURPOSES if known_purpose == purpose), None)
        if found is None:
            decoded.refuse("purpose", purpose, " or ".join(PURPOSES))
        else:
            decoded.purpose = found
    main_only, skip_tls = fields.get("onlyMainContent"), fields.get("skipTlsVerification")
    if main_only is not None and not isinstance(main_only, bool):
        decoded.refuse("onlyMainContent", main_only, "true or false")
    elif main_only is False and "markdown" in decoded.formats:
        decoded.refuse("onlyMainContent", main_only, "true", "markdown is the main content; rawHtml is the whole page")
    if skip_tls is not None and not isinstance(skip_tls, bool):
        decoded.refuse("skipTlsVerification", skip_tls, "true or false")
    elif skip_tls:
        decoded.warnings.append(TLS_WARNING)
    zero_retention = fields.get("zeroDataRetention")
    if isinstance(zero_retention, bool):
        decoded.zero_data_retention = zero_retention
    elif zero_retention is not None:
        decoded.refuse("zeroDataRetention", zero_retention, "true or false")
    _read_location(decoded, fields.get("location"))
    return decoded


def _read_formats(decoded: _Decoded, fields: JsonObject) -> None:
    wanted = fields.get("formats")
    if wanted is None:
        return
    accepts = " or ".join(FORMATS)
    if not isinstance(wanted, list) or not wanted:
        decoded.refuse("formats", wanted, f"a list of {accepts}")
        return
    names: dict[str, None] = {}
    for place, entry in enumerate(wanted):
        name = entry.get("type") if isinstance(entry, dict) else entry
        if isinstance(name, str) and name in FORMATS and (not isinstance(entry, dict) or len(entry) == 1):
            names[name] = None
        else:
            reason = _FORMATS_REFUSED.get(name) if isinstance(name, str) else None
            decoded.refuse(f"formats[{place}]", entry, accepts, reason)
    decoded.formats = tuple(names)


def _read_location(decoded: _Decoded, location: JsonValue) -> None:
    if location is None:
        return
    if not isinstance(location, dict):
        decoded.refuse("location", location, "an object with a country and a list of languages")
        return
    for name in location.keys() - {"country", "languages"}:
        decoded.refuse(f"location.{name[:100]}", location[name], "nothing", "no such field")
    _read_country(decoded, location.get("country"))
    languages = location.get("languages")
    if languages is None or languages == []:
        return
    if isinstance(languages, list) and len(languages) <= _MAX_LANGUAGES:
        tags = [tag for tag in languages if isinstance(tag, str) and _LANGUAGE.fullmatch(tag)]
        if len(tags) == len(languages):
            decoded.accept_language = ", ".join(
                tag if place == 0 else f"{tag};q={max(1, 10 - place) / 10:.1f}" for place, tag in enumerate(tags)
            )
            return
    decoded.refuse("location.languages", languages, f"a list of at most {_MAX_LANGUAGES} language tags, as en-GB")


def _read_country(decoded: _Decoded, country: JsonValue) -> None:
    if country is None:
        return
    code = country.upper() if isinstance(country, str) else ""
    if code in COUNTRIES:
        decoded.country = code
    else:
        reason = "the United Kingdom is GB" if code == "UK" else None
        decoded.refuse("location.country", country, "an ISO 3166-1 alpha-2 country code, as DE", reason)


def _missing_or_wrong(fields: JsonObject, name: str, accepts: str) -> Problem:
    return Problem(name, shown(fields[name]) if name in fields else "nothing", accepts)


def _rejection(fields: JsonObject, problems: list[Problem]) -> Rejected | None:
    if not problems:
        return None
    if fields.get("ignoreRobotsTxt") is True:
        return rejected(problems, status=403, code="ROBOTS_ALWAYS_HONOURED")
    return rejected(problems)
