"""Serves pictures of pages to the team that asked for them: `GET /v2/pictures/{job}/{sha256}.png` or `.jpg`.

A picture is kept as long as its page's document, and is gone with it.
"""

from aiohttp import hdrs, web

from dispatcher.adapters.lab_auth import caller_of
from dispatcher.errors import NotFound
from dispatcher.lab_service import LabService
from dispatcher.ledger import JobLedger
from dispatcher.objects import ObjectStore
from dispatcher.page_bodies import load_document, load_picture
from dispatcher.page_pictures import picture_name
from protocol.ids import is_uuid7

_POLICY = "sandbox; default-src 'none'"


class PictureFiles:
    """The route. A picture of another team is not found, exactly as one that never was."""

    def __init__(self, service: LabService, jobs: JobLedger, objects: ObjectStore) -> None:
        self._service, self._jobs, self._objects = service, jobs, objects

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.get("/v2/pictures/{id}/{name}", self.read)]

    async def read(self, request: web.Request) -> web.Response:
        """Serve a picture."""
        team_id = (await caller_of(request, self._service)).team_id
        job_id, name = request.match_info["id"], request.match_info["name"]
        jobs = await self._jobs.jobs([job_id]) if is_uuid7(job_id) else []
        job = next((job for job in jobs if job.team_id == team_id), None)
        if job is None or job.document_hash is None or job.content_deleted_ms is not None:
            raise _absent(name)
        document = await load_document(self._objects, job.document_hash)
        facts = document.extract.picture if document is not None and document.extract is not None else None
        if facts is None or picture_name(facts) != name:
            raise _absent(name)
        data = await load_picture(self._objects, job.document_hash, facts)
        if data is None:
            raise _absent(name)
        response = web.Response(body=data, content_type=facts.media_type)
        response.headers[hdrs.CACHE_CONTROL] = "private, no-store"
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def _absent(name: str) -> NotFound:
    return NotFound(f"no picture {name[:80]}; it is kept as long as its page's document")
