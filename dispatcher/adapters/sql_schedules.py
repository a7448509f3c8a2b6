"""Schedules and their runs in SQL. Who changes a schedule or adds a run to it holds the lock of its row first."""

from collections.abc import Sequence
from functools import partial

import msgspec
from sqlalchemy import BigInteger, Connection, bindparam, delete, func, select, update

from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import locked, without_nul, word
from dispatcher.adapters.sql_rows import columns_of, insert_missing, insert_rows, read_struct, read_structs, update_rows
from dispatcher.adapters.sql_webhook_tables import schedule_runs, schedules
from dispatcher.schedules import Run, Schedule, ScheduleLedger

_MOST = bindparam("most", type_=BigInteger())
_ALL = select(*columns_of(schedules, Schedule))
_ONE = _ALL.where(schedules.c.schedule_id == bindparam("of_schedule"))
_HELD = locked(_ONE)
_OF_TEAM = (
    _ALL.where(schedules.c.team_id == bindparam("of_team"), schedules.c.schedule_id > bindparam("after"))
    .order_by(schedules.c.schedule_id)
    .limit(_MOST)
)
_NUMBER = select(func.count()).select_from(schedules).where(schedules.c.team_id == bindparam("of_team"))
_DUE = (
    _ALL.where(schedules.c.next_ms.is_not(None), schedules.c.next_ms <= bindparam("now_ms"))
    .order_by(schedules.c.next_ms)
    .limit(_MOST)
)
_SET_NEXT = (
    update(schedules)
    .where(schedules.c.schedule_id == bindparam("of_schedule"))
    .values(next_ms=bindparam("to_ms", type_=BigInteger()))
)
_DELETE = delete(schedules).where(schedules.c.schedule_id == bindparam("of_schedule"))
_DELETE_RUNS = delete(schedule_runs).where(schedule_runs.c.schedule_id == bindparam("of_schedule"))
_ALL_RUNS = select(*columns_of(schedule_runs, Run))
_STARTING = _ALL_RUNS.where(schedule_runs.c.state == word("starting")).order_by(schedule_runs.c.created_ms).limit(_MOST)
_RUNS = (
    _ALL_RUNS.where(
        schedule_runs.c.schedule_id == bindparam("of_schedule"), schedule_runs.c.slot_ms < bindparam("before_ms")
    )
    .order_by(schedule_runs.c.slot_ms.desc())
    .limit(_MOST)
)
_LAST_STARTED = (
    _ALL_RUNS.where(schedule_runs.c.schedule_id == bindparam("of_schedule"), schedule_runs.c.state == word("started"))
    .order_by(schedule_runs.c.slot_ms.desc())
    .limit(1)
)
_END_START = (
    update(schedule_runs)
    .where(
        schedule_runs.c.schedule_id == bindparam("of_schedule"),
        schedule_runs.c.slot_ms == bindparam("of_slot"),
        schedule_runs.c.state == word("starting"),
    )
    .values(state=bindparam("to_state"), batch_id=bindparam("to_batch"), detail=bindparam("to_detail"))
)
_EVER_MS = 2**62


class SqlSchedules(ScheduleLedger):
    """The part of the ledger that keeps schedules."""

    _sql: SqlExecutor

    async def add_schedule(self, schedule: Schedule) -> None:
        """See ScheduleLedger."""
        rows = [msgspec.structs.astuple(schedule)]
        await self._sql.write_one(lambda connection: insert_rows(connection, schedules, rows))

    async def schedule(self, schedule_id: str) -> Schedule | None:
        """See ScheduleLedger."""
        wanted = {"of_schedule": schedule_id}
        return await self._sql.read(lambda connection: read_struct(connection, Schedule, _ONE, wanted))

    async def schedules(self, team_id: str, *, after: str = "", limit: int = 100) -> list[Schedule]:
        """See ScheduleLedger."""
        wanted = {"of_team": team_id, "after": after, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, Schedule, _OF_TEAM, wanted))

    async def count_schedules(self, team_id: str) -> int:
        """See ScheduleLedger."""
        return await self._sql.read(
            lambda connection: int(connection.execute(_NUMBER, {"of_team": team_id}).scalar_one())
        )

    async def replace_schedule(self, schedule: Schedule) -> bool:
        """See ScheduleLedger."""
        return await self._sql.write_one(partial(_replace, schedule))

    async def delete_schedule(self, schedule_id: str) -> bool:
        """See ScheduleLedger."""
        return await self._sql.write_one(partial(_delete, schedule_id))

    async def due_schedules(self, now_ms: int, limit: int = 100) -> list[Schedule]:
        """See ScheduleLedger."""
        wanted = {"now_ms": now_ms, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, Schedule, _DUE, wanted))

    async def claim_slots(self, schedule: Schedule, runs: Sequence[Run], *, next_ms: int | None) -> bool:
        """See ScheduleLedger."""
        return await self._sql.write_one(partial(_claim, schedule, runs, next_ms), rows=1 + len(runs))

    async def add_run(self, run: Run) -> bool:
        """See ScheduleLedger."""
        return await self._sql.write_one(partial(_add_run, run))

    async def starting_runs(self, *, limit: int = 100) -> list[Run]:
        """See ScheduleLedger."""
        return await self._sql.read(lambda connection: read_structs(connection, Run, _STARTING, {"most": limit}))

    async def end_start(self, run: Run) -> None:
        """See ScheduleLedger."""
        await self._sql.write_one(partial(_end_start, run))

    async def runs(self, schedule_id: str, *, before_ms: int | None = None, limit: int = 20) -> list[Run]:
        """See ScheduleLedger."""
        before = _EVER_MS if before_ms is None else before_ms
        wanted = {"of_schedule": schedule_id, "before_ms": before, "most": limit}
        return await self._sql.read(lambda connection: read_structs(connection, Run, _RUNS, wanted))

    async def last_started(self, schedule_id: str) -> Run | None:
        """See ScheduleLedger."""
        wanted = {"of_schedule": schedule_id}
        return await self._sql.read(lambda connection: read_struct(connection, Run, _LAST_STARTED, wanted))


def _held(connection: Connection, schedule_id: str) -> Schedule | None:
    return read_struct(connection, Schedule, _HELD, {"of_schedule": schedule_id})


def _replace(schedule: Schedule, connection: Connection) -> bool:
    if _held(connection, schedule.schedule_id) is None:
        return False
    names = Schedule.__struct_fields__[1:]
    update_rows(connection, schedules, names, [msgspec.structs.astuple(schedule)])
    return True


def _delete(schedule_id: str, connection: Connection) -> bool:
    if _held(connection, schedule_id) is None:
        return False
    connection.execute(_DELETE_RUNS, {"of_schedule": schedule_id})
    connection.execute(_DELETE, {"of_schedule": schedule_id})
    return True


def _claim(schedule: Schedule, runs: Sequence[Run], next_ms: int | None, connection: Connection) -> bool:
    standing = _held(connection, schedule.schedule_id)
    if standing is None or standing.next_ms != schedule.next_ms:
        return False
    insert_missing(connection, schedule_runs, [_row(run) for run in sorted(runs, key=lambda run: run.slot_ms)])
    connection.execute(_SET_NEXT, {"of_schedule": schedule.schedule_id, "to_ms": next_ms})
    return True


def _add_run(run: Run, connection: Connection) -> bool:
    if _held(connection, run.schedule_id) is None:
        return False
    wanted = {"of_schedule": run.schedule_id, "before_ms": run.slot_ms + 1, "most": 1}
    newest = read_struct(connection, Run, _RUNS, wanted)
    if newest is not None and newest.slot_ms == run.slot_ms:
        return False
    insert_rows(connection, schedule_runs, [_row(run)])
    return True


def _end_start(run: Run, connection: Connection) -> None:
    connection.execute(
        _END_START,
        {
            "of_schedule": run.schedule_id,
            "of_slot": run.slot_ms,
            "to_state": run.state,
            "to_batch": run.batch_id,
            "to_detail": None if run.detail is None else without_nul(run.detail),
        },
    )


def _row(run: Run) -> tuple[str | int | None, ...]:
    return msgspec.structs.astuple(run)
