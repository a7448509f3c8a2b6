"""The log through crashes: never two checkpoints of one size, no missing file, no anchor beyond what is published."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.sqlite_ledger import SqliteLedger
from dispatcher.log_service import LogService
from protocol import base58
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner, open_checkpoint, parse_vkey
from provenance.errors import ChainUnavailable, LogUnavailable
from provenance.merkle import leaf_hash, root_of
from tests.dispatcher.conftest import Clock, Faults, breaking

ORIGIN = "meadow.test/log"
WALLET = base58.encode(b"\7" * 32)
SIGNER = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))


class Crash(Exception):
    """The process ends here."""


class LogRoom:
    """One log's stores. Each `service` is a new run of the process; `steps` counts and breaks their calls."""

    def __init__(self, ledger: SqliteLedger, folder: Path) -> None:
        self.ledger, self.tiles = ledger, LocalTiles(folder)
        self.chain = MemoryChain(authority=WALLET, genesis_hash="genesis")
        self.folder = folder
        self.entries: list[bytes] = []

    def service(self, steps: Faults | None = None) -> LogService:
        steps = steps or Faults()
        return LogService(
            ledger=breaking(self.ledger, steps),
            store=breaking(self.tiles, steps),
            origin=ORIGIN,
            signer=SIGNER,
            chain=breaking(self.chain, steps),
            clock=Clock(),
            interval_ms=10,
        )

    async def append(self, number: int) -> None:
        for _ in range(number):
            statement = hashlib.sha256(b"entry %d" % len(self.entries)).digest() * 8
            assert await self.ledger.append_entry(statement) == len(self.entries)
            self.entries.append(statement)

    async def check(self, *, is_complete: bool) -> None:
        """What an auditor may rely on at any moment; `is_complete` after an undisturbed run."""
        published = self.folder / "checkpoint"
        size = 0
        if published.exists():
            checkpoint = open_checkpoint(published.read_bytes(), log_key=parse_vkey(SIGNER.vkey)).checkpoint
            size = checkpoint.size
            assert checkpoint.root == root_of([leaf_hash(entry) for entry in self.entries[:size]])
            assert (self.folder / "checkpoints" / str(size)).read_bytes() == published.read_bytes()
        kept = {int(path.name): path.read_bytes() for path in (self.folder / "checkpoints").glob("*")}
        for kept_size, note in kept.items():
            root = open_checkpoint(note, log_key=parse_vkey(SIGNER.vkey)).checkpoint.root
            assert root == root_of([leaf_hash(entry) for entry in self.entries[:kept_size]])
        seen = [found.anchor for found in await self.chain.anchors(WALLET)]
        anchors = sorted((anchor for anchor in seen if anchor), key=lambda anchor: anchor.sequence)
        assert [anchor.sequence for anchor in anchors] == list(range(len(anchors)))
        assert [anchor.size for anchor in anchors] == sorted({anchor.size for anchor in anchors})
        for anchor in anchors:
            assert anchor.size <= size
            assert anchor.size in kept
        if is_complete:
            assert size == len(self.entries)
            assert len(anchors) == len(kept)
            assert await self.ledger.unanchored() == []


@pytest.fixture
def room(ledger: SqliteLedger, tmp_path: Path) -> LogRoom:
    return LogRoom(ledger, tmp_path / "log")


async def test_growth_is_published_and_anchored(room: LogRoom) -> None:
    service = room.service()
    await service.publish_once()
    await service.anchor_pending()
    await room.check(is_complete=True)
    for number in (1, 1, 300):
        await room.append(number)
        await service.publish_once()
        await service.anchor_pending()
        await room.check(is_complete=True)
    steps = Faults()
    again = room.service(steps)
    await again.publish_once()
    await again.anchor_pending()
    assert not {"add_checkpoint", "anchor", "set_anchor"} & set(steps.calls)


async def crash_at(room: LogRoom, call: int, *, after: bool) -> bool:
    """Run a process that ends at its nth call of a store; False where it did not get that far."""
    steps = Faults(error=Crash, fail_call=call, after=after)
    service = room.service(steps)
    try:
        await service.publish_once()
        await service.anchor_pending()
    except Crash:
        return True
    return False


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_is_repaired_by_the_next_run(room: LogRoom, after: bool) -> None:
    await room.append(3)
    call, crashed = 0, True
    while crashed:
        call += 1
        crashed = await crash_at(room, call, after=after)
        await room.check(is_complete=False)
        await room.append(2)
        if call % 3 == 0:
            service = room.service()
            await service.publish_once()
            await service.anchor_pending()
            await room.check(is_complete=True)
            await room.append(1)
    assert call > 8
    service = room.service()
    await service.publish_once()
    await service.anchor_pending()
    await room.check(is_complete=True)


@pytest.mark.parametrize("method", ["write_once", "replace", "add_checkpoint", "set_anchor", "anchor", "entries"])
async def test_an_error_in_one_step_is_made_good_by_the_same_process(room: LogRoom, method: str) -> None:
    steps = Faults({method: 1}, error=ChainUnavailable if method == "anchor" else LogUnavailable)
    service = room.service(steps)
    await room.append(2)
    running = asyncio.ensure_future(service.run())
    for index in range(1, 6):
        await room.append(1)
        assert await service.wait_until_published(index + 1, timeout_s=5)
    async with asyncio.timeout(5):
        while await room.ledger.unanchored():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await room.check(is_complete=True)


async def test_of_two_processes_one_makes_the_checkpoint(room: LogRoom) -> None:
    await room.append(5)
    first, second = room.service(), room.service()
    await asyncio.gather(first.publish_once(), second.publish_once())
    await room.append(1)
    await asyncio.gather(first.publish_once(), second.publish_once())
    await second.publish_once()
    await asyncio.gather(first.anchor_pending(), second.anchor_pending(), return_exceptions=True)
    await first.anchor_pending()
    await room.check(is_complete=True)


async def test_waiting_for_an_entry_ends_when_it_is_published_or_the_time_is_over(room: LogRoom) -> None:
    service = room.service()
    waiting = asyncio.ensure_future(service.wait_until_published(1, timeout_s=5))
    await room.append(1)
    await service.publish_once()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await room.append(1)
    await service.publish_once()
    assert await waiting
    assert not await service.wait_until_published(2, timeout_s=0.02)
