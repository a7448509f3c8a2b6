"""The contract of an outbox store; every implementation goes through it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from provenance.errors import IntentConflict
from provenance.outbox import InMemoryOutbox, OutboxStore, SignedTransaction

FIRST = SignedTransaction("anchor/a/0", b"i" * 32, 1, b"wire one", "sig one", 40, 190)
SECOND = replace(FIRST, attempt=2, wire=b"wire two", signature="sig two", signed_slot=200, last_valid_block_height=350)


@pytest.fixture(params=[InMemoryOutbox])
def outbox(request: pytest.FixtureRequest) -> OutboxStore:
    make: Callable[[], OutboxStore] = request.param
    return make()


async def test_the_first_writer_of_an_attempt_wins(outbox: OutboxStore) -> None:
    rival = replace(FIRST, wire=b"other", signature="sig other")
    assert await outbox.get(FIRST.key) is None
    assert await outbox.put_signed(FIRST) == FIRST
    assert await outbox.put_signed(rival) == FIRST
    assert await outbox.put_signed(replace(SECOND, attempt=3)) == FIRST
    assert await outbox.put_signed(SECOND) == SECOND
    assert await outbox.put_signed(FIRST) == SECOND
    assert await outbox.put_signed(replace(rival, attempt=2)) == SECOND
    assert await outbox.get(FIRST.key) == SECOND


async def test_one_key_has_one_intent(outbox: OutboxStore) -> None:
    await outbox.put_signed(FIRST)
    with pytest.raises(IntentConflict, match="anchor/a/0 was already signed"):
        await outbox.put_signed(replace(SECOND, intent=b"j" * 32))
    assert await outbox.get(FIRST.key) == FIRST


async def test_a_confirmed_entry_never_changes(outbox: OutboxStore) -> None:
    await outbox.put_signed(FIRST)
    await outbox.mark_confirmed(FIRST.key, "sig of nothing", 50)
    assert await outbox.list_unconfirmed() == [FIRST]
    await outbox.mark_confirmed(FIRST.key, FIRST.signature, 51)
    await outbox.mark_confirmed(FIRST.key, FIRST.signature, 52)
    done = replace(FIRST, confirmed_slot=51)
    assert await outbox.put_signed(SECOND) == done
    assert await outbox.get(FIRST.key) == done
    assert await outbox.list_unconfirmed() == []


async def test_unconfirmed_entries_are_listed_oldest_first(outbox: OutboxStore) -> None:
    other = replace(FIRST, key="anchor/a/1")
    for entry in (FIRST, other, SECOND):
        await outbox.put_signed(entry)
    assert await outbox.list_unconfirmed() == [SECOND, other]
