"""What a request may cost, before it is made: `POST /v1/estimate`.

It takes the body of a scrape, a batch or a crawl with one member more, `kind`. Nothing is stored, fetched or reserved.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dispatcher.account_ledger import Account
from dispatcher.accounts import CREDITS_PER_PAGE
from dispatcher.crawl_request import CrawlRequest
from dispatcher.page_cost import most_units
from dispatcher.request_fields import Problem, Rejected, read_object, rejected, shown
from dispatcher.scrape_request import InvalidUrl, ScrapeRequest
from provenance.tariff import TARIFF

EstimateKind = Literal["scrape", "batch_scrape", "crawl"]
KINDS: Final[tuple[EstimateKind, ...]] = ("scrape", "batch_scrape", "crawl")
Decoder = Callable[[bytes], ScrapeRequest | CrawlRequest | Rejected]


class Between(msgspec.Struct, frozen=True):
    """At least and at most."""

    low: int
    high: int


class EstimateAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The answer to `POST /v1/estimate`.

    `pages` may be asked for; of these each completed one costs a credit, and refusals, failures, cancellations and
    answers from the cache are free: so `credits.low` is 0. `units` are base units by the published `tariff`.
    `is_covered` says whether the team's credits cover the most it may cost; `remaining_credits` is absent where there
    is no limit. `invalid_urls` would be left out, and why.
    """

    success: bool = True
    kind: EstimateKind
    pages: Between
    credits: Between
    units: Between
    tariff: str = TARIFF
    is_covered: bool
    remaining_credits: int | UnsetType = UNSET
    invalid_urls: tuple[InvalidUrl, ...] = msgspec.field(default=(), name="invalidURLs")
    warning: str | UnsetType = UNSET


class Estimated(msgspec.Struct, frozen=True, kw_only=True):
    """A request that would be taken up: its pages, and the most of them that are paid for."""

    kind: EstimateKind
    pages: Between
    paid: int
    invalid: tuple[InvalidUrl, ...] = ()
    warnings: tuple[str, ...] = ()


def estimate(body: bytes, decoders: Mapping[EstimateKind, Decoder]) -> Estimated | Rejected:
    """Decode a body and count what it asks for; a rejection is the one that the request itself would get."""
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    kind = next((known for known in KINDS if known == fields.get("kind")), None)
    if kind is None:
        got = shown(fields["kind"]) if "kind" in fields else "nothing"
        return rejected([Problem("kind", got, " or ".join(KINDS))])
    rest = {name: value for name, value in fields.items() if name != "kind"}
    wanted = decoders[kind](msgspec.json.encode(rest))
    if isinstance(wanted, Rejected):
        return wanted
    if isinstance(wanted, CrawlRequest):
        # The start page is asked for in any case; what else there is, the site says.
        most = wanted.spec.limit
        return Estimated(kind=kind, pages=Between(1, most), paid=most, warnings=wanted.warnings)
    pages = len(wanted.urls)
    paid = pages if wanted.budget_credits is None else min(pages, wanted.budget_credits // CREDITS_PER_PAGE)
    return Estimated(
        kind=kind, pages=Between(pages, pages), paid=paid, invalid=wanted.invalid, warnings=wanted.warnings
    )


def estimate_answer(estimated: Estimated, account: Account | None) -> EstimateAnswer:
    """Make the answer, beside what the team has."""
    most = estimated.paid * CREDITS_PER_PAGE
    return EstimateAnswer(
        kind=estimated.kind,
        pages=estimated.pages,
        credits=Between(0, most),
        units=Between(0, most_units(estimated.paid)),
        is_covered=account is None or account.balance >= most,
        remaining_credits=UNSET if account is None else account.balance,
        invalid_urls=estimated.invalid,
        warning="; ".join(estimated.warnings) or UNSET,
    )
