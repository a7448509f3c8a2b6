"""POST /v2/scrape: the document's shape, the waiting, and every way a page does not come."""

import hashlib

import pytest

from dispatcher.jobs import record_of
from dispatcher.lab_documents import page_content
from protocol.dataset import content_hash
from tests.lab_api.conftest import BODY, LOG_ORIGIN, Lab, LedgerLabs

URL = "https://example.org/page"


async def test_a_bare_scrape_brings_markdown_and_metadata(lab: Lab, labs: LedgerLabs) -> None:
    answer = await lab.post("/v2/scrape", {"url": URL, "origin": "python-sdk@4.53.0"})
    assert answer.status == 200
    body = answer.json()
    assert set(body) == {"success", "data"} and body["success"] is True
    data = answer.at("data")
    assert isinstance(data, dict) and set(data) == {"markdown", "metadata"}
    assert data["markdown"] == f"# A page\n\nWords of {URL}"
    metadata = data["metadata"]
    provenance = metadata.pop("provenance")
    scrape_id = metadata.pop("scrapeId")
    assert {"compliance", "cost"} <= set(metadata)
    assert {name: value for name, value in metadata.items() if name not in {"compliance", "cost"}} == {
        "title": "A page",
        "description": "What it says.",
        "ogDescription": "What it says.",
        "language": "en",
        "author": "Ada",
        "publishedTime": "2024-05-06",
        "sourceURL": URL,
        "url": f"{URL}?final",
        "statusCode": 200,
        "contentType": "text/html; charset=utf-8",
        "proxyUsed": "basic",
        "cacheState": "miss",
        "creditsUsed": 1,
        "position": 0,
    }
    result = (await labs.ledger.results([scrape_id]))[scrape_id]
    document = next(iter(labs.documents.values()))
    content = page_content(document, record_of(result))
    assert content.url == URL and content.final_url == f"{URL}?final"
    assert (
        provenance.items()
        >= {
            "recordId": hashlib.sha256(result.record).hexdigest(),
            "contentHash": content_hash(content),
            "bodyHash": hashlib.sha256(BODY).hexdigest(),
            "logIndex": 0,
            "logOrigin": LOG_ORIGIN,
            "integrity": "direct",
            "nodeKey": labs.node.public,
        }.items()
    )


async def test_formats_decide_what_the_document_holds(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": URL, "formats": ["rawHtml", {"type": "links"}]})
    data = answer.at("data")
    assert isinstance(data, dict) and set(data) == {"rawHtml", "links", "metadata"}
    assert data["rawHtml"] == BODY.decode()
    assert data["links"] == ["https://example.org/a", "https://example.org/b"]


async def test_raw_html_of_a_body_that_is_no_text_is_left_out_with_a_warning(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": "https://example.org/binary", "formats": ["rawHtml"]})
    data = answer.at("data")
    assert isinstance(data, dict) and "rawHtml" not in data and "not text" in data["warning"]


async def test_the_defaults_clients_send_are_accepted_and_tls_is_verified_with_a_warning(
    lab: Lab, labs: LedgerLabs
) -> None:
    answer = await lab.post(
        "/v2/scrape",
        {
            "url": URL,
            "formats": ["markdown"],
            "headers": None,
            "onlyMainContent": True,
            "timeout": 30000,
            "waitFor": 0,
            "mobile": False,
            "parsers": [],
            "actions": [],
            "location": {"country": "ch", "languages": ["de-CH", "fr"]},
            "skipTlsVerification": True,
            "removeBase64Images": True,
            "fastMode": False,
            "blockAds": True,
            "proxy": "auto",
            "maxAge": 14400000,
            "storeInCache": True,
            "integration": "x",
            "purpose": "search",
        },
    )
    assert answer.status == 200
    assert "certificates are always verified" in str(answer.at("data", "warning"))
    options = labs.submitted[0].options
    assert (options.timeout_ms, options.max_age_ms, options.purpose) == (30_000, 14_400_000, "search")
    assert (options.accept_language, options.country) == ("de-CH, fr;q=0.9", "CH")


async def test_the_targets_own_404_is_a_document(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": "https://example.org/status/404"})
    assert answer.status == 200 and answer.at("success") is True
    assert answer.at("data", "metadata", "statusCode") == 404


async def test_a_page_that_became_no_document_is_a_success_that_says_so(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": "https://example.org/drop/not_html"})
    assert answer.status == 200
    assert answer.at("data", "markdown") == ""
    assert answer.at("data", "metadata", "dropped") == "not_html"
    assert answer.at("data", "metadata", "provenance", "contentHash") is None
    assert "not_html" in str(answer.at("data", "warning"))


async def test_a_timeout_says_that_the_job_goes_on_and_the_same_request_waits_for_it(
    lab: Lab, other_lab: Lab, labs: LedgerLabs
) -> None:
    request = {"url": "https://example.org/later", "timeout": 1000}
    first = await lab.post("/v2/scrape", request)
    assert first.error()[:2] == (408, "SCRAPE_TIMEOUT")
    details = first.at("details")
    assert isinstance(details, dict)
    batch_id = details.pop("id")
    assert details == {"state": "processing_continues", "retryAfterSeconds": 5}
    assert first.headers["Retry-After"] == "5"
    again = await lab.post("/v2/scrape", request)
    assert again.status == 408 and again.at("details", "id") == batch_id
    labs.released.set()
    other = await other_lab.post("/v2/scrape", request)
    assert other.status == 200
    third = await lab.post("/v2/scrape", request)
    assert third.status == 200
    assert len(labs.submitted) == 2
    job = (await labs.ledger.jobs_of(str(batch_id)))[0]
    assert third.at("data", "metadata", "scrapeId") == job.job_id
    assert (await lab.post("/v2/scrape", request)).at("data", "metadata", "scrapeId") != job.job_id


async def test_an_idempotency_key_replays_and_refuses_another_request(lab: Lab, labs: LedgerLabs) -> None:
    headers = {"x-idempotency-key": "k1"}
    first = await lab.post("/v2/scrape", {"url": URL}, headers=headers)
    again = await lab.post("/v2/scrape", {"url": URL}, headers=headers)
    assert first.status == again.status == 200
    assert first.body == again.body and len(labs.submitted) == 1
    other = await lab.post("/v2/scrape", {"url": f"{URL}2"}, headers=headers)
    assert other.error()[:2] == (409, "IDEMPOTENCY_CONFLICT")


async def test_a_robots_refusal_is_a_403_with_its_reason(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": "https://example.org/robots"})
    status, code, words = answer.error()
    assert (status, code) == (403, "ROBOTS_DISALLOWED") and "robots.txt disallows it" in words
    assert answer.at("details", "reason") == "robots_disallowed"


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("dns_failed", "SCRAPE_DNS_RESOLUTION_ERROR"),
        ("tls_failed", "SCRAPE_SSL_ERROR"),
        ("timeout", "SCRAPE_ALL_ENGINES_FAILED"),
        ("deadline", "SCRAPE_ALL_ENGINES_FAILED"),
    ],
)
async def test_a_failed_page_is_a_500_with_a_code_clients_know(lab: Lab, reason: str, code: str) -> None:
    answer = await lab.post("/v2/scrape", {"url": f"https://example.org/fail/{reason}"})
    status, got, words = answer.error()
    assert (status, got) == (500, code) and "it did not work" in words
    assert answer.at("details", "reason") == reason and answer.at("details", "attempts") == 1


async def test_a_cancelled_scrape_is_a_409(lab: Lab, labs: LedgerLabs) -> None:
    request = {"url": "https://example.org/later", "timeout": 1000}
    batch_id = (await lab.post("/v2/scrape", request)).at("details", "id")
    assert (await lab.ask("DELETE", f"/v2/batch/scrape/{batch_id}")).status == 200
    assert (await lab.post("/v2/scrape", request)).error()[:2] == (409, "CANCELLED")


@pytest.mark.parametrize(
    ("url", "status", "code"),
    [
        ("not a url", 400, "URL_MALFORMED"),
        ("https://example.org/" + "a" * 2050, 400, "URL_TOO_LONG"),
        ("gopher://example.org/", 403, "URL_SCHEME"),
        ("http://127.0.0.1/", 403, "URL_PRIVATE_ADDRESS"),
        ("http://0x7f.1/", 403, "URL_PRIVATE_ADDRESS"),
        ("http://user:pw@example.org/", 403, "URL_USERINFO"),
        ("http://example.org:8080/", 403, "URL_PORT"),
        ("http://printer/", 403, "URL_HOST_NAME"),
    ],
)
async def test_url_rules_refuse_before_anything_is_accepted(
    lab: Lab, labs: LedgerLabs, url: str, status: int, code: str
) -> None:
    answer = await lab.post("/v2/scrape", {"url": url})
    assert answer.error()[:2] == (status, code) and not labs.submitted
    assert answer.at("details", "problems", 0, "field") == "url"


async def test_store_faults_tell_what_to_do_and_nothing_of_the_inside(lab: Lab) -> None:
    full = (await lab.post("/v2/scrape", {"url": "https://example.org/full"})).error()
    broken = await lab.post("/v2/scrape", {"url": "https://example.org/broken"})
    assert full[:2] == (507, "STORAGE_FULL") and broken.error()[:2] == (503, "STORE_UNAVAILABLE")
    assert b"/var/lib" not in broken.body and "/var/lib" not in full[2]
    assert broken.headers["Retry-After"] == "5"


async def test_a_limit_says_when_to_come_back(lab: Lab) -> None:
    answer = await lab.post("/v2/scrape", {"url": "https://example.org/busy"})
    assert answer.error()[:2] == (429, "TOO_MANY_REQUESTS")
    assert (answer.headers["Retry-After"], answer.headers["RateLimit-Remaining"]) == ("7", "0")


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
async def test_a_fault_inside_has_the_shape_of_every_error(lab: Lab, accept: str) -> None:
    body = b'{"url":"https://example.org/fault"}'
    answer = await lab.ask("POST", "/v2/scrape", body=body, headers={"Accept": accept})
    assert answer.error()[:2] == (500, "INTERNAL") and b"secret" not in answer.body
