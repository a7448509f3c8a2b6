"""Datasets as a server would announce them that lies about a file, for tests of the commands that download them."""

import hashlib
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.caller import Caller
from dispatcher.dataset_desk import DatasetService
from dispatcher.dataset_request import DatasetRequest
from dispatcher.datasets import Dataset, DatasetFile, JobsSource
from dispatcher.errors import Conflict, NotFound
from dispatcher.jobs import record_of
from dispatcher.lab_documents import page_content
from dispatcher.lab_service import BatchPage
from protocol.dataset import RowProvenance, content_hash, row_leaf, with_provenance
from protocol.keys import to_base64url


class Pages(Protocol):
    """Where the pages of a batch are read. `tamper`: a byte more is served than announced, in a file of this name."""

    tamper: bool
    dataset_name: str

    async def status(self, team_id: str, batch_id: str, *, from_position: int, limit: int) -> BatchPage: ...


class PlayedDatasets(DatasetService):
    """Builds a dataset of one job when it is first asked about, as JSON Lines alone."""

    def __init__(self, pages: Pages, folder: Path) -> None:
        self._pages, self._folder = pages, folder
        self._datasets: dict[str, Dataset] = {}

    async def create(
        self, caller: Caller, request: DatasetRequest, *, idempotency_key: str | None, request_hash: str
    ) -> Dataset:
        assert isinstance(request.source, JobsSource)
        [batch_id] = request.source.jobs
        page = await self._pages.status(caller.team_id, batch_id, from_position=0, limit=1)
        if page.counts.ended < page.counts.total:
            raise Conflict(f"the batch {batch_id} is not finished")
        dataset_id = new_id()
        dataset = self._datasets[dataset_id] = Dataset(
            dataset_id=dataset_id,
            team_id=caller.team_id,
            series_id=dataset_id,
            source=request.source,
            batch_id=batch_id,
            build_id=dataset_id,
            created_ms=now_ms(),
        )
        return dataset

    async def dataset(self, team_id: str, dataset_id: str) -> Dataset:
        dataset = self._datasets.get(dataset_id)
        if dataset is None or dataset.team_id != team_id:
            raise NotFound(f"no dataset {dataset_id}")
        if dataset.state == "queued":
            dataset = self._datasets[dataset_id] = await self._built(dataset)
        return dataset

    async def _built(self, dataset: Dataset) -> Dataset:
        page = await self._pages.status(dataset.team_id, dataset.batch_id or "", from_position=0, limit=1_000)
        lines: list[bytes] = []
        for job in page.jobs:
            if job.job_id in page.documents:
                result = page.results[job.job_id]
                content = page_content(page.documents[job.job_id], record_of(result))
                provenance = RowProvenance(
                    content_hash=content_hash(content),
                    record=to_base64url(result.record),
                    log_origin="log.example/test",
                    log_index=result.log_index,
                    integrity="direct",
                )
                lines.append(row_leaf(with_provenance(content, provenance)) + b"\n")
        if not lines:
            return msgspec.structs.replace(dataset, state="failed", error="no page became a row")
        data, name = b"".join(lines), self._pages.dataset_name
        path = self._folder / f"{dataset.dataset_id}-{Path(name).name}"
        path.write_bytes(data + (b"x" if self._pages.tamper else b""))
        dropped = {"not_completed": len(page.jobs) - len(lines)} if len(lines) < len(page.jobs) else {}
        file = DatasetFile(name, len(data), hashlib.sha256(data).hexdigest())
        return msgspec.structs.replace(dataset, state="completed", rows=len(lines), dropped=dropped, files=(file,))

    async def datasets(self, team_id: str, *, before_id: str | None, limit: int) -> list[Dataset]:
        return [dataset for dataset in self._datasets.values() if dataset.team_id == team_id]

    async def versions(self, team_id: str, dataset_id: str) -> list[Dataset]:
        return [await self.dataset(team_id, dataset_id)]

    async def retry(self, team_id: str, dataset_id: str) -> Dataset:
        raise Conflict("nothing is done anew here")

    async def remove(self, team_id: str, dataset_id: str) -> Literal["cancelled", "deleted"]:
        del self._datasets[dataset_id]
        return "deleted"

    async def file(self, dataset: Dataset, name: str) -> Path:
        return self._folder / f"{dataset.dataset_id}-{name}"
