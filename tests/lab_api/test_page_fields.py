"""Every field that clients may send with a page: honoured, accepted because it asks for what is done, or refused."""

import msgspec
import pytest

from cleaning.wants import AttributeWant
from dispatcher.page_formats import FORMATS, JsonFormat, TrackingFormat
from dispatcher.page_options import LOCKDOWN_AGE_MS, OPTION_FIELDS, PAGE_RULES, TLS_WARNING
from dispatcher.request_fields import Rejected
from dispatcher.scrape_request import ScrapeRequest, decode_batch, decode_scrape

URL = "https://example.org/"
SCHEMA = {"type": "object", "properties": {"price": {"type": "number"}}}
SCHEMA_TEXT = msgspec.json.encode(SCHEMA).decode()
SELECTORS = [{"selector": "a[href]", "attribute": "HREF"}]

CLIENTS_SEND = {
    "scrape": {
        "url", "formats", "headers", "includeTags", "excludeTags", "onlyMainContent", "timeout", "waitFor", "mobile",
        "parsers", "actions", "location", "skipTlsVerification", "removeBase64Images", "fastMode", "blockAds", "proxy",
        "maxAge", "minAge", "storeInCache", "lockdown", "redactPII", "integration", "origin",
    },
    "batch": {"urls", "webhook", "appendToId", "ignoreInvalidURLs", "maxConcurrency", "zeroDataRetention"},
}  # fmt: skip

HONOURED: list[tuple[str, object, dict[str, object]]] = [
    ("formats", ["html", "markdown"], {"formats": ("html", "markdown")}),
    ("formats", [{"type": "json", "schema": SCHEMA}], {"json": JsonFormat(schema=SCHEMA_TEXT)}),
    (
        "formats",
        [{"type": "attributes", "selectors": SELECTORS}],
        {"attributes": (AttributeWant("a[href]", "href"),)},
    ),
    ("formats", ["markdown", "changeTracking"], {"tracking": TrackingFormat()}),
    (
        "formats",
        [{"type": "changeTracking", "modes": ["git-diff", "json"], "tag": "t", "schema": SCHEMA}],
        {"tracking": TrackingFormat(diff=True, values=True, tag="t", schema=SCHEMA_TEXT)},
    ),
    ("includeTags", ["main", ".price > b"], {"include_tags": ("main", ".price > b")}),
    ("excludeTags", ["nav", "#ad"], {"exclude_tags": ("nav", "#ad")}),
    ("onlyMainContent", False, {"only_main_content": False}),
    ("removeBase64Images", False, {"remove_base64_images": False}),
    ("timeout", 5_000, {"timeout_ms": 5_000}),
    ("location", {"country": "de", "languages": ["de"]}, {"country": "DE", "accept_language": "de"}),
    ("maxAge", 60_000, {"max_age_ms": 60_000, "reads_only": False, "may_read": True}),
    ("maxAge", 0, {"max_age_ms": 0, "may_read": False}),
    ("minAge", 0, {"min_age_ms": 0, "max_age_ms": LOCKDOWN_AGE_MS, "reads_only": True}),
    ("minAge", 1_000, {"min_age_ms": 1_000, "reads_only": True, "zero_data_retention": False}),
    ("storeInCache", False, {"store_in_cache": False}),
    ("lockdown", True, {"lockdown": True, "reads_only": True, "zero_data_retention": True}),
    ("zeroDataRetention", True, {"zero_data_retention": True}),
    ("purpose", "search", {"purpose": "search"}),
]
ACCEPTED: list[tuple[str, object]] = [
    ("headers", {}),
    ("waitFor", 0),
    ("mobile", False),
    ("parsers", []),
    ("actions", []),
    ("skipTlsVerification", True),
    ("skipTlsVerification", False),
    ("fastMode", False),
    ("blockAds", True),
    ("blockAds", False),
    ("proxy", "basic"),
    ("proxy", "auto"),
    ("redactPII", False),
    ("integration", "x"),
    ("origin", "js-sdk@4"),
    ("ignoreRobotsTxt", False),
    ("onlyCleanContent", False),
]
REFUSED: list[tuple[str, object, str]] = [
    *(("formats", [name], "without a browser") for name in ("screenshot", "screenshot@fullPage")),
    ("formats", [{"type": "screenshot", "fullPage": True}], "without a browser"),
    *(("formats", [name], "accepts markdown or html") for name in ("branding", "product", "menu", "audio", "nonsense")),
    ("formats", ["summary"], "MEADOW_MODEL_URL"),
    ("formats", ["json"], "an object with a schema, a prompt or both"),
    ("formats", [{"type": "json", "schema": {"type": 5}}], "it is no JSON Schema"),
    ("formats", [{"type": "json", "schema": {"$ref": "https://example.org/s"}}], "leads out of the schema"),
    ("formats", [{"type": "json", "schema": SCHEMA, "mode": "x"}], "formats[0].mode"),
    ("formats", [{"type": "json", "schema": SCHEMA}, {"type": "json", "schema": SCHEMA}], "formats[1]"),
    ("formats", [{"type": "markdown", "x": 1}], "formats[0].x"),
    ("formats", [{"type": "attributes"}], "formats[0].selectors"),
    ("formats", [{"type": "attributes", "selectors": [{"selector": "a["}]}], "formats[0].selectors[0]"),
    ("formats", [{"type": "changeTracking", "modes": ["words"]}], "formats[0].modes"),
    ("formats", [{"type": "changeTracking", "modes": ["json"]}], "formats[0].schema"),
    ("formats", [{"type": "changeTracking", "prompt": "x"}], "formats[0].prompt"),
    ("headers", {"User-Agent": "x"}, "the network's own headers"),
    ("includeTags", ["*ad*"], "includeTags[0]"),
    ("excludeTags", "nav", "a list of at most"),
    ("onlyMainContent", 1, "true or false"),
    ("removeBase64Images", "no", "true or false"),
    ("timeout", 10, "whole milliseconds from 1000"),
    ("waitFor", 500, "without a browser"),
    ("mobile", True, "without a browser"),
    ("parsers", ["pdf"], "PDFs are not read"),
    ("parsers", [{"type": "pdf", "mode": "fast"}], "PDFs are not read"),
    ("actions", [{"type": "wait", "milliseconds": 5}], "without a browser"),
    ("location", {"country": "EU"}, "location.country"),
    ("skipTlsVerification", 1, "true or false"),
    ("fastMode", True, "one mode"),
    ("blockAds", "all", "true or false"),
    ("proxy", "stealth", "nodes connect directly and as themselves"),
    ("proxy", "enhanced", "nodes connect directly and as themselves"),
    ("maxAge", -1, "0 or more"),
    ("minAge", 1.5, "0 or more"),
    ("storeInCache", "no", "true or false"),
    ("lockdown", "yes", "true or false"),
    ("redactPII", True, "redaction is not offered"),
    ("redactPII", {"mode": "fast"}, "redaction is not offered"),
    ("integration", 5, "a string"),
    ("origin", [], "a string"),
    ("robotsUserAgent", "x", "one user agent"),
    ("zeroDataRetention", "yes", "true or false"),
    ("purpose", "fun", "train-ai or search"),
]


def both(**fields: object) -> list[ScrapeRequest | Rejected]:
    return [
        decode_scrape(msgspec.json.encode({"url": URL, **fields})),
        decode_batch(msgspec.json.encode({"urls": [URL], **fields})),
    ]


def test_every_field_that_clients_send_is_decided_on() -> None:
    tried = {field for field, *_ in [*HONOURED, *ACCEPTED, *REFUSED]}
    of_batches = CLIENTS_SEND["batch"] - {"zeroDataRetention"}
    assert CLIENTS_SEND["scrape"] | CLIENTS_SEND["batch"] <= tried | {"url"} | of_batches
    assert tried <= OPTION_FIELDS | PAGE_RULES.keys()
    refused = {field for field, *_ in REFUSED}
    assert (CLIENTS_SEND["scrape"] - {"url"}) <= refused, "each field has a value that is refused"


@pytest.mark.parametrize(("field", "value", "expected"), HONOURED)
def test_what_is_honoured_reaches_the_options(field: str, value: object, expected: dict[str, object]) -> None:
    for decoded in both(**{field: value}):
        assert isinstance(decoded, ScrapeRequest), decoded
        assert {name: getattr(decoded.options, name) for name in expected} == expected


@pytest.mark.parametrize(("field", "value"), ACCEPTED)
def test_what_is_done_anyway_is_accepted(field: str, value: object) -> None:
    for decoded in both(**{field: value}):
        assert isinstance(decoded, ScrapeRequest), decoded
        assert decoded.warnings == ((TLS_WARNING,) if (field, value) == ("skipTlsVerification", True) else ())


@pytest.mark.parametrize(("field", "value", "words"), REFUSED)
def test_what_is_not_honoured_is_refused_by_name_and_reason(field: str, value: object, words: str) -> None:
    for decoded in both(**{field: value}):
        assert isinstance(decoded, Rejected), decoded
        assert (decoded.status, decoded.code) == (400, "BAD_REQUEST")
        assert field in decoded.message and words in decoded.message
        assert all(problem.accepts for problem in decoded.problems)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"minAge": 10, "maxAge": 5}, "maxAge"),
        ({"lockdown": True, "maxAge": 0}, "maxAge"),
        ({"formats": ["changeTracking"], "lockdown": True}, "lockdown"),
        ({"formats": ["changeTracking"], "minAge": 5}, "minAge"),
        ({"formats": ["changeTracking"], "zeroDataRetention": True}, "zeroDataRetention"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: dict[str, object], name: str) -> None:
    for decoded in both(**fields):
        assert isinstance(decoded, Rejected) and decoded.message.startswith(f"{name}: got ")


def test_a_form_that_is_asked_for_as_a_name_is_the_same_as_an_object() -> None:
    plain = [name for name in FORMATS if name not in {"attributes", "json", "changeTracking", "summary", "screenshot"}]
    for decoded in both(formats=[*plain, *({"type": name} for name in plain)]):
        assert isinstance(decoded, ScrapeRequest) and decoded.options.formats == tuple(plain)


def test_a_model_is_asked_where_there_is_one() -> None:
    formats = ["summary", {"type": "json", "prompt": "What colour?", "schema": SCHEMA}]
    body = msgspec.json.encode({"url": URL, "formats": formats})
    decoded = decode_scrape(body, has_model=True)
    assert isinstance(decoded, ScrapeRequest) and not decoded.warnings
    assert decoded.options.json == JsonFormat(schema=SCHEMA_TEXT, prompt="What colour?")
    assert isinstance(decode_scrape(body), Rejected)


def test_tracking_says_that_max_age_is_not_used() -> None:
    for decoded in both(formats=["changeTracking"], maxAge=5):
        assert isinstance(decoded, ScrapeRequest) and "maxAge is not used" in decoded.warnings[0]
        assert not decoded.options.may_read
