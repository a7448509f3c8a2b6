"""Publishes the record log: tiles, then a signed checkpoint, then its anchor on the chain.

The order makes every crash harmless: tiles can be written again with the same bytes, a checkpoint is committed to the
ledger (one per size, ever) before its file is written, an anchor is stored signed before it is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from dispatcher.chain import Chain
from dispatcher.errors import StoreError
from dispatcher.ledger import Ledger, StoredCheckpoint
from provenance.anchor import Anchor
from provenance.checkpoint import NoteSigner, sign_checkpoint
from provenance.errors import ProvenanceError
from provenance.log_writer import TileStore, checkpoint_path, publish, write_checkpoint

_log = structlog.get_logger("log")
_READ_ENTRIES = 1_024


class LogService:
    """Owns the public log's folder. One of these writes at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: TileStore,
        origin: str,
        signer: NoteSigner,
        chain: Chain,
        clock: Callable[[], int],
        interval_ms: int,
    ) -> None:
        self._ledger, self._store, self._origin, self._signer = ledger, store, origin, signer
        self._chain, self._clock, self._interval_s = chain, clock, interval_ms / 1000
        self._published = asyncio.Event()
        # The size whose checkpoint files are known to be written; nothing beyond it is anchored.
        self._written_size = 0

    async def run(self) -> None:
        """Publish and anchor until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(self.publish_once, "publish"))
            group.create_task(self._every(self.anchor_pending, "anchor"))

    async def publish_once(self) -> None:
        """Bring the public log up to the ledger's size, and its checkpoint files up to the ledger's checkpoints."""
        newest = await self._ledger.newest_checkpoint()
        old_size, size = newest.size if newest else 0, await self._ledger.log_size()
        if size > old_size:
            await self._extend(newest, size)
        # Whoever writes last has looked at the ledger after its write: no old checkpoint stays over a newer one.
        while (newest := await self._ledger.newest_checkpoint()) is not None and newest.size != self._written_size:
            for checkpoint in await self._ledger.unanchored():
                await self._store.write_once(checkpoint_path(checkpoint.size), checkpoint.note.encode())
            await write_checkpoint(self._store, newest.size, newest.note)
            self._written_size = newest.size
            self._published.set()
            self._published = asyncio.Event()

    async def anchor_pending(self) -> None:
        """Anchor every published checkpoint that is not anchored yet, oldest first."""
        for checkpoint in await self._ledger.unanchored():
            if checkpoint.size > self._written_size:
                return
            anchor = Anchor(self._origin, checkpoint.size, checkpoint.root, checkpoint.anchor_sequence)
            signature = await self._chain.anchor(anchor)
            await self._ledger.set_anchor(checkpoint.size, signature)
            _log.info("anchored", size=checkpoint.size, signature=signature)

    async def _extend(self, newest: StoredCheckpoint | None, size: int) -> None:
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
        await self._ledger.add_checkpoint(checkpoint, previous_size=old_size)

    async def wait_until_published(self, index: int, *, timeout_s: float) -> bool:
        """Wait until a checkpoint covers an entry; False if the time is over first."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            published = self._published
            if self._written_size > index:
                return True
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(published.wait(), left)
            except TimeoutError:
                continue

    async def _entries(self, start: int, end: int) -> Sequence[bytes]:
        found: list[bytes] = []
        for low in range(start, end, _READ_ENTRIES):
            part = await self._ledger.entries(low, min(end, low + _READ_ENTRIES))
            found.extend(entry.statement for entry in part)
        return found

    async def _every(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        while True:
            try:
                await work()
            except (StoreError, ProvenanceError) as error:
                _log.warning("log_work_failed", work=name, error=str(error))
            await asyncio.sleep(self._interval_s)
