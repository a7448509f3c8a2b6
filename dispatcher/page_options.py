"""The options that a lab may give for each page, in scrapes, batches and crawls: honoured, or refused by name.

Every field is one of three: read into `ScrapeOptions`; accepted because it asks for what is done anyway; or refused
with its reason. Nothing is ignored.
"""

import difflib
import re
from typing import Final, get_args

from msgspec.structs import replace

from cleaning.selectors import selector_fault
from dispatcher.countries import COUNTRIES
from dispatcher.jobs import ScrapeOptions
from dispatcher.page_formats import PageFormats, decode_formats
from dispatcher.request_fields import JsonObject, JsonValue, Problem, Rule, is_flag, is_text, is_whole, only, shown
from protocol.job import Purpose

MIN_TIMEOUT_MS: Final = 1_000
MAX_TIMEOUT_MS: Final = 300_000
MAX_SELECTORS: Final = 100
LOCKDOWN_AGE_MS: Final = 2 * 365 * 24 * 3_600_000
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)
TLS_WARNING: Final = (
    "skipTlsVerification is not honoured: certificates are always verified, or provenance would mean nothing"
)
TRACKING_AGE_WARNING: Final = "maxAge is not used: changeTracking compares a page that is fetched afresh"
_NO_BROWSER: Final = "pages are fetched as the site sends them, without a browser"

OPTION_FIELDS: Final = frozenset(
    {
        "formats", "onlyMainContent", "includeTags", "excludeTags", "removeBase64Images", "timeout", "maxAge",
        "minAge", "storeInCache", "lockdown", "location", "purpose", "skipTlsVerification", "zeroDataRetention",
    }
)  # fmt: skip
"""The fields that are read into `ScrapeOptions`."""
PAGE_RULES: Final[dict[str, Rule]] = {
    "origin": Rule("a string of at most 1000 characters", is_text),
    "integration": Rule("a string of at most 1000 characters", is_text),
    "blockAds": Rule("true or false", is_flag),
    "proxy": only("basic", "auto", reason="nodes connect directly and as themselves"),
    "fastMode": only(False, reason="there is one mode"),
    "mobile": only(False, reason=_NO_BROWSER),
    "waitFor": only(0, reason=_NO_BROWSER),
    "actions": only([], reason=_NO_BROWSER),
    "headers": only({}, reason="requests carry the network's own headers; location.languages sets Accept-Language"),
    "parsers": only([], reason="PDFs are not read: only HTML and plain text become documents"),
    "redactPII": only(False, reason="redaction is not offered"),
    "onlyCleanContent": only(False, reason="content is cleaned by rules, without a model"),
    "ignoreRobotsTxt": only(False, reason="robots.txt is always honoured"),
    "robotsUserAgent": Rule("nothing", lambda _: False, "the network has one user agent, MeadowBot"),
    "useMock": Rule("nothing", lambda _: False, "pages are really fetched"),
    "profile": Rule("nothing", lambda _: False, _NO_BROWSER),
    "auditMetadata": Rule("nothing", lambda _: False, "it would not be kept"),
    "threatProtection": Rule("nothing", lambda _: False, "the operator's own rules hold for everybody"),
}
"""The fields that ask for what is done anyway, or are refused."""
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_MAX_LANGUAGES = 10


class DecodedOptions:
    """Owns what is read of a request's options: `options` is to be used where `problems` is empty."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.options = ScrapeOptions()

    def refuse(self, field: str, got: JsonValue, accepts: str, reason: str | None = None) -> None:
        """Note a problem."""
        self.problems.append(Problem(field, shown(got), accepts, reason))


def decode_options(
    fields: JsonObject,
    *,
    own: tuple[str, ...] = (),
    rules: dict[str, Rule] = PAGE_RULES,
    has_model: bool = False,
    has_browser: bool = False,
) -> DecodedOptions:
    """Read the options of a page from the fields of a request, members that are null left out.

    `own` are the names of fields that the caller reads itself; every other name is refused. `has_model` and
    `has_browser` tell whether the operator configured a model, and a browser to take pictures with.
    """
    decoded = DecodedOptions()
    known = {*own, *rules, *OPTION_FIELDS}
    for name, value in fields.items():
        rule = rules.get(name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "no such field"
            decoded.refuse(name[:100], value, "nothing", hint)
        elif rule is not None and not rule.admits(value):
            decoded.refuse(name, value, rule.accepts, rule.reason)
    formats, problems, warnings = decode_formats(fields.get("formats"), has_model=has_model, has_browser=has_browser)
    decoded.problems.extend(problems)
    decoded.warnings.extend(warnings)
    accept_language, country = _read_location(decoded, fields.get("location"))
    skip_tls = _flag(decoded, fields, "skipTlsVerification", default=False)
    if skip_tls:
        decoded.warnings.append(TLS_WARNING)
    timeout_ms = _whole(decoded, fields, "timeout", MIN_TIMEOUT_MS, MAX_TIMEOUT_MS)
    decoded.options = replace(
        decoded.options,
        formats=formats.names,
        json=formats.json,
        tracking=formats.tracking,
        attributes=formats.attributes,
        screenshot=formats.screenshot,
        only_main_content=_flag(decoded, fields, "onlyMainContent", default=True),
        include_tags=_selectors(decoded, fields, "includeTags"),
        exclude_tags=_selectors(decoded, fields, "excludeTags"),
        remove_base64_images=_flag(decoded, fields, "removeBase64Images", default=True),
        timeout_ms=ScrapeOptions().timeout_ms if timeout_ms is None else timeout_ms,
        purpose=_purpose(decoded, fields.get("purpose")),
        accept_language=accept_language,
        country=country,
    )
    _read_ages(decoded, fields, formats)
    return decoded


def _read_ages(decoded: DecodedOptions, fields: JsonObject, formats: PageFormats) -> None:
    """Read what an earlier answer may be used for, and how long this one is kept."""
    max_age_ms = _whole(decoded, fields, "maxAge", 0, 2**53)
    min_age_ms = _whole(decoded, fields, "minAge", 0, 2**53)
    lockdown = _flag(decoded, fields, "lockdown", default=False)
    zero_retention = _flag(decoded, fields, "zeroDataRetention", default=False)
    store = _flag(decoded, fields, "storeInCache", default=True)
    reads_only = lockdown or min_age_ms is not None
    if reads_only and max_age_ms is None:
        max_age_ms = LOCKDOWN_AGE_MS
    if reads_only and max_age_ms is not None and max_age_ms < max(min_age_ms or 0, 1):
        decoded.refuse("maxAge", max_age_ms, f"{max(min_age_ms or 0, 1)} or more", "nothing older is to be read")
    if formats.tracking is not None:
        reason = "changeTracking compares a page that is fetched afresh with what is kept of it"
        for name, is_set in (("lockdown", lockdown), ("minAge", min_age_ms is not None)):
            if is_set:
                decoded.refuse(name, fields.get(name), "nothing beside changeTracking", reason)
        if zero_retention:
            decoded.refuse("zeroDataRetention", True, "false beside changeTracking", reason)
        if max_age_ms and not reads_only:
            decoded.warnings.append(TRACKING_AGE_WARNING)
    decoded.options = replace(
        decoded.options,
        max_age_ms=0 if formats.tracking is not None else max_age_ms or 0,
        min_age_ms=min_age_ms,
        lockdown=lockdown,
        store_in_cache=store,
        zero_data_retention=zero_retention or lockdown,
    )


def _flag(decoded: DecodedOptions, fields: JsonObject, name: str, *, default: bool) -> bool:
    value = fields.get(name)
    if value is None or isinstance(value, bool):
        return default if value is None else value
    decoded.refuse(name, value, "true or false")
    return default


def _whole(decoded: DecodedOptions, fields: JsonObject, name: str, low: int, high: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if is_whole(value, low, high) and isinstance(value, int):
        return value
    most = f"from {low} to {high}" if high < 2**53 else f"{low} or more"
    decoded.refuse(name, value, f"whole milliseconds{' ' if high < 2**53 else ', '}{most}")
    return None


def _purpose(decoded: DecodedOptions, purpose: JsonValue) -> Purpose:
    found = next((known for known in PURPOSES if known == purpose), None)
    if found is None and purpose is not None:
        decoded.refuse("purpose", purpose, " or ".join(PURPOSES))
    return found or ScrapeOptions().purpose


def _selectors(decoded: DecodedOptions, fields: JsonObject, name: str) -> tuple[str, ...]:
    value = fields.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_SELECTORS:
        decoded.refuse(name, value, f"a list of at most {MAX_SELECTORS} CSS selectors or tag names")
        return ()
    found: list[str] = []
    for place, selector in enumerate(value):
        fault = selector_fault(selector) if isinstance(selector, str) else "it is no string"
        if fault is None:
            found.append(str(selector))
        else:
            decoded.refuse(f"{name}[{place}]", selector, "a CSS selector or tag name", fault)
    return tuple(found)


def _read_location(decoded: DecodedOptions, location: JsonValue) -> tuple[str | None, str | None]:
    """Return the Accept-Language header and the country of a location."""
    if location is None:
        return None, None
    if not isinstance(location, dict):
        decoded.refuse("location", location, "an object with a country and a list of languages")
        return None, None
    for name in location.keys() - {"country", "languages"}:
        decoded.refuse(f"location.{name[:100]}", location[name], "nothing", "no such field")
    return _accept_language(decoded, location.get("languages")), _country(decoded, location.get("country"))


def _accept_language(decoded: DecodedOptions, languages: JsonValue) -> str | None:
    if languages is None or languages == []:
        return None
    if isinstance(languages, list) and len(languages) <= _MAX_LANGUAGES:
        tags = [tag for tag in languages if isinstance(tag, str) and _LANGUAGE.fullmatch(tag)]
        if len(tags) == len(languages):
            return ", ".join(
                tag if place == 0 else f"{tag};q={max(1, 10 - place) / 10:.1f}" for place, tag in enumerate(tags)
            )
    decoded.refuse("location.languages", languages, f"a list of at most {_MAX_LANGUAGES} language tags, as en-GB")
    return None


def _country(decoded: DecodedOptions, country: JsonValue) -> str | None:
    if country is None:
        return None
    code = country.upper() if isinstance(country, str) else ""
    if code in COUNTRIES:
        return code
    reason = "the United Kingdom is GB" if code == "UK" else None
    decoded.refuse("location.country", country, "an ISO 3166-1 alpha-2 country code, as DE", reason)
    return None
