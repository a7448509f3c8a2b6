"""The pure money: tariff, epoch statement, batch plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from provenance import epoch as epochs
from provenance.adapters.solana_payout import payout_intent
from provenance.adapters.solana_rpc import SolanaRpc
from provenance.adapters.solana_sender import PACKET_BYTES, Sender
from provenance.errors import FormatError
from provenance.outbox import InMemoryOutbox
from provenance.payout import (
    BATCH_TRANSFERS,
    Payout,
    PayoutBatch,
    PayoutMemo,
    format_payout_memo,
    parse_payout_memo,
    plan_batches,
)
from provenance.tariff import MODE_UNITS, max_price, price, reward

MINT, PAYER = str(Pubkey(b"\x07" * 32)), str(Pubkey(b"\x09" * 32))
records = st.tuples(st.sampled_from(sorted(MODE_UNITS)), st.integers(0, 2**40), st.integers(100, 599))


def statement(credits: dict[str, list[tuple[int, int]]], epoch: int = 4) -> epochs.EpochStatement:
    return epochs.make_statement(
        credits, origin="log.example", epoch=epoch, tariff="v1", mint=MINT, decimals=6, payer=PAYER
    )


def wallet(number: int) -> str:
    return str(Pubkey(number.to_bytes(32, "big")))


def test_the_published_figures() -> None:
    assert reward("direct", 0, 200) == 400
    assert reward("direct", 1, 200) == reward("direct", 1024, 200) == 404
    assert reward("relayed", 1025, 204) == 408
    assert reward("rendered", 10 * 1024, 200) == 1_240
    assert reward("direct", 50_000, 404) == reward("direct", 0, 410) == 400
    assert [reward("direct", 9_999, status) for status in (301, 401, 403, 429, 500, 503)] == [0] * 6
    assert reward("direct", 2**50, 200) == reward("direct", 5 * 1024 * 1024, 200)
    assert price("direct", 1, 200) == 605


@given(records)
def test_a_record_never_earns_more_than_its_lab_paid(record: tuple[str, int, int]) -> None:
    assert 0 <= reward(*record) <= price(*record) <= max_price(record[0])


@pytest.mark.parametrize("record", [("proxy", 1, 200), ("direct", -1, 200), ("direct", 1, 99), ("direct", 1, 600)])
def test_the_tariff_refuses_nonsense(record: tuple[str, int, int]) -> None:
    with pytest.raises(FormatError):
        reward(*record)


@given(st.dictionaries(st.integers(0, 40).map(wallet), st.lists(st.integers(1, 10**9), max_size=4), max_size=12))
def test_a_statement_round_trips_and_conserves(amounts: dict[str, list[int]]) -> None:
    numbers = iter(range(10**6))
    credits = {name: [(next(numbers), amount) for amount in given] for name, given in amounts.items()}
    made = statement(credits)
    data = epochs.encode(made)
    assert epochs.decode(data) == made
    assert made.total == sum(amount for given in amounts.values() for amount in given)
    plan = plan_batches(made, epochs.statement_sha256(data))
    assert sum(payout.amount for batch in plan for payout in batch.payouts) == made.total
    assert [p.wallet for batch in plan for p in batch.payouts] == [entry.wallet for entry in made.wallets]
    assert all(1 <= len(batch.payouts) <= BATCH_TRANSFERS for batch in plan)


def test_the_order_of_credits_does_not_change_the_bytes() -> None:
    one = statement({wallet(1): [(5, 10), (2, 7)], wallet(0): [(1, 1)]})
    two = statement({wallet(0): [(1, 1)], wallet(1): [(2, 7), (5, 10)], wallet(2): []})
    assert epochs.encode(one) == epochs.encode(two)


def test_statements_that_do_not_add_up_are_refused() -> None:
    data = epochs.encode(statement({wallet(1): [(5, 10)], wallet(2): [(6, 3)]}))
    for wrong in (
        data.replace(b'"total":13', b'"total":14'),
        data.replace(b"[5,10]", b"[5,11]"),
        data.replace(b"[6,3]", b"[5,3]"),
        data.replace(b'"epoch":4', b'"epoch": 4'),
        data.replace(b'"epoch":4', b'"epoch":4,"more":1'),
        data.replace(b"epoch v1", b"epoch v2"),
        data.replace(MINT.encode(), b"nothing"),
        data + b"\n",
        data[:-1],
        b"[]",
        b"\xff",
    ):
        assert wrong != data
        with pytest.raises(FormatError):
            epochs.decode(wrong)


@pytest.mark.parametrize(
    "credits",
    [
        {wallet(1): [(1, 0)]},
        {wallet(1): [(-1, 5)]},
        {wallet(1): [(1, 5), (1, 5)]},
        {wallet(1): [(1, 5)], wallet(2): [(1, 5)]},
        {"nobody": [(1, 5)]},
        {wallet(1): [(1, 2**63)]},
        {wallet(1): [(1, 2**62)], wallet(2): [(2, 2**62)]},
    ],
)
def test_credits_that_may_not_be_are_refused(credits: dict[str, list[tuple[int, int]]]) -> None:
    with pytest.raises(FormatError):
        statement(credits)


def test_the_payout_memo() -> None:
    memo = PayoutMemo(12, 3, 40, b"\xab" * 32)
    text = format_payout_memo(memo)
    assert text == "meadow payout v1 epoch=12 batch=3/40 sha256=" + "ab" * 32
    assert parse_payout_memo(text) == memo
    for wrong in (text + " ", text.upper(), text.replace("3/40", "41/40"), text.replace("3/40", "0/40"), text[:-1]):
        with pytest.raises(FormatError):
            parse_payout_memo(wrong)


async def test_a_full_batch_with_the_longest_memo_fits_a_packet_and_one_more_does_not() -> None:
    payer = Keypair()
    made = statement({wallet(1): [(1, 1)]}, epoch=epochs.MAX_EPOCH)
    memo = PayoutMemo(epochs.MAX_EPOCH, 999_999, 999_999, bytes(32))
    async with SolanaRpc.connect("http://127.0.0.1:9") as rpc:
        sender = Sender(rpc, InMemoryOutbox(), priority_micro_lamports=10**9)
        full = PayoutBatch(memo, tuple(Payout(wallet(number), 2**62) for number in range(1, BATCH_TRANSFERS + 1)))
        tx = sender.sign(payout_intent(made, full, payer), Hash.default())
        assert PACKET_BYTES - 32 < len(bytes(tx)) <= PACKET_BYTES
        more = PayoutBatch(memo, (*full.payouts, Payout(wallet(99), 1)))
        with pytest.raises(FormatError, match="does not fit"):
            sender.sign(payout_intent(made, more, payer), Hash.default())
