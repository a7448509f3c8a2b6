"""Schedules for labs: requests that are made again and again.

POST   /v1/schedules            make one
GET    /v1/schedules            a team's schedules
GET    /v1/schedules/{id}       one, with its next runs and its past ones
PATCH  /v1/schedules/{id}       change what is named
DELETE /v1/schedules/{id}       delete one; its jobs stay
POST   /v1/schedules/{id}/run   make its request now
"""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.caller import Caller
from dispatcher.errors import BadRequest, Conflict, NotFound
from dispatcher.key_scopes import scopes_for
from dispatcher.lab_documents import timestamp
from dispatcher.lab_service import LabService
from dispatcher.recurrence import Recurrence, moments_after
from dispatcher.request_fields import Rejected
from dispatcher.schedule_duty import RequestDesk, ScheduleDuty
from dispatcher.schedule_request import ScheduleRequest, Standing, decode_schedule
from dispatcher.scheduled_requests import ADDRESSES
from dispatcher.schedules import Overlap, RequestKind, Run, RunState, Schedule, ScheduleLedger

TEAM_SCHEDULES: Final = 1_000
PAGE_SCHEDULES: Final = 100
NEXT_RUNS: Final = 5
PAST_RUNS: Final = 20


class RunView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What came of one slot. `job` is the id of the job that it started, `detail` why there is none."""

    slot: str
    state: RunState
    manual: bool
    job: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class RequestView(msgspec.Struct, frozen=True):
    """The request that is repeated."""

    kind: RequestKind
    body: msgspec.Raw


class ScheduleView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A schedule. `cron` is as the lab wrote it, `fields` the five fields it stands for. Times are RFC 3339 in UTC."""

    id: str
    name: str
    cron: str
    fields: str
    timezone: str
    request: RequestView
    overlap: Overlap
    enabled: bool
    created_at: str
    updated_at: str
    next_runs: list[str]
    runs: list[RunView] | UnsetType = UNSET


class ScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one schedule."""

    success: bool = True
    schedule: ScheduleView


class SchedulesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `GET /v1/schedules`. `next` is the address of what follows."""

    success: bool = True
    schedules: list[ScheduleView]
    next: str | UnsetType = UNSET


class RunAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v1/schedules/{id}/run`."""

    success: bool = True
    run: RunView


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `DELETE /v1/schedules/{id}`."""

    success: bool = True
    id: str


class ScheduleApi:
    """The routes."""

    def __init__(
        self,
        service: LabService,
        ledger: ScheduleLedger,
        duty: ScheduleDuty,
        desk: RequestDesk,
        *,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        base_url: Callable[[web.Request], str],
    ) -> None:
        self._service, self._ledger, self._duty, self._desk = service, ledger, duty, desk
        self._clock, self._new_id, self._base_url = clock, new_id, base_url

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`."""
        return [
            web.post("/v1/schedules", self.make),
            web.get("/v1/schedules", self.list_all),
            web.get("/v1/schedules/{id}", self.read),
            web.patch("/v1/schedules/{id}", self.change),
            web.delete("/v1/schedules/{id}", self.delete),
            web.post("/v1/schedules/{id}/run", self.run),
        ]

    async def make(self, request: web.Request) -> web.Response:
        """Make a schedule."""
        caller = await caller_of(request, self._service)
        wanted = await self._wanted(request, None)
        if isinstance(wanted, web.Response):
            return wanted
        assert wanted.recurrence is not None and wanted.kind is not None and wanted.body is not None
        _require(caller, wanted.kind)
        if await self._ledger.count_schedules(caller.team_id) >= TEAM_SCHEDULES:
            raise Conflict(f"this team has {TEAM_SCHEDULES} schedules, which is the most; delete some")
        now_ms, is_enabled = self._clock(), wanted.is_enabled is not False
        schedule = Schedule(
            schedule_id=self._new_id(),
            team_id=caller.team_id,
            key_id=caller.key_id,
            name=wanted.name or "",
            written=wanted.written or "",
            cron=wanted.recurrence.cron,
            timezone=wanted.recurrence.timezone,
            kind=wanted.kind,
            body=wanted.body,
            overlap=wanted.overlap or "skip",
            is_enabled=int(is_enabled),
            created_ms=now_ms,
            updated_ms=now_ms,
            next_ms=_next(wanted.recurrence, now_ms) if is_enabled else None,
        )
        await self._ledger.add_schedule(schedule)
        return json_answer(ScheduleAnswer(schedule=self._view(schedule, [])))

    async def list_all(self, request: web.Request) -> web.Response:
        """List a team's schedules, oldest first."""
        caller = await caller_of(request, self._service)
        for name in request.query.keys() - {"after"}:
            raise BadRequest(f"{name[:40]}: no such parameter; there is after")
        found = await self._ledger.schedules(
            caller.team_id, after=request.query.get("after", ""), limit=PAGE_SCHEDULES + 1
        )
        shown = found[:PAGE_SCHEDULES]
        following: str | UnsetType = UNSET
        if len(found) > len(shown):
            following = f"{self._base_url(request)}/v1/schedules?after={shown[-1].schedule_id}"
        return json_answer(SchedulesAnswer(schedules=[self._view(each, None) for each in shown], next=following))

    async def read(self, request: web.Request) -> web.Response:
        """Show a schedule with its next runs and its past ones."""
        caller = await caller_of(request, self._service)
        schedule = await self._schedule(caller, request)
        runs = await self._ledger.runs(schedule.schedule_id, limit=PAST_RUNS)
        return json_answer(ScheduleAnswer(schedule=self._view(schedule, runs)))

    async def change(self, request: web.Request) -> web.Response:
        """Change what is named; the schedule goes on in the name of the key that changes it."""
        caller = await caller_of(request, self._service)
        old = await self._schedule(caller, request)
        wanted = await self._wanted(request, Standing(old.written, old.timezone, old.kind, old.body))
        if isinstance(wanted, web.Response):
            return wanted
        now_ms = self._clock()
        kind = wanted.kind or old.kind
        _require(caller, kind)
        recurrence = wanted.recurrence or Recurrence(old.cron, old.timezone)
        is_enabled = bool(old.is_enabled) if wanted.is_enabled is None else wanted.is_enabled
        is_same = recurrence == Recurrence(old.cron, old.timezone) and is_enabled == bool(old.is_enabled)
        moved = old.next_ms if is_same else _next(recurrence, now_ms) if is_enabled else None
        schedule = msgspec.structs.replace(
            old,
            key_id=caller.key_id,
            name=old.name if wanted.name is None else wanted.name,
            written=old.written if wanted.written is None else wanted.written,
            cron=recurrence.cron,
            timezone=recurrence.timezone,
            kind=kind,
            body=old.body if wanted.body is None else wanted.body,
            overlap=wanted.overlap or old.overlap,
            is_enabled=int(is_enabled),
            updated_ms=now_ms,
            next_ms=moved,
        )
        if not await self._ledger.replace_schedule(schedule):
            raise NotFound(f"no schedule {old.schedule_id}")
        return json_answer(ScheduleAnswer(schedule=self._view(schedule, None)))

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a schedule."""
        schedule = await self._schedule(await caller_of(request, self._service), request)
        if not await self._ledger.delete_schedule(schedule.schedule_id):
            raise NotFound(f"no schedule {schedule.schedule_id}")
        return json_answer(Deleted(id=schedule.schedule_id))

    async def run(self, request: web.Request) -> web.Response:
        """Make a schedule's request now, whatever goes on."""
        schedule = await self._schedule(await caller_of(request, self._service), request)
        now_ms = self._clock()
        run = Run(
            schedule_id=schedule.schedule_id,
            slot_ms=now_ms,
            is_manual=1,
            state="starting",
            batch_id=None,
            detail=None,
            created_ms=now_ms,
        )
        if not await self._ledger.add_run(run):
            raise Conflict("the schedule is run in this very moment, or was deleted")
        started = await self._duty.start(schedule, run)
        return json_answer(RunAnswer(run=_run(started)))

    async def _schedule(self, caller: Caller, request: web.Request) -> Schedule:
        schedule_id = request.match_info["id"]
        found = await self._ledger.schedule(schedule_id)
        if found is None or found.team_id != caller.team_id:
            raise NotFound(f"no schedule {schedule_id[:100]}")
        return found

    async def _wanted(self, request: web.Request, standing: Standing | None) -> ScheduleRequest | web.Response:
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        wanted = await asyncio.to_thread(decode_schedule, body, check=self._desk.check, standing=standing)
        return rejected_answer(wanted) if isinstance(wanted, Rejected) else wanted

    def _view(self, schedule: Schedule, runs: list[Run] | None) -> ScheduleView:
        following: list[int] = []
        if schedule.next_ms is not None:
            recurrence = Recurrence(schedule.cron, schedule.timezone)
            following = [schedule.next_ms, *moments_after(recurrence, schedule.next_ms, NEXT_RUNS - 1)]
        return ScheduleView(
            id=schedule.schedule_id,
            name=schedule.name,
            cron=schedule.written,
            fields=schedule.cron,
            timezone=schedule.timezone,
            request=RequestView(schedule.kind, msgspec.Raw(schedule.body.encode())),
            overlap=schedule.overlap,
            enabled=bool(schedule.is_enabled),
            created_at=timestamp(schedule.created_ms),
            updated_at=timestamp(schedule.updated_ms),
            next_runs=[timestamp(moment) for moment in following],
            runs=UNSET if runs is None else [_run(run) for run in runs],
        )


def _require(caller: Caller, kind: RequestKind) -> None:
    caller.require_any(scopes_for("POST", ADDRESSES[kind]), f"a schedule of {ADDRESSES[kind]}")


def _next(recurrence: Recurrence, now_ms: int) -> int | None:
    return next(iter(moments_after(recurrence, now_ms, 1)), None)


def _run(run: Run) -> RunView:
    return RunView(
        slot=timestamp(run.slot_ms),
        state=run.state,
        manual=bool(run.is_manual),
        job=run.batch_id or UNSET,
        detail=run.detail or UNSET,
    )
