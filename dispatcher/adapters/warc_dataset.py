"""A dataset's pages as WARC 1.1 (ISO 28500), each record gzipped by itself.

    warcinfo                  the dataset
    response, metadata        of each row, in order

A `response` is the status and the headers that the node's signed record keeps, with the body exactly as it was stored:
still in its Content-Encoding. What else the site sent is not kept by the network. The `metadata` record beside it is
the row's column `provenance` as JSON, with the signed record in it. Digests are SHA-256, hexadecimal; that of a payload
is of the body as it stands here, encoded. The record's own `body_hash` is of the body decoded.
"""

import gzip
import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Final

from protocol.dataset import Row
from protocol.record import Record
from protocol.statements import encode_canonical

WARC_NAME: Final = "data.warc.gz"
_LEVEL: Final = 6
_SPACE = uuid.UUID("8d3a9f0e-5a55-4c0f-9a8e-0f4f5a6f2f11")
"""The name space of the ids of metadata records (RFC 9562, UUIDv5)."""


class WarcFile:
    """Appends pages to a new file. The caller owns it and closes it; OSError where the file system refuses."""

    def __init__(self, path: Path, *, dataset_id: str, created_ms: int, software: str) -> None:
        self._file = path.open("xb")
        fields = {
            "software": software,
            "format": "WARC File Format 1.1",
            "conformsTo": "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/",
            "isPartOf": f"dataset {dataset_id}",
            "robots": "obey",
            "description": "headers are those that the nodes' signed records keep; bodies are as they were sent",
        }
        block = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        self._write("warcinfo", dataset_id, created_ms, {"Content-Type": "application/warc-fields"}, block)

    def write(self, row: Row, record: Record, body: bytes) -> None:
        """Append a row's page: `body` as it is stored, `record` the one in the row's provenance."""
        head = _http_head(record, len(body))
        target = {"WARC-Target-URI": record.final_url}
        self._write(
            "response",
            record.job_id,
            record.finished_ms,
            {
                **target,
                "WARC-Payload-Digest": _digest(body),
                "Content-Type": "application/http; msgtype=response",
            },
            head + body,
        )
        self._write(
            "metadata",
            str(uuid.uuid5(_SPACE, record.job_id)),
            record.finished_ms,
            {
                **target,
                "WARC-Concurrent-To": f"<urn:uuid:{record.job_id}>",
                "Content-Type": "application/json",
            },
            encode_canonical(row.provenance),
        )

    def close(self) -> None:
        """Write out what is buffered and close."""
        self._file.close()

    def _write(self, kind: str, record_id: str, time_ms: int, headers: Mapping[str, str], block: bytes) -> None:
        fields = {
            "WARC-Type": kind,
            "WARC-Record-ID": f"<urn:uuid:{record_id}>",
            "WARC-Date": datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            **headers,
            "WARC-Block-Digest": _digest(block),
            "Content-Length": str(len(block)),
        }
        head = "WARC/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        self._file.write(gzip.compress(head.encode() + block + b"\r\n\r\n", _LEVEL, mtime=0))


def _http_head(record: Record, length: int) -> bytes:
    """Write the status line and the headers that a record keeps (Latin-1, as they came)."""
    try:
        reason = HTTPStatus(record.status).phrase
    except ValueError:
        reason = ""
    lines = [f"HTTP/1.1 {record.status} {reason}"]
    if record.content_type is not None:
        lines.append(f"Content-Type: {record.content_type}")
    if record.content_encoding != "identity":
        lines.append(f"Content-Encoding: {record.content_encoding}")
    lines += [f"{header.name}: {header.value}" for header in record.headers]
    lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
