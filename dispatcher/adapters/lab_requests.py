"""Requests to the API that take several calls: a crawl that is started and waited for, a proof that is fetched.

What they share with the server are the bodies (`api_bodies`) and the answers.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from dispatcher import api_bodies as bodies
from dispatcher.adapters.api_client import CRAWLS, WAITING_S, ApiClient, quoted
from dispatcher.adapters.crawl_api import CrawlAccepted
from dispatcher.adapters.map_api import MapAnswer
from dispatcher.adapters.search_api import SearchAnswer
from dispatcher.errors import ApiRefused, ApiUnreachable
from dispatcher.lab_documents import BatchStatus, ScrapeAnswer
from dispatcher.page_provenance import LOG_PREFIX
from provenance.tlog_proof import proof_path

FIRST_POLL_S: Final = 0.1
LAST_POLL_S: Final = 2.0
PATIENCE_S: Final = 30.0
"""How long an API that stops to answer is asked again: a dispatcher may be restarted meanwhile."""
NO_DOCUMENTS: Final = 2**31 - 1
"""No document stands behind the last position: the answer holds the counts alone."""
NOT_YET: Final = "NOT_IN_A_CHECKPOINT_YET"
OnProgress = Callable[[int, int], None]


async def scrape_page(client: ApiClient, body: bodies.ScrapeBody) -> ScrapeAnswer:
    """Read one page and wait for it."""
    return await client.ask("POST", "/v2/scrape", ScrapeAnswer, body=body, silence_s=WAITING_S)


async def start_crawl(client: ApiClient, body: bodies.CrawlBody) -> CrawlAccepted:
    """Start a crawl."""
    return await client.start(CRAWLS, CrawlAccepted, body)


async def map_site(client: ApiClient, body: bodies.MapBody) -> MapAnswer:
    """Find the links of a site."""
    return await client.ask("POST", "/v2/map", MapAnswer, body=body, silence_s=WAITING_S)


async def search_pages(client: ApiClient, body: bodies.SearchBody) -> SearchAnswer:
    """Find words in the pages that the team's jobs have fetched."""
    return await client.ask("POST", "/v2/search", SearchAnswer, body=body)


async def wait_for_job(
    client: ApiClient, jobs: str, job_id: str, *, timeout_s: float, on_progress: OnProgress | None = None
) -> tuple[BatchStatus, bool]:
    """Poll until a job has ended or the time is over; its last counts, and whether the time was over.

    `jobs` is `BATCHES` or `CRAWLS`."""
    clock = asyncio.get_running_loop().time
    until_s, answered_s, pause_s = clock() + timeout_s, clock(), FIRST_POLL_S
    while True:
        try:
            status = await client.job_status(jobs, job_id, skip=NO_DOCUMENTS, limit=1)
        except ApiUnreachable:
            if clock() - answered_s > PATIENCE_S or clock() > until_s:
                raise
        else:
            answered_s = clock()
            if on_progress is not None:
                on_progress(status.completed + status.failed + status.refused + status.cancelled, status.total)
            if status.status != "scraping":
                return status, False
            if clock() > until_s:
                return status, True
        await asyncio.sleep(min(pause_s, max(0.01, until_s - clock())))
        pause_s = min(LAST_POLL_S, pause_s * 1.5)


async def read_proof(client: ApiClient, index: int, entry_id: str, *, timeout_s: float = 0.0) -> bytes:
    """Read the proof of a record's place in the log; waits until there is one, while the time lasts.

    Raises:
        ApiRefused: the log has no such entry, or no checkpoint covers it yet.
    """
    clock = asyncio.get_running_loop().time
    until_s = clock() + timeout_s
    while True:
        try:
            return await client.ask_bytes("GET", f"{LOG_PREFIX}/{proof_path(index, quoted(entry_id))}")
        except ApiRefused as error:
            if error.code != NOT_YET or clock() > until_s:
                raise
        await asyncio.sleep(min(0.5, max(0.01, until_s - clock())))
