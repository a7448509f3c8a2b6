"""From a node's signed record and its body to a stored result, a credit and a log entry: all of it or nothing."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal

from cleaning.document import DropReason
from dispatcher import retry_policy
from dispatcher.batch_options import MODE, BatchOptions
from dispatcher.frontier import Frontier
from dispatcher.jobs import TERMINAL, Job, JobState
from dispatcher.ledger import Ledger, NewResult
from dispatcher.node_sessions import NodeSession
from dispatcher.objects import ObjectStore
from protocol import limits
from protocol.bodies import decode_body
from protocol.errors import BodyError, NotForMe
from protocol.messages import Ack
from protocol.record import Asked, Record, check_answers, open_record
from protocol.statements import Statement
from protocol.urls import NO_TEST_SITES, Refusal, TestSites, check_url
from provenance import tariff

BODY = "body"
_EMPTY: DropReason = "empty_body"
"""A page of no bytes is no document, whatever else it says: cleaning need not be asked."""
_BUSY = frozenset({429, 503})
_INLINE_DECODE_BYTES = 262_144
"""Bodies of up to this many bytes, as sent and decoded, are decoded on the event loop (about a millisecond)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a result. `job` and `record` are set where the result is genuine; `busy` where the target asked
    for patience (429, 503) and the page is not a result but a reason to wait; `body` is the decoded page where this
    result is the job's; `dropped` says why the job is completed already, without a document."""

    ack: Ack
    job: Job | None = None
    record: Record | None = None
    busy: bool = False
    body: bytes | None = None
    dropped: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page whose result is stored: what cleaning needs to know of it. `body` is the decoded page; None where it is to
    be read from the object store."""

    job_id: str
    batch_id: str
    record: Record
    body: bytes | None = None


def body_name(record: Record) -> str:
    """Return the object name of a record's body: its hash, and the encoding it is stored in."""
    return f"{record.body_hash}.{record.content_encoding}"


class Settlement:
    """Verifies results and settles them. `hold_ms` is how long a credit stays pending."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        objects: ObjectStore,
        options: BatchOptions,
        clock: Callable[[], int],
        hold_ms: int,
        test_sites: TestSites = NO_TEST_SITES,
    ) -> None:
        self._ledger, self._frontier, self._objects, self._options = ledger, frontier, objects, options
        self._clock, self._hold_ms, self._test_sites = clock, hold_ms, test_sites

    async def settle(self, session: NodeSession, statement: Statement, body: memoryview) -> Outcome:
        """Settle one result of a node; ProtocolError where the statement itself is not a genuine record of this node.

        After this returns an Ack, whatever the outcome, the node may forget the body: what is stored is durable.
        """
        node_key = session.node_key
        record = open_record(statement)
        if record.node_key != node_key:
            raise NotForMe("the record is signed by another node than this session's")
        holder = await self._frontier.holder(record.job_id)
        is_held = holder is not None and (holder.token, holder.node_key) == (record.lease, node_key)
        in_flight = session.in_flight.get(record.job_id)
        allowed_hops: Collection[str] | None = None
        if in_flight is not None and is_held and in_flight.job.lease == record.lease:
            # While this lease holds, the job is queued as it was leased: nothing of the ledger needs to be read.
            job, purpose = in_flight.queued, in_flight.job.purpose
            allowed_hops = None if in_flight.is_resumed else in_flight.allowed_hops or ()
        else:
            found = await self._ledger.jobs([record.job_id])
            if not found:
                return Outcome(_ack(record, "stale", "no such job"))
            job = found[0]
            if job.state in TERMINAL or job.state is JobState.FETCHED:
                return await self._repeat(job, record, statement, is_held=is_held)
            purpose = (await self._options.of_one(job.batch_id)).purpose
        if holder is None or not is_held:
            return Outcome(_ack(record, "stale", "the lease has passed to another"))
        asked = Asked(job.job_id, holder.token, holder.job_hash, holder.node_key, job.url, purpose, MODE)
        decoded = b""
        try:
            check_answers(record, asked)
            fault = self._fetch_fault(record, job, allowed_hops)
            if fault is None:
                decoded = await _decoded(record, body)
        except (NotForMe, BodyError) as error:
            fault = str(error)
        if fault is not None:
            return Outcome(_ack(record, "rejected", fault), job, record)
        if record.status in _BUSY and job.attempts + 1 < retry_policy.MAX_ATTEMPTS:
            return Outcome(_ack(record, "noted", "the site asks to come back later"), job, record, busy=True)
        await self._objects.put(BODY, body_name(record), bytes(body))
        dropped = None if decoded else _EMPTY
        now_ms = self._clock()
        settled = await self._ledger.store_result(
            NewResult(
                job_id=record.job_id,
                node_key=node_key,
                wallet=record.wallet,
                record=statement.to_bytes(),
                body_hash=record.body_hash,
                body_bytes=record.body_bytes,
                wire_bytes=record.wire_bytes,
                robots_hash=in_flight.robots_hash if in_flight else None,
                stored_ms=now_ms,
                reward=tariff.reward(record.mode, record.wire_bytes, record.status),
                hold_until_ms=now_ms + self._hold_ms,
                dropped=dropped,
            )
        )
        ack = Ack(
            job_id=record.job_id,
            lease=record.lease,
            outcome=settled.outcome,
            reward=settled.reward,
            log_index=settled.log_index,
        )
        return Outcome(ack, job, record, body=decoded, dropped=dropped)

    async def _repeat(self, job: Job, record: Record, statement: Statement, *, is_held: bool) -> Outcome:
        """Answer for a job that has its result. Whoever stored it may have died before the rest was done: a lease that
        is still there ends, and a page that is not cleaned yet is."""
        if is_held:
            await self._frontier.finish(job.job_id)
        stored = (await self._ledger.results([record.job_id])).get(record.job_id)
        if stored is None or stored.record != statement.to_bytes():
            return Outcome(_ack(record, "stale", "the job has ended"))
        credit = (await self._ledger.credits_of([record.job_id])).get(record.job_id)
        ack = Ack(
            job_id=record.job_id,
            lease=record.lease,
            outcome="duplicate",
            reward=credit.amount if credit else 0,
            log_index=stored.log_index,
        )
        if job.state is not JobState.FETCHED:
            return Outcome(ack)
        return Outcome(ack, job, record)

    def _fetch_fault(self, record: Record, job: Job, allowed_hops: Collection[str] | None) -> str | None:
        """Say what is wrong with the fetch that a record tells of: its status, or the way it took; None for nothing."""
        if not 100 <= record.status <= 599:
            return f"the record's status {record.status} is not one of HTTP's"
        for visited in (*record.hops, record.final_url):
            if visited != job.url and isinstance(check_url(visited, test_sites=self._test_sites), Refusal):
                return "the record's hops or final_url may not be fetched"
            # What another dispatcher allowed, or this one before a restart, is not known (None).
            if visited != job.url and allowed_hops is not None and visited not in allowed_hops:
                return "the record's hops or final_url were not allowed"
        return None


async def _decoded(record: Record, body: memoryview) -> bytes:
    """Return the page of a record, decoded; BodyError where it is not what the record says."""
    if len(body) != record.wire_bytes:
        raise BodyError("the record's wire_bytes is not the body's length")
    if record.body_bytes > limits.BODY_BYTES:
        raise BodyError(f"the record's body_bytes is over {limits.BODY_BYTES}")
    # What comes out is bounded by what the record claims: a bomb costs no more than an honest body of that size.
    decode = partial(decode_body, body, record.content_encoding, max_body_bytes=record.body_bytes)
    is_small = max(len(body), record.body_bytes) <= _INLINE_DECODE_BYTES
    decoded, digest = decode() if is_small else await asyncio.to_thread(decode)
    if digest != record.body_hash or len(decoded) != record.body_bytes:
        raise BodyError("the body does not match the record's body_hash and body_bytes")
    return decoded


def _ack(record: Record, outcome: Literal["stale", "rejected", "noted"], reason: str) -> Ack:
    return Ack(job_id=record.job_id, lease=record.lease, outcome=outcome, reason=reason)
