"""What a request may say: every refused field is named, with what it got and what it accepts."""

import gzip

import msgspec
import pytest
from aiohttp import ClientSession

from dispatcher.request_fields import Rejected
from dispatcher.scrape_request import (
    MAX_URLS,
    REQUEST_BYTES,
    ScrapeRequest,
    decode_batch,
    decode_scrape,
)
from protocol.urls import TestSites
from tests.lab_api.conftest import Lab, LedgerLabs

URL = "https://example.org/"


def scrape(**fields: object) -> ScrapeRequest | Rejected:
    return decode_scrape(msgspec.json.encode({"url": URL, **fields}))


def batch(**fields: object) -> ScrapeRequest | Rejected:
    return decode_batch(msgspec.json.encode({"urls": [URL], **fields}))


def rejection(decoded: ScrapeRequest | Rejected) -> Rejected:
    assert isinstance(decoded, Rejected)
    return decoded


REFUSED: list[tuple[str, object, str]] = [
    ("formats", [], "formats: got []"),
    ("formats", "markdown", 'formats: got "markdown"'),
    ("formats", ["markdown", "screenshot"], 'formats[1]: got "screenshot"'),
    ("formats", [{"type": "json", "prompt": "x"}], "MEADOW_MODEL_URL"),
    ("formats", ["markdwon"], "accepts markdown or html or rawHtml"),
    ("onlyMainContent", "yes", "accepts true or false"),
    ("timeout", 999, "accepts whole milliseconds from 1000 to 300000"),
    ("timeout", 300_001, "got 300001"),
    ("timeout", True, "got true"),
    ("timeout", "30", 'got "30"'),
    ("waitFor", 100, "without a browser"),
    ("mobile", True, "mobile: got true, accepts false"),
    ("mobile", 0, "mobile: got 0, accepts false"),
    ("actions", [{"type": "click", "selector": "a"}], "actions"),
    ("headers", {"Cookie": "a=b"}, "the network's own headers"),
    ("includeTags", ["a["], "it is no CSS selector"),
    ("excludeTags", [5], "excludeTags[0]"),
    ("parsers", ["pdf"], "parsers"),
    ("location", {"country": "XX"}, "an ISO 3166-1 alpha-2 country code"),
    ("location", {"country": "UK"}, "the United Kingdom is GB"),
    ("location", {"country": 49}, "location.country"),
    ("location", {"city": "Berlin"}, "location.city"),
    ("location", {"languages": ["no such tag!"]}, "location.languages"),
    ("location", {"languages": ["de\r\nX: y"]}, "location.languages"),
    ("location", "DE", "location: got"),
    ("proxy", "stealth", 'accepts "basic" or "auto"'),
    ("fastMode", True, "fastMode"),
    ("maxAge", -1, "maxAge"),
    ("minAge", "5", "minAge"),
    ("lockdown", 1, "lockdown"),
    ("redactPII", True, "redactPII"),
    ("zeroDataRetention", "yes", "true or false"),
    ("skipTlsVerification", "true", "skipTlsVerification"),
    ("blockAds", 1, "blockAds: got 1, accepts true or false"),
    ("origin", 5, "origin: got 5"),
    ("purpose", "fun", "train-ai or search"),
    ("maxage", 5, "did you mean maxAge?"),
    ("urls", [URL], "did you mean url?"),
    ("nonsense", None, ""),
]


@pytest.mark.parametrize(("value", "asked"), [(True, True), (False, False), (None, False)])
def test_zero_data_retention_is_asked_for_by_its_field(value: bool | None, asked: bool) -> None:
    decoded = scrape(zeroDataRetention=value)
    assert not isinstance(decoded, Rejected)
    assert decoded.options.zero_data_retention is asked


@pytest.mark.parametrize(("field", "value", "words"), REFUSED)
def test_a_field_that_would_not_be_honoured_is_refused_by_name(field: str, value: object, words: str) -> None:
    decoded = scrape(**{field: value})
    if value is None:
        assert isinstance(decoded, ScrapeRequest)
        return
    refused = rejection(decoded)
    assert (refused.status, refused.code) == (400, "BAD_REQUEST")
    assert words in refused.message and field in refused.message
    assert refused.problems[0].accepts


@pytest.mark.parametrize(
    ("field", "value"),
    [("webhook", 5), ("appendToId", 5), ("maxConcurrency", 0), ("ignoreInvalidURLs", "no")],
)
def test_fields_of_batches_that_would_not_be_honoured_are_refused_by_name(field: str, value: object) -> None:
    assert rejection(batch(**{field: value})).message.startswith(f"{field}: got ")


def test_all_problems_are_told_at_once() -> None:
    refused = rejection(decode_scrape(b'{"timeout":1,"mobile":true,"formats":["summary"]}'))
    assert {problem.field for problem in refused.problems} == {"url", "timeout", "mobile", "formats[0]"}


def test_robots_rules_cannot_be_switched_off() -> None:
    refused = rejection(scrape(ignoreRobotsTxt=True))
    assert (refused.status, refused.code) == (403, "ROBOTS_ALWAYS_HONOURED")
    assert isinstance(scrape(ignoreRobotsTxt=False), ScrapeRequest)


def test_a_test_site_is_allowed_only_by_the_operator() -> None:
    body = b'{"url":"http://127.0.0.1:8123/x"}'
    assert rejection(decode_scrape(body)).status == 403
    assert isinstance(decode_scrape(body, test_sites=TestSites.parse(["127.0.0.1:8123"])), ScrapeRequest)


def test_a_batch_keeps_the_labs_order_and_lists_what_it_left_out() -> None:
    decoded = batch(urls=[f"{URL}b", "http://10.0.0.1/", f"{URL}a", "nope", f"{URL}b"])
    assert isinstance(decoded, ScrapeRequest)
    assert [url.href for url in decoded.urls] == [f"{URL}b", f"{URL}a", f"{URL}b"]
    assert [(item.url, item.code) for item in decoded.invalid] == [
        ("http://10.0.0.1/", "URL_PRIVATE_ADDRESS"),
        ("nope", "URL_MALFORMED"),
    ]


@pytest.mark.parametrize("fields", [{"urls": ["nope"]}, {"urls": [URL, "nope"], "ignoreInvalidURLs": False}])
def test_a_batch_is_refused_where_invalid_urls_may_not_be_left_out_or_none_is_valid(fields: dict[str, object]) -> None:
    refused = rejection(batch(**fields))
    assert (refused.status, refused.code) == (400, "INVALID_URLS") and '"nope"' in refused.message


def test_the_number_of_urls_is_limited() -> None:
    many = [f"{URL}{number}" for number in range(MAX_URLS + 1)]
    refused = rejection(batch(urls=many))
    assert f"got a list of {MAX_URLS + 1}" in refused.message and f"1 to {MAX_URLS}" in refused.message
    assert "got a list of 0" in rejection(batch(urls=[])).message
    assert "urls[1]: got 5" in rejection(batch(urls=[URL, 5])).message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b"{", "line 1 column 2"),
        (b'{\n  "url": "x",\n}', "byte 16), line 3 column 1"),
        (b'{"url": "\xff"}', "not UTF-8 at byte 9"),
        (b'{"url": "\\ud800"}', "not JSON"),
        (b"[" * 50_000, "nested too deeply"),
        (b'["https://example.org/"]', "a JSON object is expected"),
        (b'{"timeout": 1e999}', "cannot be read as JSON"),
    ],
)
async def test_malformed_json_is_told_with_its_place(lab: Lab, body: bytes, words: str) -> None:
    status, code, message = (await lab.ask("POST", "/v2/scrape", body=body)).error()
    assert (status, code) == (400, "BAD_JSON") and words in message


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_a_415_that_names_both(lab: Lab, sent: str) -> None:
    answer = await lab.ask("POST", "/v2/scrape", body=b"{}", headers={"Content-Type": sent})
    status, code, message = answer.error()
    assert (status, code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert (sent or "nothing") in message and "accepts application/json" in message


async def test_an_oversized_body_is_a_413_that_names_the_limit(lab: Lab, labs: LedgerLabs) -> None:
    answer = await lab.ask("POST", "/v2/batch/scrape", body=b" " * (REQUEST_BYTES + 1))
    assert answer.error()[:2] == (413, "BODY_TOO_LARGE") and answer.at("details", "limitBytes") == REQUEST_BYTES
    assert not labs.submitted


async def test_a_body_sent_in_pieces_or_compressed_is_held_to_the_same_limit(lab: Lab) -> None:
    packed = gzip.compress(b" " * (REQUEST_BYTES + 1))
    answer = await lab.ask("POST", "/v2/batch/scrape", body=packed, headers={"Content-Encoding": "gzip"})
    assert answer.error()[:2] == (413, "BODY_TOO_LARGE")


async def test_a_body_whose_compression_is_damaged_is_a_400(lab: Lab) -> None:
    answer = await lab.ask("POST", "/v2/scrape", body=b"no gzip", headers={"Content-Encoding": "gzip"})
    assert answer.error()[:2] == (400, "BAD_REQUEST")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic bXc6", "mw_alpha", "Bearer unknown"])
async def test_without_a_known_key_nothing_is_read(lab: Lab, labs: LedgerLabs, header: str | None) -> None:
    headers = {"Content-Type": "application/json"} | ({} if header is None else {"Authorization": header})
    async with (
        ClientSession() as session,
        session.post(f"{lab.url}/v2/scrape", data=b'{"url":"https://example.org/"}', headers=headers) as response,
    ):
        assert response.status == 401 and response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["code"] == "UNAUTHORIZED"
    assert not labs.submitted


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_an_idempotency_key_that_is_none_is_refused(lab: Lab, key: str) -> None:
    answer = await lab.post("/v2/scrape", {"url": URL}, headers={"x-idempotency-key": key})
    status, _, message = answer.error()
    assert status == 400 and "x-idempotency-key" in message


async def test_unknown_routes_and_methods_are_told_in_json(lab: Lab) -> None:
    assert (await lab.get("/v2/nothing")).error()[:2] == (404, "NOT_FOUND")
    wrong = await lab.ask("PUT", "/v2/scrape")
    assert wrong.error()[:2] == (405, "METHOD_NOT_ALLOWED") and wrong.headers["Allow"] == "OPTIONS, POST"
    options = await lab.ask("OPTIONS", "/v2/batch/scrape/x")
    assert options.status == 204 and options.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS"
