"""What a backup of a network holds, and which objects belong to it.

    backup.json       Manifest, written last: a folder without it is no backup
    ledger.sqlite3    the ledger's file, or
    ledger.pgdump     the ledger as `pg_dump` writes it (custom format)
    objects.jsonl     one ObjectLine per object the ledger refers to
    objects/          copies of them, unless the backup goes by the list alone
    log/              what of the public log cannot be computed from the ledger: certificates, payouts, meadow.json
    chain.sqlite3     the simulator's chain, where the network runs on one
    datasets/         datasets that lie in the data folder
    keys/             the operator's keys, only where that was asked for

Order. The ledger's snapshot is taken first, the objects after it. An object is stored before the ledger refers to it,
and is never changed: so every object that the snapshot refers to is in the store when the objects are read, and what is
stored meanwhile is not missed, because the snapshot does not refer to it. The other way round an object could be stored
and referred to between the two, and be missing. Only retention takes objects away; what it took since the snapshot is
told apart by asking whether the content's time is over.

The simulator's chain is taken at the same instant as the ledger, while no transaction can be stored: a transaction is
stored in the ledger before it is sent, so at that instant the chain holds nothing that the ledger does not know of.
"""

from collections.abc import AsyncIterator
from typing import Final, Literal

import msgspec

from dispatcher.errors import LedgerError, SetupError
from dispatcher.jobs import Job
from dispatcher.ledger import Ledger
from dispatcher.settlement import body_name
from protocol.errors import ProtocolError
from protocol.record import Record
from protocol.statements import Kind, decode_canonical, parse

FORMAT = "meadow backup 1"
MANIFEST = "backup.json"
OBJECTS = "objects.jsonl"
SQLITE_LEDGER: Final = "ledger.sqlite3"
POSTGRES_LEDGER: Final = "ledger.pgdump"
CHAIN = "chain.sqlite3"
BODY_KIND: Final = "body"
DOCUMENT_KIND: Final = "document"
_PAGE = 500


class Head(msgspec.Struct, frozen=True):
    """The newest checkpoint of the ledger: `root` in hexadecimal."""

    size: int
    root: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A backup as a whole.

    `ledger` is the file's name; `ledger_sha256` its hash, and `revision` that of its tables. `log_entries` counts the
    log. `objects` are those listed, `copied` those that lie in the backup, `gone` those that retention took meanwhile.
    """

    format: str
    version: str
    created_ms: int
    ledger: Literal["ledger.sqlite3", "ledger.pgdump"]
    ledger_sha256: str
    revision: str
    log_entries: int
    head: Head | None
    objects: int
    copied: int
    gone: int
    bytes: int
    with_objects: bool
    with_keys: bool
    with_chain: bool


class ObjectLine(msgspec.Struct, frozen=True):
    """An object the ledger refers to. `gone` says that retention took it after the ledger's snapshot."""

    kind: Literal["body", "document"]
    name: str
    bytes: int
    gone: bool = False


class WantedObject(msgspec.Struct, frozen=True):
    """An object that the ledger refers to."""

    kind: Literal["body", "document"]
    name: str


def decode_manifest(data: bytes) -> Manifest:
    """Decode `backup.json`; SetupError where it is not one this version reads."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise SetupError(f"{MANIFEST} is not the manifest of a backup: {error}; name another folder") from error
    if manifest.format != FORMAT:
        raise SetupError(f"the backup has the format {manifest.format!r}, this version reads {FORMAT!r}")
    return manifest


async def wanted_by(ledger: Ledger, *, log_entries: int) -> AsyncIterator[list[WantedObject]]:
    """Yield what the first `log_entries` results refer to, page by page, each object once per page.

    Every result is an entry of the log, so the log is the list of all results.
    """
    for start in range(0, log_entries, _PAGE):
        records: dict[str, Record] = {}
        for entry in await ledger.entries(start, min(start + _PAGE, log_entries)):
            try:
                statement = parse(entry.statement)
                if statement.kind is Kind.RECORD:
                    record = decode_canonical(statement.payload, Record)
                    records[record.job_id] = record
            except ProtocolError as error:
                raise LedgerError(f"entry {entry.index} of the log is damaged ({error}); restore a backup") from error
        jobs = await ledger.jobs(list(records))
        page: dict[WantedObject, None] = {}
        for job in jobs:
            for wanted in _of_job(job, records[job.job_id]):
                page[wanted] = None
        yield list(page)


def _of_job(job: Job, record: Record) -> list[WantedObject]:
    if job.content_deleted_ms is not None:
        return []
    wanted = [WantedObject(BODY_KIND, body_name(record))]
    if job.document_hash is not None:
        wanted.append(WantedObject(DOCUMENT_KIND, job.document_hash))
    return wanted
