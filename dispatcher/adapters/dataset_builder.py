"""Builds datasets in the background, and tells every dispatcher where each build stands."""

import asyncio
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog

from cleaning.adapters.dataset_folder import DatasetWriter
from cleaning.dataset import MANIFEST_NAME, Seal
from cleaning.errors import CleaningError
from dispatcher import __version__
from dispatcher.cleaning_service import load_document
from dispatcher.dataset_store import STATE_EVERY_S, STATE_OLD_MS, BuildState, DatasetStore
from dispatcher.errors import Conflict, ObjectError, StoreError
from dispatcher.job_signer import JobSigner
from dispatcher.jobs import Batch, Job, JobState, Result, record_of
from dispatcher.lab_documents import page_content
from dispatcher.lab_service import DatasetFile, DatasetJob
from dispatcher.ledger import Ledger
from dispatcher.log_service import LogService
from dispatcher.objects import ObjectStore
from protocol.dataset import (
    DatasetStatement,
    DroppedInput,
    Manifest,
    Row,
    RowProvenance,
    content_hash,
    dropped_hash,
    row_leaf,
    with_provenance,
)
from protocol.keys import to_base64url
from protocol.statements import Kind, sign
from provenance.errors import ProvenanceError
from provenance.merkle import leaf_hash, root_of

_log = structlog.get_logger("dataset")
_PAGE = 100
_PUBLISH_TIMEOUT_S = 60.0


class DatasetBuilder:
    """Owns the builds of this dispatcher. A build ends with its dispatcher, which the others find out when nothing is
    said of it any more: it has to be started again."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        objects: ObjectStore,
        log: LogService,
        signer: JobSigner,
        origin: str,
        store: DatasetStore,
        clock: Callable[[], int],
        new_id: Callable[[], str],
    ) -> None:
        self._ledger, self._objects, self._log_service, self._signer = ledger, objects, log, signer
        self._origin, self._store, self._clock, self._new_id = origin, store, clock, new_id
        self._building: dict[str, DatasetJob] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, batch: Batch) -> DatasetJob:
        """Start to build a dataset of an ended batch."""
        counts = await self._ledger.counts(batch.batch_id)
        if counts.ended < counts.total:
            raise Conflict(
                f"job {batch.batch_id} is not finished: {counts.total - counts.ended} of {counts.total} pages are "
                "outstanding; wait for them or cancel the job"
            )
        dataset_id = self._new_id()
        building = DatasetJob(dataset_id=dataset_id, batch_id=batch.batch_id, state="building")
        await self._store.set_state(BuildState(dataset=building, updated_ms=self._clock()))
        self._building[dataset_id] = building
        task = asyncio.ensure_future(self._guarded_build(building))
        self._tasks[dataset_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(dataset_id, None))
        return building

    async def find(self, dataset_id: str) -> DatasetJob | None:
        """Return where a build stands, whichever dispatcher builds it or has built it."""
        if dataset_id in self._building:
            return self._building[dataset_id]
        if (path := await self._store.manifest(dataset_id)) is not None:
            return await asyncio.to_thread(_completed, path)
        if (state := await self._store.state(dataset_id)) is None:
            return None
        if state.dataset.state == "building" and self._clock() - state.updated_ms > STATE_OLD_MS:
            return _failed(state.dataset, "the dispatcher that built it went away; build it again")
        return state.dataset

    async def file(self, dataset_id: str, name: str) -> Path | None:
        """Return the path of a file of a completed dataset."""
        path = await self._store.manifest(dataset_id)
        if path is None or name == MANIFEST_NAME:
            return path
        manifest = await asyncio.to_thread(_read_manifest, path)
        file = next((file for file in manifest.files if file.name == name), None)
        return None if file is None else await self._store.file(dataset_id, file)

    async def close(self) -> None:
        """Stop what is being built; nothing of it stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finished(self, dataset_id: str) -> None:
        """Wait until a build has ended, one way or the other."""
        if task := self._tasks.get(dataset_id):
            await asyncio.wait([task])

    async def _guarded_build(self, building: DatasetJob) -> None:
        dataset_id = building.dataset_id
        saying = asyncio.create_task(self._say_where_it_stands(dataset_id))
        try:
            await self._build(building)
            del self._building[dataset_id]
        except (StoreError, CleaningError, ProvenanceError, TimeoutError) as error:
            _log.warning("dataset_failed", dataset_id=dataset_id, error=str(error))
            saying.cancel()
            await self._end(dataset_id, _failed(self._building[dataset_id], str(error)))
        except asyncio.CancelledError:
            saying.cancel()
            await self._end(dataset_id, _failed(building, "the dispatcher that built it was stopped; build it again"))
            raise
        finally:
            saying.cancel()

    async def _end(self, dataset_id: str, failed: DatasetJob) -> None:
        """A build came to nothing: nothing of it stays but the reason."""
        self._building[dataset_id] = failed
        await asyncio.to_thread(shutil.rmtree, self._store.folder / dataset_id, ignore_errors=True)
        try:
            await self._store.set_state(BuildState(dataset=failed, updated_ms=self._clock()))
        except StoreError as error:
            _log.warning("dataset_state_not_kept", dataset_id=dataset_id, error=str(error))

    async def _say_where_it_stands(self, dataset_id: str) -> None:
        while True:
            await asyncio.sleep(STATE_EVERY_S)
            try:
                state = BuildState(dataset=self._building[dataset_id], updated_ms=self._clock())
                await self._store.set_state(state)
            except StoreError as error:
                _log.warning("dataset_state_not_kept", dataset_id=dataset_id, error=str(error))

    async def _build(self, building: DatasetJob) -> None:
        writer = await asyncio.to_thread(DatasetWriter, self._store.folder / building.dataset_id)
        with writer:
            leaves: list[bytes] = []
            position = 0
            while jobs := await self._ledger.jobs_of(building.batch_id, from_position=position, limit=_PAGE):
                candidates = await self._candidates(jobs)
                leaves.extend(await asyncio.to_thread(_add_all, writer, candidates))
                position = jobs[-1].position + 1
                self._building[building.dataset_id] = msgspec.structs.replace(building, rows=len(leaves))
            await self._finish(writer, building, leaves)

    async def _finish(self, writer: DatasetWriter, building: DatasetJob, leaves: Sequence[bytes]) -> None:
        root = root_of(leaves).hex()
        created_ms = self._clock()
        statement = sign(
            Kind.DATASET,
            DatasetStatement(
                dataset_id=building.dataset_id,
                batch_id=building.batch_id,
                rows=len(leaves),
                root=root,
                dropped_hash=dropped_hash(writer.dropped),
                created_ms=created_ms,
                signer=self._signer.job_key.public,
            ),
            self._signer.job_key,
        ).to_bytes()
        index = await self._ledger.append_entry(statement)
        if not await self._log_service.wait_until_published(index, timeout_s=_PUBLISH_TIMEOUT_S):
            raise TimeoutError("the log did not publish the dataset's statement in time; build it again")
        seal = Seal(
            dataset_id=building.dataset_id,
            batch_id=building.batch_id,
            created_ms=created_ms,
            root=root,
            statement=to_base64url(statement),
            statement_log_index=index,
            log_origin=self._origin,
            tool_version=f"meadow-network {__version__}",
        )
        await asyncio.to_thread(writer.finish, seal)
        await self._store.publish(building.dataset_id)

    async def _candidates(self, jobs: Sequence[Job]) -> list[Row | DroppedInput]:
        results = await self._ledger.results([job.job_id for job in jobs])
        return [await self._candidate(job, results.get(job.job_id)) for job in jobs]

    async def _candidate(self, job: Job, result: Result | None) -> Row | DroppedInput:
        if job.state is not JobState.COMPLETED or result is None:
            return DroppedInput(url=job.url, reason=job.reason or job.state.value, detail=job.detail or "")
        if job.content_deleted_ms is not None:
            return DroppedInput(url=job.url, reason="content_deleted", detail="kept for its time, then deleted")
        if job.document_hash is None:
            return DroppedInput(url=job.url, reason=job.dropped or "no_document")
        document = await load_document(self._objects, job.document_hash)
        if document is None:
            return DroppedInput(url=job.url, reason="document_missing", detail="missing or damaged in the object store")
        record = record_of(result)
        content = page_content(document, record)
        provenance = RowProvenance(
            content_hash=content_hash(content),
            record=to_base64url(result.record),
            log_origin=self._origin,
            log_index=result.log_index,
            integrity="direct",
        )
        return with_provenance(content, provenance)


def _add_all(writer: DatasetWriter, candidates: Sequence[Row | DroppedInput]) -> list[bytes]:
    leaves: list[bytes] = []
    for candidate in candidates:
        dropped = writer.add(candidate)
        if dropped is None and isinstance(candidate, Row):
            leaves.append(leaf_hash(row_leaf(candidate)))
    return leaves


def _failed(dataset: DatasetJob, error: str) -> DatasetJob:
    return msgspec.structs.replace(dataset, state="failed", error=error)


def _read_manifest(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ObjectError(f"{path} is no dataset's manifest ({error}); build the dataset again") from error


def _completed(path: Path) -> DatasetJob:
    manifest = _read_manifest(path)
    files = [DatasetFile(file.name, file.bytes, file.sha256) for file in manifest.files]
    files.append(_describe(path))
    return DatasetJob(
        dataset_id=manifest.dataset_id,
        batch_id=manifest.batch_id,
        state="completed",
        rows=manifest.rows,
        dropped=dict(Counter(dropped.reason for dropped in manifest.dropped)),
        files=tuple(files),
    )


def _describe(path: Path) -> DatasetFile:
    data = path.read_bytes()
    return DatasetFile(path.name, len(data), hashlib.sha256(data).hexdigest())
