"""The contract of the ledger port, on both databases. After every test the invariants hold (`ledger` in conftest)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest
from sqlalchemy import Table

from dispatcher.adapters import sql_schema as schema
from dispatcher.errors import IdempotencyConflict, LedgerError
from dispatcher.jobs import ApiKey, Batch, BatchCounts, Credit, CreditState, Job, JobState, ScrapeOptions
from dispatcher.ledger import Epoch, Ledger, NodeSeen, NodeTotals, SignedTransaction, StoredCheckpoint

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows
    from tests.ledger.databases import Database

NOW_MS = 1_780_000_000_000


async def submitted(ledger: Ledger, rows: Rows, number: int) -> tuple[Batch, list[Job]]:
    batch = rows.batch()
    jobs = rows.jobs(batch, number)
    assert await ledger.submit(batch, jobs) == batch
    return batch, jobs


async def test_a_batch_and_its_jobs_read_back_as_they_were_submitted(ledger: Ledger, rows: Rows) -> None:
    options = ScrapeOptions(formats=("markdown", "links"), timeout_ms=5, accept_language="de", purpose="search")
    batch = rows.batch(invalid_urls=("ftp://x", 'quote " and \u00fc'), options=options)
    jobs = rows.jobs(batch, 5)
    await ledger.submit(batch, jobs)
    assert await ledger.batch(batch.batch_id) == batch
    assert await ledger.job_options([batch.batch_id, "unknown"]) == {batch.batch_id: batch}
    assert await ledger.jobs_of(batch.batch_id) == jobs
    assert await ledger.jobs_of(batch.batch_id, from_position=2, limit=2) == jobs[2:4]
    assert await ledger.jobs([jobs[3].job_id, jobs[1].job_id, "unknown"]) == [jobs[1], jobs[3]]
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=5)


async def test_what_is_unknown_is_none_or_empty(ledger: Ledger, rows: Rows) -> None:
    assert await ledger.batch("unknown") is None
    assert await ledger.counts("unknown") == BatchCounts()
    assert await ledger.cancel("unknown", NOW_MS) is None
    assert await ledger.note_attempt("unknown", reason="timeout", detail="", now_ms=NOW_MS) == 0
    assert not await ledger.fail("unknown", reason="timeout", detail="", now_ms=NOW_MS)
    assert (await ledger.store_result(rows.result(rows.new_id()))).outcome == "stale"
    assert await ledger.node_totals("unknown") == NodeTotals(results=0, pending=0, confirmed=0, void=0, paid=0)
    assert await ledger.transaction("anchor/0") is None
    assert await ledger.newest_checkpoint() is None


async def test_a_batch_with_a_job_that_exists_already_is_refused_whole(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 2)
    batch = rows.batch()
    fresh = rows.jobs(batch, 2)
    with pytest.raises(LedgerError, match="refused a write"):
        await ledger.submit(batch, [fresh[0], msgspec.structs.replace(fresh[1], job_id=jobs[0].job_id)])
    assert await ledger.batch(batch.batch_id) is None
    assert await ledger.jobs([fresh[0].job_id]) == []


async def test_a_repeated_idempotency_key_returns_the_first_batch(ledger: Ledger, rows: Rows) -> None:
    first, second, third = rows.batch(), rows.batch(), rows.batch()
    await ledger.submit(first, rows.jobs(first, 2), idempotency_key="k", request_hash="h")
    again = await ledger.submit(second, rows.jobs(second, 2), idempotency_key="k", request_hash="h")
    assert again == first
    assert await ledger.batch(second.batch_id) is None
    with pytest.raises(IdempotencyConflict, match="'k'"):
        await ledger.submit(third, rows.jobs(third, 1), idempotency_key="k", request_hash="other")
    other_team = msgspec.structs.replace(third, team_id="other")
    assert await ledger.submit(other_team, [], idempotency_key="k", request_hash="other") == other_team


async def test_concurrent_submissions_with_one_key_make_one_batch(ledger: Ledger, rows: Rows) -> None:
    batches = [rows.batch() for _ in range(20)]
    stored = await asyncio.gather(
        *(ledger.submit(b, rows.jobs(b, 1), idempotency_key="k", request_hash="h") for b in batches)
    )
    assert len({batch.batch_id for batch in stored}) == 1
    assert len(await ledger.unfinished()) == 1


async def test_a_result_makes_an_entry_and_a_credit_and_moves_the_job(ledger: Ledger, rows: Rows) -> None:
    batch, jobs = await submitted(ledger, rows, 3)
    await ledger.note_attempt(jobs[0].job_id, reason="timeout", detail="slow", now_ms=NOW_MS)
    result = rows.result(jobs[0].job_id)
    settlement = await ledger.store_result(result)
    assert (settlement.outcome, settlement.log_index, settlement.reward) == ("stored", 0, 10)
    stored = (await ledger.results([jobs[0].job_id]))[jobs[0].job_id]
    assert (stored.record, stored.log_index, stored.body_hash) == (result.record, 0, result.body_hash)
    assert [entry.statement for entry in await ledger.entries(0, 9)] == [result.record]
    credit = (await ledger.credits_of([jobs[0].job_id]))[jobs[0].job_id]
    assert (credit.amount, credit.state, credit.log_index, credit.wallet) == (
        10,
        CreditState.PENDING,
        0,
        "wallet of node-a",
    )
    (job,) = await ledger.fetched()
    assert (job.job_id, job.state, job.reason, job.attempts) == (jobs[0].job_id, JobState.FETCHED, None, 1)
    assert await ledger.counts(batch.batch_id) == BatchCounts(queued=2, fetched=1)
    assert [job.job_id for job in await ledger.unfinished()] == [job.job_id for job in jobs[1:]]


async def test_the_same_record_again_changes_nothing_and_another_one_is_stale(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 2)
    first = rows.result(jobs[0].job_id)
    await ledger.store_result(rows.result(jobs[1].job_id))
    stored = await ledger.store_result(first)
    again = await ledger.store_result(first)
    assert (again.outcome, again.log_index, again.reward) == ("duplicate", stored.log_index, 10)
    assert (await ledger.store_result(rows.result(jobs[0].job_id, node="node-b"))).outcome == "stale"
    assert await ledger.log_size() == 2
    assert await ledger.node_totals("node-a") == NodeTotals(results=2, pending=20, confirmed=0, void=0, paid=0)
    assert await ledger.node_totals("node-b") == NodeTotals(results=0, pending=0, confirmed=0, void=0, paid=0)


async def test_racing_results_of_one_job_bring_one_credit(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 1)
    results = [rows.result(jobs[0].job_id, node=f"node-{n % 5}") for n in range(50)]
    outcomes = [settlement.outcome for settlement in await asyncio.gather(*map(ledger.store_result, results))]
    assert (outcomes.count("stored"), outcomes.count("duplicate"), outcomes.count("stale")) == (1, 9, 40)
    assert (await ledger.credit_total()).pending == 10
    assert await ledger.log_size() == 1


async def test_a_reward_of_nothing_makes_no_credit(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 1)
    assert (await ledger.store_result(rows.result(jobs[0].job_id, reward=0))).outcome == "stored"
    assert await ledger.credits_of([jobs[0].job_id]) == {}
    assert (await ledger.store_result(rows.result(jobs[0].job_id, reward=0))).outcome == "duplicate"
    assert await ledger.credit_total() == NodeTotals(results=1, pending=0, confirmed=0, void=0, paid=0)


async def test_a_page_that_is_dropped_at_once_completes_its_job_with_its_result(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = rows.jobs(batch, 3)
    await ledger.submit(batch, jobs)
    empty = [msgspec.structs.replace(rows.result(job.job_id), dropped="empty_body") for job in jobs[:2]]
    stored = await asyncio.gather(*map(ledger.store_result, [*empty, rows.result(jobs[2].job_id)]))
    assert {settlement.outcome for settlement in stored} == {"stored"}
    assert (await ledger.store_result(empty[0])).outcome == "duplicate"
    ended = await ledger.jobs_of(batch.batch_id)
    assert [(job.state, job.dropped, job.document_hash) for job in ended] == [
        (JobState.COMPLETED, "empty_body", None),
        (JobState.COMPLETED, "empty_body", None),
        (JobState.FETCHED, None, None),
    ]
    assert await ledger.counts(batch.batch_id) == BatchCounts(fetched=1, completed=2)
    assert not await ledger.complete(jobs[0].job_id, document_hash="d" * 64, dropped=None, now_ms=NOW_MS + 9)
    assert [job.job_id for job in await ledger.fetched()] == [jobs[2].job_id]


async def test_jobs_end_once_and_only_along_the_transition_table(ledger: Ledger, rows: Rows) -> None:
    batch, (first, second, third) = await submitted(ledger, rows, 3)
    assert not await ledger.complete(first.job_id, document_hash="d" * 64, dropped=None, now_ms=NOW_MS + 2)
    await ledger.store_result(rows.result(first.job_id))
    assert not await ledger.fail(first.job_id, reason="timeout", detail="", now_ms=NOW_MS + 2)
    assert await ledger.complete(first.job_id, document_hash="d" * 64, dropped=None, now_ms=NOW_MS + 3)
    assert not await ledger.complete(first.job_id, document_hash=None, dropped="empty", now_ms=NOW_MS + 4)
    assert await ledger.refuse(second.job_id, reason="robots", detail="disallowed", now_ms=NOW_MS + 5)
    assert not await ledger.fail(second.job_id, reason="timeout", detail="", now_ms=NOW_MS + 6)
    assert await ledger.fail(third.job_id, reason="dns", detail="no address", now_ms=NOW_MS + 7)
    assert (await ledger.store_result(rows.result(third.job_id))).outcome == "stale"
    ended = await ledger.jobs_of(batch.batch_id)
    assert [(job.state, job.reason, job.document_hash) for job in ended] == [
        (JobState.COMPLETED, None, "d" * 64),
        (JobState.REFUSED, "robots", None),
        (JobState.FAILED, "dns", None),
    ]
    assert await ledger.counts(batch.batch_id) == BatchCounts(completed=1, refused=1, failed=1)
    assert [job.job_id for job in await ledger.recent_jobs(2)] == [third.job_id, second.job_id]


async def test_attempts_are_counted_while_a_job_waits(ledger: Ledger, rows: Rows) -> None:
    _, (job,) = await submitted(ledger, rows, 1)
    assert await ledger.note_attempt(job.job_id, reason="timeout", detail="a", now_ms=NOW_MS + 1) == 1
    assert await ledger.note_attempt(job.job_id, reason="reset", detail="b", now_ms=NOW_MS + 2) == 2
    await ledger.fail(job.job_id, reason="gave-up", detail="c", now_ms=NOW_MS + 3)
    assert await ledger.note_attempt(job.job_id, reason="late", detail="d", now_ms=NOW_MS + 4) == 2
    (stored,) = await ledger.jobs([job.job_id])
    assert (stored.attempts, stored.reason, stored.updated_ms) == (2, "gave-up", NOW_MS + 3)


async def test_cancel_takes_the_queued_jobs_and_leaves_the_fetched_ones(ledger: Ledger, rows: Rows) -> None:
    batch, jobs = await submitted(ledger, rows, 4)
    await ledger.store_result(rows.result(jobs[0].job_id))
    await ledger.refuse(jobs[1].job_id, reason="robots", detail="", now_ms=NOW_MS)
    assert await ledger.cancel(batch.batch_id, NOW_MS + 5) == [jobs[2].job_id, jobs[3].job_id]
    assert await ledger.cancel(batch.batch_id, NOW_MS + 6) == []
    stored = await ledger.batch(batch.batch_id)
    assert stored is not None
    assert stored.cancelled_ms == NOW_MS + 5
    assert (await ledger.store_result(rows.result(jobs[2].job_id))).outcome == "stale"
    await ledger.complete(jobs[0].job_id, document_hash=None, dropped="empty", now_ms=NOW_MS + 7)
    assert await ledger.cancel(batch.batch_id, NOW_MS + 8) is None
    assert await ledger.counts(batch.batch_id) == BatchCounts(completed=1, refused=1, cancelled=2)


async def test_unfinished_pages_by_id_and_overdue_finds_the_late_ones(ledger: Ledger, rows: Rows) -> None:
    batch = rows.batch()
    jobs = [msgspec.structs.replace(job, deadline_ms=NOW_MS + 100 - job.position) for job in rows.jobs(batch, 10)]
    await ledger.submit(batch, jobs)
    page = await ledger.unfinished(limit=4)
    assert page == jobs[:4]
    assert await ledger.unfinished(after_job_id=page[-1].job_id) == jobs[4:]
    assert [job.position for job in await ledger.overdue(NOW_MS + 93)] == [9, 8, 7]
    assert [job.position for job in await ledger.overdue(NOW_MS + 93, limit=1)] == [9]


async def test_appended_statements_share_the_index_with_records(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 1)
    assert await ledger.append_entry(b"dataset one") == 0
    assert (await ledger.store_result(rows.result(jobs[0].job_id))).log_index == 1
    assert await ledger.append_entry(b"dataset two") == 2
    assert await ledger.append_entry(b"dataset one") == 0
    assert [entry.index for entry in await ledger.entries(0, 100)] == [0, 1, 2]
    assert [entry.statement for entry in await ledger.entries(2, 3)] == [b"dataset two"]
    assert await ledger.log_size() == 3


def checkpoint(size: int, sequence: int) -> StoredCheckpoint:
    return StoredCheckpoint(
        size=size, root=bytes([size]) * 32, note=f"log\n{size}\n", created_ms=NOW_MS, anchor_sequence=sequence
    )


async def test_checkpoints_follow_one_another(ledger: Ledger) -> None:
    for number in range(9):
        await ledger.append_entry(b"%d" % number)
    assert await ledger.add_checkpoint(checkpoint(3, 0), previous_size=0)
    assert not await ledger.add_checkpoint(checkpoint(5, 1), previous_size=0)
    assert not await ledger.add_checkpoint(checkpoint(3, 1), previous_size=3)
    assert await ledger.add_checkpoint(checkpoint(5, 1), previous_size=3)
    assert await ledger.add_checkpoint(checkpoint(9, 2), previous_size=5)
    assert await ledger.newest_checkpoint() == checkpoint(9, 2)
    assert [stored.size for stored in await ledger.unanchored()] == [3, 5, 9]
    await ledger.set_anchor(5, "sig")
    await ledger.set_anchor(5, "sig")
    with pytest.raises(LedgerError, match="anchored by transaction sig"):
        await ledger.set_anchor(5, "other")
    with pytest.raises(LedgerError, match="no checkpoint of size 4"):
        await ledger.set_anchor(4, "other")
    assert [stored.size for stored in await ledger.unanchored()] == [3, 9]
    anchored = await ledger.newest_anchored()
    assert anchored is not None
    assert (anchored.size, anchored.anchor_signature) == (5, "sig")


async def test_credits_wait_for_their_hold_then_go_into_one_epoch_and_are_paid(ledger: Ledger, rows: Rows) -> None:
    _, jobs = await submitted(ledger, rows, 4)
    for hold, (job, node) in enumerate(zip(jobs, ("node-a", "node-a", "node-b", "node-b"), strict=True)):
        await ledger.store_result(rows.result(job.job_id, node=node, hold_until_ms=NOW_MS + hold))
    assert await ledger.confirm_credits(NOW_MS + 2) == 3
    assert await ledger.confirm_credits(NOW_MS + 2) == 0
    assert await ledger.credit_total() == NodeTotals(results=4, pending=10, confirmed=30, void=0, paid=0)
    free = await ledger.confirmed_credits(below_log_index=2, limit=10)
    assert [credit.log_index for credit in free] == [0, 1]
    ids = [credit.job_id for credit in free]
    epoch = Epoch(number=0, statement=b"who gets what", total=20, created_ms=NOW_MS)
    with pytest.raises(LedgerError, match="add up to 20"):
        await ledger.open_epoch(msgspec.structs.replace(epoch, total=21), ids)
    assert not await ledger.open_epoch(epoch, [*ids, jobs[3].job_id])
    assert await ledger.epochs() == []
    assert await ledger.newest_epoch() is None
    assert await ledger.open_epoch(epoch, ids)
    assert not await ledger.open_epoch(epoch, [jobs[2].job_id])
    assert not await ledger.open_epoch(msgspec.structs.replace(epoch, number=1), ids)
    assert [credit.log_index for credit in await ledger.confirmed_credits(below_log_index=9, limit=9)] == [2]
    assert await ledger.unpaid_epochs() == [epoch]
    await ledger.mark_epoch_paid(0, NOW_MS + 9)
    await ledger.mark_epoch_paid(0, NOW_MS + 10)
    assert await ledger.unpaid_epochs() == []
    assert [paid.paid_ms for paid in await ledger.epochs()] == [NOW_MS + 9]
    assert await ledger.newest_epoch() == (await ledger.epochs())[-1]
    assert await ledger.node_totals("node-a") == NodeTotals(results=2, pending=0, confirmed=0, void=0, paid=20)
    assert await ledger.node_totals("node-b") == NodeTotals(results=2, pending=10, confirmed=10, void=0, paid=0)
    assert {credit.state for credit in (await ledger.credits_of(ids)).values()} == {CreditState.PAID}


def transaction(signature: str, *, purpose: str = "anchor/7", attempt: int = 1) -> SignedTransaction:
    return SignedTransaction(
        purpose=purpose,
        signature=signature,
        raw=signature.encode(),
        last_valid_block_height=5,
        state="signed",
        created_ms=NOW_MS + attempt,
        attempt=attempt,
    )


async def test_a_purpose_has_one_transaction_until_it_expires(ledger: Ledger) -> None:
    assert await ledger.put_transaction(transaction("s1"))
    assert not await ledger.put_transaction(transaction("s2"))
    await ledger.set_transaction_state("s1", "expired")
    await ledger.set_transaction_state("s1", "expired")
    stored = await ledger.transaction("anchor/7")
    assert stored is not None
    assert stored.state == "expired"
    assert await ledger.put_transaction(transaction("s2"))
    assert await ledger.transaction("anchor/7") == transaction("s2")
    assert await ledger.put_transaction(transaction("other", purpose="anchor/8"))
    assert [stored.signature for stored in await ledger.unconfirmed_transactions()] == ["s2", "other"]
    await ledger.set_transaction_state("s2", "confirmed", slot=9)
    assert not await ledger.put_transaction(transaction("s3", attempt=2))
    with pytest.raises(LedgerError, match="confirmed already"):
        await ledger.set_transaction_state("s2", "expired")
    with pytest.raises(LedgerError, match="no transaction s9"):
        await ledger.set_transaction_state("s9", "expired")
    assert [stored.signature for stored in await ledger.unconfirmed_transactions()] == ["other"]


async def test_the_next_attempt_takes_the_place_of_a_signed_one(ledger: Ledger) -> None:
    await ledger.put_transaction(transaction("s1"))
    assert not await ledger.put_transaction(transaction("s3", attempt=3))
    won = await asyncio.gather(*(ledger.put_transaction(transaction(f"s2{n}", attempt=2)) for n in range(5)))
    assert won.count(True) == 1
    stored = await ledger.transaction("anchor/7")
    assert stored is not None
    assert stored.signature == f"s2{won.index(True)}"


async def test_keys_are_found_by_prefix_and_revoked_once(ledger: Ledger, rows: Rows) -> None:
    first, second, other = rows.key(), rows.key(), rows.key(prefix="mw_zzzzzzzzzzzz")
    for key in (first, second, other):
        await ledger.add_key(key)
    assert await ledger.keys_with_prefix(first.prefix) == [first, second]
    assert await ledger.revoke_key(first.key_id, NOW_MS)
    assert not await ledger.revoke_key(first.key_id, NOW_MS + 1)
    assert not await ledger.revoke_key("unknown", NOW_MS)
    assert [key.revoked_ms for key in await ledger.keys_with_prefix(first.prefix)] == [NOW_MS, None]
    with pytest.raises(LedgerError, match="refused a write"):
        await ledger.add_key(first)


async def test_a_node_seen_again_keeps_its_first_time(ledger: Ledger, database: Database) -> None:
    seen = NodeSeen(node_key="n", wallet="w", agent="a", first_seen_ms=1, last_seen_ms=1)
    await asyncio.gather(
        ledger.node_seen(seen),
        ledger.node_seen(msgspec.structs.replace(seen, wallet="w2", first_seen_ms=5, last_seen_ms=5)),
    )
    assert await database.run("SELECT * FROM nodes") == [("n", "w2", "a", 1, 5)]


@pytest.mark.parametrize(
    ("table", "struct"),
    [
        (schema.api_keys, ApiKey),
        (schema.jobs, Job),
        (schema.batch_counts, BatchCounts),
        (schema.epochs, Epoch),
        (schema.credits, Credit),
        (schema.checkpoints, StoredCheckpoint),
        (schema.signed_transactions, SignedTransaction),
        (schema.nodes, NodeSeen),
        (schema.node_totals, NodeTotals),
    ],
)
def test_the_fields_of_a_struct_are_columns_of_its_table_in_their_order(
    table: Table, struct: type[msgspec.Struct]
) -> None:
    fields = list(struct.__struct_fields__)
    columns = [column.name for column in table.columns]
    assert [column for column in columns if column in fields] == fields
