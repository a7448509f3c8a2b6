"""Datasets over HTTP."""

import base64
import hashlib

import msgspec
import pytest

from protocol.ids import uuid7
from tests.lab_api.conftest import Lab, LedgerLabs
from tests.lab_api.test_batches import ROOT, finish, start


async def built(lab: Lab, labs: LedgerLabs) -> str:
    batch_id = await finish(lab, labs, [f"{ROOT}/a", f"{ROOT}/robots"])
    answer = await lab.post("/v1/datasets", {"job": batch_id})
    assert answer.status == 200 and answer.at("status") == "building" and answer.at("job") == batch_id
    return str(answer.at("id"))


async def test_a_dataset_is_built_and_its_files_are_read(lab: Lab, labs: LedgerLabs) -> None:
    dataset_id = await built(lab, labs)
    answer = await lab.get(f"/v1/datasets/{dataset_id}")
    body = answer.json()
    assert (body["status"], body["rows"], body["dropped"]) == ("completed", 1, {"not_completed": 1})
    file = answer.at("files", 0)
    assert isinstance(file, dict) and file["url"] == f"{lab.url}/v1/datasets/{dataset_id}/files/data.jsonl"
    got = await lab.get(file["url"].removeprefix(lab.url))
    digest = hashlib.sha256(got.body)
    assert (len(got.body), digest.hexdigest()) == (file["bytes"], file["sha256"])
    assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    row = msgspec.json.decode(got.body)
    page = await lab.get(f"/v2/batch/scrape/{body['job']}")
    assert page.at("data", 0, "metadata", "provenance", "contentHash") == row["provenance"]["content_hash"]
    part = await lab.ask("GET", f"/v1/datasets/{dataset_id}/files/data.jsonl", headers={"Range": "bytes=0-9"})
    assert part.status == 206 and part.body == got.body[:10]


@pytest.mark.parametrize("name", ["other.jsonl", "..%2Fledger.db", "%2e%2e", "ledger.db"])
async def test_only_a_datasets_own_files_are_read(lab: Lab, labs: LedgerLabs, name: str) -> None:
    dataset_id = await built(lab, labs)
    await lab.get(f"/v1/datasets/{dataset_id}")
    assert (await lab.get(f"/v1/datasets/{dataset_id}/files/{name}")).error()[0] == 404


async def test_files_of_an_unfinished_dataset_are_a_conflict(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await finish(lab, labs, [f"{ROOT}/robots"])
    dataset_id = (await lab.post("/v1/datasets", {"job": batch_id})).at("id")
    answer = await lab.get(f"/v1/datasets/{dataset_id}/files/data.jsonl")
    assert answer.error()[:2] == (409, "CONFLICT")
    assert (await lab.get(f"/v1/datasets/{dataset_id}")).at("error") == "no page became a row"


async def test_a_running_batch_is_not_built(lab: Lab, labs: LedgerLabs) -> None:
    batch_id = await start(lab, [f"{ROOT}/later"])
    assert (await lab.post("/v1/datasets", {"job": batch_id})).error()[:2] == (409, "CONFLICT")


async def test_other_teams_datasets_are_not_found(lab: Lab, other_lab: Lab, labs: LedgerLabs) -> None:
    dataset_id = await built(lab, labs)
    await lab.get(f"/v1/datasets/{dataset_id}")
    for path in (f"/v1/datasets/{dataset_id}", f"/v1/datasets/{dataset_id}/files/data.jsonl"):
        assert (await other_lab.get(path)).error()[0] == 404
    for unknown in (uuid7(0, bytes(10)), "x", "..%2f.."):
        assert (await lab.get(f"/v1/datasets/{unknown}")).error()[0] == 404


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "job: got nothing"),
        ({"job": 5}, "job: got 5"),
        ({"job": "x"}, 'job: got "x", accepts the id of a batch'),
        ({"job": uuid7(0, bytes(10)), "format": "csv"}, 'format: got "csv", accepts nothing'),
    ],
)
async def test_a_wrong_request_is_refused_by_name(lab: Lab, value: object, words: str) -> None:
    status, code, message = (await lab.post("/v1/datasets", value)).error()
    assert (status, code) == (400, "BAD_REQUEST") and words in message
