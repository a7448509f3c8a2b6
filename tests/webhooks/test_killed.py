"""A whole network whose dispatcher is killed while it tells of a job: every event arrives, and a schedule's slot runs."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.network.processes import Up, until
from tests.network.site import Site, serving
from tests.webhooks.conftest import Posting, Receiver, receiver

PAGES = 12


def all_delivered(up: Up, batch_id: str) -> bool:
    deliveries = up.lab.call("GET", f"/v1/webhooks/deliveries?job={batch_id}").body["deliveries"]
    return {each["state"] for each in deliveries} == {"delivered"}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[tuple[Up, Site, Receiver]]:
    async with receiver() as hook:
        with serving() as site:
            up = Up(tmp_path, nodes=1, sites=[site.address, hook.site], own_stores=True)
            await asyncio.to_thread(up.started)
            try:
                yield up, site, hook
            finally:
                await asyncio.to_thread(up.close)


async def test_a_dispatcher_killed_while_it_tells_loses_no_event(stage: tuple[Up, Site, Receiver]) -> None:
    up, site, hook = stage
    held = asyncio.Event()

    async def slow(_: Posting, __: web.Request) -> web.StreamResponse:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(held.wait(), 0.3)
        return web.Response()

    hook.answer = slow
    urls = [site.url(f"/p/{number}") for number in range(PAGES)]
    body = {"urls": urls, "webhook": {"url": hook.url, "metadata": {"run": 1}}}
    answer = await asyncio.to_thread(up.lab.call, "POST", "/v2/batch/scrape", body)
    assert answer.status == 200, answer
    batch_id = answer.body["id"]
    await hook.has(4)
    up.kill()
    told_before = len(hook.postings)
    held.set()
    await asyncio.to_thread(up.started)
    async with aiohttp.ClientSession() as http:
        address = f"{up.ready.api_url}/v2/batch/scrape/{batch_id}"
        async with http.ws_connect(address, headers={"Authorization": f"Bearer {up.ready.api_key}"}) as socket:
            frames = [json.loads(message.data) async for message in socket if message.type is aiohttp.WSMsgType.TEXT]
    assert frames[-1]["type"] == "done"
    await hook.until(lambda: "completed" in hook.kinds)
    assert told_before < len(hook.postings)
    about: dict[str, tuple[str, str]] = {}
    for posting in hook.postings:
        document = posting.body["data"]
        url = document[0]["metadata"]["sourceURL"] if document else ""
        assert about.setdefault(posting.body["webhookId"], (posting.kind, url)) == (posting.kind, url)
    assert max(Counter(about.values()).values()) == 1, "no event has two ids"
    assert {url for kind, url in about.values() if kind == "batch_scrape.page"} == set(urls)
    assert Counter(kind for kind, _ in about.values()) == {
        "batch_scrape.started": 1,
        "batch_scrape.page": PAGES,
        "batch_scrape.completed": 1,
    }
    await asyncio.to_thread(until, "every event is delivered", lambda: all_delivered(up, batch_id))
    made = {"name": "again", "cron": "every hour", "request": {"kind": "batch_scrape", "body": {"urls": urls[:1]}}}
    answer = await asyncio.to_thread(up.lab.call, "POST", "/v1/schedules", made)
    assert answer.status == 200, answer
    path = f"/v1/schedules/{answer.body['schedule']['id']}/run"
    run = (await asyncio.to_thread(up.lab.call, "POST", path)).body["run"]
    assert (await asyncio.to_thread(up.lab.wait, run["job"]))["completed"] == 1
