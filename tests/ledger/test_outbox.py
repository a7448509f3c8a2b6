"""The outbox contract, on the ledger on both databases and in memory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dispatcher.adapters.ledger_outbox import LedgerOutbox
from provenance.errors import IntentConflict
from provenance.outbox import InMemoryOutbox, OutboxStore, SignedTransaction
from tests.ledger.databases import KINDS, empty_database

if TYPE_CHECKING:
    from tests.ledger.databases import Database


def entry(
    signature: str, *, key: str = "payout/m/0/1", attempt: int = 1, intent: bytes = b"i" * 32
) -> SignedTransaction:
    return SignedTransaction(key, intent, attempt, signature.encode(), signature, 90 + attempt, 100 + attempt)


@pytest.fixture(params=[*KINDS, "memory"])
async def outbox(request: pytest.FixtureRequest, ledger_path: Path) -> AsyncIterator[OutboxStore]:
    if request.param == "memory":
        yield InMemoryOutbox()
        return
    with empty_database(request.param, ledger_path) as made:
        async with made.ledger() as ledger:
            yield LedgerOutbox(ledger, itertools.count(1).__next__)


async def test_what_was_put_stands_until_its_next_attempt(outbox: OutboxStore) -> None:
    assert await outbox.get("payout/m/0/1") is None
    assert await outbox.put_signed(entry("a")) == entry("a")
    assert await outbox.put_signed(entry("b")) == entry("a")
    assert await outbox.put_signed(entry("c", attempt=3)) == entry("a")
    assert await outbox.put_signed(entry("b", attempt=2)) == entry("b", attempt=2)
    assert await outbox.put_signed(entry("a")) == entry("b", attempt=2)
    assert await outbox.get("payout/m/0/1") == entry("b", attempt=2)


async def test_a_key_has_one_intent(outbox: OutboxStore) -> None:
    await outbox.put_signed(entry("a"))
    with pytest.raises(IntentConflict):
        await outbox.put_signed(entry("b", attempt=2, intent=b"j" * 32))
    assert await outbox.get("payout/m/0/1") == entry("a")


async def test_a_confirmed_entry_never_changes(outbox: OutboxStore) -> None:
    await outbox.put_signed(entry("a"))
    await outbox.mark_confirmed("payout/m/0/1", "other", 8)
    await outbox.mark_confirmed("payout/m/0/1", "a", 9)
    await outbox.mark_confirmed("payout/m/0/1", "a", 10)
    confirmed = replace(entry("a"), confirmed_slot=9)
    assert await outbox.put_signed(entry("b", attempt=2)) == confirmed
    assert await outbox.get("payout/m/0/1") == confirmed
    await outbox.mark_confirmed("unknown", "a", 9)


async def test_the_unconfirmed_are_listed_oldest_key_first(outbox: OutboxStore) -> None:
    for key in ("k2", "k1", "k3"):
        await outbox.put_signed(entry(f"{key}-1", key=key))
    await outbox.put_signed(entry("k2-2", key="k2", attempt=2))
    await outbox.mark_confirmed("k3", "k3-1", 5)
    assert [stored.signature for stored in await outbox.list_unconfirmed()] == ["k2-2", "k1-1"]


async def test_of_racing_writers_one_wins_and_all_send_its_bytes(outbox: OutboxStore) -> None:
    first = await asyncio.gather(*(outbox.put_signed(entry(f"a{n}")) for n in range(20)))
    assert len({stored.signature for stored in first}) == 1
    second = await asyncio.gather(*(outbox.put_signed(entry(f"b{n}", attempt=2)) for n in range(20)))
    assert len({stored.signature for stored in second}) == 1
    assert second[0].attempt == 2


async def test_entries_survive_the_process(database: Database) -> None:
    async with database.ledger() as ledger:
        await LedgerOutbox(ledger, lambda: 1).put_signed(entry("a"))
    async with database.ledger() as again:
        assert await LedgerOutbox(again, lambda: 2).list_unconfirmed() == [entry("a")]
