"""Builds: every format from one job, to the byte; what is told meanwhile; who takes up what another has left."""

import asyncio
import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.csv as pacsv
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from cleaning.adapters.csv_dataset import read_csv
from cleaning.adapters.jsonl_dataset import read_jsonl
from cleaning.adapters.parquet_dataset import read_parquet
from cleaning.usage_signals import LicenseLink, UsageSignals
from dispatcher.adapters import dataset_builder
from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.dataset_sweep import DatasetSweep
from dispatcher.errors import ObjectError
from protocol.dataset import Manifest, RowProvenance, content_hash, content_of, row_leaf
from protocol.keys import from_base64url
from protocol.record import open_record
from protocol.statements import parse
from provenance.adapters.dataset_files import DatasetFiles
from provenance.audit_dataset import RowRoots, check_manifest
from provenance.audit_report import Outcome
from provenance.merkle import leaf_hash, root_of
from provenance.tlog_proof import parse_proof, verify_proof
from tests.datasets.conftest import LOG_KEY, ORIGIN, House
from tests.dispatcher.conftest import Faults, breaking

ROOT = "https://site.example"
WORDS = 'Äh, "so"\r\nsaid she,\t=1+1 and\n\nwent. \N{OTTER}'
ALL = ["parquet", "jsonl", "csv", "warc"]


async def one_batch(house: House) -> str:
    """Four pages: two become rows, one is refused, one says what another said."""
    batch_id, jobs = await house.batch([f"{ROOT}/{name}" for name in ("a", "b", "c", "d")])
    await house.complete(
        jobs[0],
        text=WORDS,
        headers={"content-usage": "train-ai=n", "etag": '"x"'},
        usage=UsageSignals(robots=(("robots", "noai"),), licenses=(LicenseLink("https://cc.example/by"),)),
        title=None,
    )
    await house.complete(jobs[1], text="Other words here.", title="")
    await house.desks.refuse(house.desk, jobs[2])
    await house.complete(jobs[3], text=WORDS)
    return batch_id


async def test_every_format_holds_the_same_rows_and_their_provenance(house: House, tmp_path: Path) -> None:
    batch_id = await one_batch(house)
    dataset = await house.built({"source": {"job": batch_id}, "formats": ALL, "name": "Otters `of` | the pond"})
    assert (dataset["status"], dataset["rows"]) == ("completed", 2)
    assert dataset["dropped"] == {"robots_disallowed": 1, "duplicate": 1}
    folder = await house.download(dataset, tmp_path / "got")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    assert [file.name for file in manifest.files] == [
        "data.parquet",
        "data.jsonl",
        "data.csv",
        "data.warc.gz",
        "compliance.ndjson",
        "card.json",
        "card.md",
    ]
    leaves = [row_leaf(row) for row in read_jsonl(folder / "data.jsonl")]
    assert (folder / "data.jsonl").read_bytes() == b"".join(leaf + b"\n" for leaf in leaves)
    assert root_of(leaf_hash(leaf) for leaf in leaves).hex() == manifest.root
    assert [row_leaf(row) for row in read_parquet(folder / "data.parquet")] == leaves
    rows = list(read_csv(folder / "data.csv"))
    assert [row_leaf(row) for row in rows] == leaves
    assert all(content_hash(content_of(row)) == row.provenance.content_hash for row in rows)
    assert (rows[0].title, rows[1].title) == (None, "")
    read_by_others = pacsv.read_csv(
        folder / "data.csv",
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    ).to_pylist()
    assert [line["text"] for line in read_by_others] == [row.text for row in rows]
    assert [line["title"] for line in read_by_others] == [None, ""]
    checked, _ = check_manifest(DatasetFiles(folder), ORIGIN)
    assert checked.outcome is Outcome.OK, checked
    roots = RowRoots()
    for reading in DatasetFiles(folder).rows():
        assert reading.problems == ()
        roots.add(reading)
    assert roots.check(manifest).outcome is Outcome.OK


async def test_a_warc_file_is_read_by_others_and_holds_the_signed_records(house: House, tmp_path: Path) -> None:
    dataset = await house.built({"source": {"job": await one_batch(house)}, "format": "warc"})
    names = [file["name"] for file in dataset["files"]]
    assert "data.warc.gz" in names and "data.parquet" in names and "data.jsonl" not in names
    folder = await house.download(dataset, tmp_path / "got")
    rows = list(read_parquet(folder / "data.parquet"))
    data = (folder / "data.warc.gz").read_bytes()
    kinds = []
    for warc in ArchiveIterator(io.BytesIO(data), parse_http=False):
        kinds.append(warc.record_type)
        assert warc.verify_block_digest()
    pair = [WarcRecordType.response, WarcRecordType.metadata]
    assert kinds == [WarcRecordType.warcinfo, *pair, *pair]
    bodies: list[tuple[str | None, str, bytes]] = []
    provenances: list[tuple[str, bytes]] = []
    for warc in ArchiveIterator(io.BytesIO(data), parse_http=True):
        if warc.record_type is WarcRecordType.response:
            warc.freeze()
            assert warc.verify_payload_digest()
            assert warc.http_headers.status_code == 200
            if not bodies:
                assert warc.http_headers["Content-Usage"] == "train-ai=n"
            bodies.append((warc.record_id, warc.headers["WARC-Target-URI"], warc.reader.read()))
        elif warc.record_type is WarcRecordType.metadata:
            provenances.append((warc.headers["WARC-Concurrent-To"], warc.reader.read()))
    for row, body, told in zip(rows, bodies, provenances, strict=True):
        provenance = msgspec.json.decode(told[1], type=RowProvenance)
        assert provenance == row.provenance
        record = open_record(parse(from_base64url(provenance.record)))
        assert body[:2] == (f"<urn:uuid:{record.job_id}>", record.final_url) and told[0] == body[0]
        assert hashlib.sha256(body[2]).hexdigest() == record.body_hash


async def test_the_card_says_what_sites_said_and_what_the_standard_asks(house: House, tmp_path: Path) -> None:
    lines = "Content-Usage: / train-ai=n, search=y\nLicense: https://site.example/license.xml"
    await house.ledger.keep_robots_usage("5" * 64, lines, 1)
    batch_id, jobs = await house.batch([f"{ROOT}/1", "https://other.example/2"], location={"country": "DE"})
    await house.complete(jobs[0], text="one two three", robots_hash="5" * 64, finished_ms=1_700_000_000_000)
    await house.complete(
        jobs[1], text="four", usage=UsageSignals(tdm_reservation="1"), language="de", finished_ms=1_700_000_060_000
    )
    dataset = await house.built({"source": {"job": batch_id}, "name": "A `name` | of tricks"})
    folder = await house.download(dataset, tmp_path / "got")
    card = json.loads((folder / "card.json").read_bytes())
    assert (card["rows"], card["words"], card["hosts"]) == (2, 4, {"other.example": 1, "site.example": 1})
    assert (card["countries"], card["languages"]) == ({"DE": 2}, {"de": 1, "en": 1})
    assert (card["fetchedFrom"], card["fetchedUntil"]) == ("2023-11-14T22:13:20.000Z", "2023-11-14T22:14:20.000Z")
    assert card["signals"] == {
        "aipref search=y": 1,
        "aipref train-ai=n": 1,
        "rsl license": 1,
        "tdmrep reservation=1": 1,
    }
    assert (card["rowsWithoutSignals"], card["licenseLinks"]) == (0, {"https://site.example/license.xml": 1})
    facts = card["dataProvenance"]
    # The members that data-standard-1.0.0.schema.json requires.
    assert {"version", "title", "id", "issuer", "description"} <= facts["source"].keys()
    assert facts["source"]["version"] == "1.0.0" and facts["source"]["issuer"][0]["name"] == ORIGIN
    assert {"origin-geography", "date", "generation-method"} <= facts["provenance"].keys()
    assert facts["provenance"]["origin-geography"] == [{"country": "DE"}]
    assert all("code" in method for method in facts["provenance"]["generation-method"])
    assert [use["code"] for use in facts["use"]["intended-purpose"]] == ["train-ai"]
    text = (folder / "card.md").read_text()
    assert text.startswith("# `A 'name' / of tricks`, version 1\n")
    assert "| `aipref train-ai=n` | 1 |" in text and f"entry {dataset['logIndex']} of the log" in text
    seen = [json.loads(line) for line in (folder / "compliance.ndjson").read_text().splitlines()]
    assert [line["url"] for line in seen] == [f"{ROOT}/1", "https://other.example/2"]
    assert seen[0]["compliance"]["aipref"]["preferences"]["train-ai"] == "disallow"
    assert seen[1]["compliance"]["tdmrep"]["reservation"] == 1


async def test_the_statement_of_a_dataset_is_proved_by_its_own_address(house: House) -> None:
    dataset = await house.built({"job": await house.fetched([f"{ROOT}/1"])})
    answer = await house.get(dataset["proofUrl"], key="")
    assert answer.status == 200
    proof = parse_proof(answer.data)
    assert proof.extra is not None and proof.index == dataset["logIndex"]
    verify_proof(proof, proof.extra, log_key=LOG_KEY.verifier)


async def test_a_query_selects_by_what_pages_are(house: House) -> None:
    kept, jobs = await house.batch([f"{ROOT}/news/{n}" for n in range(6)] + ["https://other.example/news/1"])
    for place, job in enumerate(jobs):
        await house.complete(
            job,
            text=f"page {place} " + "word " * place,
            language="de" if place == 1 else "en",
            page_type="forum" if place == 2 else "article",
            finished_ms=now_ms() - 3_600_000 if place == 3 else None,
        )
    await house.fetched([f"{ROOT}/news/rag"], purpose="rag")
    await house.fetched([f"{ROOT}/shop/1"])
    running, running_jobs = await house.batch([f"{ROOT}/news/8", f"{ROOT}/news/9"])
    await house.complete(running_jobs[0], text="running " * 9)
    zero, zero_jobs = await house.batch([f"{ROOT}/news/secret"], zeroDataRetention=True)
    await house.complete(zero_jobs[0], text="zero " * 9)
    query = {
        "host": "site.example",
        "urlPrefix": f"{ROOT}/news/",
        "from": "2000-01-01T00:00:00Z",
        "to": now_ms() + 1_000,
        "language": "en",
        "pageType": "article",
        "minWords": 3,
        "purpose": "train-ai",
    }

    async def urls(**changed: object) -> list[str]:
        source = {"query": {**query, **changed}}
        dataset = await house.built({"source": source})
        assert dataset["status"] == "completed", dataset
        items = (await house.get(f"/v1/datasets/{dataset['id']}/items?fields=url")).body["items"]
        return [item["url"].removeprefix(ROOT) for item in items]

    assert await urls() == ["/news/3", "/news/4", "/news/5", "/news/8"]
    assert await urls(language="de", minWords=4) == []
    assert await urls(language="de") == ["/news/1"]
    assert await urls(pageType="forum") == ["/news/2"]
    assert await urls(host="other.example", urlPrefix=None) == ["https://other.example/news/1"]
    assert await urls(purpose="rag", minWords=None) == ["/news/rag"]
    assert await urls(**{"from": now_ms() - 60_000}) == ["/news/4", "/news/5", "/news/8"]
    assert await urls(to=now_ms() - 60_000) == ["/news/3"]
    assert kept and zero and running


async def test_several_jobs_become_one_dataset_and_its_statement_names_none(house: House, tmp_path: Path) -> None:
    one, two = await house.fetched([f"{ROOT}/1", f"{ROOT}/2"]), await house.fetched([f"{ROOT}/3"])
    dataset = await house.built({"source": {"jobs": [two, one]}})
    assert dataset["rows"] == 3 and "job" not in dataset and dataset["source"] == {"jobs": [two, one]}
    folder = await house.download(dataset, tmp_path / "got")
    assert [row.url for row in read_jsonl(folder / "data.jsonl")] == [f"{ROOT}/3", f"{ROOT}/1", f"{ROOT}/2"]
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    assert manifest.batch_id == dataset["id"]


async def test_urls_are_fetched_first(house: House) -> None:
    asked = await house.post(
        "/v1/datasets", {"source": {"urls": [f"{ROOT}/1", f"{ROOT}/2"], "options": {"purpose": "research"}}}
    )
    assert asked.status == 200, asked.data
    dataset = asked.body
    assert (dataset["status"], dataset["progress"]["stage"]) == ("building", "fetching")
    batch = await house.ledger.batch(dataset["job"])
    assert batch is not None and batch.options.purpose == "research"
    jobs = await house.ledger.jobs_of(batch.batch_id)
    await house.builder.look()
    await house.complete(jobs[0], purpose="research")
    waiting = (await house.get(f"/v1/datasets/{dataset['id']}")).body
    assert waiting["progress"] == {"stage": "fetching", "done": 1, "total": 2}
    await house.builder.look()
    assert (await house.ledger.dataset(dataset["id"])).state == "waiting"  # type: ignore[union-attr]
    await house.complete(jobs[1], purpose="research")
    built = await house.ended(dataset["id"])
    assert (built["status"], built["rows"], built["source"]) == ("completed", 2, {"urls": 2})
    again = await house.post(f"/v1/datasets/{dataset['id']}/versions", {})
    assert again.status == 200 and again.body["version"] == 2 and again.body["job"] != dataset["job"]
    jobs = await house.ledger.jobs_of(again.body["job"])
    assert [job.url for job in jobs] == [f"{ROOT}/1", f"{ROOT}/2"]


async def test_a_build_that_fails_says_why_and_is_done_anew(house: House) -> None:
    batch_id = await house.fetched([f"{ROOT}/1"])
    faults = Faults({"get": 1}, error=ObjectError)
    house.builder = house.another_builder(objects=breaking(house.desks.objects, faults))
    failed = await house.built({"job": batch_id})
    assert (failed["status"], failed["error"], failed["files"]) == ("failed", "get failed on purpose", [])
    assert not [path for path in (house.folder / "datasets").rglob("*") if path.is_file()]
    assert (await house.get(f"/v1/datasets/{failed['id']}/files/data.jsonl")).status == 409
    retried = await house.post(f"/v1/datasets/{failed['id']}/retry", {})
    assert retried.status == 200 and retried.body["status"] == "building"
    built = await house.ended(failed["id"])
    assert (built["status"], built["rows"]) == ("completed", 1) and "error" not in built
    assert (await house.post(f"/v1/datasets/{failed['id']}/retry", {})).status == 409


async def test_a_log_that_does_not_publish_in_time_fails_the_build(
    quiet_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_builder, "_PUBLISH_TIMEOUT_S", 0.05)
    failed = await quiet_house.built({"job": await quiet_house.fetched([f"{ROOT}/1"])})
    assert failed["status"] == "failed" and "did not publish" in failed["error"]


async def started(house: House) -> Any:
    """A dataset whose build waits for the log."""
    dataset = (await house.post("/v1/datasets", {"job": await house.fetched([f"{ROOT}/1"])})).body
    await house.builder.look()
    async with asyncio.timeout(20):
        while await house.ledger.log_size() < 2:
            await asyncio.sleep(0.01)
    return dataset


async def test_a_dispatcher_that_stops_gives_its_build_back(quiet_house: House) -> None:
    house = quiet_house
    dataset = await started(house)
    await house.builder.close()
    standing = await house.ledger.dataset(dataset["id"])
    assert standing is not None and (standing.state, standing.attempts) == ("queued", 0)
    assert not [path for path in (house.folder / "datasets").rglob("*") if path.is_file()]
    other = house.another_builder()
    await other.look()
    await house.log.publish_once()
    await other.finished(dataset["id"])
    assert (await house.ended(dataset["id"]))["status"] == "completed"
    # The second build said the same: the log has one record and one statement.
    assert await house.ledger.log_size() == 2


async def test_a_build_whose_dispatcher_died_is_taken_up_and_the_dead_one_changes_nothing(
    quiet_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = quiet_house
    monkeypatch.setattr(dataset_builder, "HOLD_EVERY_S", 0.05)
    dataset = await started(house)
    # It says nothing any more, and goes on all the same: as a machine that slept.
    late = dataset_builder.LEASE_MS + 1_000
    other = house.another_builder(clock=lambda: now_ms() + late)
    await other.look()
    standing = await house.ledger.dataset(dataset["id"])
    assert standing is not None and standing.attempts == 2 and standing.build_id != dataset["id"]
    await house.builder.finished(dataset["id"])
    await house.log.publish_once()
    await other.finished(dataset["id"])
    built = await house.ended(dataset["id"])
    assert (built["status"], built["rows"]) == ("completed", 1)
    assert await house.ledger.log_size() == 2
    places = [path.name for path in (house.folder / "datasets").iterdir()]
    assert places == [standing.build_id]
    got = await house.get(f"/v1/datasets/{dataset['id']}/files/data.jsonl")
    assert got.status == 200
    await other.close()


async def test_a_dataset_that_is_cancelled_stops_and_can_be_deleted(
    quiet_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = quiet_house
    monkeypatch.setattr(dataset_builder, "HOLD_EVERY_S", 0.05)
    dataset = await started(house)
    path = f"/v1/datasets/{dataset['id']}"
    assert (await house.ask("DELETE", path)).body["status"] == "cancelled"
    async with asyncio.timeout(20):
        await house.builder.finished(dataset["id"])
    told = (await house.get(path)).body
    assert (told["status"], told["files"]) == ("cancelled", [])
    assert not [path for path in (house.folder / "datasets").rglob("*") if path.is_file()]
    assert (await house.ask("DELETE", path)).body["status"] == "deleted"
    assert (await house.get(path)).status == 404


async def test_cancelling_a_dataset_of_urls_stops_their_fetching(house: House) -> None:
    dataset = (await house.post("/v1/datasets", {"source": {"urls": [f"{ROOT}/1"]}})).body
    assert (await house.ask("DELETE", f"/v1/datasets/{dataset['id']}")).body["status"] == "cancelled"
    assert (await house.ledger.counts(dataset["job"])).cancelled == 1


async def test_what_is_deleted_or_over_is_erased(house: House) -> None:
    sweep = DatasetSweep(ledger=house.ledger, store=house.store, clock=now_ms)
    first = await house.built({"job": await house.fetched([f"{ROOT}/1"])})
    second = await house.built({"job": await house.fetched([f"{ROOT}/2"])})
    assert await sweep.once() == 0
    assert (await house.ask("DELETE", f"/v1/datasets/{first['id']}")).body["status"] == "deleted"
    assert (await house.get(f"/v1/datasets/{first['id']}/items")).status == 404
    assert await sweep.once() == 1
    assert [path.name for path in (house.folder / "datasets").iterdir()] == [second["id"]]
    # Somebody's copy of what was deleted is no dataset.
    shutil.copytree(house.folder / "datasets" / second["id"], house.folder / "datasets" / first["id"])
    manifest = house.folder / "datasets" / first["id"] / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(second["id"].encode(), first["id"].encode()))
    assert (await house.get(f"/v1/datasets/{first['id']}")).status == 404
    shutil.rmtree(house.folder / "datasets" / first["id"])
    # A dataset ends when the first of its pages may be kept no longer.
    await house.ledger.set_retention("team-alpha", 3_600_000)
    timed = await house.built({"job": await house.fetched([f"{ROOT}/3"])})
    assert "expiresAt" in timed and "expiresAt" not in second
    kept = await house.ledger.dataset(timed["id"])
    assert kept is not None and kept.until_ms is not None
    assert abs(kept.until_ms - now_ms() - 3_600_000) < 60_000
    late = DatasetSweep(ledger=house.ledger, store=house.store, clock=lambda: now_ms() + 3_600_001)
    assert await late.once() == 2
    assert (await house.get(f"/v1/datasets/{timed['id']}")).status == 404
    assert [path.name for path in (house.folder / "datasets").iterdir()] == [second["id"]]


async def test_a_dataset_of_before_the_ledger_knew_them_is_taken_in(house: House) -> None:
    """Earlier releases kept datasets in the object store alone, in the folder of their id."""
    dataset = await house.built({"job": await house.fetched([f"{ROOT}/1"])})
    await house.ledger._sql.write_one(  # type: ignore[attr-defined]
        lambda connection: connection.exec_driver_sql("DELETE FROM datasets").rowcount
    )
    assert (await house.get(f"/v1/datasets/{dataset['id']}", key=house.other_key)).status == 404
    found = (await house.get(f"/v1/datasets/{dataset['id']}")).body
    for name in ("id", "job", "status", "rows", "files", "logIndex", "statementId", "proofUrl"):
        assert found[name] == dataset[name], name
    assert [each["id"] for each in (await house.get("/v1/datasets")).body["datasets"]] == [dataset["id"]]
    assert (await house.get(f"/v1/datasets/{new_id()}")).status == 404
