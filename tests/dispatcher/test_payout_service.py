"""Payouts through crashes: nothing is paid twice, nothing is lost, nothing is paid that no checkpoint covers."""

import asyncio
from pathlib import Path

import pytest

from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.bus import CreditsMoved, Event
from dispatcher.chain import ChainFacts
from dispatcher.errors import LeadershipLost
from dispatcher.jobs import Batch, CreditState, Job, ScrapeOptions
from dispatcher.ledger import NewResult, StoredCheckpoint
from dispatcher.payout_service import PayoutService
from protocol import base58
from protocol.ids import uuid7
from provenance import epoch as epoch_format
from provenance.adapters.local_tiles import LocalTiles
from provenance.errors import ChainUnavailable
from provenance.log_info import epoch_path, payouts_path
from tests.dispatcher.conftest import START_MS, Clock, Faults, breaking

WALLETS = [base58.encode(bytes([number]) * 32) for number in (1, 2)]
PAYER, MINT = base58.encode(b"\7" * 32), base58.encode(b"\x08" * 32)
FACTS = ChainFacts(genesis_hash="genesis", simulator=True, operator=PAYER, mint=MINT, decimals=6)


class Crash(Exception):
    """The process ends here."""


class PayRoom:
    def __init__(self, ledger: SqlLedger, folder: Path) -> None:
        self.ledger, self.tiles, self.clock, self.folder = ledger, LocalTiles(folder), Clock(), folder
        self.chain = MemoryChain(authority=PAYER, genesis_hash="genesis")
        self.paid: list[bytes] = []
        self.told = 0
        self.bus = MemoryBus()
        self.bus.subscribe(self.hear)
        self.job_ids: list[str] = []

    def service(self, steps: Faults | None = None, *, epoch_ms: int = 0) -> PayoutService:
        steps = steps or Faults()
        return PayoutService(
            ledger=breaking(self.ledger, steps),
            store=breaking(self.tiles, steps),
            origin="meadow.test/log",
            chain=breaking(self.chain, steps),
            facts=FACTS,
            clock=self.clock,
            epoch_ms=epoch_ms,
            bus=self.bus,
        )

    def hear(self, event: Event) -> None:
        """Count the changes that were told of."""
        self.told += isinstance(event, CreditsMoved)

    async def earn(self, number: int, *, hold_ms: int = 0) -> None:
        """Store results, each with its credit."""
        first = len(self.job_ids)
        ids = [uuid7(START_MS + index, index.to_bytes(10, "big")) for index in range(first, first + number)]
        batch = Batch(
            batch_id=uuid7(START_MS + 10_000 + first, bytes(10)),
            team_id="t",
            kind="scrape",
            options=ScrapeOptions(),
            created_ms=1,
        )
        await self.ledger.submit(
            batch,
            [
                Job(
                    job_id=job_id,
                    batch_id=batch.batch_id,
                    team_id="t",
                    position=position,
                    url="https://a.example/",
                    host="a.example",
                    created_ms=1,
                    updated_ms=1,
                    deadline_ms=2,
                )
                for position, job_id in enumerate(ids)
            ],
        )
        for index, job_id in enumerate(ids, first):
            await self.ledger.store_result(
                NewResult(
                    job_id=job_id,
                    node_key=f"node {index % 2}",
                    wallet=WALLETS[index % 2],
                    record=b"record %d" % index,
                    body_hash="0" * 64,
                    body_bytes=1,
                    wire_bytes=1,
                    robots_hash=None,
                    stored_ms=START_MS,
                    reward=10 + index,
                    hold_until_ms=START_MS + hold_ms,
                )
            )
        self.job_ids += ids

    async def cover(self, size: int) -> None:
        """Store a checkpoint."""
        newest = await self.ledger.newest_checkpoint()
        checkpoint = StoredCheckpoint(
            size=size,
            root=b"\0" * 32,
            note="",
            created_ms=0,
            anchor_sequence=newest.anchor_sequence + 1 if newest else 0,
        )
        assert await self.ledger.add_checkpoint(checkpoint, previous_size=newest.size if newest else 0)

    async def check(self, *, is_complete: bool) -> None:
        """Compare what the chain paid with what the ledger says."""
        epochs = await self.ledger.epochs()
        assert [epoch.number for epoch in epochs] == list(range(len(epochs)))
        on_chain: dict[str, int] = dict.fromkeys(WALLETS, 0)
        logged: list[int] = []
        for epoch in epochs:
            statement = epoch_format.decode(epoch.statement)
            seen = await self.chain.payout(epoch.statement, ())
            logged += [credit[0] for wallet in statement.wallets for credit in wallet.credits]
            if seen.found:
                for wallet in statement.wallets:
                    on_chain[wallet.wallet] += sum(amount for _, amount in wallet.credits)
            assert not (is_complete and not seen.found)
            if epoch.paid_ms is not None:
                assert seen.found
                assert (self.folder / epoch_path(epoch.number)).read_bytes() == epoch.statement
                assert (self.folder / payouts_path(epoch.number)).exists()
        assert len(logged) == len(set(logged))
        credits = (await self.ledger.credits_of(self.job_ids)).values()
        assert all(credit.epoch is not None for credit in credits if credit.state is CreditState.PAID)
        if is_complete:
            for owner in WALLETS:
                assert on_chain[owner] == sum(c.amount for c in credits if c.wallet == owner and c.epoch is not None)
            assert all((c.state is CreditState.PAID) == (c.epoch is not None) for c in credits)


@pytest.fixture
def room(ledger: SqlLedger, tmp_path: Path) -> PayRoom:
    return PayRoom(ledger, tmp_path / "log")


async def states(room: PayRoom) -> list[str]:
    credits = await room.ledger.credits_of(room.job_ids)
    return [credits[job_id].state.value for job_id in room.job_ids]


async def test_only_credits_that_a_checkpoint_covers_are_paid(room: PayRoom) -> None:
    await room.earn(4)
    service = room.service()
    await service.pay_once()
    assert await states(room) == ["confirmed"] * 4
    await room.cover(3)
    await service.pay_once()
    assert await states(room) == ["paid"] * 3 + ["confirmed"]
    await room.cover(4)
    await service.pay_once()
    assert await states(room) == ["paid"] * 4
    await room.check(is_complete=True)
    assert len(await room.ledger.epochs()) == 2
    await service.pay_once()
    assert len(await room.ledger.epochs()) == 2


async def test_a_credit_waits_for_its_hold(room: PayRoom) -> None:
    await room.earn(1, hold_ms=5_000)
    await room.cover(1)
    service = room.service()
    await service.pay_once()
    assert await states(room) == ["pending"]
    room.clock.pass_ms(5_000)
    await service.pay_once()
    assert await states(room) == ["paid"]


async def test_epochs_are_closed_no_more_often_than_asked_for(room: PayRoom) -> None:
    service = room.service(epoch_ms=60_000)
    for number in range(1, 4):
        await room.earn(1)
        await room.cover(number)
        await service.pay_once()
    assert await states(room) == ["paid", "confirmed", "confirmed"]
    room.clock.pass_ms(60_000)
    await service.pay_once()
    assert await states(room) == ["paid"] * 3


async def test_nodes_are_told_when_credits_are_confirmed_and_when_they_are_paid(room: PayRoom) -> None:
    service = room.service()
    await service.pay_once()
    assert room.told == 0
    await room.earn(1)
    await service.pay_once()
    await asyncio.sleep(0)
    assert (room.told, await states(room)) == (1, ["confirmed"])
    await room.cover(1)
    await service.pay_once()
    await asyncio.sleep(0)
    assert (room.told, await states(room)) == (2, ["paid"])


async def test_a_stale_leader_opens_no_epoch(room: PayRoom) -> None:
    await room.earn(2)
    await room.cover(2)
    stale = await room.ledger.lead("payouts", holder="a", now_ms=0, lease_ms=10)
    current = await room.ledger.lead("payouts", holder="b", now_ms=10, lease_ms=10)
    assert stale and current
    with pytest.raises(LeadershipLost):
        await room.service().pay_once(stale)
    assert await room.ledger.epochs() == []
    await room.service().pay_once(current)
    assert await states(room) == ["paid", "paid"]


async def test_a_restart_does_not_close_an_epoch_early(room: PayRoom) -> None:
    for number in range(1, 3):
        await room.earn(1)
        await room.cover(number)
        await room.service(epoch_ms=60_000).pay_once()
    assert await states(room) == ["paid", "confirmed"]


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_at_any_step_is_repaired_by_the_next_run(room: PayRoom, after: bool) -> None:
    call, crashed, covered = 0, True, 0
    while crashed:
        call += 1
        await room.earn(3)
        covered += 2
        await room.cover(covered)
        try:
            await room.service(Faults(error=Crash, fail_call=call, after=after)).pay_once()
            crashed = False
        except Crash:
            await room.check(is_complete=False)
        if call % 4 == 0:
            await room.service().pay_once()
            await room.check(is_complete=True)
    assert call > 8
    await room.cover(len(room.job_ids))
    await room.service().pay_once()
    await room.check(is_complete=True)
    assert set(await states(room)) == {"paid"}


async def test_a_chain_that_cannot_be_reached_delays_and_doubles_nothing(room: PayRoom) -> None:
    await room.earn(2)
    await room.cover(2)
    service = room.service(Faults({"pay": 2}, error=ChainUnavailable))
    for _ in range(2):
        with pytest.raises(ChainUnavailable):
            await service.pay_once()
        await room.earn(1)
    assert len(await room.ledger.epochs()) == 1
    await service.pay_once()
    await room.check(is_complete=True)
    assert await states(room) == ["paid", "paid", "confirmed", "confirmed"]
