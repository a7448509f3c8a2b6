"""A crawl's events, and a crawl watched: it ends when nothing more is found, not when its pages so far have ended."""

import asyncio

from dispatcher.jobs import Job
from tests.lab_websocket.conftest import documents_in, frames_to_the_end
from tests.webhooks.conftest import PATIENCE_S, House, Receiver


async def jobs_of(house: House, crawl_id: str, number: int) -> list[Job]:
    async with asyncio.timeout(PATIENCE_S):
        while len(jobs := await house.desk.ledger.jobs_of(crawl_id)) < number:
            await asyncio.sleep(0.05)
    return jobs


async def test_a_crawl_tells_of_every_page_and_ends_once(house: House, hook: Receiver) -> None:
    body = {"url": "https://a.example/", "sitemap": "skip", "webhook": hook.url}
    async with house.duty():
        status, started = await house.ask("POST", "/v2/crawl", json=body)
        assert status == 200, started
        watching = await house.http.ws_connect(
            f"{house.desk.url}/v2/crawl/{started['id']}", headers={"Authorization": f"Bearer {house.key}"}
        )
        (first,) = await jobs_of(house, started["id"], 1)
        await house.desks.complete(house.desk, first, links=["https://a.example/two"])
        _, second = await jobs_of(house, started["id"], 2)
        await house.desks.complete(house.desk, second)
        frames = await frames_to_the_end(watching)
        deliveries = await house.settled(started["id"], 4)
    assert {each["state"] for each in deliveries} == {"delivered"}
    assert [posting.kind for posting in hook.postings] == [
        "crawl.started",
        "crawl.page",
        "crawl.page",
        "crawl.completed",
    ]
    told = [posting.body["data"][0]["metadata"]["sourceURL"] for posting in hook.postings[1:3]]
    assert set(told) == {first.url, second.url} == set(documents_in(frames))
    assert len(documents_in(frames)) == 2
    assert frames[-1]["type"] == "done"
    assert (frames[-1]["data"]["status"], frames[-1]["data"]["total"]) == ("completed", 2)


async def test_a_crawl_is_watched_by_its_own_team_alone(house: House) -> None:
    status, started = await house.ask("POST", "/v2/crawl", json={"url": "https://a.example/", "sitemap": "skip"})
    assert status == 200, started
    other = await house.desks.key(house.desk.ledger, "team-beta")
    headers = {"Authorization": f"Bearer {other}", "Upgrade": "websocket", "Connection": "Upgrade"}
    async with house.http.get(f"{house.desk.url}/v2/crawl/{started['id']}", headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, f"no job {started['id']}")
