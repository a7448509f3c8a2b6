"""Datasets over HTTP: requests refused by name, others' ids, versions, files, and rows page by page."""

import base64
import csv
import hashlib
import io
from typing import Any

import msgspec
import pytest

from dispatcher.adapters import dataset_items
from protocol.dataset import Row, row_leaf
from protocol.ids import uuid7
from tests.datasets.conftest import House

ROOT = "https://site.example"
UNKNOWN = uuid7(0, bytes(10))


async def test_the_earliest_form_still_works(house: House) -> None:
    batch_id = await house.fetched([f"{ROOT}/a"])
    asked = await house.post("/v1/datasets", {"job": batch_id})
    assert asked.status == 200 and asked.body["status"] == "building" and asked.body["job"] == batch_id
    dataset = await house.ended(asked.body["id"])
    assert (dataset["status"], dataset["rows"], dataset["dropped"]) == ("completed", 1, {})
    names = [file["name"] for file in dataset["files"]]
    assert names[:2] == ["data.parquet", "data.jsonl"] and names[-1] == "manifest.json"
    file = dataset["files"][1]
    assert file["url"] == f"{house.desk.url}/v1/datasets/{dataset['id']}/files/data.jsonl"
    got = await house.get(file["url"])
    digest = hashlib.sha256(got.data)
    assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    page = await house.get(f"/v2/batch/scrape/{batch_id}")
    [document] = page.body["data"]
    assert (
        document["metadata"]["provenance"]["contentHash"] == msgspec.json.decode(got.data)["provenance"]["content_hash"]
    )
    async with house.http.get(
        file["url"], headers={"Authorization": f"Bearer {house.key}", "Range": "bytes=0-9"}
    ) as part:
        assert part.status == 206 and await part.read() == got.data[:10]


@pytest.mark.parametrize("name", ["other.jsonl", "..%2Fledger.db", "%2e%2e", "ledger.db", "data.csv"])
async def test_only_a_datasets_own_files_are_read(house: House, name: str) -> None:
    dataset = await house.built({"job": await house.fetched([f"{ROOT}/a"])})
    assert (await house.get(f"/v1/datasets/{dataset['id']}/files/{name}")).status == 404


QUERY: dict[str, object] = {"query": {}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "source: got nothing, accepts an object with one of job, jobs, query or urls"),
        ({"job": 5}, "job: got 5, accepts the id of a batch or crawl"),
        ({"job": "x"}, 'job: got "x"'),
        ({"job": UNKNOWN, "source": QUERY}, "accepts nothing beside job"),
        ({"job": UNKNOWN, "fromats": ["csv"]}, "did you mean formats?"),
        ({"source": 5}, "source: got 5"),
        ({"source": {}}, "source: got {}"),
        ({"source": {"job": UNKNOWN, "query": {}}}, "with one of"),
        ({"source": {"jbo": UNKNOWN}}, "source.jbo: got"),
        ({"source": {"jobs": []}}, "source.jobs: got [], accepts a list of 1 to 1000 ids"),
        ({"source": {"jobs": [UNKNOWN, UNKNOWN]}}, "each once"),
        ({"source": {"jobs": [UNKNOWN, 5]}}, "source.jobs"),
        ({"source": {"job": UNKNOWN, "options": {}}}, "source.options: got {}, accepts nothing"),
        ({"source": {"query": 5}}, "source.query: got 5"),
        ({"source": {"query": {"hots": "a"}}}, "source.query.hots"),
        ({"source": {"query": {"host": "https://a.example/"}}}, "source.query.host"),
        ({"source": {"query": {"urlPrefix": "a.example"}}}, "source.query.urlPrefix"),
        ({"source": {"query": {"from": "yesterday"}}}, "source.query.from"),
        ({"source": {"query": {"to": -1}}}, "source.query.to"),
        ({"source": {"query": {"from": "2024-01-02", "to": "2024-01-01"}}}, "accepts a time after from"),
        ({"source": {"query": {"language": "en-GB"}}}, "source.query.language"),
        ({"source": {"query": {"pageType": "page"}}}, "source.query.pageType"),
        ({"source": {"query": {"minWords": True}}}, "source.query.minWords"),
        ({"source": {"query": {"purpose": "fun"}}}, "source.query.purpose"),
        ({"source": {"urls": []}}, "source.urls: got a list of 0"),
        ({"source": {"urls": [f"{ROOT}/a", 5]}}, "source.urls[1]: got 5"),
        ({"source": {"urls": [f"{ROOT}/a"], "options": []}}, "source.options: got []"),
        ({"source": {"urls": [f"{ROOT}/a"], "options": {"timeut": 5}}}, "source.options.timeut"),
        ({"source": {"urls": [f"{ROOT}/a"], "options": {"appendToId": UNKNOWN}}}, "source.options.appendToId"),
        ({"source": QUERY, "format": "xml"}, 'format: got "xml", accepts parquet or jsonl or csv or warc'),
        ({"source": QUERY, "formats": []}, "formats: got []"),
        ({"source": QUERY, "formats": ["csv", "xml"]}, 'formats[1]: got "xml"'),
        ({"source": QUERY, "formats": ["csv"], "format": "csv"}, "nothing beside format"),
        ({"source": QUERY, "name": ""}, "name: got"),
        ({"source": QUERY, "name": "a\u0000b"}, "name: got"),
        ({"source": QUERY, "name": "x" * 201}, "name: got"),
        ({"source": QUERY, "versionOf": "x"}, "versionOf: got"),
    ],
)
async def test_a_wrong_request_is_refused_by_name(house: House, value: object, words: str) -> None:
    answer = await house.post("/v1/datasets", value)
    assert (answer.status, answer.body["code"]) == (400, "BAD_REQUEST"), answer.data
    assert words in answer.body["error"], answer.body["error"]
    assert (await house.get("/v1/datasets")).body["datasets"] == []


async def test_all_problems_of_a_request_are_told_at_once(house: House) -> None:
    value = {"source": {"query": {"host": 5, "minWords": 0}}, "format": 7, "nmae": "x"}
    answer = await house.post("/v1/datasets", value)
    fields = [problem["field"] for problem in answer.body["details"]["problems"]]
    assert sorted(fields) == ["format", "nmae", "source.query.host", "source.query.minWords"]


async def test_urls_that_may_not_be_asked_for_are_named(house: House) -> None:
    answer = await house.post("/v1/datasets", {"source": {"urls": ["http://127.0.0.1/", "ftp://x/"]}})
    assert (answer.status, answer.body["code"]) == (400, "INVALID_URLS")
    assert [problem["field"] for problem in answer.body["details"]["problems"]] == ["source.urls"] * 2


async def test_a_running_or_unkept_batch_is_not_built(house: House) -> None:
    running, _ = await house.batch([f"{ROOT}/later"])
    zero = await house.fetched([f"{ROOT}/zero"], zeroDataRetention=True)
    done = await house.fetched([f"{ROOT}/done"])
    for batch_id, words in ((running, "1 of 1 pages are outstanding"), (zero, "zeroDataRetention")):
        for value in ({"job": batch_id}, {"source": {"jobs": [done, batch_id]}}):
            answer = await house.post("/v1/datasets", value)
            assert (answer.status, answer.body["code"]) == (409, "CONFLICT") and words in answer.body["error"]
    urls = {"source": {"urls": [f"{ROOT}/x"], "options": {"zeroDataRetention": True}}}
    answer = await house.post("/v1/datasets", urls)
    assert answer.status == 409 and "zeroDataRetention" in answer.body["error"]


async def test_other_teams_see_nothing(house: House) -> None:
    batch_id = await house.fetched([f"{ROOT}/a"])
    dataset = await house.built({"job": batch_id})
    base = f"/v1/datasets/{dataset['id']}"
    for method, path in (
        ("GET", base),
        ("DELETE", base),
        ("POST", f"{base}/retry"),
        ("GET", f"{base}/versions"),
        ("POST", f"{base}/versions"),
        ("GET", f"{base}/items"),
        ("GET", f"{base}/files/data.jsonl"),
    ):
        body: object = {} if method == "POST" else None
        theirs = await house.ask(method, path, body, key=house.other_key)
        unknown = await house.ask(method, path.replace(dataset["id"], UNKNOWN), body, key=house.other_key)
        assert theirs.status == unknown.status == 404, (method, path)
        assert theirs.body["error"].replace(dataset["id"], UNKNOWN) == unknown.body["error"]
        assert (await house.ask(method, path, body, key="mw_nothing")).status == 401
    for value in (
        {"job": batch_id},
        {"source": {"job": batch_id}},
        {"source": {"query": {}}, "versionOf": dataset["id"]},
    ):
        assert (await house.post("/v1/datasets", value, key=house.other_key)).status == 404
    assert (await house.get("/v1/datasets", key=house.other_key)).body["datasets"] == []
    for bad in ("x", "..%2f..", UNKNOWN.upper()):
        assert (await house.get(f"/v1/datasets/{bad}")).status == 404
    assert (await house.get(base)).body["status"] == "completed"


async def test_datasets_are_listed_newest_first(house: House) -> None:
    made = [(await house.post("/v1/datasets", {"source": QUERY, "name": f"n{n}"})).body["id"] for n in range(5)]
    first = (await house.get("/v1/datasets?limit=2")).body
    assert [each["id"] for each in first["datasets"]] == made[:2:-1]
    second = (await house.get(first["next"])).body
    assert [each["name"] for each in second["datasets"]] == ["n2", "n1"]
    third = (await house.get(second["next"])).body
    assert [each["id"] for each in third["datasets"]] == made[:1] and "next" not in third
    for query in ("limit=0", "limit=101", "limit=x", "before=x"):
        assert (await house.get(f"/v1/datasets?{query}")).status == 400


async def test_versions_are_datasets_of_their_own(house: House) -> None:
    await house.fetched([f"{ROOT}/a"])
    asked = {"source": {"query": {"host": "site.example"}}, "formats": ["csv"], "name": "Otters"}
    first = await house.built(asked)
    assert (first["version"], first["series"], first["rows"]) == (1, first["id"], 1)
    await house.fetched([f"{ROOT}/b"])
    second = await house.built({}, path=f"/v1/datasets/{first['id']}/versions")
    assert (second["version"], second["series"], second["rows"]) == (2, first["id"], 2)
    assert (second["name"], second["formats"], second["source"]) == ("Otters", ["csv"], first["source"])
    third = await house.built(
        {"source": {"query": {"minWords": 99}}, "format": "jsonl", "versionOf": second["id"], "name": "None"}
    )
    assert (third["version"], third["series"], third["rows"], third["formats"]) == (3, first["id"], 0, ["jsonl"])
    for dataset in (first, second, third):
        listed = (await house.get(f"/v1/datasets/{dataset['id']}/versions")).body["datasets"]
        assert [each["id"] for each in listed] == [first["id"], second["id"], third["id"]]
    assert len({each["statementId"] for each in (first, second, third)}) == 3
    assert (await house.get(f"/v1/datasets/{first['id']}")).body == first
    assert (await house.ask("DELETE", f"/v1/datasets/{second['id']}")).status == 200
    listed = (await house.get(f"/v1/datasets/{third['id']}/versions")).body["datasets"]
    assert [each["version"] for each in listed] == [1, 3]
    card = (await house.get(f"/v1/datasets/{third['id']}/files/card.json")).body
    assert card["dataProvenance"]["provenance"]["previous-date"] == second["endedAt"]
    assert (await house.post(f"/v1/datasets/{first['id']}/versions", {"name": "x"})).status == 400


async def rows_of(house: House, number: int) -> Any:
    batch_id, jobs = await house.batch([f"{ROOT}/{n}" for n in range(number)])
    for place, job in enumerate(jobs):
        await house.complete(job, text=f'Words, "{place}"\nand more.', title=None if place % 2 else "")
    return await house.built({"job": batch_id})


async def test_rows_are_read_page_by_page(house: House) -> None:
    dataset = await rows_of(house, 7)
    lines = (await house.get(f"/v1/datasets/{dataset['id']}/files/data.jsonl")).data.splitlines(keepends=True)
    base = f"/v1/datasets/{dataset['id']}/items"
    whole = await house.get(f"{base}?format=jsonl")
    assert whole.data == b"".join(lines) and whole.headers["X-Total-Count"] == "7" and "Link" not in whole.headers
    got: list[bytes] = []
    path: str | None = f"{base}?limit=3"
    offsets = []
    while path is not None:
        page = (await house.get(path)).body
        offsets.append((page["offset"], len(page["items"]), page["total"]))
        got += [row_leaf(msgspec.convert(item, Row)) + b"\n" for item in page["items"]]
        path = page.get("next")
    assert offsets == [(0, 3, 7), (3, 3, 7), (6, 1, 7)] and got == lines
    past = (await house.get(f"{base}?offset=7")).body
    assert (past["items"], past["total"], "next" in past) == ([], 7, False)
    part = (await house.get(f"{base}?offset=5&limit=1&fields=url, provenance")).body
    assert [list(item) for item in part["items"]] == [["url", "provenance"]]
    assert part["items"][0]["url"] == f"{ROOT}/5" and part["next"].endswith("offset=6&limit=1&fields=url%2C+provenance")
    table = await house.get(f"{base}?format=csv&fields=url,title,text&limit=2")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8" and 'rel="next"' in table.headers["Link"]
    assert table.data.splitlines()[0] == b"url,title,text"
    read = list(csv.reader(io.StringIO(table.data.decode(), newline="")))
    assert read[1:] == [[f"{ROOT}/{n}", "", f'Words, "{n}"\nand more.'] for n in range(2)]
    assert f'"{ROOT}/0","",'.encode() in table.data and f'"{ROOT}/1",,'.encode() in table.data


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("offset=-1", "offset: got"),
        ("offset=x", "offset: got"),
        ("limit=0", "limit: got"),
        ("limit=1001", "limit: got"),
        ("fields=url,nothing", "fields: got 'nothing', accepts url, final_url"),
        ("fields=", "fields: got ''"),
        ("format=xml", "format: got 'xml', accepts json or jsonl or csv"),
    ],
)
async def test_wrong_pages_are_refused(house: House, query: str, words: str) -> None:
    answer = await house.get(f"/v1/datasets/{UNKNOWN}/items?{query}")
    assert answer.status == 400 and words in answer.body["error"]


async def test_items_of_what_is_not_there(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = (await house.post("/v1/datasets", {"source": QUERY})).body
    assert (await house.get(f"/v1/datasets/{asked['id']}/items")).status == 409
    empty = await house.ended(asked["id"])
    assert (empty["status"], empty["rows"]) == ("completed", 0)
    page = (await house.get(f"/v1/datasets/{asked['id']}/items")).body
    assert (page["items"], page["total"]) == ([], 0)
    # A page ends with the row that passes its size.
    monkeypatch.setattr(dataset_items, "MAX_BYTES", 3_000)
    dataset = await rows_of(house, 4)
    page = (await house.get(f"/v1/datasets/{dataset['id']}/items")).body
    assert 0 < len(page["items"]) < 4 and f"offset={len(page['items'])}" in page["next"]
    damaged = house.folder / "datasets" / dataset["id"] / "data.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    answer = await house.get(f"/v1/datasets/{dataset['id']}/items")
    assert (answer.status, answer.body["code"]) == (503, "STORE_UNAVAILABLE")


async def test_rows_are_found_behind_whole_row_groups(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cleaning.adapters.parquet_dataset.ROW_GROUP_ROWS", 3)
    monkeypatch.setattr(dataset_items, "_BATCH_ROWS", 2)
    dataset = await rows_of(house, 10)
    base = f"/v1/datasets/{dataset['id']}/items"
    for offset in range(10):
        page = (await house.get(f"{base}?offset={offset}&limit=4&fields=url")).body
        assert [item["url"] for item in page["items"]] == [f"{ROOT}/{n}" for n in range(offset, min(10, offset + 4))]
