"""The operations that read pages and sites."""

from typing import Final

from dispatcher import api_bodies as bodies
from dispatcher.adapters.crawl_api import ActiveCrawls, CrawlAccepted
from dispatcher.adapters.map_api import MapAnswer
from dispatcher.adapters.operation_parts import DOCUMENTS, IDEMPOTENCY
from dispatcher.adapters.search_api import SearchAnswer
from dispatcher.lab_documents import BatchAccepted, BatchCancelled, BatchErrors, BatchStatus, ScrapeAnswer
from dispatcher.openapi import Operation

PAGES: Final = (
    Operation(
        name="scrape",
        method="post",
        path="/v2/scrape",
        tag="Pages",
        words="Read one page and wait for it.",
        body=bodies.ScrapeBody,
        answer=ScrapeAnswer,
        parameters=(IDEMPOTENCY,),
        errors=(402, 403, 404, 408, 409, 500, 507),
    ),
    Operation(
        name="startBatch",
        method="post",
        path="/v2/batch/scrape",
        tag="Pages",
        words="Read many pages. The batch is durable before the answer.",
        body=bodies.BatchBody,
        answer=BatchAccepted,
        parameters=(IDEMPOTENCY,),
        errors=(402, 403, 404, 409, 507),
    ),
    Operation(
        name="readBatch",
        method="get",
        path="/v2/batch/scrape/{id}",
        tag="Pages",
        words="Where a batch stands, and its documents, page by page. With `Upgrade: websocket` it is watched.",
        answer=BatchStatus,
        parameters=DOCUMENTS,
        errors=(400, 403, 404),
    ),
    Operation(
        name="cancelBatch",
        method="delete",
        path="/v2/batch/scrape/{id}",
        tag="Pages",
        words="Cancel what is not fetched yet.",
        answer=BatchCancelled,
        errors=(403, 404, 409, 507),
    ),
    Operation(
        name="readBatchErrors",
        method="get",
        path="/v2/batch/scrape/{id}/errors",
        tag="Pages",
        words="Which pages were refused or failed, and why.",
        answer=BatchErrors,
        errors=(403, 404),
    ),
    Operation(
        name="readPicture",
        method="get",
        path="/v2/pictures/{id}/{name}",
        tag="Pages",
        words="A picture of a page, at the address that its document gives as `screenshot`.",
        media_type="image/png",
        other_types=("image/jpeg",),
        errors=(403, 404),
    ),
    Operation(
        name="readPage",
        method="get",
        path="/r/{url}",
        tag="Pages",
        words="Read one page as markdown: `GET /r/https://example.org/page?query`.",
        media_type="text/markdown",
        errors=(400, 402, 403, 408, 409, 500, 507),
    ),
    Operation(
        name="search",
        method="post",
        path="/v2/search",
        tag="Pages",
        words="Find words in the pages that the team's jobs have fetched.",
        body=bodies.SearchBody,
        answer=SearchAnswer,
        errors=(403,),
    ),
)
SITES: Final = (
    Operation(
        name="startCrawl",
        method="post",
        path="/v2/crawl",
        tag="Sites",
        words="Read a site: its pages are found by its links and its sitemap.",
        body=bodies.CrawlBody,
        answer=CrawlAccepted,
        parameters=(IDEMPOTENCY,),
        errors=(402, 403, 409, 507),
    ),
    Operation(
        name="readCrawl",
        method="get",
        path="/v2/crawl/{id}",
        tag="Sites",
        words="Where a crawl stands, and its documents, page by page. With `Upgrade: websocket` it is watched.",
        answer=BatchStatus,
        parameters=DOCUMENTS,
        errors=(400, 403, 404),
    ),
    Operation(
        name="cancelCrawl",
        method="delete",
        path="/v2/crawl/{id}",
        tag="Sites",
        words="Cancel a crawl: nothing is added to it any more.",
        answer=BatchCancelled,
        errors=(403, 404, 409, 507),
    ),
    Operation(
        name="readCrawlErrors",
        method="get",
        path="/v2/crawl/{id}/errors",
        tag="Sites",
        words="Which pages were refused or failed, and why.",
        answer=BatchErrors,
        errors=(403, 404),
    ),
    *(
        Operation(
            name=name,
            method="get",
            path=f"/v2/crawl/{word}",
            tag="Sites",
            words="The team's crawls that have not ended.",
            answer=ActiveCrawls,
            errors=(403,),
        )
        for name, word in (("readActiveCrawls", "active"), ("readOngoingCrawls", "ongoing"))
    ),
    Operation(
        name="map",
        method="post",
        path="/v2/map",
        tag="Sites",
        words="The links of a site, from its pages and its sitemap, at once.",
        body=bodies.MapBody,
        answer=MapAnswer,
        errors=(402, 403, 409, 500, 507),
    ),
)
