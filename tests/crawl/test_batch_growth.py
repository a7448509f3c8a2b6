"""Batches that grow and are let out bit by bit, over HTTP."""

from tests.crawl.conftest import SITE, Played

URLS = [f"{SITE}p{number}" for number in range(6)]


async def posted(played: Played, **fields: object) -> tuple[int, dict[str, object]]:
    status, body = await played.ask("POST", "/v2/batch/scrape", {"urls": URLS[:2], **fields})
    return status, body


async def ended(played: Played, batch_id: object) -> dict[str, object]:
    while True:
        _, found = await played.ask("GET", f"/v2/batch/scrape/{batch_id}")
        if found["status"] != "scraping":
            return dict(found)
        await played.desk.core.events.wait(str(batch_id), 0.2)


async def test_pages_are_added_to_a_batch_that_has_ended(played: Played) -> None:
    _, batch = await posted(played)
    assert (await ended(played, batch["id"]))["total"] == 2
    played.go.clear()
    status, more = await posted(played, urls=URLS[2:4], appendToId=batch["id"])
    assert (status, more["id"]) == (200, batch["id"])
    _, found = await played.ask("GET", f"/v2/batch/scrape/{batch['id']}")
    assert (found["status"], found["completed"], found["total"]) == ("scraping", 2, 4)
    played.go.set()
    found = await ended(played, batch["id"])
    assert (found["status"], found["completed"], found["total"]) == ("completed", 4, 4)


async def test_the_batch_must_be_ones_own_and_take_pages_as_they_are_asked_for(played: Played) -> None:
    _, batch = await posted(played, formats=["links"])
    await ended(played, batch["id"])
    more = {"urls": URLS[2:3], "appendToId": batch["id"]}
    assert (await played.ask("POST", "/v2/batch/scrape", more, key=played.other_key))[0] == 404
    assert (await posted(played, appendToId="unknown"))[0] == 404
    crawl_id = await played.start()
    assert (await posted(played, appendToId=crawl_id))[0] == 404
    status, body = await posted(played, appendToId=batch["id"], formats=["markdown"])
    assert status == 400 and "formats" in str(body["error"])
    assert (await posted(played, appendToId=batch["id"], formats=["links"]))[0] == 200
    assert (await posted(played, appendToId=batch["id"], origin="test"))[0] == 200
    assert (await posted(played, appendToId=5))[0] == 400


async def test_a_cancelled_batch_takes_no_more(played: Played) -> None:
    played.go.clear()
    _, batch = await posted(played)
    await played.ask("DELETE", f"/v2/batch/scrape/{batch['id']}")
    status, body = await posted(played, appendToId=batch["id"])
    assert status == 409 and "cancelled" in str(body["error"])


async def test_pages_are_added_once_with_a_key(played: Played) -> None:
    _, batch = await posted(played)
    body = {"urls": URLS[2:], "appendToId": batch["id"]}
    for _ in range(2):
        assert (await played.ask("POST", "/v2/batch/scrape", body, **{"x-idempotency-key": "more"}))[0] == 200
    assert (await ended(played, batch["id"]))["total"] == 6


async def test_no_more_pages_of_a_batch_than_it_says_are_out_at_once(played: Played) -> None:
    _, batch = await posted(played, urls=URLS, maxConcurrency=1)
    found = await ended(played, batch["id"])
    assert (found["completed"], played.most) == (6, 1)
    assert [path for path in played.order if path.startswith("p")] == [f"p{number}" for number in range(6)]
    assert (await posted(played, maxConcurrency=0))[0] == 400


async def test_urls_that_cannot_be_asked_for_are_left_out_or_refuse_the_batch(played: Played) -> None:
    urls = [*URLS[:1], "ftp://x"]
    status, body = await posted(played, urls=urls)
    assert (status, body["invalidURLs"]) == (200, ["ftp://x"])
    assert (await posted(played, urls=urls, ignoreInvalidURLs=True))[0] == 200
    status, body = await posted(played, urls=urls, ignoreInvalidURLs=False)
    assert (status, body["code"]) == (400, "INVALID_URLS")
