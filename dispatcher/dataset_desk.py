"""The front desk for datasets: takes labs' requests in, tells where builds stand, ends them. Implements
`DatasetService`."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from cleaning.dataset import MANIFEST_NAME
from dispatcher.batch_ending import has_ended
from dispatcher.caller import Caller
from dispatcher.dataset_request import DatasetRequest, formats_or_default
from dispatcher.dataset_store import DatasetStore
from dispatcher.datasets import Dataset, DatasetFile, DatasetSource, JobsSource, QuerySource, UrlsSource
from dispatcher.errors import Conflict, NotFound, ObjectError
from dispatcher.jobs import Batch
from dispatcher.ledger import Ledger
from dispatcher.scrape_request import ScrapeRequest
from protocol.dataset import Manifest, ManifestFile
from protocol.keys import from_base64url
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url

_PAGE = 1_000


class DatasetService(Protocol):
    """The port: what the HTTP API asks about datasets. Every id of another team is `NotFound`, exactly as an id that
    never existed. Raises `RequestError` subclasses for the lab's mistakes and `StoreError` for a store's."""

    async def create(
        self, caller: Caller, request: DatasetRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Dataset:
        """Accept a dataset to be built; durable before it returns."""
        ...

    async def dataset(self, team_id: str, dataset_id: str) -> Dataset:
        """Return where a dataset stands."""
        ...

    async def datasets(self, team_id: str, *, before_id: str | None, limit: int) -> list[Dataset]:
        """Return a team's datasets, newest first."""
        ...

    async def versions(self, team_id: str, dataset_id: str) -> list[Dataset]:
        """Return all versions of a dataset, first to last."""
        ...

    async def retry(self, team_id: str, dataset_id: str) -> Dataset:
        """Have a failed build done anew; Conflict where it has not failed."""
        ...

    async def remove(self, team_id: str, dataset_id: str) -> Literal["cancelled", "deleted"]:
        """Cancel a dataset that has not ended, delete one that has."""
        ...

    async def file(self, dataset: Dataset, name: str) -> Path:
        """Return where a file of a completed dataset can be read here; NotFound where it has none of that name."""
        ...


class BatchDesk(Protocol):
    """The part of the lab service that fetches what a dataset is made of."""

    async def submit(
        self,
        team_id: str,
        request: ScrapeRequest,
        *,
        idempotency_key: str | None,
        request_hash: str,
        caller: Caller | None = None,
    ) -> Batch:
        """See LabService."""
        ...

    async def cancel(self, team_id: str, batch_id: str) -> bool:
        """See LabService."""
        ...


class DatasetDesk:
    """A DatasetService. `wake` is called when there is something to build."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        batches: BatchDesk,
        store: DatasetStore,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        wake: Callable[[], None],
        test_sites: TestSites = NO_TEST_SITES,
    ) -> None:
        self._ledger, self._batches, self._store = ledger, batches, store
        self._clock, self._new_id, self._wake, self._test_sites = clock, new_id, wake, test_sites

    async def create(
        self, caller: Caller, request: DatasetRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Dataset:
        """See DatasetService."""
        last = None if request.version_of is None else await self._last_version(caller.team_id, request.version_of)
        source = request.source
        if source is None:
            assert last is not None
            source = await self._as_before(caller, last)
        made_of: DatasetSource
        batch_id: str | None = None
        if isinstance(source, JobsSource):
            await self._check_jobs(caller.team_id, source)
            made_of, batch_id = source, source.jobs[0] if len(source.jobs) == 1 else None
        elif isinstance(source, QuerySource):
            made_of = source
        else:
            batch = await self._fetch(caller, source, idempotency_key=idempotency_key, request_hash=request_hash)
            made_of, batch_id = UrlsSource(len(source.urls)), batch.batch_id
        dataset_id = self._new_id()
        formats = last.formats if last is not None and request.formats is None else formats_or_default(request.formats)
        is_waiting = isinstance(made_of, UrlsSource)
        stored = await self._ledger.add_dataset(
            Dataset(
                dataset_id=dataset_id,
                team_id=caller.team_id,
                series_id=dataset_id if last is None else last.series_id,
                name=request.name or ("" if last is None else last.name),
                source=made_of,
                formats=formats,
                batch_id=batch_id,
                state="waiting" if is_waiting else "queued",
                stage="fetching" if is_waiting else "queued",
                build_id=dataset_id,
                created_ms=self._clock(),
            )
        )
        self._wake()
        return stored

    async def dataset(self, team_id: str, dataset_id: str) -> Dataset:
        """See DatasetService."""
        dataset = await self._ledger.dataset(dataset_id)
        if dataset is None:
            dataset = await self._adopted(dataset_id)
        if dataset is None or dataset.team_id != team_id:
            raise NotFound(f"no dataset {dataset_id}")
        if dataset.state == "waiting" and dataset.batch_id is not None:
            counts = await self._ledger.counts(dataset.batch_id)
            dataset = msgspec.structs.replace(dataset, done=counts.ended, total=counts.total)
        return dataset

    async def datasets(self, team_id: str, *, before_id: str | None, limit: int) -> list[Dataset]:
        """See DatasetService."""
        return await self._ledger.datasets_of(team_id, before_id=before_id, limit=limit)

    async def versions(self, team_id: str, dataset_id: str) -> list[Dataset]:
        """See DatasetService."""
        dataset = await self.dataset(team_id, dataset_id)
        return await self._ledger.dataset_versions(dataset.series_id)

    async def retry(self, team_id: str, dataset_id: str) -> Dataset:
        """See DatasetService."""
        dataset = await self.dataset(team_id, dataset_id)
        if not await self._ledger.retry_dataset(dataset_id, self._new_id()):
            raise Conflict(f"the dataset {dataset_id} is {dataset.state}; only a build that failed is done anew")
        self._wake()
        return await self.dataset(team_id, dataset_id)

    async def remove(self, team_id: str, dataset_id: str) -> Literal["cancelled", "deleted"]:
        """See DatasetService. The pages of a dataset that came with its URLs are not fetched any more either."""
        dataset = await self.dataset(team_id, dataset_id)
        if await self._ledger.cancel_dataset(dataset_id, self._clock()):
            if dataset.state == "waiting" and dataset.batch_id is not None:
                await self._batches.cancel(team_id, dataset.batch_id)
            return "cancelled"
        await self._ledger.remove_dataset(dataset_id, self._clock())
        return "deleted"

    async def file(self, dataset: Dataset, name: str) -> Path:
        """See DatasetService."""
        found = next((file for file in dataset.files if file.name == name), None)
        if found is None:
            names = ", ".join(file.name for file in dataset.files)
            raise NotFound(f"file: got {name[:80]!r}, accepts {names}")
        if name == MANIFEST_NAME:
            path = await self._store.manifest(dataset.build_id)
        else:
            listed = ManifestFile(name=found.name, bytes=found.bytes, sha256=found.sha256, rows=dataset.rows)
            path = await self._store.file(dataset.build_id, listed)
        if path is None:
            raise ObjectError(
                f"{name} of dataset {dataset.dataset_id} is missing in the store; build the dataset again"
            )
        return path

    async def _last_version(self, team_id: str, dataset_id: str) -> Dataset:
        dataset = await self.dataset(team_id, dataset_id)
        return (await self._ledger.dataset_versions(dataset.series_id))[-1]

    async def _check_jobs(self, team_id: str, source: JobsSource) -> None:
        """Refuse batches that are unknown, not finished, or may not be kept."""
        batches = await self._ledger.job_options(source.jobs)
        for batch_id in source.jobs:
            batch = batches.get(batch_id)
            if batch is None or batch.team_id != team_id or batch.kind == "discovery":
                raise NotFound(f"no job {batch_id}")
            if batch.options.zero_data_retention:
                raise Conflict(
                    f"job {batch_id} was submitted with zeroDataRetention: its pages are not kept, so no dataset can be"
                    " made of them"
                )
            if not await has_ended(self._ledger, batch):
                counts = await self._ledger.counts(batch_id)
                raise Conflict(
                    f"job {batch_id} is not finished: {counts.total - counts.ended} of {counts.total} pages are"
                    " outstanding; wait for them or cancel the job"
                )

    async def _fetch(
        self, caller: Caller, request: ScrapeRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Batch:
        caller.require("scrape", "a dataset of URLs that are fetched now")
        if request.options.zero_data_retention:
            raise Conflict("zeroDataRetention: pages that are not kept cannot become a dataset; leave it out")
        return await self._batches.submit(
            caller.team_id, request, idempotency_key=idempotency_key, request_hash=request_hash, caller=caller
        )

    async def _as_before(self, caller: Caller, last: Dataset) -> JobsSource | QuerySource | ScrapeRequest:
        """What the last version was made of, to be made anew: URLs are fetched again."""
        if not isinstance(last.source, UrlsSource):
            return last.source
        batch = await self._ledger.batch(last.batch_id or "")
        if batch is None:
            raise Conflict(f"the URLs of dataset {last.dataset_id} are not known any more; name a source")
        urls: list[AllowedUrl] = []
        position = 0
        while jobs := await self._ledger.jobs_of(batch.batch_id, from_position=position, limit=_PAGE):
            position = jobs[-1].position + 1
            checked = [check_url(job.url, test_sites=self._test_sites) for job in jobs]
            urls.extend(url for url in checked if isinstance(url, AllowedUrl))
        if not urls:
            raise Conflict(f"none of the URLs of dataset {last.dataset_id} may be asked for any more; name a source")
        return ScrapeRequest(kind="batch_scrape", urls=tuple(urls), options=batch.options, named=frozenset({"purpose"}))

    async def _adopted(self, dataset_id: str) -> Dataset | None:
        """Take a dataset into the ledger that was built before datasets stood there: its manifest is all there is."""
        path = await self._store.manifest(dataset_id)
        if path is None:
            return None
        data = await asyncio.to_thread(path.read_bytes)
        manifest = msgspec.json.decode(data, type=Manifest)
        batch = await self._ledger.batch(manifest.batch_id)
        if batch is None or manifest.dataset_id != dataset_id:
            return None
        files = [DatasetFile(file.name, file.bytes, file.sha256) for file in manifest.files]
        files.append(DatasetFile(MANIFEST_NAME, len(data), sha256(data).hexdigest()))
        return await self._ledger.adopt_dataset(
            Dataset(
                dataset_id=dataset_id,
                team_id=batch.team_id,
                series_id=dataset_id,
                source=JobsSource((batch.batch_id,)),
                batch_id=batch.batch_id,
                state="completed",
                stage="done",
                rows=manifest.rows,
                dropped=dict(manifest.drop_reasons),
                files=tuple(files),
                build_id=dataset_id,
                created_ms=manifest.created_ms,
                started_ms=manifest.created_ms,
                ended_ms=manifest.created_ms,
                log_index=manifest.statement_log_index,
                statement_id=sha256(from_base64url(manifest.statement)).hexdigest(),
            )
        )
