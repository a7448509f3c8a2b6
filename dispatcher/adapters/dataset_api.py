"""Datasets over HTTP: this network's own part of the lab API.

POST   /v1/datasets                    build a dataset; see `dataset_request`
GET    /v1/datasets                    the team's datasets, newest first
GET    /v1/datasets/{id}               where it stands; its files once completed
DELETE /v1/datasets/{id}               cancel it while it is built, delete it afterwards
POST   /v1/datasets/{id}/retry         have a failed build done anew
GET    /v1/datasets/{id}/versions      its versions
POST   /v1/datasets/{id}/versions      a new version of it
GET    /v1/datasets/{id}/items         its rows, page by page
GET    /v1/datasets/{id}/files/{name}  a file, with its SHA-256 in Repr-Digest (RFC 9530)
"""

import asyncio
import base64
import hashlib
from typing import Final
from urllib.parse import urlencode

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET

from cleaning.dataset import PARQUET_NAME
from dispatcher.adapters.api_address import ApiAddress
from dispatcher.adapters.dataset_items import FIELDS, ItemFormat, Items, items_header, read_items
from dispatcher.adapters.lab_auth import caller_of, idempotency_key, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.dataset_desk import DatasetService
from dispatcher.dataset_request import DatasetRequest, decode_dataset, decode_version
from dispatcher.dataset_views import DatasetItems, DatasetList, DatasetRemoved, dataset_view
from dispatcher.datasets import Dataset
from dispatcher.errors import BadRequest, Conflict, NotFound
from dispatcher.lab_service import LabService
from dispatcher.page_provenance import LogPlace
from dispatcher.request_fields import Rejected
from protocol.ids import is_uuid7
from protocol.urls import NO_TEST_SITES, TestSites

MAX_ITEMS: Final = 1_000
DEFAULT_ITEMS: Final = 100
MAX_LISTED: Final = 100
_READS_AT_ONCE: Final = 2
"""Pages of items read at once: each may hold a row group of a Parquet file in memory."""
_TYPES: Final[dict[ItemFormat, str]] = {"json": "application/json", "jsonl": "application/jsonl", "csv": "text/csv"}


class DatasetApi:
    """The routes of datasets. `log_origin` names the record log; `address` is what links begin with; `service` says
    who asks."""

    def __init__(
        self,
        service: LabService,
        datasets: DatasetService,
        *,
        log_origin: str,
        test_sites: TestSites = NO_TEST_SITES,
        address: ApiAddress | None = None,
        has_model: bool = False,
        has_browser: bool = False,
    ) -> None:
        self._service, self._datasets, self._log_origin = service, datasets, log_origin
        self._test_sites, self._has_model, self._has_browser = test_sites, has_model, has_browser
        self._address = address or ApiAddress()
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.post("/v1/datasets", self.build),
            web.get("/v1/datasets", self.list),
            web.get("/v1/datasets/{id}", self.read),
            web.delete("/v1/datasets/{id}", self.remove),
            web.post("/v1/datasets/{id}/retry", self.retry),
            web.get("/v1/datasets/{id}/versions", self.list_versions),
            web.post("/v1/datasets/{id}/versions", self.build_version),
            web.get("/v1/datasets/{id}/items", self.read_items),
            web.get("/v1/datasets/{id}/files/{name}", self.read_file),
        ]

    def _place(self, request: web.Request) -> LogPlace:
        return LogPlace(self._log_origin, self._address.of(request))

    async def build(self, request: web.Request) -> web.Response:
        """Accept a dataset to be built."""
        return await self._build(request, None)

    async def build_version(self, request: web.Request) -> web.Response:
        """Accept a new version of a dataset: of what the last one was made of, or of another source."""
        return await self._build(request, _dataset_id(request))

    async def list(self, request: web.Request) -> web.Response:
        """List the team's datasets, newest first; `before` is the id of the last one seen."""
        team_id = (await caller_of(request, self._service)).team_id
        limit = _whole(request, "limit", MAX_LISTED, low=1, high=MAX_LISTED)
        before = request.query.get("before")
        if before is not None and not is_uuid7(before):
            raise BadRequest(f"before: got {before[:80]!r}, accepts the id of a dataset")
        found = await self._datasets.datasets(team_id, before_id=before, limit=limit)
        place = self._place(request)
        more = f"{place.base_url}/v1/datasets?before={found[-1].dataset_id}&limit={limit}" if found else ""
        return json_answer(
            DatasetList(
                datasets=[dataset_view(dataset, place=place) for dataset in found],
                next=more if len(found) == limit else UNSET,
            )
        )

    async def read(self, request: web.Request) -> web.Response:
        """Say where a dataset stands."""
        team_id = (await caller_of(request, self._service)).team_id
        return self._answer(request, await self._datasets.dataset(team_id, _dataset_id(request)))

    async def remove(self, request: web.Request) -> web.Response:
        """Cancel a dataset that is being built, delete one that has ended."""
        team_id, dataset_id = (await caller_of(request, self._service)).team_id, _dataset_id(request)
        status = await self._datasets.remove(team_id, dataset_id)
        return json_answer(DatasetRemoved(id=dataset_id, status=status))

    async def retry(self, request: web.Request) -> web.Response:
        """Have a failed build done anew."""
        team_id = (await caller_of(request, self._service)).team_id
        return self._answer(request, await self._datasets.retry(team_id, _dataset_id(request)))

    async def list_versions(self, request: web.Request) -> web.Response:
        """List the versions of a dataset, first to last; any version's id names them all."""
        team_id = (await caller_of(request, self._service)).team_id
        found = await self._datasets.versions(team_id, _dataset_id(request))
        place = self._place(request)
        return json_answer(DatasetList(datasets=[dataset_view(dataset, place=place) for dataset in found]))

    async def read_items(self, request: web.Request) -> web.Response:
        """Send rows of a completed dataset."""
        team_id = (await caller_of(request, self._service)).team_id
        offset = _whole(request, "offset", 0, low=0, high=2**53)
        limit = _whole(request, "limit", DEFAULT_ITEMS, low=1, high=MAX_ITEMS)
        fields, format_ = _fields(request), _format(request)
        dataset = _completed(await self._datasets.dataset(team_id, _dataset_id(request)))
        path = await self._datasets.file(dataset, PARQUET_NAME)
        async with self._reading:
            found = await asyncio.to_thread(
                read_items, path, offset=offset, limit=limit, fields=fields, format_=format_
            )
        after = self._next(request, found, dataset)
        if format_ == "json":
            return json_answer(
                DatasetItems(
                    id=dataset.dataset_id,
                    offset=offset,
                    total=found.total,
                    next=after or UNSET,
                    items=[msgspec.Raw(item) for item in found.items],
                )
            )
        header = items_header(fields) if format_ == "csv" else b""
        return _lines(header + b"".join(found.items), format_, found.total, after)

    async def read_file(self, request: web.Request) -> web.StreamResponse:
        """Send a file of a completed dataset; ranges are honoured."""
        team_id = (await caller_of(request, self._service)).team_id
        name = request.match_info["name"]
        dataset = _completed(await self._datasets.dataset(team_id, _dataset_id(request)))
        path = await self._datasets.file(dataset, name)
        file = next(item for item in dataset.files if item.name == name)
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        return web.FileResponse(
            path,
            headers={
                "Repr-Digest": f"sha-256=:{digest}:",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{file.name}"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    async def _build(self, request: web.Request, version_of: str | None) -> web.Response:
        caller = await caller_of(request, self._service)
        key = idempotency_key(request)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        decode = decode_dataset if version_of is None else decode_version
        wanted: DatasetRequest | Rejected = await asyncio.to_thread(
            decode, body, test_sites=self._test_sites, has_model=self._has_model, has_browser=self._has_browser
        )
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        if version_of is not None:
            wanted = msgspec.structs.replace(wanted, version_of=version_of)
        request_hash = hashlib.sha256(request.path.encode() + b"\n" + body).hexdigest()
        stored = await self._datasets.create(caller, wanted, idempotency_key=key, request_hash=request_hash)
        return self._answer(request, stored)

    def _answer(self, request: web.Request, dataset: Dataset) -> web.Response:
        return json_answer(dataset_view(dataset, place=self._place(request)))

    def _next(self, request: web.Request, found: Items, dataset: Dataset) -> str | None:
        if found.after >= found.total or not found.items:
            return None
        kept = {name: value for name, value in request.query.items() if name != "offset"}
        query = urlencode({"offset": found.after, **kept})
        return f"{self._place(request).base_url}/v1/datasets/{dataset.dataset_id}/items?{query}"


def _lines(body: bytes, format_: ItemFormat, total: int, after: str | None) -> web.Response:
    response = web.Response(body=body, content_type=_TYPES[format_], charset="utf-8")
    response.headers["X-Total-Count"] = str(total)
    response.headers[hdrs.CACHE_CONTROL] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if after is not None:
        response.headers[hdrs.LINK] = f'<{after}>; rel="next"'
    return response


def _dataset_id(request: web.Request) -> str:
    """Return the id in the address; nothing else than an id ever reaches the service."""
    dataset_id = request.match_info["id"]
    if not is_uuid7(dataset_id):
        raise NotFound(f"no dataset {dataset_id[:80]}")
    return dataset_id


def _completed(dataset: Dataset) -> Dataset:
    if dataset.state != "completed":
        raise Conflict(f"the dataset is {dataset.state}; its files can be read once it is completed")
    return dataset


def _fields(request: web.Request) -> tuple[str, ...]:
    """Return the fields asked for, in the order of a row's; all of them without `fields`."""
    text = request.query.get("fields")
    if text is None:
        return FIELDS
    asked = [name.strip() for name in text.split(",")]
    unknown = [name for name in asked if name not in FIELDS]
    if unknown:
        raise BadRequest(f"fields: got {unknown[0][:80]!r}, accepts {', '.join(FIELDS)}, separated by commas")
    return tuple(name for name in FIELDS if name in asked)


def _format(request: web.Request) -> ItemFormat:
    text = request.query.get("format", "json")
    found = next((name for name in _TYPES if name == text), None)
    if found is None:
        raise BadRequest(f"format: got {text[:80]!r}, accepts {' or '.join(_TYPES)}")
    return found


def _whole(request: web.Request, name: str, default: int, *, low: int, high: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and len(text) <= 16 and low <= int(text) <= high:
        return int(text)
    raise BadRequest(f"{name}: got {text[:40]!r}, accepts a whole number from {low} to {high}")
