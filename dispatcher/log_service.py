"""Publishes the record log: tiles, then a signed checkpoint, then its anchor on the chain.

The order makes every crash harmless: tiles can be written again with the same bytes, a checkpoint is committed to the
ledger (one per size, ever) before its file is written, an anchor is stored signed before it is sent.

Any dispatcher may publish the next step: everything it needs is in the ledger and in the log's files. Who does so at a
time is decided by duties (`leader.py`); a checkpoint that is made in the name of a leadership that has passed on is
refused by the ledger.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from dispatcher.bus import Bus, Event, LogPublished
from dispatcher.chain import Chain
from dispatcher.ledger import Leadership, Ledger, StoredCheckpoint
from dispatcher.log_guard import published_head, refuse_fork
from provenance.anchor import Anchor
from provenance.checkpoint import NoteSigner, parse_vkey, sign_checkpoint
from provenance.log_writer import CHECKPOINT_PATH, TileStore, checkpoint_path, publish, write_checkpoint

_log = structlog.get_logger("log")
_READ_ENTRIES = 1_024
_LOOK_S = 0.5
"""How often somebody who waits for an entry looks, should the hint not come."""


class LogService:
    """Owns the writing of the public log's files. Holds nothing that the next one to publish would need."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: TileStore,
        origin: str,
        signer: NoteSigner,
        chain: Chain,
        clock: Callable[[], int],
        bus: Bus,
    ) -> None:
        self._ledger, self._store, self._origin, self._signer = ledger, store, origin, signer
        self._chain, self._clock, self._bus = chain, clock, bus
        self._log_key = parse_vkey(signer.vkey)
        self._published = asyncio.Event()
        bus.subscribe(self._on_event)

    async def publish_once(self, leadership: Leadership | None = None) -> None:
        """Bring the public log up to the ledger's size, and its checkpoint files up to the ledger's checkpoints.

        LeadershipLost where `leadership` has passed to another dispatcher; LogConflict where the ledger knows less
        than the public log, as after the restoration of an old backup.
        """
        # Read in this order: a head is committed to the ledger before it is published.
        published = published_head(await self._store.read(CHECKPOINT_PATH), self._log_key)
        newest = await self._ledger.newest_checkpoint()
        refuse_fork(published, newest)
        old_size, size = newest.size if newest else 0, await self._ledger.log_size()
        if size > old_size:
            await self._extend(newest, size, leadership)
        # Whoever writes last has looked at the ledger after its write: no old checkpoint stays over a newer one.
        while (newest := await self._ledger.newest_checkpoint()) is not None:
            if await self._store.read(CHECKPOINT_PATH) == newest.note.encode():
                return
            for checkpoint in await self._ledger.unanchored():
                await self._store.write_once(checkpoint_path(checkpoint.size), checkpoint.note.encode())
            await write_checkpoint(self._store, newest.size, newest.note)
            self._bus.publish(LogPublished(size=newest.size))

    async def anchor_pending(self, _: Leadership | None = None) -> None:
        """Anchor every published checkpoint that is not anchored yet, oldest first."""
        pending = await self._ledger.unanchored()
        published = await self._published_size() if pending else 0
        for checkpoint in pending:
            if checkpoint.size > published:
                return
            anchor = Anchor(self._origin, checkpoint.size, checkpoint.root, checkpoint.anchor_sequence)
            signature = await self._chain.anchor(anchor)
            await self._ledger.set_anchor(checkpoint.size, signature)
            _log.info("anchored", size=checkpoint.size, signature=signature)

    async def wait_until_published(self, index: int, *, timeout_s: float) -> bool:
        """Wait until a published checkpoint covers an entry, whoever publishes; False if the time is over first."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            published = self._published
            newest = await self._ledger.newest_checkpoint()
            if newest is not None and newest.size > index and await self._published_size() > index:
                return True
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(published.wait(), min(left, _LOOK_S))
            except TimeoutError:
                continue

    async def _published_size(self) -> int:
        """Return the size of the checkpoint that the public log shows: every kept one up to it is written."""
        published = published_head(await self._store.read(CHECKPOINT_PATH), self._log_key)
        return published.size if published is not None else 0

    async def _extend(self, newest: StoredCheckpoint | None, size: int, leadership: Leadership | None) -> None:
        """Write tiles and commit the checkpoint of `size`, unless another dispatcher is first."""
        old_size = newest.size if newest else 0
        root = await publish(
            self._store,
            self._entries,
            old_size=old_size,
            new_size=size,
            old_root=newest.root if newest else None,
        )
        checkpoint = StoredCheckpoint(
            size=size,
            root=root,
            note=sign_checkpoint(self._origin, size, root, self._signer),
            created_ms=self._clock(),
            anchor_sequence=newest.anchor_sequence + 1 if newest else 0,
        )
        await self._ledger.add_checkpoint(checkpoint, previous_size=old_size, fence=leadership)

    async def _entries(self, start: int, end: int) -> Sequence[bytes]:
        found: list[bytes] = []
        for low in range(start, end, _READ_ENTRIES):
            part = await self._ledger.entries(low, min(end, low + _READ_ENTRIES))
            found.extend(entry.statement for entry in part)
        return found

    def _on_event(self, event: Event) -> None:
        if isinstance(event, LogPublished):
            self._published.set()
            self._published = asyncio.Event()
