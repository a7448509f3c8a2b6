"""When a batch has ended: none of its pages is outstanding, and it grows no more."""

from typing import Protocol

from dispatcher.crawl_ledger import CrawlLedger
from dispatcher.jobs import Batch
from dispatcher.ledger import JobLedger


class EndingLedger(JobLedger, CrawlLedger, Protocol):
    """What of the ledger says so."""


async def has_ended(ledger: EndingLedger, batch: Batch) -> bool:
    """Tell whether a batch has ended. A crawl may have no page outstanding and find more all the same."""
    counts = await ledger.counts(batch.batch_id)
    if counts.ended < counts.total:
        return False
    if batch.kind != "crawl" or batch.cancelled_ms is not None:
        return True
    crawl = await ledger.crawl(batch.batch_id)
    return crawl is None or crawl.ended_ms is not None
