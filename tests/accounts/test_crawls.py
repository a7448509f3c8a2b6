"""A crawl is settled once, when it is over, and not while it finds out what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.batch_events import BatchEvents
from dispatcher.crawl_ledger import Growth, NewCrawl
from dispatcher.crawl_scope import FoundUrl
from dispatcher.crawl_spec import CrawlSpec
from dispatcher.errors import PaymentRequired
from dispatcher.jobs import Batch
from dispatcher.ledger import Ledger
from dispatcher.settling import Settling
from tests.accounts.conftest import TEAM, Work, terms
from tests.ledger.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.ledger.databases import Database


async def test_a_crawl_whose_pages_have_ended_is_settled_only_when_it_is_over(
    ledger: Ledger, database: Database, work: Work
) -> None:
    batch = await work.submit(2)
    await database.run(
        "INSERT INTO crawls (batch_id, team_id, url, spec, site_url, created_ms, read, maps_read, waiting, found,"
        f" left_out) VALUES ('{batch.batch_id}', 'team', 'u', '{{}}', 's', 1, 0, 0, 0, 0, 0)"
    )
    await work.finish(batch, completed=2)
    settling = Settling(ledger=ledger, events=BatchEvents(), clock=lambda: NOW_MS)
    assert await settling.once() == 0
    assert not await ledger.settle_batch(batch.batch_id, now_ms=NOW_MS)
    await database.run(f"UPDATE crawls SET ended_ms = 5 WHERE batch_id = '{batch.batch_id}'")
    assert await settling.once() == 1
    await database.run("DELETE FROM crawls")


async def test_a_crawl_goes_as_far_as_the_credits_do_and_not_without_any(ledger: Ledger, work: Work) -> None:
    await ledger.add_credits(TEAM, 12, kind="purchase", note="", now_ms=NOW_MS)
    url = "https://a.example/"
    own = terms(10, takes_less=True)
    growth = Growth(new_id=work.rows.new_id, now_ms=NOW_MS, deadline_ms=NOW_MS + 60_000)

    async def start(key: str) -> Batch:
        batch = msgspec.structs.replace(work.rows.batch(), kind="crawl")
        start = FoundUrl("a", url, "a.example", 0)
        crawl = NewCrawl(batch=batch, spec=CrawlSpec(url=url, limit=10), start=start, is_seeded=True)
        stored, _ = await ledger.start_crawl(crawl, growth, terms=own, idempotency_key=key, request_hash="same")
        return stored

    first, again, second = await start("1"), await start("1"), await start("2")
    assert first == again
    limits = [crawl.spec.limit for batch in (first, second) if (crawl := await ledger.crawl(batch.batch_id))]
    assert limits == [10, 2]
    with pytest.raises(PaymentRequired) as refused:
        await start("3")
    assert (refused.value.balance, refused.value.needed) == (0, 1)
    account = await ledger.account(TEAM)
    assert account is not None
    assert (account.balance, account.reserved) == (0, 12)
