"""Ways to falsify a dataset, its log or its chain by as little as one byte, each on a copy."""

import base64
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from cleaning.adapters.parquet_dataset import SCHEMA
from cleaning.dataset import JSONL_NAME, MANIFEST_NAME, PARQUET_NAME
from protocol.dataset import Manifest, Row, content_hash, content_of
from protocol.keys import from_base64url, to_base64url
from protocol.statements import encode_canonical
from provenance.tiles import ENTRIES, TILE_WIDTH, Tile, decode_bundle, encode_bundle

Change = Callable[[Row], Row]


def copied(folder: Path, where: Path) -> Path:
    """A copy of a folder."""
    shutil.copytree(folder, where)
    return where


def flipped(data: bytes, place: int) -> bytes:
    """The same bytes with the lowest bit of one of them turned."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def read_rows(dataset: Path) -> list[Row]:
    """The rows of the JSONL file."""
    lines = (dataset / JSONL_NAME).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Row) for line in lines]


def one_byte_of_text(row: Row) -> Row:
    """A row whose text differs in one byte."""
    place = next(i for i, letter in enumerate(row.text) if letter.isascii() and letter.isalpha())
    text = row.text[:place] + ("a" if row.text[place] != "a" else "e") + row.text[place + 1 :]
    return msgspec.structs.replace(row, text=text)


def with_its_hash(row: Row) -> Row:
    """The row with the content hash that its content has now."""
    provenance = msgspec.structs.replace(row.provenance, content_hash=content_hash(content_of(row)))
    return msgspec.structs.replace(row, provenance=provenance)


def one_byte_of_record(row: Row) -> Row:
    """A row whose record differs in one byte: the last one of its payload but one."""
    record = from_base64url(row.provenance.record)
    changed = to_base64url(flipped(record, len(record) - 3))
    return msgspec.structs.replace(row, provenance=msgspec.structs.replace(row.provenance, record=changed))


def change_jsonl(dataset: Path, place: int, change: Change) -> None:
    """Change one row of the JSONL file."""
    rows = read_rows(dataset)
    rows[place] = change(rows[place])
    (dataset / JSONL_NAME).write_bytes(b"".join(encode_canonical(row) + b"\n" for row in rows))


def change_parquet(dataset: Path, place: int, change: Change) -> None:
    """Change one row of the Parquet file."""
    rows = [msgspec.convert(values, Row) for values in pq.read_table(dataset / PARQUET_NAME).to_pylist()]
    rows[place] = change(rows[place])
    table = pa.Table.from_pylist([msgspec.to_builtins(row) for row in rows], schema=SCHEMA)
    pq.write_table(table, dataset / PARQUET_NAME, compression="zstd")


def renew_manifest(dataset: Path) -> None:
    """Let the manifest state the sizes and hashes that the files have now, as a careful forger would."""
    path = dataset / MANIFEST_NAME
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    files = []
    for file in manifest.files:
        data = (dataset / file.name).read_bytes()
        files.append(msgspec.structs.replace(file, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=tuple(files))))


def change_entry(log: Path, index: int, size: int) -> None:
    """Turn one bit of a log entry inside the entry bundle of the newest tree."""
    number, offset = divmod(index, TILE_WIDTH)
    width = min(TILE_WIDTH, size - number * TILE_WIDTH)
    path = log / Tile(ENTRIES, number, width).path
    entries = list(decode_bundle(path.read_bytes()))
    entries[offset] = flipped(entries[offset], len(entries[offset]) - 3)
    path.write_bytes(encode_bundle(entries))


def change_file(path: Path) -> None:
    """Turn one bit in the middle of a file."""
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) // 2))


def tile_files(log: Path) -> list[Path]:
    """Every tile and entry bundle, sorted."""
    return sorted(path for path in (log / "tile").rglob("*") if path.is_file())


def change_anchored_root(chain: Path, root: bytes) -> int:
    """Change one letter of an anchored root wherever the chain's file holds it; in how many transactions."""
    old = b"root=" + base64.b64encode(root)
    letter = b"A" if old[10:11] != b"A" else b"B"
    new = old[:10] + letter + old[11:]
    changed = 0
    with closing(sqlite3.connect(chain)) as connection, connection:
        for sequence, wire, outcome in connection.execute("SELECT sequence, wire, outcome FROM tx").fetchall():
            if old in wire:
                assert old in outcome, "the transaction's meta and logs repeat the memo"
                connection.execute(
                    "UPDATE tx SET wire = ?, outcome = ? WHERE sequence = ?",
                    (wire.replace(old, new), outcome.replace(old, new), sequence),
                )
                changed += 1
    return changed
