"""Calls of the published `firecrawl-py` against a dispatcher: `python_client.py sync|async API_URL API_KEY SITE_URL`.

Prints a JSON line for each check: its name, how many calls of the client it made, and what went wrong, if anything.
"""

import asyncio
import inspect
import json
import sys
import time
import traceback
import urllib.request
import uuid

from firecrawl import AsyncFirecrawl, Firecrawl
from firecrawl.v2.types import PaginationConfig, ScrapeOptions
from firecrawl.v2.watcher_async import AsyncWatcher

PAGES = 120


class Client:
    """Either client behind one face: every call is awaited and counted."""

    def __init__(self, kind: str, api_url: str, api_key: str) -> None:
        self.is_async = kind == "async"
        self.inner = (AsyncFirecrawl if self.is_async else Firecrawl)(api_key=api_key, api_url=api_url)
        self.calls = 0

    def __getattr__(self, name):
        method = getattr(self.inner, name)

        async def call(*args, **options):
            if self.is_async or inspect.iscoroutinefunction(method):
                found = await method(*args, **options)
            else:
                found = await asyncio.to_thread(method, *args, **options)
            self.calls += 1
            return found

        return call

    async def refused(self, name, *args, **options) -> Exception:
        """Make a call that must raise; what it raised."""
        try:
            await getattr(self, name)(*args, **options)
        except Exception as error:  # the client's own errors have no common root
            self.calls += 1
            return error
        raise AssertionError(f"{name} was to be refused")


async def until(what, ask, seconds=60.0):
    end = time.monotonic() + seconds
    while True:
        found = await ask()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.2)


async def ended(client, name, job_id):
    async def ask():
        status = await getattr(client, name)(job_id, pagination_config=PaginationConfig(auto_paginate=False))
        return status if status.status != "scraping" else None

    return await until("the job has ended", ask)


async def scrape_bare(client, site):
    document = await client.scrape(f"{site}/p/3")
    assert "Page 3" in document.markdown
    assert document.metadata.status_code == 200
    assert document.metadata.title == "Page 3"
    assert document.metadata.model_extra["provenance"]["recordId"]


async def scrape_every_format(client, site):
    document = await client.scrape(
        f"{site}/product",
        formats=["markdown", "html", "rawHtml", "links", "images"],
        only_main_content=False,
        timeout=60_000,
        max_age=0,
    )
    assert "Scythe No. 7" in document.markdown
    assert "<h1" in document.html and "ld+json" in document.raw_html
    assert f"{site}/p/1" in document.links and f"{site}/scythe.png" in document.images


async def scrape_attributes(client, site):
    wanted = {"type": "attributes", "selectors": [{"selector": "a.more", "attribute": "href"}]}
    document = await client.scrape(f"{site}/product", formats=[wanted])
    assert document.metadata.status_code == 200
    # The client keeps no `attributes` of a document; what they hold is told by the client in JavaScript.


async def scrape_json(client, site):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}
    document = await client.scrape(f"{site}/product", formats=[{"type": "json", "schema": schema}])
    assert document.json == {"name": "Scythe No. 7", "price": 49.9}


async def scrape_screenshot(client, site):
    wanted = {"type": "screenshot", "full_page": True, "viewport": {"width": 640, "height": 400}}
    document = await client.scrape(f"{site}/p/1", formats=["markdown", wanted])
    assert "Page 1" in document.markdown
    request = urllib.request.Request(document.screenshot, headers={"Authorization": f"Bearer {client.api_key}"})
    with await asyncio.to_thread(urllib.request.urlopen, request) as answer:
        picture = answer.read()
    assert picture.startswith(b"\x89PNG") and int.from_bytes(picture[16:20], "big") == 640


async def scrape_tags(client, site):
    document = await client.scrape(f"{site}/product", formats=["markdown"], include_tags=["table"])
    assert "70 cm" in document.markdown and "larks" not in document.markdown


async def scrape_not_found(client, site):
    document = await client.scrape(f"{site}/status/404")
    assert document.metadata.status_code == 404


async def scrape_refusals(client, site):
    error = await client.refused("scrape", f"{site}/private/1")
    assert "robots" in str(error).lower()
    error = await client.refused("scrape", "ftp://example.org/")
    assert "url" in str(error).lower()
    error = await client.refused("scrape", f"{site}/p/1", formats=["summary"])
    assert "summary" in str(error)
    error = await client.refused("scrape", f"{site}/p/1", mobile=True)
    assert "mobile" in str(error)


async def wrong_key(client, site):
    stranger = Client("async" if client.is_async else "sync", client.api_url, "fc-0123456789abcdef")
    error = await stranger.refused("scrape", f"{site}/p/1")
    assert "key" in str(error).lower()
    client.calls += stranger.calls


async def change_tracking(client, site):
    wanted = ["markdown", {"type": "changeTracking", "modes": ["git-diff"], "tag": str(uuid.uuid4())}]
    first = await client.scrape(f"{site}/p/9", formats=wanted, max_age=0)
    assert first.change_tracking["changeStatus"] == "new"
    second = await client.scrape(f"{site}/p/9", formats=wanted, max_age=0)
    assert second.change_tracking["changeStatus"] == "same"
    assert second.change_tracking["previousScrapeAt"]


async def cache(client, site):
    fresh = await client.scrape(f"{site}/p/10", max_age=0)
    assert fresh.metadata.cache_state == "miss"
    cached = await client.scrape(f"{site}/p/10", max_age=3_600_000)
    assert cached.metadata.cache_state == "hit"
    assert cached.markdown == fresh.markdown


async def batch_past_a_hundred(client, site):
    job = await client.batch_scrape([f"{site}/p/{number}" for number in range(1, PAGES + 1)], poll_interval=1)
    assert (job.status, job.completed, job.total, len(job.data)) == ("completed", PAGES, PAGES, PAGES)
    assert len({document.metadata.source_url for document in job.data}) == PAGES


async def batch_page_by_page(client, site):
    started = await client.start_batch_scrape([f"{site}/p/{number}" for number in range(1, 106)])
    first = await ended(client, "get_batch_scrape_status", started.id)
    assert len(first.data) == 100 and first.next
    second = await client.get_batch_scrape_status_page(first.next)
    assert len(second.data) == 5 and not second.next


async def batch_errors(client, site):
    urls = [f"{site}/p/1", f"{site}/private/1"]
    started = await client.start_batch_scrape([*urls, "http://nonsense/"], ignore_invalid_urls=True)
    assert started.invalid_urls == ["http://nonsense/"]
    status = await ended(client, "get_batch_scrape_status", started.id)
    assert (status.status, status.completed) == ("completed", 1)
    errors = await client.get_batch_scrape_errors(started.id)
    blocked = errors["robotsBlocked"] if isinstance(errors, dict) else errors.robots_blocked
    assert blocked == [f"{site}/private/1"]
    error = await client.refused("start_batch_scrape", ["http://nonsense/"])
    assert "nonsense" in str(error)


async def batch_cancel(client, site):
    started = await client.start_batch_scrape([f"{site}/slow/1/{number}" for number in range(60)])
    assert await client.cancel_batch_scrape(started.id)
    status = await ended(client, "get_batch_scrape_status", started.id)
    assert status.status == "cancelled" and status.completed < 60


async def batch_appended(client, site):
    started = await client.start_batch_scrape([f"{site}/p/1"])
    again = await client.start_batch_scrape([f"{site}/p/2", f"{site}/p/3"], append_to_id=started.id)
    assert again.id == started.id

    async def ask():
        status = await client.get_batch_scrape_status(started.id)
        return status if status.completed == 3 else None

    status = await until("all three are there", ask)
    assert status.total == 3 and len(status.data) == 3


async def idempotent_replay(client, site):
    if client.is_async:
        return  # this client has no way to say a key
    key = str(uuid.uuid4())
    first = await client.start_batch_scrape([f"{site}/p/1"], idempotency_key=key)
    second = await client.start_batch_scrape([f"{site}/p/1"], idempotency_key=key)
    assert first.id == second.id
    error = await client.refused("start_batch_scrape", [f"{site}/p/2"], idempotency_key=key)
    assert "idempotency" in str(error).lower()


async def crawl(client, site):
    job = await client.crawl(
        url=site,
        limit=25,
        sitemap="skip",
        max_discovery_depth=6,
        scrape_options=ScrapeOptions(formats=["markdown"]),
        poll_interval=1,
    )
    assert (job.status, job.completed, job.total, len(job.data)) == ("completed", 25, 25, 25)
    assert len({document.metadata.source_url for document in job.data}) == 25


async def crawl_by_sitemap(client, site):
    started = await client.start_crawl(site, limit=200, sitemap="only", include_paths=["^/p/[0-9]$"])
    job = await ended(client, "get_crawl_status", started.id)
    assert job.status == "completed"
    whole = await client.get_crawl_status(started.id)
    # The page that a crawl starts from is read too, whatever its path.
    paths = {document.metadata.source_url.removeprefix(site) for document in whole.data}
    assert (
        {f"/p/{number}" for number in range(1, 10)} <= paths <= {f"/p/{number}" for number in range(1, 10)} | {"", "/"}
    )
    errors = await client.get_crawl_errors(started.id)
    assert errors.errors == [] and errors.robots_blocked == []


async def crawl_cancel(client, site):
    started = await client.start_crawl(site, limit=100, delay=1)
    active = await client.active_crawls()
    assert started.id in [each.id for each in active.crawls]
    assert await client.cancel_crawl(started.id)
    status = await client.get_crawl_status(started.id)
    assert status.status == "cancelled"


async def crawl_refusals(client, site):
    error = await client.refused("start_crawl", site, ignore_robots_txt=True)
    assert "robots" in str(error).lower()
    error = await client.refused("get_crawl_status", str(uuid.uuid4()))
    assert "no " in str(error).lower() or "not found" in str(error).lower()


async def map_site(client, site):
    found = await client.map(site)
    urls = [link.url for link in found.links]
    assert len(urls) == len(set(urls)) >= 150
    searched = await client.map(site, search="p 77", limit=5)
    assert len(searched.links) == 5 and searched.links[0].url == f"{site}/p/77"


async def account(client, site):
    concurrency = await client.get_concurrency()
    assert 0 <= concurrency.concurrency <= concurrency.max_concurrency
    before = await client.get_credit_usage()
    assert isinstance(before.remaining_credits, int)
    assert (await client.get_queue_status()).jobs_in_queue >= 0
    assert (await client.get_token_usage()).remaining_tokens is not None


async def watch(client, site):
    started = await client.start_batch_scrape([f"{site}/slow/0.2/{number}" for number in range(12)])
    documents, snapshots = [], []
    if client.is_async:
        async for snapshot in AsyncWatcher(client.inner, started.id, kind="batch", timeout=60):
            snapshots.append(snapshot)
    else:
        watcher = client.inner.watcher(started.id, kind="batch", timeout=60)
        watcher.add_event_listener("document", lambda event: documents.append(event["data"]))
        watcher.add_listener(snapshots.append)
        watcher.start()

        async def ask():
            return snapshots and snapshots[-1].status in ("completed", "failed")

        await until("the watcher is done", ask)
        assert len(documents) == 12
    assert snapshots[-1].status == "completed"
    assert len(snapshots[-1].data) == 12
    client.calls += 1


CHECKS = (
    *(scrape_bare, scrape_every_format, scrape_attributes, scrape_json, scrape_screenshot, scrape_tags),
    *(
        scrape_not_found,
        scrape_refusals,
        wrong_key,
        change_tracking,
        cache,
        batch_past_a_hundred,
        batch_page_by_page,
        batch_errors,
    ),
    *(batch_cancel, batch_appended, idempotent_replay, crawl, crawl_by_sitemap, crawl_cancel, crawl_refusals),
    *(map_site, account, watch),
)


async def main() -> None:
    kind, api_url, api_key, site, *names = sys.argv[1:]
    for check in CHECKS:
        if names and check.__name__ not in names:
            continue
        client = Client(kind, api_url, api_key)
        client.api_url, client.api_key = api_url, api_key
        problem = ""
        began = time.monotonic()
        try:
            await asyncio.wait_for(check(client, site), 90)
        except Exception as error:  # every kind of failure is reported
            problem = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        seconds = round(time.monotonic() - began, 2)
        line = {"check": check.__name__, "calls": client.calls, "seconds": seconds, "problem": problem}
        print(json.dumps(line), flush=True)


asyncio.run(main())
