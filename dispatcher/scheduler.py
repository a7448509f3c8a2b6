"""Leases jobs off the frontier, passes them through the gate and hands them to nodes."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dispatcher import retry_policy
from dispatcher.batch_events import BatchEvents
from dispatcher.compliance import Decision
from dispatcher.conduct import Ending, LeaseEnd
from dispatcher.errors import StoreError
from dispatcher.frontier import DEFAULT_POOL, Frontier, FrontierJob, Lease
from dispatcher.gate import Gate, Passage
from dispatcher.job_signer import JobSigner
from dispatcher.jobs import Job, JobState, ScrapeOptions
from dispatcher.ledger import Ledger
from dispatcher.matching import Wanted, choose
from dispatcher.node_sessions import InFlight, LinkClosed, Nodes
from protocol import limits
from protocol.job import Job as NodeJob

_log = structlog.get_logger("scheduler")
_LEASE_LIMIT = 64
_IDLE_S = 0.5
_GATE_LEASE_MS = 30_000
"""Twice what a robots.txt may take: how long a job of a dispatcher that died at the gate stays out."""
_GATE_PATIENCE_S = 0.1
"""How long a job at the gate keeps its claim to a node's free place; a slow site then holds up nobody but itself."""
_GATE_PLACES = 256
_GATE_FULL_MS = 5_000
_LATER_MS = 30_000
_KNOWN_OPTIONS = 10_000
_MAX_EXCLUSIONS = 100_000
_LATE_KEPT_MS = 60_000
"""How long it is remembered who held a job whose answer is late, until the frontier gives the lease up too."""


@dataclass(frozen=True, slots=True)
class Randomness:
    """Randomness passed in: `below(n)` an integer in 0..n-1, `fraction()` a float in 0..1."""

    below: Callable[[int], int]
    fraction: Callable[[], float]


class Exclusions:
    """Which nodes refused or failed a job before, as far as this process remembers."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, frozenset[str]] = OrderedDict()

    def add(self, job_id: str, node_key: str) -> None:
        """Remember that this node is not the one for this job."""
        self._nodes[job_id] = self._nodes.get(job_id, frozenset()) | {node_key}
        self._nodes.move_to_end(job_id)
        while len(self._nodes) > _MAX_EXCLUSIONS:
            self._nodes.popitem(last=False)

    def of(self, job_id: str) -> frozenset[str]:
        """Return the nodes to leave out."""
        return self._nodes.get(job_id, frozenset())

    def forget(self, job_id: str) -> None:
        """The job has ended."""
        self._nodes.pop(job_id, None)


class Scheduler:
    """The loops that keep jobs moving. Everything it knows can be rebuilt from the ledger and the frontier."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        nodes: Nodes,
        gate: Gate,
        signer: JobSigner,
        events: BatchEvents,
        exclusions: Exclusions,
        clock: Callable[[], int],
        randomness: Randomness,
    ) -> None:
        self._ledger, self._frontier, self._nodes, self._gate = ledger, frontier, nodes, gate
        self._signer, self._events, self._exclusions = signer, events, exclusions
        self._clock, self._randomness = clock, randomness
        self._known_options: dict[str, ScrapeOptions] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Tokens of leases in `_tasks` that claim no free place: those that wait long at the gate, those with a node.
        self._slow: set[int] = set()
        self._placed: set[int] = set()
        self._wake = asyncio.Event()
        # By job: when the answer was late, and whose. A lease that another process gave is held against nobody.
        self._late: dict[str, tuple[int, LeaseEnd]] = {}
        self._stopping = False
        self._must_rebuild = False

    def request_rebuild(self) -> None:
        """The frontier missed something that the ledger has: rebuild it at the next upkeep."""
        self._must_rebuild = True

    def wake(self) -> None:
        """There is something new to lease."""
        self._wake.set()

    def stop(self) -> None:
        """Lease no more; what is in hand goes on."""
        self._stopping = True
        self._wake.set()

    async def rebuild(self) -> int:
        """Put every unfinished job of the ledger on the frontier; how many were not there."""
        self._gate.forget_paces()
        added, after = 0, ""
        while jobs := await self._ledger.unfinished(after_job_id=after):
            added += await self._frontier.add([frontier_job(job) for job in jobs])
            after = jobs[-1].job_id
        await self._frontier.mark_rebuilt()
        self.wake()
        return added

    async def run(self) -> None:
        """Lease and dispatch until stopped. A store that fails is tried again; nothing is lost meanwhile."""
        while not self._stopping:
            try:
                if not await self.lease_once():
                    await self._sleep_until_due()
            except StoreError as error:
                _log.warning("scheduler_store_error", error=str(error))
                await asyncio.sleep(1.0)
        await self.settle_tasks()

    async def settle_tasks(self) -> None:
        """Wait until every lease taken so far is handed over or given back."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def keep_house(self) -> None:
        """Once: expired leases back, overdue jobs failed, a lost frontier rebuilt. Called every second."""
        now_ms = self._clock()
        if self._must_rebuild or not await self._frontier.is_intact():
            await self._rebuild_lost()
        self._take_off_late(now_ms)
        expired = await self._frontier.expire(now_ms=now_ms)
        for job_id in expired:
            await self._expired(job_id)
        if expired:
            self.wake()
        for job in await self._ledger.overdue(now_ms):
            await self.fail(job, reason=job.reason or "deadline", detail=job.detail or "no node fetched it in time")

    async def _rebuild_lost(self) -> None:
        # A request that comes while this one is served is another one.
        self._must_rebuild = False
        try:
            _log.warning("frontier_rebuilt", added=await self.rebuild())
        except BaseException:
            self._must_rebuild = True
            raise

    def _take_off_late(self, now_ms: int) -> None:
        for session, in_flight in self._nodes.expire(now_ms):
            job = in_flight.job
            self._exclusions.add(job.job_id, session.node_key)
            end = LeaseEnd(node_key=session.node_key, lease=job.lease, ending=Ending.EXPIRED)
            self._late[job.job_id] = (now_ms, end)
        kept = self._late.items()
        self._late = {job_id: late for job_id, late in kept if now_ms - late[0] < _LATE_KEPT_MS}

    async def _expired(self, job_id: str) -> None:
        reason, detail = "lease_expired", "the node did not answer in time"
        _, end = self._late.get(job_id, (0, None))
        attempts = await self._ledger.note_attempt(job_id, reason=reason, detail=detail, now_ms=self._clock(), end=end)
        self._late.pop(job_id, None)
        if end is not None:
            self._nodes.note_conduct(end.node_key)
        if attempts >= retry_policy.MAX_ATTEMPTS:
            for job in await self._ledger.jobs([job_id]):
                await self.fail(job, reason=reason, detail=detail)

    async def fail(self, job: Job, *, reason: str, detail: str) -> None:
        """End a job as failed."""
        await self._ledger.fail(job.job_id, reason=reason, detail=detail, now_ms=self._clock())
        await self._forget(job)

    async def refuse(self, job: Job, *, reason: str, detail: str) -> None:
        """End a job as refused: free of charge."""
        await self._ledger.refuse(job.job_id, reason=reason, detail=detail, now_ms=self._clock())
        await self._forget(job)

    async def try_again(self, job: Job, token: int, *, delay_ms: int) -> None:
        """Put a leased job back."""
        await self._frontier.release(job.job_id, token, not_before_ms=self._clock() + delay_ms)
        self.wake()

    async def _forget(self, job: Job) -> None:
        await self._frontier.finish(job.job_id)
        self._exclusions.forget(job.job_id)
        self._events.ended(job.batch_id)
        self.wake()

    async def lease_once(self) -> bool:
        """Lease what may be fetched now and begin to hand it over; False where there was nothing to do."""
        limit = min(_LEASE_LIMIT, self._free_places())
        if limit <= 0:
            return False
        leases = await self._frontier.lease(DEFAULT_POOL, limit=limit, now_ms=self._clock(), lease_ms=_GATE_LEASE_MS)
        if not leases:
            return False
        try:
            jobs = {job.job_id: job for job in await self._ledger.jobs([lease.job_id for lease in leases])}
            options = await self._options_of({job.batch_id for job in jobs.values()})
        except StoreError:
            for lease in leases:
                await self._frontier.release(lease.job_id, lease.token, not_before_ms=0)
            raise
        for lease in leases:
            job = jobs.get(lease.job_id)
            task = asyncio.ensure_future(self._dispatch(lease, job, options[job.batch_id] if job else None))
            self._tasks.add(task)
            task.add_done_callback(self._task_done)
        return True

    def _free_places(self) -> int:
        """How many more jobs may be leased for the nodes' free places, less those that leased jobs claim already."""
        return self._nodes.free_slots() - (len(self._tasks) - len(self._slow) - len(self._placed))

    async def _options_of(self, batch_ids: set[str]) -> dict[str, ScrapeOptions]:
        """Return these batches' options, from memory where they were read before: they never change."""
        missing = [batch_id for batch_id in batch_ids if batch_id not in self._known_options]
        if missing:
            if len(self._known_options) + len(missing) > _KNOWN_OPTIONS:
                self._known_options.clear()
                missing = list(batch_ids)
            for batch_id, batch in (await self._ledger.job_options(missing)).items():
                self._known_options[batch_id] = batch.options
        return {batch_id: self._known_options[batch_id] for batch_id in batch_ids}

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("dispatch_failed", error=str(error), exc_info=error)

    async def _sleep_until_due(self) -> None:
        self._wake.clear()
        self._nodes.capacity_changed.clear()
        due_ms = await self._frontier.next_due_ms(DEFAULT_POOL) if self._free_places() > 0 else None
        wait_s = _IDLE_S if due_ms is None else min(_IDLE_S, max(0.001, (due_ms - self._clock()) / 1000))
        waits = [asyncio.ensure_future(event.wait()) for event in (self._wake, self._nodes.capacity_changed)]
        try:
            await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _dispatch(self, lease: Lease, job: Job | None, options: ScrapeOptions | None) -> None:
        if job is None or options is None or job.state is not JobState.QUEUED:
            with contextlib.suppress(StoreError):
                await self._frontier.finish(lease.job_id)
            return
        try:
            if len(self._slow) >= _GATE_PLACES and not self._gate.is_known(job.url):
                await self.try_again(job, lease.token, delay_ms=_GATE_FULL_MS)
                return
            passage = await self._pass_gate(lease, job)
            verdict = passage.verdict
            if verdict.decision is Decision.DENY:
                await self.refuse(job, reason=verdict.code, detail=verdict.detail)
            elif verdict.decision is Decision.LATER:
                await self._frontier.postpone_host(job.host, self._clock() + _LATER_MS)
                await self.try_again(job, lease.token, delay_ms=_LATER_MS)
            elif not await self._hand_over(lease, job, options, passage):
                await self.try_again(job, lease.token, delay_ms=retry_policy.REFUSED_BY_OWNER_DELAY_MS)
        except StoreError as error:
            _log.warning("dispatch_store_error", job_id=job.job_id, error=str(error))
            with contextlib.suppress(StoreError):
                await self.try_again(job, lease.token, delay_ms=retry_policy.FIRST_DELAY_MS)

    async def _pass_gate(self, lease: Lease, job: Job) -> Passage:
        patience = asyncio.get_running_loop().call_later(_GATE_PATIENCE_S, self._give_up_claim, lease.token)
        try:
            return await self._gate.pass_through(job.url)
        finally:
            patience.cancel()
            self._slow.discard(lease.token)

    def _give_up_claim(self, token: int) -> None:
        self._slow.add(token)
        self.wake()

    async def _hand_over(self, lease: Lease, job: Job, options: ScrapeOptions, passage: Passage) -> bool:
        wanted = Wanted(purpose=options.purpose, excluded=self._exclusions.of(job.job_id))
        view = choose((session.view() for session in self._nodes.all()), wanted, pick=self._randomness.below)
        session = self._nodes.get(view.node_key) if view is not None else None
        if session is None:
            return False
        now_ms = self._clock()
        node_job = NodeJob(
            job_id=job.job_id,
            lease=lease.token,
            node_key=session.node_key,
            url=job.url,
            purpose=options.purpose,
            accept_language=options.accept_language,
            issued_ms=now_ms,
            expires_ms=now_ms + limits.JOB_LIFETIME_MS,
        )
        statement = self._signer.sign_job(node_job)
        job_hash = statement.digest()
        in_flight = session.in_flight[job.job_id] = InFlight(
            job=node_job,
            queued=job,
            job_hash=job_hash,
            host=job.host,
            batch_id=job.batch_id,
            robots_hash=passage.rules.digest if passage.rules else None,
            sent_ms=now_ms,
        )
        # The node's own count has this job from here on, also while the node is slow to take it.
        self._placed.add(lease.token)
        try:
            assigned = await self._frontier.assign(
                job.job_id,
                lease.token,
                node_key=session.node_key,
                job_hash=job_hash,
                expires_ms=in_flight.ends_ms,
            )
            if assigned:
                await session.link.send_statement(statement)
                return True
        except LinkClosed:
            pass
        except BaseException:
            self._nodes.done(session, job.job_id, lease.token)
            raise
        finally:
            self._placed.discard(lease.token)
        self._nodes.done(session, job.job_id, lease.token)
        return False


def frontier_job(job: Job) -> FrontierJob:
    """Return what the frontier needs to know of a job."""
    return FrontierJob(job_id=job.job_id, host=job.host, priority=job.priority)
