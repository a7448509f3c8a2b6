"""Which checkpoint covers an entry first, what robots.txt files say of use: on each kind of database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dispatcher.ledger import SignedTransaction, StoredCheckpoint
from dispatcher.log_coverage import LogCoverage

if TYPE_CHECKING:
    from dispatcher.ledger import Ledger
    from tests.ledger.databases import Database


def checkpoint(size: int, sequence: int) -> StoredCheckpoint:
    return StoredCheckpoint(
        size=size, root=bytes([size]) * 32, note=f"note {size}", created_ms=1_000 + size, anchor_sequence=sequence
    )


async def test_the_first_checkpoint_over_an_entry_and_its_anchor(ledger: Ledger) -> None:
    assert await ledger.coverage(0) is None
    for number in range(9):
        await ledger.append_entry(b"entry %d" % number)
    previous = 0
    for sequence, size in enumerate((3, 4, 9)):
        assert await ledger.add_checkpoint(checkpoint(size, sequence), previous_size=previous)
        previous = size
    found = [await ledger.coverage(index) for index in (0, 2, 3, 4, 8)]
    assert [(each.start, each.size) for each in found if each] == [(0, 3), (0, 3), (3, 4), (4, 9), (4, 9)]
    assert await ledger.coverage(9) is None
    assert found[0] == LogCoverage(start=0, size=3, root=bytes([3]) * 32, created_ms=1_003, anchor_sequence=0)
    await ledger.put_transaction(
        SignedTransaction(
            purpose="anchor/1", signature="sig", raw=b"r", last_valid_block_height=9, state="signed", created_ms=1
        )
    )
    await ledger.set_anchor(4, "sig")
    pending = await ledger.coverage(3)
    assert pending is not None and (pending.anchor_signature, pending.anchor_slot) == ("sig", None)
    await ledger.set_transaction_state("sig", "confirmed", slot=77)
    anchored = await ledger.coverage(3)
    assert anchored is not None and (anchored.anchor_signature, anchored.anchor_slot) == ("sig", 77)


async def test_what_a_robots_txt_says_is_kept_once_by_its_hash(ledger: Ledger) -> None:
    first, second, third = ("a" * 64, "b" * 64, "c" * 64)
    await ledger.keep_robots_usage(first, "License: https://x.example/", 1)
    await ledger.keep_robots_usage(first, "License: https://other.example/", 2)
    await ledger.keep_robots_usage(second, "Content-Usage: / train-ai=n\nLicense: ü", 3)
    assert await ledger.robots_usage([third, second, first]) == {
        first: "License: https://x.example/",
        second: "Content-Usage: / train-ai=n\nLicense: ü",
    }
    assert await ledger.robots_usage([]) == {}


async def test_two_dispatchers_keep_the_same_file_at_once(database: Database) -> None:
    async with database.ledger() as one, database.ledger() as two:
        for number in range(5):
            name = f"{number}" * 64
            await one.keep_robots_usage(name, "lines", 1)
            await two.keep_robots_usage(name, "lines", 2)
        assert len(await one.robots_usage([f"{number}" * 64 for number in range(5)])) == 5
