"""Every kind of lie in a record, and that the truth is stored exactly once."""

import hashlib
import zlib

import brotli
import msgspec
import pytest

from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.errors import LedgerFull, ObjectError
from dispatcher.jobs import JobState, record_of
from dispatcher.page_bodies import load_body
from protocol import limits
from protocol.errors import BadSignature, NotForMe, WrongKind
from protocol.messages import Ack
from protocol.record import Record
from protocol.statements import Kind, Statement, sign
from provenance import tariff
from tests.dispatcher.conftest import PAGE, START_MS, Faults, PlayedNode, Room, breaking, gzipped


async def settle(room: Room, node: PlayedNode, record: Statement, body: bytes = PAGE) -> Ack:
    return (await room.settlement.settle(node.session, record, memoryview(body))).ack


async def nothing_is_stored(room: Room, job_id: str) -> bool:
    totals = await room.truth.credit_total()
    stored = await room.truth.results([job_id])
    return not stored and (totals.results, totals.pending, await room.truth.log_size()) == (0, 0, 0)


async def test_a_true_record_is_stored_credited_and_logged_once(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    record = node.record(node_job, job_hash)
    ack = await settle(room, node, record)
    earned = tariff.reward("direct", len(PAGE), 200)
    assert (ack.outcome, ack.log_index, ack.reward) == ("stored", 0, earned)
    result = (await room.truth.results([job.job_id]))[job.job_id]
    assert result.record == record.to_bytes()
    assert await load_body(room.objects, record_of(result)) == PAGE
    credit = (await room.truth.credits_of([job.job_id]))[job.job_id]
    assert (credit.amount, credit.hold_until_ms) == (earned, room.clock() + 1_000)
    for _ in range(3):
        ack = await settle(room, node, record)
        assert (ack.outcome, ack.log_index, ack.reward) == ("duplicate", 0, earned)
    assert (await room.truth.credit_total()).results == 1
    assert await room.truth.log_size() == 1


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"job_hash": "0" * 64}, "job_hash"),
        ({"url": "https://site.example/other"}, "url"),
        ({"purpose": "search"}, "purpose"),
        ({"mode": "relayed"}, "mode"),
        ({"status": 999}, "status"),
        ({"status": 600}, "status"),
        ({"final_url": "http://10.0.0.1/a"}, "final_url"),
        ({"final_url": "http://127.0.0.1:8080/a"}, "final_url"),
        ({"final_url": "nonsense"}, "final_url"),
        ({"hops": ("http://[::1]/",)}, "hops"),
        ({"hops": ("https://never-asked.example/",)}, "not allowed"),
        ({"final_url": "https://never-asked.example/"}, "not allowed"),
        ({"wire_bytes": len(PAGE) + 1}, "wire_bytes"),
        ({"wire_bytes": 0}, "wire_bytes"),
        ({"body_hash": "0" * 64}, "body_hash"),
        ({"body_bytes": len(PAGE) + 1}, "body"),
        ({"body_bytes": len(PAGE) - 1}, "bytes once decoded"),
        ({"body_bytes": limits.BODY_BYTES + 1}, "body_bytes"),
        ({"body_bytes": 2**53 - 1}, "body_bytes"),
        ({"content_encoding": "gzip"}, "gzip"),
        ({"content_encoding": "br"}, "brotli"),
        ({"content_encoding": "zstd"}, "zstd"),
    ],
)
async def test_a_lie_is_rejected_and_nothing_of_it_is_kept(room: Room, lie: dict[str, object], words: str) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    ack = await settle(room, node, node.record(node_job, job_hash, PAGE, **lie))
    assert ack.outcome == "rejected"
    assert words in ack.reason
    assert await nothing_is_stored(room, job.job_id)
    assert (await room.job(job)).state is JobState.QUEUED


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_bomb_costs_no_more_than_it_claims(room: Room, encoding: str) -> None:
    pack = {"gzip": gzipped, "br": brotli.compress}[encoding]
    bomb = pack(b"a" * (19 * 1024 * 1024))
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    digest = hashlib.sha256(b"a" * (19 * 1024 * 1024)).hexdigest()
    for body_bytes in (1_000, 19 * 1024 * 1024):
        record = node.record(
            node_job,
            job_hash,
            content_encoding=encoding,
            wire_bytes=len(bomb),
            body_bytes=body_bytes,
            body_hash=digest,
        )
        assert (await settle(room, node, record, bomb)).outcome == "rejected"
    assert await nothing_is_stored(room, job.job_id)


async def test_an_encoded_body_is_stored_as_it_came_and_read_back(room: Room) -> None:
    page = PAGE * 20_000
    packed = gzipped(page)
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    record = node.record(node_job, job_hash, page, content_encoding="gzip", wire_bytes=len(packed))
    assert (await settle(room, node, record, packed)).outcome == "rejected"  # it expands more than 200-fold
    page = b"".join(hashlib.sha256(b"%d" % number).hexdigest().encode() for number in range(6_000))
    packed = gzipped(page)
    record = node.record(node_job, job_hash, page, content_encoding="gzip", wire_bytes=len(packed))
    assert (await settle(room, node, record, packed)).outcome == "stored"
    stored = record_of((await room.truth.results([job.job_id]))[job.job_id])
    assert await load_body(room.objects, stored) == page


async def test_a_cut_body_is_rejected(room: Room) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    packed = zlib.compress(PAGE)[:-4]
    record = node.record(node_job, job_hash, content_encoding="deflate", wire_bytes=len(packed))
    assert (await settle(room, node, record, packed)).outcome == "rejected"


async def test_an_empty_body_is_a_body(room: Room) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    assert (await settle(room, node, node.record(node_job, job_hash, b"", status=204), b"")).outcome == "stored"


async def test_a_statement_that_is_no_record_of_this_node_ends_the_session(room: Room) -> None:
    node, other = room.connect(5), room.connect(6, window=0)
    job, node_job, job_hash = await room.begin(node)
    genuine = node.record(node_job, job_hash)
    with pytest.raises(NotForMe):
        await settle(room, node, other.record(node_job, job_hash))
    with pytest.raises(BadSignature):
        await settle(room, node, other.record(node_job, job_hash, node_key=node.key.public))
    with pytest.raises(BadSignature):
        await settle(room, node, genuine._replace(payload=genuine.payload.replace(b'"status":200', b'"status":201')))
    with pytest.raises(WrongKind):
        await settle(room, node, sign(Kind.JOB, node_job, node.key))
    assert await nothing_is_stored(room, job.job_id)


async def test_a_record_for_no_job_or_an_old_lease_is_stale(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    unknown = node.record(node_job, job_hash, job_id=room.new_id())
    assert (await settle(room, node, unknown)).outcome == "stale"
    for lease in (node_job.lease - 1, node_job.lease + 1, 0):
        assert (await settle(room, node, node.record(node_job, job_hash, lease=lease))).outcome == "stale"
    await room.queue.release(job.job_id, node_job.lease, not_before_ms=0)
    assert (await settle(room, node, node.record(node_job, job_hash))).outcome == "stale"
    assert await nothing_is_stored(room, job.job_id)


async def test_a_lease_answered_by_another_node_is_stale(room: Room) -> None:
    node, other = room.connect(5), room.connect(6, window=0)
    job, node_job, job_hash = await room.begin(node)
    assert (await settle(room, other, other.record(node_job, job_hash))).outcome == "stale"
    assert await nothing_is_stored(room, job.job_id)


async def test_another_record_of_an_ended_job_is_stale(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    first = node.record(node_job, job_hash)
    assert (await settle(room, node, first)).outcome == "stored"
    assert (await settle(room, node, node.record(node_job, job_hash, status=404))).outcome == "stale"
    await room.truth.complete(job.job_id, document_hash=None, dropped="empty_body", now_ms=START_MS)
    assert (await settle(room, node, first)).outcome == "duplicate"


async def test_a_repeat_after_a_restart_is_a_duplicate(room: Room, ledger: SqlLedger) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    record = node.record(node_job, job_hash)
    first = await settle(room, node, record)
    restarted = Room(ledger, room.queue)
    ack = await settle(restarted, restarted.connect(), record)
    assert (ack.outcome, ack.log_index, ack.reward) == ("duplicate", first.log_index, first.reward)
    assert (await ledger.credit_total()).results == 1


async def test_after_a_restart_the_lease_on_the_frontier_still_counts(room: Room, ledger: SqlLedger) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    restarted = Room(ledger, room.queue)
    restarted.frontier = room.queue
    settlement = type(room.settlement)(
        ledger=ledger,
        frontier=room.queue,
        objects=room.objects,
        options=room.core.options,
        clock=room.clock,
        hold_ms=0,
    )
    fresh = restarted.connect()
    record = node.record(node_job, job_hash, final_url="https://after-a-hop.example/")
    outcome = await settlement.settle(fresh.session, record, memoryview(PAGE))
    assert outcome.ack.outcome == "stored"


async def test_a_job_cancelled_meanwhile_earns_nothing(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    await room.truth.cancel(job.batch_id, START_MS)
    assert (await settle(room, node, node.record(node_job, job_hash))).outcome == "stale"
    assert await nothing_is_stored(room, job.job_id)


async def test_a_full_disk_keeps_nothing_and_the_same_record_is_taken_afterwards(room: Room) -> None:
    node = room.connect()
    job, node_job, job_hash = await room.begin(node)
    record = node.record(node_job, job_hash)
    room.ledger_faults.error = LedgerFull
    room.ledger_faults.methods["store_result"] = 1
    with pytest.raises(LedgerFull):
        await settle(room, node, record)
    assert await nothing_is_stored(room, job.job_id)
    full = breaking(room.objects, Faults({"put": 1}, error=ObjectError))
    settlement = type(room.settlement)(
        ledger=room.truth, frontier=room.queue, objects=full, options=room.core.options, clock=room.clock, hold_ms=0
    )
    with pytest.raises(ObjectError):
        await settlement.settle(node.session, record, memoryview(PAGE))
    assert await nothing_is_stored(room, job.job_id)
    assert (await settle(room, node, record)).outcome == "stored"


async def test_a_commit_whose_answer_was_lost_is_a_duplicate_the_second_time(room: Room) -> None:
    node = room.connect()
    _, node_job, job_hash = await room.begin(node)
    record = node.record(node_job, job_hash)
    room.ledger_faults.methods["store_result"] = 1
    room.ledger_faults.after = True
    with pytest.raises(room.ledger_faults.error):
        await settle(room, node, record)
    assert (await settle(room, node, record)).outcome == "duplicate"
    assert (await room.truth.credit_total()).results == 1


def test_the_lies_above_cover_every_field_that_is_the_dispatchers_to_check() -> None:
    own_word = {"v", "headers", "content_type", "started_ms", "finished_ms", "evidence", "wallet"}
    checked_elsewhere = {"job_id", "lease", "node_key"}
    lied = {"job_hash", "url", "purpose", "mode", "status", "final_url", "hops", "wire_bytes"}
    lied |= {"body_hash", "body_bytes", "content_encoding"}
    assert {field.name for field in msgspec.structs.fields(Record)} == own_word | checked_elsewhere | lied
