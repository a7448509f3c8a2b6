"""Datasets over HTTP: this network's own part of the lab API.

POST /v1/datasets                    build a dataset of an ended batch: {"job": batch id}
GET  /v1/datasets/{id}               where the build stands; its files once completed
GET  /v1/datasets/{id}/files/{name}  a file, with its SHA-256 in Repr-Digest (RFC 9530)
"""

import base64
from collections.abc import Callable

from aiohttp import hdrs, web

from dispatcher.adapters.lab_auth import read_json, team_of
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.errors import Conflict, NotFound
from dispatcher.lab_documents import dataset_view
from dispatcher.lab_service import LabService
from dispatcher.request_fields import Problem, Rejected, read_object, rejected, shown
from protocol.ids import is_uuid7


class DatasetApi:
    """The routes of datasets."""

    def __init__(self, service: LabService, base_url: Callable[[web.Request], str]) -> None:
        self._service, self._base_url = service, base_url

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.post("/v1/datasets", self.build),
            web.get("/v1/datasets/{id}", self.read),
            web.get("/v1/datasets/{id}/files/{name}", self.read_file),
        ]

    async def build(self, request: web.Request) -> web.Response:
        """Start a build."""
        team_id = await team_of(request, self._service)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        batch_id = _job_of(body)
        if isinstance(batch_id, Rejected):
            return rejected_answer(batch_id)
        dataset = await self._service.build_dataset(team_id, batch_id)
        return json_answer(dataset_view(dataset, base_url=self._base_url(request)))

    async def read(self, request: web.Request) -> web.Response:
        """Say where a build stands."""
        team_id = await team_of(request, self._service)
        dataset = await self._service.dataset(team_id, _dataset_id(request))
        return json_answer(dataset_view(dataset, base_url=self._base_url(request)))

    async def read_file(self, request: web.Request) -> web.StreamResponse:
        """Send a file of a completed dataset; ranges are honoured."""
        team_id = await team_of(request, self._service)
        name = request.match_info["name"]
        dataset = await self._service.dataset(team_id, _dataset_id(request))
        if dataset.state != "completed":
            raise Conflict(f"the dataset is {dataset.state}; its files can be read once it is completed")
        file = next((item for item in dataset.files if item.name == name), None)
        if file is None:
            names = ", ".join(item.name for item in dataset.files)
            raise NotFound(f"file: got {name[:80]!r}, accepts {names}")
        path = await self._service.dataset_file(team_id, dataset.dataset_id, name)
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        return web.FileResponse(
            path,
            headers={
                "Repr-Digest": f"sha-256=:{digest}:",
                hdrs.CONTENT_DISPOSITION: f'attachment; filename="{file.name}"',
                "X-Content-Type-Options": "nosniff",
            },
        )


def _dataset_id(request: web.Request) -> str:
    """Return the id in the address; nothing else than an id ever reaches the service."""
    dataset_id = request.match_info["id"]
    if not is_uuid7(dataset_id):
        raise NotFound(f"no dataset {dataset_id[:80]}")
    return dataset_id


def _job_of(body: bytes) -> str | Rejected:
    fields = read_object(body)
    if isinstance(fields, Rejected):
        return fields
    problems = [
        Problem(name[:100], shown(fields[name]), "nothing", "no such field") for name in fields if name != "job"
    ]
    job = fields.get("job")
    if not isinstance(job, str) or not is_uuid7(job):
        problems.insert(0, Problem("job", shown(job) if "job" in fields else "nothing", "the id of a batch"))
    return rejected(problems) if problems or not isinstance(job, str) else job
