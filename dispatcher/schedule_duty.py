"""Makes the requests of schedules when they are due, each slot once.

A slot is claimed first: its run is stored, in state starting, with the schedule's next slot in one transaction. Then
the request is submitted under an idempotency key made of schedule and slot, that no lab can send: whoever finds a run
that is still starting submits it again, and gets the job that is there.
"""

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import structlog

from dispatcher.caller import Caller, KeyLimits
from dispatcher.errors import KeyExpired, KeyRevoked, NotFound, RequestError
from dispatcher.jobs import ApiKey
from dispatcher.lab_documents import timestamp
from dispatcher.recurrence import Recurrence, moments_after
from dispatcher.request_fields import Rejected
from dispatcher.schedules import RequestKind, Run, RunState, Schedule, ScheduleLedger

MISSED_NOTED: Final = 100
"""How many missed slots are noted one by one; what was before them is told as a number."""
_LATE_SLOTS = 100_000
_DETAIL_CHARACTERS = 1_000
_ROTATIONS = 100
_log = structlog.get_logger("schedules")


class TeamKeys(Protocol):
    """The part of the ledger that says what became of a key."""

    async def key_of_team(self, team_id: str, key_id: str) -> ApiKey | None:
        """See AccountKeyLedger."""
        ...


class RequestDesk(Protocol):
    """The port: takes requests as the API does. Raises RequestError and StoreError as it does."""

    def check(self, kind: RequestKind, body: bytes) -> Rejected | None:
        """Say what is wrong with a request, without making it."""
        ...

    async def submit(
        self, kind: RequestKind, body: bytes, *, caller: Caller, idempotency_key: str, request_hash: str
    ) -> str | Rejected:
        """Make a request; the job's id."""
        ...

    async def has_ended(self, team_id: str, batch_id: str) -> bool:
        """Whether a job has ended. NotFound where there is none."""
        ...


class ScheduleDuty:
    """Owns nothing: what is due and what was begun stands in the ledger."""

    def __init__(self, *, ledger: ScheduleLedger, keys: TeamKeys, desk: RequestDesk, clock: Callable[[], int]) -> None:
        self._ledger, self._keys, self._desk, self._clock = ledger, keys, desk, clock

    async def once(self) -> None:
        """Claim every slot that has come, and start what is claimed."""
        for schedule in await self._ledger.due_schedules(self._clock()):
            await self._claim(schedule)
        await self.start_claimed()

    async def start_claimed(self) -> None:
        """Start the runs that are to start."""
        for run in await self._ledger.starting_runs():
            schedule = await self._ledger.schedule(run.schedule_id)
            if schedule is not None:
                await self.start(schedule, run)

    async def _claim(self, schedule: Schedule) -> None:
        now_ms, first_ms = self._clock(), schedule.next_ms
        assert first_ms is not None
        recurrence = Recurrence(schedule.cron, schedule.timezone)
        slots = [first_ms]
        while len(slots) < _LATE_SLOTS:
            following = moments_after(recurrence, slots[-1], 50)
            slots += [slot for slot in following if slot <= now_ms]
            if not following or following[-1] > now_ms:
                break
        # After so many of them the rest is not worth counting.
        next_ms = next(iter(moments_after(recurrence, now_ms, 1)), None)
        *missed, due_ms = slots
        noted = missed[-MISSED_NOTED:]
        runs = [_run(schedule, slot, "missed", now_ms, "nobody worked at its time") for slot in noted]
        if len(missed) > len(noted):
            runs[0] = _run(
                schedule, noted[0], "missed", now_ms, f"and {len(missed) - len(noted)} slots before it were missed"
            )
        runs.append(await self._due(schedule, due_ms, now_ms))
        await self._ledger.claim_slots(schedule, runs, next_ms=next_ms)

    async def _due(self, schedule: Schedule, slot_ms: int, now_ms: int) -> Run:
        if schedule.overlap == "skip" and (running := await self._running(schedule)) is not None:
            return _run(schedule, slot_ms, "skipped", now_ms, f"the job {running} of the run before goes on")
        return _run(schedule, slot_ms, "starting", now_ms)

    async def _running(self, schedule: Schedule) -> str | None:
        last = await self._ledger.last_started(schedule.schedule_id)
        if last is None or last.batch_id is None:
            return None
        try:
            has_ended = await self._desk.has_ended(schedule.team_id, last.batch_id)
        except NotFound:
            return None
        return None if has_ended else last.batch_id

    async def start(self, schedule: Schedule, run: Run) -> Run:
        """Make the request of a run that is stored; the run as it stands then."""
        key = f"schedule {schedule.schedule_id} {run.slot_ms}"
        try:
            started = await self._desk.submit(
                schedule.kind,
                schedule.body.encode(),
                caller=await self._caller(schedule),
                idempotency_key=key,
                request_hash=hashlib.sha256(key.encode()).hexdigest(),
            )
        except RequestError as error:
            ended = msgspec.structs.replace(run, state="refused", detail=f"{error.code}: {error}"[:_DETAIL_CHARACTERS])
        else:
            if isinstance(started, Rejected):
                detail = f"{started.code}: {started.message}"[:_DETAIL_CHARACTERS]
                ended = msgspec.structs.replace(run, state="refused", detail=detail)
            else:
                ended = msgspec.structs.replace(run, state="started", batch_id=started)
        if ended.state == "refused":
            _log.info("scheduled_run_refused", schedule_id=schedule.schedule_id, detail=ended.detail)
        await self._ledger.end_start(ended)
        return ended

    async def _caller(self, schedule: Schedule) -> Caller:
        """Who asks: the key that made or changed the schedule last, or the one that took its place."""
        key = await self._keys.key_of_team(schedule.team_id, schedule.key_id)
        for _ in range(_ROTATIONS):
            if key is None or key.rotated_to is None:
                break
            key = await self._keys.key_of_team(schedule.team_id, key.rotated_to)
        how = "change the schedule with a key that is valid, and it goes on with that one"
        if key is None:
            raise KeyRevoked(f"the key of this schedule is not there any more; {how}")
        if key.revoked_ms is not None:
            raise KeyRevoked(f"the key of this schedule was revoked at {timestamp(key.revoked_ms)}; {how}")
        if key.expires_ms is not None and key.expires_ms <= self._clock():
            raise KeyExpired(f"the key of this schedule expired at {timestamp(key.expires_ms)}; {how}")
        limits = KeyLimits(max_concurrency=key.max_concurrency, daily_credits=key.daily_credits)
        return Caller(
            team_id=key.team_id,
            key_id=key.key_id,
            scopes=frozenset(key.scopes),
            default_purpose=key.purpose,
            limits=limits,
        )


def _run(schedule: Schedule, slot_ms: int, state: RunState, now_ms: int, detail: str | None = None) -> Run:
    return Run(
        schedule_id=schedule.schedule_id,
        slot_ms=slot_ms,
        is_manual=0,
        state=state,
        batch_id=None,
        detail=detail,
        created_ms=now_ms,
    )
