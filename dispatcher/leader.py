"""Periodic duties that one dispatcher of a network does at a time, each under a lease in the ledger.

Whoever takes a duty's lease does its work, step after step, and renews the lease at a third of its time. A lease that
cannot be renewed ends the work before it ends: the step in hand is cancelled `_MARGIN` of the lease earlier, by the
monotonic clock or by the wall clock, whichever comes first, so that neither a jump of the one nor a machine that slept
through the other keeps two dispatchers at work. What a step writes after all is fenced by the leadership it was given.

A duty that is given up is announced on the bus; whoever hears of it tries at once, everyone else at the next third of
a lease. After a dispatcher's death its duties move when their leases end: within 4/3 of a lease.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from dispatcher.bus import Bus, DutyFree, Event
from dispatcher.ending_tasks import end_tasks
from dispatcher.errors import LeadershipLost, StoreError
from dispatcher.ledger import LeaderLedger, Leadership
from provenance.errors import ProvenanceError

_log = structlog.get_logger("duties")
LEASE_MS = 10_000
_RENEWALS = 3
"""A lease is renewed, and a lease of somebody else asked for, once in this part of its time."""
_MARGIN = 0.1
_LOOK_S = 1.0
"""How often a term looks at the wall clock."""
_RETRY_S = 0.5
_RESIGN_S = 2.0
_TURN_S = 0.1


@dataclass(frozen=True, slots=True)
class Duty:
    """Work to be done every `interval_s` seconds, one step at a time; a step is told in whose name it works.

    A step may be cancelled at any await and done again by another dispatcher from what the stores say.
    """

    name: str
    work: Callable[[Leadership], Awaitable[None]]
    interval_s: float


@dataclass(slots=True)
class _Term:
    """A duty that is ours until `ends_s` on the loop's clock and `ends_ms` on the wall's, whichever comes first."""

    leadership: Leadership
    began_s: float
    ends_s: float
    ends_ms: int
    is_lost: bool = False


class Duties:
    """Does the duties it is given whenever this dispatcher leads them. `holder` is this run of this dispatcher: no
    other process, and no later run, has the same."""

    def __init__(
        self,
        duties: Sequence[Duty],
        *,
        ledger: LeaderLedger,
        bus: Bus,
        holder: str,
        clock: Callable[[], int],
        fraction: Callable[[], float],
        lease_ms: int = LEASE_MS,
    ) -> None:
        self._duties, self._ledger, self._bus, self._holder = duties, ledger, bus, holder
        self._clock, self._fraction, self._lease_ms = clock, fraction, lease_ms
        self._terms: dict[str, _Term] = {}
        self._freed = {duty.name: asyncio.Event() for duty in duties}
        bus.subscribe(self._on_event)

    @property
    def led(self) -> tuple[str, ...]:
        """The duties this dispatcher leads now, by name."""
        return tuple(sorted(self._terms))

    async def run(self) -> None:
        """Lead what can be led until cancelled; every duty is resigned on the way out.

        An error that is not a store's, the chain's or the log's ends it, and is raised.
        """
        async with asyncio.TaskGroup() as group:
            for duty in self._duties:
                group.create_task(self._attend(duty), name=f"duty {duty.name}")

    def _on_event(self, event: Event) -> None:
        if isinstance(event, DutyFree) and event.duty in self._freed:
            self._freed[event.duty].set()

    async def _attend(self, duty: Duty) -> None:
        while True:
            try:
                if (term := await self._take(duty.name)) is not None:
                    await self._serve(duty, term)
            except StoreError as error:
                _log.warning("duty_lease_failed", duty=duty.name, error=str(error))
            await self._wait_until_free(duty.name)

    async def _wait_until_free(self, name: str) -> None:
        """Sleep until the duty is given up somewhere, or a third of a lease has passed, give or take a tenth of it."""
        third_s = self._lease_ms / 1000 / _RENEWALS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._freed[name].wait(), third_s * (0.9 + 0.2 * self._fraction()))
        self._freed[name].clear()

    async def _take(self, name: str) -> _Term | None:
        """Take a lease or renew it; None where another has it.

        A lease of ours that runs for longer than a lease was written by a clock that was ahead: it is given up, so
        that the duty does not wait for that time should this process die.
        """
        began_s, now_ms = asyncio.get_running_loop().time(), self._clock()
        leadership = await self._ledger.lead(name, holder=self._holder, now_ms=now_ms, lease_ms=self._lease_ms)
        if leadership is not None and leadership.expires_ms > now_ms + 2 * self._lease_ms:
            await self._ledger.resign(leadership)
            leadership = await self._ledger.lead(name, holder=self._holder, now_ms=now_ms, lease_ms=self._lease_ms)
        if leadership is None:
            return None
        useful_ms = self._lease_ms * (1 - _MARGIN)
        return _Term(leadership, began_s, began_s + useful_ms / 1000, now_ms + int(useful_ms))

    async def _serve(self, duty: Duty, term: _Term) -> None:
        self._terms[duty.name] = term
        _log.info("duty_taken", duty=duty.name, token=term.leadership.token)
        work = asyncio.create_task(self._work(duty, term), name=f"work of {duty.name}")
        try:
            await self._keep(duty.name, term, work)
        finally:
            del self._terms[duty.name]
            await end_tasks([work])
            await self._resign(term)
        if not work.cancelled():
            work.result()

    async def _work(self, duty: Duty, term: _Term) -> None:
        while self._is_running(term):
            try:
                await duty.work(term.leadership)
            except LeadershipLost as error:
                term.is_lost = True
                _log.warning("duty_lost", duty=duty.name, token=term.leadership.token, error=str(error))
                return
            except (StoreError, ProvenanceError) as error:
                _log.warning("duty_failed", duty=duty.name, error=str(error))
            await asyncio.sleep(duty.interval_s)

    async def _keep(self, name: str, term: _Term, work: asyncio.Task[None]) -> None:
        """Renew a term in time; returns when it is over, whatever ended it."""
        loop = asyncio.get_running_loop()
        third_s = self._lease_ms / 1000 / _RENEWALS
        due_s = term.began_s + third_s
        while self._is_running(term):
            await asyncio.wait([work], timeout=max(0.0, min(due_s, term.ends_s, loop.time() + _LOOK_S) - loop.time()))
            if work.done():
                return
            if loop.time() < due_s or not self._is_running(term):
                continue
            try:
                async with asyncio.timeout_at(term.ends_s):
                    renewed = await self._take(name)
            except (StoreError, TimeoutError) as error:
                _log.warning("duty_lease_failed", duty=name, error=str(error) or "the ledger does not answer")
                due_s = loop.time() + min(_RETRY_S, third_s)
                continue
            if renewed is None or renewed.leadership.token != term.leadership.token:
                # Another has it, or had it meanwhile: the step in hand is stale.
                break
            term.leadership, term.began_s = renewed.leadership, renewed.began_s
            term.ends_s, term.ends_ms = renewed.ends_s, renewed.ends_ms
            due_s = term.began_s + third_s
        term.is_lost = True
        _log.warning("duty_lost", duty=name, token=term.leadership.token, error="the lease was not renewed in time")

    def _is_running(self, term: _Term) -> bool:
        return asyncio.get_running_loop().time() < term.ends_s and self._clock() < term.ends_ms

    async def _resign(self, term: _Term) -> None:
        """Give a duty up, so that another need not wait for the end of the lease."""
        if term.is_lost:
            return
        duty = term.leadership.duty
        _log.info("duty_given_up", duty=duty, token=term.leadership.token)
        try:
            async with asyncio.timeout(_RESIGN_S):
                await self._ledger.resign(term.leadership)
        except (StoreError, TimeoutError) as error:
            _log.warning("duty_not_resigned", duty=duty, error=str(error) or "the ledger does not answer")
            return
        self._bus.publish(DutyFree(duty=duty))


@contextlib.asynccontextmanager
async def led_once(
    duty: str,
    *,
    ledger: LeaderLedger,
    holder: str,
    clock: Callable[[], int],
    fraction: Callable[[], float],
    lease_ms: int = LEASE_MS,
) -> AsyncIterator[Leadership]:
    """Do something once in the name of a duty, after waiting for whoever does it now, for as long as that takes.

    The lease is not renewed: what is done must bear being done by two at once, if it may take longer.
    """
    while (leadership := await ledger.lead(duty, holder=holder, now_ms=clock(), lease_ms=lease_ms)) is None:  # noqa: ASYNC110 (another process is waited for)
        await asyncio.sleep(_TURN_S * (0.5 + fraction()))
    try:
        yield leadership
    finally:
        await ledger.resign(leadership)
