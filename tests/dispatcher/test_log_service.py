"""The log through crashes: never two checkpoints of one size, no missing file, no anchor beyond what is published."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.errors import LeadershipLost
from dispatcher.log_service import LogService
from protocol import base58
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner, open_checkpoint, parse_vkey
from provenance.errors import ChainUnavailable, LogConflict, LogUnavailable, ProvenanceError
from provenance.merkle import leaf_hash, root_of
from tests.dispatcher.conftest import Clock, Faults, breaking
from tests.stores import opened_ledger

ORIGIN = "meadow.test/log"
WALLET = base58.encode(b"\7" * 32)
SIGNER = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))


class Crash(Exception):
    """The process ends here."""


class LogRoom:
    """One log's stores. Each `service` is a new run of the process; `steps` counts and breaks their calls."""

    def __init__(self, ledger: SqlLedger, folder: Path) -> None:
        self.ledger, self.tiles = ledger, LocalTiles(folder)
        self.chain = MemoryChain(authority=WALLET, genesis_hash="genesis")
        self.folder = folder
        self.bus = MemoryBus()
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
            bus=self.bus,
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
def room(ledger: SqlLedger, tmp_path: Path) -> LogRoom:
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
    failures = 0
    for _ in range(1, 6):
        await room.append(1)
        for step in (service.publish_once, service.anchor_pending):
            try:
                await step()
            except ProvenanceError:
                failures += 1
    for step in (service.publish_once, service.anchor_pending):
        await step()
    assert failures == 1
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


async def test_waiting_at_a_dispatcher_that_does_not_publish_ends_at_the_hint(room: LogRoom) -> None:
    publishing, other = room.service(), room.service()
    await room.append(1)
    waiting = asyncio.ensure_future(other.wait_until_published(0, timeout_s=5))
    await asyncio.sleep(0.01)
    await publishing.publish_once()
    async with asyncio.timeout(0.2):
        assert await waiting


async def test_the_next_leader_goes_on_where_the_last_one_died(room: LogRoom) -> None:
    for step in range(3):
        await room.append(2)
        await room.service().publish_once()
        await room.append(1)
        if step != 1:
            await room.service().anchor_pending()
        await room.check(is_complete=False)
    await room.service().publish_once()
    await room.service().anchor_pending()
    await room.check(is_complete=True)


async def test_a_stale_leader_signs_nothing(room: LogRoom) -> None:
    await room.append(1)
    stale = await room.ledger.lead("log", holder="a", now_ms=0, lease_ms=10)
    current = await room.ledger.lead("log", holder="b", now_ms=10, lease_ms=10)
    assert stale and current
    with pytest.raises(LeadershipLost):
        await room.service().publish_once(stale)
    assert await room.ledger.newest_checkpoint() is None
    await room.service().publish_once(current)
    await room.check(is_complete=False)


async def test_a_ledger_that_knows_less_than_the_public_log_signs_nothing(room: LogRoom, tmp_path: Path) -> None:
    await room.append(3)
    await room.service().publish_once()
    async with opened_ledger(tmp_path / "restored.sqlite3") as older:
        await older.append_entry(b"another entry")
        room.ledger = older
        with pytest.raises(LogConflict, match="Nothing is signed"):
            await room.service().publish_once()
        assert await older.newest_checkpoint() is None
