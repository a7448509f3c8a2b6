"""Builds datasets in the background: whichever dispatcher takes one up reads its pages, writes its files, has its
statement logged, and brings the files to where every dispatcher reads them.

Which datasets there are and who builds them stands in the ledger. A build ends with its dispatcher; another takes it up
again once nothing was said of it for `LEASE_MS`, from the beginning. What it says in the log is dated by its first
start, so that a build that is done twice says the same.
"""

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from cleaning.adapters.dataset_folder import DatasetWriter
from cleaning.dataset import CSV_NAME, JSONL_NAME, MANIFEST_NAME, PARQUET_NAME, Seal
from cleaning.errors import CleaningError
from dispatcher import __version__
from dispatcher.adapters.dataset_files import DatasetFolder, PageInput
from dispatcher.batch_ending import has_ended
from dispatcher.compliance_signals import compliance_of
from dispatcher.dataset_card import CardSeal
from dispatcher.dataset_ledger import BuildEnd, BuildProgress
from dispatcher.dataset_pages import SelectedPage, fits, select_pages, total_of
from dispatcher.dataset_store import DatasetStore
from dispatcher.datasets import Dataset, DatasetFile, Stage
from dispatcher.errors import StoreError
from dispatcher.job_signer import JobSigner
from dispatcher.jobs import JobState, record_of
from dispatcher.lab_documents import page_content
from dispatcher.ledger import Ledger
from dispatcher.log_service import LogService
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_document
from dispatcher.page_provenance import integrity_of
from dispatcher.robots_evidence import RobotsUsages
from dispatcher.robots_usage import RobotsUsage
from dispatcher.settlement import BODY, body_name
from protocol.dataset import (
    DatasetStatement,
    DroppedInput,
    Manifest,
    RowProvenance,
    content_hash,
    dropped_hash,
    with_provenance,
)
from protocol.keys import to_base64url
from protocol.statements import Kind, sign
from provenance.errors import ProvenanceError

_log = structlog.get_logger("dataset")
LEASE_MS: Final = 60_000
"""A build of which nothing was said for so long has gone with its dispatcher."""
HOLD_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 2.0
"""How often a dispatcher that could build looks for a dataset that nobody builds."""
TIDY_EVERY_S: Final = 3_600.0
BUILDS_AT_ONCE: Final = 2
_PUBLISH_TIMEOUT_S = 300.0
_CHUNK_PAGES = 50
_CHUNK_BYTES = 16 * 1024 * 1024
"""So much of bodies is in memory before it is written."""
_SOFTWARE = f"meadow-network {__version__}"


class _Lost(Exception):
    """The dataset was cancelled or deleted, or another dispatcher has taken it over."""


class DatasetBuilder:
    """Owns the builds of this dispatcher. `holder` names this run of it: no other process, and no later run, has it."""

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
        holder: str | None = None,
    ) -> None:
        self._ledger, self._objects, self._log_service, self._signer = ledger, objects, log, signer
        self._origin, self._store, self._clock, self._new_id = origin, store, clock, new_id
        self._holder = holder or new_id()
        self._usages = RobotsUsages(ledger)
        self._progress: dict[str, BuildProgress] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Look for datasets to build now."""
        self._wanted.set()

    async def run(self) -> None:
        """Build what nobody builds, until cancelled."""
        tidied_s = asyncio.get_running_loop().time()
        while True:
            try:
                await self.look()
                if asyncio.get_running_loop().time() - tidied_s > TIDY_EVERY_S:
                    tidied_s = asyncio.get_running_loop().time()
                    await self._store.tidy()
            except StoreError as error:
                _log.warning("datasets_not_looked_for", error=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_EVERY_S)
            self._wanted.clear()

    async def look(self) -> None:
        """Once: queue the datasets whose pages have all come, and take up what nobody builds while there is room."""
        for dataset in await self._ledger.waiting_datasets():
            batch = await self._ledger.batch(dataset.batch_id or "")
            if batch is None or await has_ended(self._ledger, batch):
                await self._ledger.queue_dataset(dataset.dataset_id)
        while len(self._tasks) < BUILDS_AT_ONCE:
            taken = await self._ledger.take_dataset(
                holder=self._holder, build_id=self._new_id(), now_ms=self._clock(), lease_ms=LEASE_MS
            )
            if taken is None:
                return
            task = asyncio.ensure_future(self._guarded_build(taken))
            self._tasks[taken.dataset_id] = task
            task.add_done_callback(partial(self._ended, taken.dataset_id))

    async def close(self) -> None:
        """Stop what is being built, and give it back to be taken up elsewhere."""
        tasks = dict(self._tasks)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        for dataset_id in tasks:
            with contextlib.suppress(StoreError):
                await self._ledger.release_dataset(dataset_id, holder=self._holder)

    async def finished(self, dataset_id: str) -> None:
        """Wait until a build of this dispatcher has ended, one way or the other."""
        if task := self._tasks.get(dataset_id):
            await asyncio.wait([task])

    def _ended(self, dataset_id: str, _: object) -> None:
        del self._tasks[dataset_id]
        self._wanted.set()

    async def _guarded_build(self, dataset: Dataset) -> None:
        dataset_id = dataset.dataset_id
        self._say(dataset_id, "reading", done=0, total=dataset.total, rows=0)
        building = asyncio.ensure_future(self._build(dataset))
        holding = asyncio.ensure_future(self._hold(dataset_id))
        try:
            await asyncio.wait([building, holding], return_when=asyncio.FIRST_COMPLETED)
            if not building.done():
                raise _Lost
            end = building.result()
        except _Lost:
            _log.info("dataset_given_up", dataset_id=dataset_id)
            await self._forget(dataset)
            return
        except (StoreError, CleaningError, ProvenanceError, TimeoutError) as error:
            _log.warning("dataset_failed", dataset_id=dataset_id, error=str(error))
            end = BuildEnd(state="failed", error=str(error))
        except asyncio.CancelledError:
            await self._forget(dataset)
            raise
        finally:
            for task in (building, holding):
                task.cancel()
            await asyncio.gather(building, holding, return_exceptions=True)
            self._progress.pop(dataset_id, None)
        await self._end(dataset, end)

    async def _end(self, dataset: Dataset, end: BuildEnd) -> None:
        """Say how a build ended. What cannot be said is found out when the lease is over."""
        try:
            kept = await self._ledger.end_dataset(
                dataset.dataset_id, holder=self._holder, end=end, now_ms=self._clock()
            )
        except StoreError as error:
            _log.warning("dataset_end_not_kept", dataset_id=dataset.dataset_id, error=str(error))
            return
        if not kept or end.state == "failed":
            await self._forget(dataset)

    async def _forget(self, dataset: Dataset) -> None:
        """Leave nothing of a build here; what of it has been published is erased by whoever erases leavings."""
        await asyncio.to_thread(shutil.rmtree, self._store.folder / dataset.build_id, ignore_errors=True)

    async def _hold(self, dataset_id: str) -> None:
        """Keep the dataset this dispatcher's; returns once it is so no more."""
        while True:
            await asyncio.sleep(HOLD_EVERY_S)
            try:
                held = await self._ledger.hold_dataset(
                    dataset_id,
                    holder=self._holder,
                    progress=self._progress[dataset_id],
                    now_ms=self._clock(),
                    lease_ms=LEASE_MS,
                )
            except StoreError as error:
                _log.warning("dataset_not_held", dataset_id=dataset_id, error=str(error))
                continue
            if not held:
                return

    def _say(self, dataset_id: str, stage: Stage, *, done: int, total: int, rows: int) -> None:
        self._progress[dataset_id] = BuildProgress(stage=stage, done=done, total=total, rows=rows)

    async def _build(self, dataset: Dataset) -> BuildEnd:
        total = await total_of(self._ledger, dataset)
        names = {"jsonl": JSONL_NAME, "csv": CSV_NAME}
        files = (PARQUET_NAME, *(names[name] for name in dataset.formats if name in names))
        writer = await asyncio.to_thread(DatasetWriter, self._store.folder / dataset.build_id, files)
        with writer:
            folder = await asyncio.to_thread(DatasetFolder, writer, dataset, software=_SOFTWARE)
            with folder:
                until_ms: int | None = None
                async for selected in select_pages(self._ledger, dataset):
                    for start in range(0, len(selected.pages), _CHUNK_PAGES):
                        part = selected.pages[start : start + _CHUNK_PAGES]
                        until_ms = await self._add(folder, dataset, part, until_ms)
                    self._say(dataset.dataset_id, "reading", done=selected.done, total=total, rows=writer.rows)
                # More may have come of a job that grows while it was read.
                total = max(total, self._progress[dataset.dataset_id].done)
                self._say(dataset.dataset_id, "sealing", done=total, total=total, rows=writer.rows)
                return await self._finish(folder, dataset, total, until_ms)

    async def _add(
        self, folder: DatasetFolder, dataset: Dataset, pages: Sequence[SelectedPage], until_ms: int | None
    ) -> int | None:
        """Write some pages; until when the first of their rows, or of those before, may be kept."""
        usages = await self._usages.of(
            page.result.robots_hash for page in pages if page.result is not None and page.result.robots_hash
        )
        inputs: list[PageInput | DroppedInput] = []
        size = 0

        async def flush() -> None:
            nonlocal until_ms, size
            until_ms = await asyncio.to_thread(folder.add, inputs.copy(), until_ms)
            inputs.clear()
            size = 0

        for page in pages:
            found = await self._input(dataset, page, usages)
            if found is not None:
                inputs.append(found)
                size += len(found.body or b"") if isinstance(found, PageInput) else 0
            if size > _CHUNK_BYTES:
                await flush()
        await flush()
        return until_ms

    async def _input(
        self, dataset: Dataset, page: SelectedPage, usages: dict[str, RobotsUsage]
    ) -> PageInput | DroppedInput | None:
        """Read what a page's row is made of; why it becomes none; None where a query does not ask for it."""
        job, result = page.job, page.result
        if job.state is not JobState.COMPLETED or result is None:
            return DroppedInput(url=job.url, reason=job.reason or job.state.value, detail=job.detail or "")
        if job.content_deleted_ms is not None:
            return DroppedInput(url=job.url, reason="content_deleted", detail="kept for its time, then deleted")
        if job.document_hash is None:
            return DroppedInput(url=job.url, reason=job.dropped or "no_document")
        document = await load_document(self._objects, job.document_hash)
        if document is None:
            return DroppedInput(url=job.url, reason="document_missing", detail="missing or damaged in the object store")
        if not fits(document, dataset):
            return None
        record = record_of(result)
        body = None
        if "warc" in dataset.formats:
            body = await self._objects.get(BODY, body_name(record))
            if body is None:
                return DroppedInput(url=job.url, reason="body_missing", detail="missing in the object store")
        content = page_content(document, record)
        provenance = RowProvenance(
            content_hash=content_hash(content),
            record=to_base64url(result.record),
            log_origin=self._origin,
            log_index=result.log_index,
            integrity=integrity_of(record),
        )
        return PageInput(
            row=with_provenance(content, provenance),
            record=record,
            compliance=compliance_of(
                record,
                robots_hash=result.robots_hash,
                robots=usages.get(result.robots_hash or ""),
                markup=document.usage,
            ),
            host=job.host,
            country=page.batch.options.country,
            until_ms=None if page.batch.retain_ms is None else job.updated_ms + page.batch.retain_ms,
            body=body,
        )

    async def _finish(self, folder: DatasetFolder, dataset: Dataset, total: int, until_ms: int | None) -> BuildEnd:
        root, dropped = folder.root(), folder.dropped
        created_ms = dataset.started_ms if dataset.started_ms is not None else self._clock()
        batch_id = dataset.batch_id or dataset.dataset_id
        statement = sign(
            Kind.DATASET,
            DatasetStatement(
                dataset_id=dataset.dataset_id,
                batch_id=batch_id,
                rows=folder.rows,
                root=root,
                dropped_hash=dropped_hash(dropped),
                created_ms=created_ms,
                signer=self._signer.job_key.public,
            ),
            self._signer.job_key,
        ).to_bytes()
        index = await self._ledger.append_entry(statement)
        if not await self._log_service.wait_until_published(index, timeout_s=_PUBLISH_TIMEOUT_S):
            raise TimeoutError("the log did not publish the dataset's statement in time; build it again")
        statement_id = hashlib.sha256(statement).hexdigest()
        versions = await self._ledger.dataset_versions(dataset.series_id)
        earlier = [each.ended_ms for each in versions if each.version < dataset.version and each.state == "completed"]
        card = CardSeal(
            created_ms=created_ms,
            root=root,
            log_origin=self._origin,
            log_index=index,
            statement_id=statement_id,
            tool_version=_SOFTWARE,
            previous_ms=earlier[-1] if earlier else None,
        )
        seal = Seal(
            dataset_id=dataset.dataset_id,
            batch_id=batch_id,
            created_ms=created_ms,
            root=root,
            statement=to_base64url(statement),
            statement_log_index=index,
            log_origin=self._origin,
            tool_version=_SOFTWARE,
        )
        self._say(dataset.dataset_id, "publishing", done=total, total=total, rows=folder.rows)
        manifest, own = await asyncio.to_thread(folder.finish, seal, card)
        await self._store.publish(dataset.build_id)
        return BuildEnd(
            state="completed",
            rows=manifest.rows,
            dropped=dict(manifest.drop_reasons),
            files=_files(manifest, own),
            until_ms=until_ms,
            log_index=index,
            statement_id=statement_id,
        )


def _files(manifest: Manifest, own: DatasetFile) -> tuple[DatasetFile, ...]:
    """List the files of a dataset: those of its manifest, and `own`, the manifest itself."""
    assert own.name == MANIFEST_NAME
    return (*(DatasetFile(file.name, file.bytes, file.sha256) for file in manifest.files), own)
