"""Datasets in SQL. Who builds one is decided by a lease in its row; what is given up leaves a note in the same
transaction, so that its files are erased."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Executable, bindparam, delete, func, select, update

from dispatcher.adapters.sql_dataset_tables import dataset_leavings, datasets
from dispatcher.adapters.sql_executor import SqlExecutor
from dispatcher.adapters.sql_expressions import ids_in, locked, without_nul, word
from dispatcher.adapters.sql_rows import columns_of, insert_missing, read_structs, update_rows
from dispatcher.adapters.sql_schema import batches, jobs, open_batches
from dispatcher.dataset_ledger import BuildEnd, BuildProgress, DatasetLedger
from dispatcher.datasets import MAX_ATTEMPTS, Dataset, DatasetFile, DatasetFormat, DatasetSource, DatasetState, Stage
from dispatcher.jobs import Job

STALE_MS = 600_000
"""How long the files of a build that was taken over are left alone: its first holder may still be writing them."""


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset as its row: what is no single value is JSON text."""

    dataset_id: str
    team_id: str
    series_id: str
    version: int
    name: str
    source: str
    formats: str
    batch_id: str | None
    state: DatasetState
    stage: Stage
    done: int
    total: int
    rows: int
    dropped: str
    files: str
    error: str | None
    build_id: str
    holder: str
    lease_until_ms: int
    attempts: int
    created_ms: int
    started_ms: int | None
    ended_ms: int | None
    until_ms: int | None
    log_index: int | None
    statement_id: str | None


_ALL = select(*columns_of(datasets, _Row))
_OPEN = datasets.c.ended_ms.is_(None)
_MOST = bindparam("most", type_=BigInteger())
_BY_ID = _ALL.where(datasets.c.dataset_id == bindparam("of_dataset"))
_LOCKED = locked(_BY_ID)
_OF_TEAM = (
    _ALL.where(datasets.c.team_id == bindparam("of_team"), datasets.c.dataset_id < bindparam("before_id"))
    .order_by(datasets.c.dataset_id.desc())
    .limit(_MOST)
)
_OF_SERIES = _ALL.where(datasets.c.series_id == bindparam("of_series")).order_by(datasets.c.version)
_LOCK_SERIES = locked(
    select(datasets.c.dataset_id).where(datasets.c.series_id == bindparam("of_series")).order_by(datasets.c.dataset_id)
)
_NEWEST_VERSION = select(func.coalesce(func.max(datasets.c.version), 0)).where(
    datasets.c.series_id == bindparam("of_series")
)
_WAITING = _ALL.where(_OPEN, datasets.c.state == word("waiting")).order_by(datasets.c.dataset_id)
_FREE_NOW = (datasets.c.state == word("queued")) | (
    (datasets.c.state == word("building")) & (datasets.c.lease_until_ms < bindparam("now_ms"))
)
_FREE = locked(_ALL.where(_OPEN, _FREE_NOW).order_by(datasets.c.dataset_id).limit(1))
_IS_FREE = select(func.count()).select_from(datasets).where(_OPEN, _FREE_NOW)
_EXPIRED = (
    select(datasets.c.dataset_id)
    .where(datasets.c.until_ms.is_not(None), datasets.c.until_ms <= bindparam("now_ms"))
    .order_by(datasets.c.until_ms)
    .limit(_MOST)
)
_REMOVE = delete(datasets).where(datasets.c.dataset_id == bindparam("of_dataset"))
_LEAVINGS = (
    select(dataset_leavings.c.build_id)
    .where(dataset_leavings.c.after_ms <= bindparam("now_ms"))
    .order_by(dataset_leavings.c.build_id)
    .limit(_MOST)
)
_ERASED_MS = 2**62
_FORGET = update(dataset_leavings).where(ids_in(dataset_leavings.c.build_id)).values(after_ms=_ERASED_MS)
_IS_LEFT = select(func.count()).select_from(dataset_leavings).where(dataset_leavings.c.build_id == bindparam("place"))
_BATCHES = (
    select(batches.c.batch_id)
    .where(
        batches.c.team_id == bindparam("of_team"),
        batches.c.batch_id > bindparam("after_id"),
        batches.c.kind != word("discovery"),
        batches.c.batch_id.not_in(select(open_batches.c.batch_id)),
    )
    .order_by(batches.c.batch_id)
    .limit(_MOST)
)
_COMPLETED = (
    select(*columns_of(jobs, Job))
    .where(
        jobs.c.batch_id == bindparam("of_batch"),
        jobs.c.position >= bindparam("start"),
        jobs.c.state == word("completed"),
    )
    .order_by(jobs.c.position)
    .limit(_MOST)
)
_COMPLETED_OF_HOST = _COMPLETED.where(jobs.c.host == bindparam("of_host"))
_EVER = "g"
"""Greater than every id."""


class SqlDatasets(DatasetLedger):
    """The part of the ledger that keeps datasets."""

    _sql: SqlExecutor

    async def add_dataset(self, dataset: Dataset) -> Dataset:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_add, dataset))

    async def adopt_dataset(self, dataset: Dataset) -> Dataset | None:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_adopt, dataset))

    async def dataset(self, dataset_id: str) -> Dataset | None:
        """See DatasetLedger."""
        found = await self._read(_BY_ID, of_dataset=dataset_id)
        return found[0] if found else None

    async def datasets_of(self, team_id: str, *, before_id: str | None = None, limit: int = 100) -> list[Dataset]:
        """See DatasetLedger."""
        return await self._read(_OF_TEAM, of_team=team_id, before_id=before_id or _EVER, most=limit)

    async def dataset_versions(self, series_id: str) -> list[Dataset]:
        """See DatasetLedger."""
        return await self._read(_OF_SERIES, of_series=series_id)

    async def waiting_datasets(self) -> list[Dataset]:
        """See DatasetLedger."""
        return await self._read(_WAITING)

    async def queue_dataset(self, dataset_id: str) -> bool:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_queue, dataset_id))

    async def take_dataset(self, *, holder: str, build_id: str, now_ms: int, lease_ms: int) -> Dataset | None:
        """See DatasetLedger."""
        # Asked all the time, and mostly in vain: a read beside the writes first.
        free = await self._sql.read(lambda connection: connection.execute(_IS_FREE, {"now_ms": now_ms}).scalar_one())
        return await self._sql.write_one(partial(_take, holder, build_id, now_ms, lease_ms)) if free else None

    async def hold_dataset(
        self, dataset_id: str, *, holder: str, progress: BuildProgress, now_ms: int, lease_ms: int
    ) -> bool:
        """See DatasetLedger."""
        changes = {
            "lease_until_ms": now_ms + lease_ms,
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "rows": progress.rows,
        }
        return await self._sql.write_one(partial(_change_held, dataset_id, holder, changes))

    async def release_dataset(self, dataset_id: str, *, holder: str) -> None:
        """See DatasetLedger."""
        await self._sql.write_one(partial(_release, dataset_id, holder))

    async def end_dataset(self, dataset_id: str, *, holder: str, end: BuildEnd, now_ms: int) -> bool:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_end, dataset_id, holder, end, now_ms))

    async def cancel_dataset(self, dataset_id: str, now_ms: int) -> bool:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_cancel, dataset_id, now_ms))

    async def retry_dataset(self, dataset_id: str, build_id: str) -> bool:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_retry, dataset_id, build_id))

    async def remove_dataset(self, dataset_id: str, now_ms: int) -> bool:
        """See DatasetLedger."""
        return await self._sql.write_one(partial(_remove, dataset_id, now_ms))

    async def expired_datasets(self, now_ms: int, limit: int = 100) -> list[str]:
        """See DatasetLedger."""
        return await self._ids(_EXPIRED, now_ms=now_ms, most=limit)

    async def dataset_leavings(self, now_ms: int, limit: int = 100) -> list[str]:
        """See DatasetLedger."""
        return await self._ids(_LEAVINGS, now_ms=now_ms, most=limit)

    async def forget_leavings(self, build_ids: Sequence[str]) -> None:
        """See DatasetLedger."""
        wanted = {"ids": list(build_ids)}
        await self._sql.write_one(lambda connection: connection.execute(_FORGET, wanted).rowcount)

    async def batch_ids_of(self, team_id: str, *, after_id: str = "", limit: int = 100) -> list[str]:
        """See DatasetLedger."""
        return await self._ids(_BATCHES, of_team=team_id, after_id=after_id, most=limit)

    async def completed_jobs(
        self, batch_id: str, *, host: str | None, from_position: int = 0, limit: int = 1_000
    ) -> list[Job]:
        """See DatasetLedger."""
        statement = _COMPLETED if host is None else _COMPLETED_OF_HOST
        wanted: dict[str, Any] = {"of_batch": batch_id, "start": from_position, "most": limit}
        if host is not None:
            wanted["of_host"] = host
        return await self._sql.read(lambda connection: read_structs(connection, Job, statement, wanted))

    async def _read(self, statement: Executable, **parameters: Any) -> list[Dataset]:
        found = await self._sql.read(lambda connection: read_structs(connection, _Row, statement, parameters))
        return [_dataset(row) for row in found]

    async def _ids(self, statement: Executable, **parameters: Any) -> list[str]:
        return await self._sql.read(lambda connection: list(connection.execute(statement, parameters).scalars()))


def _add(dataset: Dataset, connection: Connection) -> Dataset:
    if dataset.series_id != dataset.dataset_id:
        # A series grows under the lock of its rows: two versions cannot get one number. Only a statement begun under
        # the lock sees what its last holder added.
        wanted = {"of_series": dataset.series_id}
        connection.execute(_LOCK_SERIES, wanted).all()
        newest = connection.execute(_NEWEST_VERSION, wanted).scalar_one()
        dataset = msgspec.structs.replace(dataset, version=newest + 1)
    insert_missing(connection, datasets, [_values(dataset)])
    stored = _standing(connection, dataset.dataset_id)
    assert stored is not None
    return stored


def _adopt(dataset: Dataset, connection: Connection) -> Dataset | None:
    if connection.execute(_IS_LEFT, {"place": dataset.build_id}).scalar_one():
        return None
    return _add(dataset, connection)


def _queue(dataset_id: str, connection: Connection) -> bool:
    standing = _standing(connection, dataset_id)
    if standing is None or standing.state != "waiting":
        return False
    _change(connection, dataset_id, state="queued", stage="queued")
    return True


def _take(holder: str, build_id: str, now_ms: int, lease_ms: int, connection: Connection) -> Dataset | None:
    found = read_structs(connection, _Row, _FREE, {"now_ms": now_ms})
    if not found:
        return None
    dataset = _dataset(found[0])
    if dataset.attempts >= MAX_ATTEMPTS:
        why = f"{MAX_ATTEMPTS} dispatchers have taken it up and gone away before it was built; ask for it again"
        _leave(connection, dataset.build_id, now_ms + STALE_MS)
        _change(connection, dataset.dataset_id, state="failed", stage="done", error=why, ended_ms=now_ms)
        return None
    place = dataset.build_id
    if dataset.state == "building":
        _leave(connection, dataset.build_id, now_ms + STALE_MS)
        place = build_id
    changes: dict[str, Any] = {
        "state": "building",
        "stage": "reading",
        "build_id": place,
        "holder": holder,
        "lease_until_ms": now_ms + lease_ms,
        "attempts": dataset.attempts + 1,
        "started_ms": now_ms if dataset.started_ms is None else dataset.started_ms,
    }
    _change(connection, dataset.dataset_id, **changes)
    return msgspec.structs.replace(dataset, **changes)


def _change_held(dataset_id: str, holder: str, changes: dict[str, Any], connection: Connection) -> bool:
    if _held(connection, dataset_id, holder) is None:
        return False
    _change(connection, dataset_id, **changes)
    return True


def _release(dataset_id: str, holder: str, connection: Connection) -> None:
    dataset = _held(connection, dataset_id, holder)
    if dataset is not None:
        attempts = max(0, dataset.attempts - 1)
        _change(connection, dataset_id, state="queued", stage="queued", holder="", lease_until_ms=0, attempts=attempts)


def _end(dataset_id: str, holder: str, end: BuildEnd, now_ms: int, connection: Connection) -> bool:
    dataset = _held(connection, dataset_id, holder)
    if dataset is None:
        return False
    _change(
        connection,
        dataset_id,
        state=end.state,
        stage="done",
        rows=end.rows,
        dropped=_json(end.dropped),
        files=_json(end.files),
        error=None if end.error is None else without_nul(end.error),
        holder="",
        lease_until_ms=0,
        ended_ms=now_ms,
        until_ms=end.until_ms,
        log_index=end.log_index,
        statement_id=end.statement_id,
    )
    if end.state == "failed":
        _leave(connection, dataset.build_id, now_ms)
    return True


def _cancel(dataset_id: str, now_ms: int, connection: Connection) -> bool:
    dataset = _standing(connection, dataset_id)
    if dataset is None or dataset.ended_ms is not None:
        return False
    if dataset.state == "building":
        _leave(connection, dataset.build_id, now_ms + STALE_MS)
    _change(connection, dataset_id, state="cancelled", stage="done", holder="", lease_until_ms=0, ended_ms=now_ms)
    return True


def _retry(dataset_id: str, build_id: str, connection: Connection) -> bool:
    dataset = _standing(connection, dataset_id)
    if dataset is None or dataset.state != "failed":
        return False
    _change(
        connection,
        dataset_id,
        state="queued",
        stage="queued",
        error=None,
        ended_ms=None,
        attempts=0,
        build_id=build_id,
        done=0,
        rows=0,
    )
    return True


def _remove(dataset_id: str, now_ms: int, connection: Connection) -> bool:
    dataset = _standing(connection, dataset_id)
    if dataset is None or dataset.ended_ms is None:
        return False
    _leave(connection, dataset.build_id, now_ms)
    connection.execute(_REMOVE, {"of_dataset": dataset_id})
    return True


def _standing(connection: Connection, dataset_id: str) -> Dataset | None:
    """A dataset as nobody else can change it before this transaction ends."""
    found = read_structs(connection, _Row, _LOCKED, {"of_dataset": dataset_id})
    return _dataset(found[0]) if found else None


def _held(connection: Connection, dataset_id: str, holder: str) -> Dataset | None:
    dataset = _standing(connection, dataset_id)
    return dataset if dataset is not None and (dataset.state, dataset.holder) == ("building", holder) else None


def _change(connection: Connection, dataset_id: str, **changes: Any) -> None:
    connection.execute(update(datasets).where(datasets.c.dataset_id == dataset_id).values(**changes))


def _leave(connection: Connection, build_id: str, after_ms: int) -> None:
    insert_missing(connection, dataset_leavings, [(build_id, after_ms)])
    update_rows(connection, dataset_leavings, ("after_ms",), [(build_id, after_ms)])


def _values(dataset: Dataset) -> list[Any]:
    values = msgspec.structs.asdict(dataset)
    for name in ("source", "formats", "dropped", "files"):
        values[name] = _json(values[name])
    values["name"] = without_nul(dataset.name)
    columns = datasets.columns.keys()
    return [values[column] for column in columns]


def _dataset(row: _Row) -> Dataset:
    values = msgspec.structs.asdict(row)
    values["source"] = msgspec.json.decode(row.source, type=DatasetSource)
    values["formats"] = msgspec.json.decode(row.formats, type=tuple[DatasetFormat, ...])
    values["dropped"] = msgspec.json.decode(row.dropped, type=dict[str, int])
    values["files"] = msgspec.json.decode(row.files, type=tuple[DatasetFile, ...])
    return Dataset(**values)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
