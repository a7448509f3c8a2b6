"""Labs' scrape requests: JSON in the shape of Firecrawl's v2 API to a typed request, or a rejection with its reasons.

Nothing is ignored silently: a field that would change the result and is not honoured yet is refused by name. Members
that are null count as absent. `purpose` is this network's own field.
"""

from typing import Final

import msgspec

from dispatcher.errors import BadRequest
from dispatcher.jobs import Batch, BatchKind, ScrapeOptions
from dispatcher.page_options import OPTION_FIELDS, PAGE_RULES, decode_options
from dispatcher.request_fields import (
    JsonObject,
    Problem,
    Rejected,
    Rule,
    is_flag,
    is_text,
    is_whole,
    read_object,
    rejected,
    shown,
)
from dispatcher.webhook import Webhook, read_webhook
from protocol.urls import NO_TEST_SITES, AllowedUrl, Reason, Refusal, TestSites, check_url

MAX_URLS: Final = 100_000
REQUEST_BYTES: Final = 10 * 1024 * 1024
MAX_CONCURRENCY: Final = 100_000
WINDOW: Final = Rule(f"a whole number from 1 to {MAX_CONCURRENCY}", lambda value: is_whole(value, 1, MAX_CONCURRENCY))
BUDGET: Final = Rule("whole credits, 1 or more", lambda value: is_whole(value, 1, 2**53))
_PASSED_IN_BATCHES: Final[dict[str, Rule]] = {
    "appendToId": Rule("the id of a batch", is_text),
    "maxConcurrency": WINDOW,
    "ignoreInvalidURLs": Rule("true or false", is_flag),
    "budget": BUDGET,
}


class InvalidUrl(msgspec.Struct, frozen=True):
    """A URL of a batch that was left out, as the lab wrote it, and why."""

    url: str
    code: str
    error: str


class ScrapeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to scrape. `urls` are normalised and in the lab's order; `warnings` tell what is not honoured.

    `append_to` is the batch that they are added to; `named` are the fields of the request that decide how pages are
    fetched or shown: what it does not name it takes from that batch.
    """

    kind: BatchKind
    urls: tuple[AllowedUrl, ...]
    options: ScrapeOptions
    invalid: tuple[InvalidUrl, ...] = ()
    warnings: tuple[str, ...] = ()
    append_to: str | None = None
    budget_credits: int | None = None
    webhook: Webhook | None = None
    named: frozenset[str] = frozenset()


def decode_scrape(
    body: bytes, *, test_sites: TestSites = NO_TEST_SITES, has_model: bool = False, has_browser: bool = False
) -> ScrapeRequest | Rejected:
    """Decode the body of `POST /v2/scrape`: one URL and its options. `has_model`, `has_browser`: the operator has
    configured one."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    decoded = decode_options(fields, own=("url",), has_model=has_model, has_browser=has_browser)
    url = fields.get("url")
    if not isinstance(url, str):
        decoded.problems.insert(0, _missing_or_wrong(fields, "url", "an absolute http or https URL"))
    if (rejection := _rejection(fields, decoded.problems)) is not None:
        return rejection
    allowed = check_url(str(url), test_sites=test_sites)
    if isinstance(allowed, Refusal):
        return _url_rejected(str(url), allowed)
    return ScrapeRequest(
        kind="scrape",
        urls=(allowed,),
        options=decoded.options,
        warnings=tuple(decoded.warnings),
        named=frozenset(fields.keys() & OPTION_FIELDS),
    )


def decode_batch(
    body: bytes, *, test_sites: TestSites = NO_TEST_SITES, has_model: bool = False, has_browser: bool = False
) -> ScrapeRequest | Rejected:
    """Decode the body of `POST /v2/batch/scrape`: a list of URLs and the options they share.

    URLs that may not be asked for are left out and listed, unless `ignoreInvalidURLs` is false or none is left.
    """
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    decoded = decode_options(
        fields,
        own=("urls", "webhook"),
        rules=PAGE_RULES | _PASSED_IN_BATCHES,
        has_model=has_model,
        has_browser=has_browser,
    )
    urls = fields.get("urls")
    accepts = f"a list of 1 to {MAX_URLS} absolute http or https URLs"
    written: list[str] = []
    webhook = read_webhook(fields["webhook"], test_sites=test_sites) if "webhook" in fields else None
    if isinstance(webhook, list):
        decoded.problems.extend(webhook)
    elif webhook is not None and "appendToId" in fields:
        decoded.refuse("webhook", fields["webhook"], "nothing", "a batch keeps the webhook it was made with")
    if "budget" in fields and "appendToId" in fields:
        decoded.refuse("budget", fields["budget"], "nothing", "a batch keeps the budget it was made with")
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
    append_to, most = fields.get("appendToId"), fields.get("maxConcurrency")
    budget = fields.get("budget")
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
        options=msgspec.structs.replace(decoded.options, max_concurrency=most if isinstance(most, int) else None),
        invalid=tuple(invalid),
        warnings=tuple(decoded.warnings),
        append_to=append_to if isinstance(append_to, str) else None,
        budget_credits=budget if isinstance(budget, int) else None,
        webhook=webhook if isinstance(webhook, Webhook) else None,
        named=frozenset(fields.keys() & (OPTION_FIELDS | {"maxConcurrency"})),
    )


def check_same_options(batch: Batch, request: ScrapeRequest) -> None:
    """Make sure that pages to be added to a batch are asked for as its others are; BadRequest names what differs."""
    if not request.named:
        return
    wanted, kept = request.options, batch.options
    if "maxConcurrency" not in request.named:
        wanted = msgspec.structs.replace(wanted, max_concurrency=kept.max_concurrency)
    if "purpose" not in request.named:
        wanted = msgspec.structs.replace(wanted, purpose=kept.purpose)
    differing = [name for name in kept.__struct_fields__ if getattr(wanted, name) != getattr(kept, name)]
    if differing:
        raise BadRequest(
            f"appendToId: the pages of a batch share its options, and this request differs in {', '.join(differing)};"
            " leave the options out, or repeat those of the batch, or post a new batch"
        )


def url_code(reason: Reason) -> str:
    """Return the API's code for a refused URL, as `URL_SCHEME`."""
    return f"URL_{reason.value.upper()}"


def _url_rejected(url: str, refusal: Refusal) -> Rejected:
    problem = Problem("url", shown(url), "an absolute http or https URL of a public site", refusal.detail)
    status = 400 if refusal.reason in {Reason.MALFORMED, Reason.TOO_LONG} else 403
    return rejected([problem], status=status, code=url_code(refusal.reason))


def _missing_or_wrong(fields: JsonObject, name: str, accepts: str) -> Problem:
    return Problem(name, shown(fields[name]) if name in fields else "nothing", accepts)


def _rejection(fields: JsonObject, problems: list[Problem]) -> Rejected | None:
    if not problems:
        return None
    if fields.get("ignoreRobotsTxt") is True:
        return rejected(problems, status=403, code="ROBOTS_ALWAYS_HONOURED")
    return rejected(problems)
