"""Documents to a dataset folder: every input accounted for, nothing half-done left behind."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

import cleaning
from cleaning.adapters.dataset_folder import DatasetWriter
from cleaning.adapters.jsonl_dataset import read_jsonl
from cleaning.adapters.parquet_dataset import read_parquet
from cleaning.dataset import Seal, row_content
from cleaning.document import Document, Link, StructuredData, Table
from cleaning.errors import DatasetExists, DatasetUnwritable
from protocol.dataset import (
    DroppedInput,
    Manifest,
    Row,
    RowLink,
    RowProvenance,
    content_hash,
    content_of,
    row_leaf,
    with_provenance,
)

SEAL = Seal(
    dataset_id="01890a5d-ac96-774b-bcce-b302099a8057",
    batch_id="01890a5d-ac96-774b-bcce-b302099a8058",
    created_ms=5,
    root="00" * 32,
    statement="c3RhdGVtZW50",
    statement_log_index=7,
    log_origin="log.example",
    tool_version="test",
)
ROOT = Path(cleaning.__file__).parent.parent


def row(number: int, text: str | None = None, status: int = 200) -> Row:
    url = f"https://example.org/{number}"
    text = f"Text of page {number}: naïve, 漢字, עברית, \u2028 and \U0001f600." if text is None else text
    document = Document(
        url=url,
        text=text,
        markdown=f"# {text}",
        title="T" if number % 2 else None,
        language="en",
        page_type="article",
        links=(Link("https://example.org/x", "x", "nofollow"),),
        tables=(Table("", ("a", "b"), (("1", ""), ("2", "|"))), Table("c", (), (("x", "y"),))) if number % 3 else (),
        structured_data=StructuredData(
            ('{"@type":"Article"}',), (("og:title", "T"), ("og:image", "1"), ("og:image", "2"))
        ),
    )
    content = row_content(
        document,
        url=url,
        final_url=f"{url}/final",
        fetched_ms=1_700_000_000_000 + number,
        status=status,
        content_type="text/html",
    )
    provenance = RowProvenance(
        content_hash=content_hash(content), record="AQ", log_origin="log.example", log_index=number, integrity="direct"
    )
    return with_provenance(content, provenance)


def build(folder: Path, *candidates: Row | DroppedInput) -> Manifest:
    with DatasetWriter(folder) as writer:
        for candidate in candidates:
            writer.add(candidate)
        return writer.finish(SEAL)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_both_files_hold_the_same_rows_and_the_canonical_bytes(tmp_path: Path) -> None:
    rows = [row(number) for number in range(50)]
    manifest = build(tmp_path / "set", *rows)
    assert names(tmp_path / "set") == {"data.parquet", "data.jsonl", "manifest.json"}
    assert list(read_parquet(tmp_path / "set" / "data.parquet")) == rows
    assert list(read_jsonl(tmp_path / "set" / "data.jsonl")) == rows
    assert (tmp_path / "set" / "data.jsonl").read_bytes() == b"".join(row_leaf(each) + b"\n" for each in rows)
    for each in read_parquet(tmp_path / "set" / "data.parquet"):
        assert content_hash(content_of(each)) == each.provenance.content_hash
    metadata = pq.read_metadata(tmp_path / "set" / "data.parquet")
    assert metadata.num_rows == 50
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert (manifest.rows, manifest.dropped) == (50, ())


def test_content_keeps_what_the_document_says() -> None:
    content = content_of(row(1))
    assert content.links == (RowLink("https://example.org/x", "x"),)
    assert content.tables[0].caption is None
    assert [json.loads(text) for text in content.structured_data] == [
        {"@type": "Article"},
        {"og:title": ["T"], "og:image": ["1", "2"]},
    ]


def test_every_input_is_a_row_or_a_drop_with_its_reason(tmp_path: Path) -> None:
    manifest = build(
        tmp_path / "set",
        row(1),
        DroppedInput(url="https://example.org/2", reason="timeout", detail="not cleaned within 5000 ms"),
        row(3, text=row(1).text),
        row(4, status=404),
        row(5, text=" \n"),
        DroppedInput(url="https://example.org/6", reason="timeout"),
        row(7),
    )
    assert (len(manifest.dropped), manifest.rows) == (5, 2)
    assert manifest.drop_reasons == {"timeout": 2, "duplicate": 1, "http_status": 1, "no_text": 1}
    assert [(drop.url[-1], drop.reason) for drop in manifest.dropped] == [
        ("2", "timeout"), ("3", "duplicate"), ("4", "http_status"), ("5", "no_text"), ("6", "timeout"),
    ]  # fmt: skip
    assert manifest.dropped[1].detail == "same text as https://example.org/1"
    assert [each.url for each in read_jsonl(tmp_path / "set" / "data.jsonl")] == [
        "https://example.org/1",
        "https://example.org/7",
    ]


def test_the_manifest_file_matches_the_files(tmp_path: Path) -> None:
    manifest = build(tmp_path / "set", row(1), row(2))
    written = msgspec.json.decode((tmp_path / "set" / "manifest.json").read_bytes(), type=Manifest)
    assert written == manifest
    assert written.statement == "c3RhdGVtZW50"
    for file in written.files:
        body = (tmp_path / "set" / file.name).read_bytes()
        assert (file.bytes, file.sha256, file.rows) == (len(body), hashlib.sha256(body).hexdigest(), 2)


def test_an_empty_dataset_is_a_dataset(tmp_path: Path) -> None:
    manifest = build(tmp_path / "deep" / "set", DroppedInput(url="u", reason="no_text"))
    assert manifest.rows == 0
    assert list(read_parquet(tmp_path / "deep" / "set" / "data.parquet")) == []


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    rows = [row(number) for number in range(20)]
    assert build(tmp_path / "a", *rows).files == build(tmp_path / "b", *rows).files


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), DatasetWriter(tmp_path / "set") as writer:
        writer.add(row(1))
        assert not (tmp_path / "set").exists()
        raise KeyError
    assert names(tmp_path) == set()


def test_a_taken_folder_is_refused_and_untouched(tmp_path: Path) -> None:
    build(tmp_path / "set", row(1))
    before = (tmp_path / "set" / "manifest.json").read_bytes()
    with pytest.raises(DatasetExists, match="already holds something"):
        build(tmp_path / "set", row(2))
    assert (tmp_path / "set" / "manifest.json").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetExists):
        build(tmp_path / "file", row(1))
    (tmp_path / "empty").mkdir()
    assert build(tmp_path / "empty", row(1)).rows == 1


def test_two_builds_of_one_folder_do_not_mix(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set") as writer:
        writer.add(row(1))
        with pytest.raises(DatasetExists, match="another process"):
            DatasetWriter(tmp_path / "set")
        assert writer.finish(SEAL).rows == 1


def test_what_a_killed_build_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".set.partial").mkdir()
    (tmp_path / ".set.partial" / "data.jsonl").write_text("half a row")
    build(tmp_path / "set", row(1))
    assert names(tmp_path) == {"set"}
    assert [each.url for each in read_jsonl(tmp_path / "set" / "data.jsonl")] == ["https://example.org/1"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetUnwritable, match=r"cannot write .*set: \w"):
        build(tmp_path / "file" / "set", row(1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix file size limits")
@pytest.mark.parametrize("limit_bytes", [100, 20_000, 200_000])
def test_a_full_disk_is_said_plainly_and_leaves_nothing(tmp_path: Path, limit_bytes: int) -> None:
    # A file size limit makes the system refuse writes as a full disk does.
    code = (
        "import sys, resource, warnings\n"
        "warnings.simplefilter('error')\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from test_dataset import build, row\n"
        "from cleaning.errors import DatasetDiskFull\n"
        "rows = [row(n, text=f'{n} ' + ''.join(chr(0x4e00 + (n * 7919 + i * i) % 20000) for i in range(900)))"
        " for n in range(300)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    build(Path(sys.argv[1]) / 'set', *rows)\n"
        "except DatasetDiskFull as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(limit_bytes), str(Path(__file__).parent)],
        capture_output=True, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("no room left to write")
    assert done.stderr == ""
    assert names(tmp_path) == set()
