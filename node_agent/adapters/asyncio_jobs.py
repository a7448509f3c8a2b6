"""The jobs in hand, each an asyncio task, and the answers that wait for their acknowledgement.

Outlives sessions: a job goes on while the node reconnects, and its answer is sent in whatever session is open.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Protocol

from node_agent.adapters.aiohttp_fetch import AiohttpFetch
from node_agent.adapters.spool_folder import SpoolFolder
from node_agent.adapters.sqlite_journal import SqliteJournal
from node_agent.errors import DispatcherError, JournalFailed, SpoolFailed
from node_agent.fetching import FetchedPage, NotFetched
from node_agent.job_check import AllowedJob, RefusedJob, Standing, check_job, claimed_lease
from node_agent.journal import ANSWERED, Outcome
from node_agent.outbox import LeaseKey, Outbox, WaitingNote, WaitingResult
from node_agent.owner_rules import Moment, OwnerRules, Pace, UsageToday, available_jobs, check_host
from node_agent.record_builder import build_record
from protocol.job import Certificate, Job
from protocol.keys import SigningKey
from protocol.messages import (
    Accept,
    Ack,
    Cancel,
    Failure,
    FailureCode,
    FromNode,
    Hop,
    HopVerdict,
    RefusalCode,
    Refuse,
)
from protocol.statements import Statement
from protocol.urls import AllowedUrl, TestSites

LONGEST_PACE_WAIT_MS = 1_000
_DETAIL_CHARACTERS = 300


class Link(Protocol):
    """An open session, to send answers in. DispatcherError where it broke."""

    async def send(self, message: FromNode) -> None:
        """Send a message."""

    async def send_result(self, frame: bytes) -> None:
        """Send a record statement with its body."""


@dataclass(slots=True)
class _InHand:
    task: asyncio.Task[None] | None = None
    is_fetching: bool = True
    is_cancelled: bool = False


@dataclass(slots=True)
class _OpenHop:
    question: Hop
    verdict: asyncio.Future[HopVerdict]


class AsyncioJobs:
    """The work of a node. Owned by one event loop."""

    def __init__(
        self,
        *,
        key: SigningKey,
        wallet: str,
        fetch: AiohttpFetch,
        journal: SqliteJournal,
        spool: SpoolFolder,
        rules: Callable[[], OwnerRules],
        moment: Callable[[], Moment],
        test_sites: TestSites,
        report: Callable[[str], None],
    ) -> None:
        self._key, self._wallet, self._fetch = key, wallet, fetch
        self._journal, self._spool, self._rules, self._moment = journal, spool, rules, moment
        self._test_sites, self._report = test_sites, report
        self._in_hand: dict[LeaseKey, _InHand] = {}
        self._hops: dict[LeaseKey, _OpenHop] = {}
        self._outbox = Outbox()
        self._pace = Pace()
        self._day_start_ms, self._usage = -1, UsageToday()
        self._changed = asyncio.Event()
        self.link: Link | None = None
        self.is_stopping = False
        self.acknowledged = 0

    def recover(self) -> None:
        """Take up what an earlier run left in the spool."""
        self._journal.interrupt_unfinished()
        now_ms = self._moment().now_ms
        for key, size in self._spool.recover(node_key=self._key.public, now_ms=now_ms):
            if size is None:
                self._journal.ended(key, Outcome.GIVEN_UP, "too old or damaged", wire_bytes=0, now_ms=now_ms)
            else:
                self._outbox.put_spooled(key, size)
        if self._outbox.results:
            self._report(f"{self._outbox.results} results of an earlier run wait to be sent")

    def availability(self) -> tuple[int, str]:
        """Return how many jobs may be held now, and the reason where it is none."""
        if self.is_stopping:
            return 0, RefusalCode.STOPPING.value
        if self._outbox.is_full:
            return 0, "results wait for acknowledgement"
        try:
            return available_jobs(self._rules(), self._today(), self._usage)
        except JournalFailed as error:
            self._report(str(error))
            return 0, "the log cannot be written"

    async def on_job(self, statement: Statement, certificate: Certificate) -> None:
        """Check a job and begin it, or refuse it. ProtocolError where the bytes are no job."""
        try:
            standing = Standing(
                rules=self._rules(),
                moment=self._today(),
                usage=self._usage,
                jobs_in_hand=len(self._in_hand),
                is_stopping=self.is_stopping,
                results_are_full=self._outbox.is_full,
                test_sites=self._test_sites,
            )
            checked = check_job(statement, certificate=certificate, node_key=self._key.public, standing=standing)
            if checked.job is not None and await self._was_seen(checked.job):
                return
            if isinstance(checked, RefusedJob):
                await self._refuse(checked)
            else:
                await self._begin(checked, standing)
        except JournalFailed as error:
            self._report(f"a job is refused, for what is fetched has to be logged: {error}")
            job_id, lease = claimed_lease(statement)
            detail = "this node cannot write its log"
            await self._answer(Refuse(job_id=job_id, lease=lease, reason=RefusalCode.BUSY, detail=detail))

    async def on_ack(self, ack: Ack) -> None:
        """Forget what was acknowledged. A repeat changes nothing."""
        key = LeaseKey(ack.job_id, ack.lease)
        waiting = self._outbox.forget(key)
        if waiting is None:
            return
        if isinstance(waiting, WaitingResult):
            self._spool.remove(key)
            try:
                self._journal.acknowledged(ack)
            except JournalFailed as error:
                self._report(str(error))
            reason = f" ({ack.reason})" if ack.reason else ""
            self._report(f"result {ack.outcome}{reason}, reward {ack.reward}: job {ack.job_id}")
            self.acknowledged += 1
        self._changed.set()

    def on_verdict(self, verdict: HopVerdict) -> None:
        """Hand a verdict to the fetch that asked; one that nobody asked for is ignored."""
        hop = self._hops.get(LeaseKey(verdict.job_id, verdict.lease))
        if hop is not None and hop.question.url == verdict.url and not hop.verdict.done():
            hop.verdict.set_result(verdict)

    def on_cancel(self, cancel: Cancel) -> None:
        """Stop a fetch, or drop its answer. No answer is due."""
        key = LeaseKey(cancel.job_id, cancel.lease)
        in_hand = self._in_hand.get(key)
        if in_hand is not None:
            in_hand.is_cancelled = True
            if in_hand.is_fetching and in_hand.task is not None:
                in_hand.task.cancel()
        elif self._outbox.forget(key) is not None:
            self._drop_cancelled(key)
        self._changed.set()

    def session_opened(self, link: Link) -> Callable[[], Coroutine[Any, Any, None]]:
        """Send answers in this session from now on; returns the work of sending what waits already."""
        self.link = link
        waiting, hops = self._outbox.waiting(), [hop.question for hop in self._hops.values()]

        async def send_waiting() -> None:
            for answer in waiting:
                if answer.key in self._outbox:
                    await self._send_again(answer)
            for question in hops:
                await self._send(question)

        return send_waiting

    async def finish(self, *, finish_ms: int, acknowledge_ms: int) -> None:
        """Wait until no job is in hand, then until every answer is acknowledged, each for a bounded time."""
        try:
            async with asyncio.timeout(finish_ms / 1000):
                await self._until(lambda: not self._in_hand)
        except TimeoutError:
            self._report(f"{len(self._in_hand)} jobs in hand did not end in time")
        try:
            async with asyncio.timeout(acknowledge_ms / 1000):
                await self._until(lambda: not self._outbox or self.link is None)
        except TimeoutError:
            self._report(f"{len(self._outbox)} answers were not acknowledged; results are sent at the next start")

    async def stop(self) -> None:
        """End every job in hand at once."""
        tasks = [in_hand.task for in_hand in self._in_hand.values() if in_hand.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def session_ended(self) -> None:
        """Take note that no session is open."""
        self.link = None
        self._changed.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    def _today(self) -> Moment:
        moment = self._moment()
        if moment.day_start_ms != self._day_start_ms:
            self._usage = self._journal.usage_since(moment.day_start_ms)
            self._day_start_ms = moment.day_start_ms
        return moment

    async def _was_seen(self, job: Job) -> bool:
        """Answer a lease that was delivered twice as it was answered, or will be, the first time."""
        key = LeaseKey(job.job_id, job.lease)
        if key in self._in_hand:
            await self._send(Accept(job_id=job.job_id, lease=job.lease))
            return True
        waiting = self._outbox.get(key)
        if waiting is not None:
            await self._send_again(waiting)
            return True
        if self._journal.outcome(key) in ANSWERED:
            detail = "this lease was answered and acknowledged already"
            await self._answer(Refuse(job_id=job.job_id, lease=job.lease, reason=RefusalCode.EXPIRED, detail=detail))
            return True
        return False

    async def _refuse(self, refused: RefusedJob) -> None:
        answer = refused.answer
        if refused.job is not None:
            self._journal.refused(refused.job, f"{answer.reason}: {answer.detail}", now_ms=self._moment().now_ms)
        self._report(f"job refused, {answer.reason}: {answer.detail}")
        await self._answer(answer)

    async def _begin(self, allowed: AllowedJob, standing: Standing) -> None:
        job, rules = allowed.job, standing.rules
        wait_ms = self._pace.reserve(rules.per_second, standing.moment.now_ms, longest_wait_ms=LONGEST_PACE_WAIT_MS)
        if wait_ms is None:
            detail = f"the owner allows {rules.per_second:g} fetches a second"
            answer = Refuse(job_id=job.job_id, lease=job.lease, reason=RefusalCode.BUSY, detail=detail)
            await self._refuse(RefusedJob(answer, job))
            return
        self._journal.begin(job, now_ms=standing.moment.now_ms)
        self._usage = replace(self._usage, jobs=self._usage.jobs + 1)
        key = LeaseKey(job.job_id, job.lease)
        in_hand = self._in_hand[key] = _InHand()
        in_hand.task = asyncio.create_task(
            self._work(key, in_hand, allowed, wait_ms, rules.daily_bytes), name=f"job {job.job_id}"
        )
        await self._send(Accept(job_id=job.job_id, lease=job.lease))

    async def _work(
        self, key: LeaseKey, in_hand: _InHand, allowed: AllowedJob, wait_ms: int, daily_bytes: int | None
    ) -> None:
        received = 0

        def count_bytes(count: int) -> bool:
            nonlocal received
            received += count
            self._usage = replace(self._usage, wire_bytes=self._usage.wire_bytes + count)
            return daily_bytes is None or self._usage.wire_bytes <= daily_bytes

        async def ask_hop(url: AllowedUrl) -> NotFetched | None:
            return await self._ask_hop(key, url)

        try:
            await asyncio.sleep(wait_ms / 1000)
            started_ms = self._moment().now_ms
            page = await self._fetch.fetch(allowed.order, ask_hop=ask_hop, count_bytes=count_bytes)
            in_hand.is_fetching = False
            await self._conclude(key, allowed, page, received=received, started_ms=started_ms)
        except asyncio.CancelledError:
            if not in_hand.is_cancelled:
                raise
            self._note_end(key, Outcome.CANCELLED, "cancelled by the dispatcher", received)
        finally:
            self._hops.pop(key, None)
            self._in_hand.pop(key, None)
            self._changed.set()

    async def _conclude(
        self, key: LeaseKey, allowed: AllowedJob, page: FetchedPage | NotFetched, *, received: int, started_ms: int
    ) -> None:
        url = allowed.order.url.href
        if isinstance(page, NotFetched):
            outcome = Outcome.REFUSED if isinstance(page.reason, RefusalCode) else Outcome.FAILED
            self._note_end(key, outcome, f"{page.reason}: {page.detail}", received)
            self._report(f"not fetched, {page.reason}: {page.detail}: {url}")
            await self._answer(_answer_for(key, page))
            return
        finished_ms = self._moment().now_ms
        statement = build_record(
            allowed, page, key=self._key, wallet=self._wallet, started_ms=started_ms, finished_ms=finished_ms
        )
        frame = statement.to_bytes() + page.payload
        try:
            await asyncio.to_thread(self._spool.write, key, frame)
            is_spooled = True
        except SpoolFailed as error:
            is_spooled = False
            self._report(f"{error}; it is kept in memory until it is acknowledged: free some disk space")
        self._outbox.put_result(key, frame, is_spooled=is_spooled)
        try:
            self._journal.fetched(key, page, wire_bytes=received, now_ms=finished_ms)
        except JournalFailed as error:
            self._report(str(error))
        self._report(f"fetched {page.status}, {received} bytes, for {allowed.job.purpose}: {page.final_url}")
        if self._in_hand[key].is_cancelled:
            self._outbox.forget(key)
            self._drop_cancelled(key)
            return
        await self._send_frame(frame)

    async def _ask_hop(self, key: LeaseKey, url: AllowedUrl) -> NotFetched | None:
        try:
            rules = self._rules()
        except JournalFailed as error:
            self._report(str(error))
            return NotFetched(RefusalCode.BUSY, "this node cannot read its owner's rules")
        denial = check_host(rules, url.host)
        if denial is not None:
            return NotFetched(denial.code, denial.detail)
        question = Hop(job_id=key.job_id, lease=key.lease, url=url.href)
        hop = self._hops[key] = _OpenHop(question, asyncio.get_running_loop().create_future())
        try:
            await self._send(question)
            verdict = await hop.verdict
        finally:
            self._hops.pop(key, None)
        if not verdict.allowed:
            return NotFetched(FailureCode.HOP_REFUSED, verdict.reason[:_DETAIL_CHARACTERS] or "by the dispatcher")
        wait_ms = self._pace.reserve(rules.per_second, self._moment().now_ms, longest_wait_ms=1 << 53)
        await asyncio.sleep((wait_ms or 0) / 1000)
        return None

    def _drop_cancelled(self, key: LeaseKey) -> None:
        self._spool.remove(key)
        self._note_end(key, Outcome.CANCELLED, "cancelled by the dispatcher", 0)

    def _note_end(self, key: LeaseKey, outcome: Outcome, detail: str, received: int) -> None:
        try:
            self._journal.ended(key, outcome, detail, wire_bytes=received, now_ms=self._moment().now_ms)
        except JournalFailed as error:
            self._report(str(error))

    async def _answer(self, message: Refuse | Failure) -> None:
        self._outbox.put_note(message)
        await self._send(message)

    async def _send_again(self, waiting: WaitingResult | WaitingNote) -> None:
        if isinstance(waiting, WaitingNote):
            await self._send(waiting.message)
            return
        frame = waiting.frame or await asyncio.to_thread(self._spool.read, waiting.key)
        if frame is not None:
            await self._send_frame(frame)
        elif self._outbox.forget(waiting.key) is not None:
            self._note_end(waiting.key, Outcome.GIVEN_UP, "the result is gone from the spool", 0)
            self._report(f"the result of job {waiting.key.job_id} is gone from the data folder")

    async def _send(self, message: FromNode) -> None:
        """Send in the open session, if there is one: a broken one shows in its own receiving loop."""
        if self.link is not None:
            try:
                await self.link.send(message)
            except DispatcherError:
                return

    async def _send_frame(self, frame: bytes) -> None:
        if self.link is not None:
            try:
                await self.link.send_result(frame)
            except DispatcherError:
                return


def _answer_for(key: LeaseKey, page: NotFetched) -> Refuse | Failure:
    if isinstance(page.reason, RefusalCode):
        return Refuse(job_id=key.job_id, lease=key.lease, reason=page.reason, detail=page.detail)
    return Failure(job_id=key.job_id, lease=key.lease, reason=page.reason, detail=page.detail)
