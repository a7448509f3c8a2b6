"""A network's stores with pages, documents, a log and its signed heads in them, as a network that worked leaves them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from dispatcher.backup import BODY_KIND, DOCUMENT_KIND
from dispatcher.ledger import Ledger, NewResult, StoredCheckpoint
from dispatcher.objects import ObjectStore
from protocol.keys import SigningKey
from protocol.statements import Kind, sign
from provenance.checkpoint import NoteSigner, sign_checkpoint
from provenance.log_info import LOG_INFO_PATH, LogInfo, encode_log_info
from provenance.log_writer import TileStore, checkpoint_path, publish, write_checkpoint
from tests.ledger.conftest import NOW_MS, Rows
from tests.vectors import fixed

ORIGIN = "meadow.test/backup"
LOG_KEY = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))


@dataclass
class SavedNetwork:
    """The stores of a network. `pages` counts those fetched so far."""

    ledger: Ledger
    objects: ObjectStore
    tiles: TileStore
    rows: Rows
    pages: int = 0

    async def fetch(self, number: int) -> list[str]:
        """Submit and fetch pages; the names of their bodies."""
        batch = self.rows.batch()
        jobs = self.rows.jobs(batch, number)
        await self.ledger.submit(batch, jobs)
        names: list[str] = []
        for job in jobs:
            self.pages += 1
            body = b"page %d" % self.pages
            digest = hashlib.sha256(body).hexdigest()
            record = fixed.record(
                job_id=job.job_id,
                body_hash=digest,
                body_bytes=len(body),
                wire_bytes=len(body),
                content_encoding="identity",
            )
            names.append(f"{digest}.identity")
            await self.objects.put(BODY_KIND, names[-1], body)
            result = NewResult(
                job_id=job.job_id,
                node_key="node",
                wallet="wallet",
                record=sign(Kind.RECORD, record, SigningKey(b"\5" * 32)).to_bytes(),
                body_hash=digest,
                body_bytes=len(body),
                wire_bytes=len(body),
                robots_hash=None,
                stored_ms=NOW_MS,
                reward=10,
                hold_until_ms=NOW_MS,
            )
            assert (await self.ledger.store_result(result)).outcome == "stored"
            document = b"document of " + body
            name = hashlib.sha256(document).hexdigest()
            await self.objects.put(DOCUMENT_KIND, name, document)
            await self.ledger.complete(job.job_id, document_hash=name, dropped=None, now_ms=NOW_MS)
        return names

    async def sign_head(self) -> int:
        """Publish the log up to the ledger's size; that size."""
        newest = await self.ledger.newest_checkpoint()
        old_size, size = newest.size if newest else 0, await self.ledger.log_size()

        async def entries(start: int, end: int) -> Sequence[bytes]:
            return [entry.statement for entry in await self.ledger.entries(start, end)]

        root = await publish(self.tiles, entries, old_size=old_size, new_size=size)
        note = sign_checkpoint(ORIGIN, size, root, LOG_KEY)
        sequence = newest.anchor_sequence + 1 if newest else 0
        checkpoint = StoredCheckpoint(size=size, root=root, note=note, created_ms=NOW_MS, anchor_sequence=sequence)
        assert await self.ledger.add_checkpoint(checkpoint, previous_size=old_size)
        await self.tiles.write_once(checkpoint_path(size), note.encode())
        await write_checkpoint(self.tiles, size, note)
        return size

    async def introduce(self) -> None:
        """Publish who runs the log."""
        info = LogInfo(
            origin=ORIGIN,
            vkey=LOG_KEY.vkey,
            root_key="root",
            anchor_address="anchor",
            payer_address="payer",
            mint="mint",
            genesis_hash="genesis",
            simulator=True,
            tariff="1",
        )
        await self.tiles.replace(LOG_INFO_PATH, encode_log_info(info))


def damaged(data: bytes) -> bytes:
    """The same with one bit changed."""
    return bytes([data[0] ^ 1]) + data[1:]


class Manifested(msgspec.Struct):
    """What the tests read of a manifest."""

    objects: int
    copied: int
    gone: int
    log_entries: int
