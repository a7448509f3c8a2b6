"""A crawl is settled once, when it is over, and not while it finds out what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.batch_events import BatchEvents
from dispatcher.ledger import Ledger
from dispatcher.settling import Settling
from tests.ledger.conftest import NOW_MS

if TYPE_CHECKING:
    from tests.accounts.conftest import Work
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
