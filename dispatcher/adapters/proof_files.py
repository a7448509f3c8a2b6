"""Serves the proofs of the log's entries, to everyone: `GET /log/proof/{index}/{id}.tlog-proof`."""

import re
from typing import Final

from aiohttp import hdrs, web

from dispatcher.adapters.lab_errors import error_answer
from dispatcher.proof_service import Absent, ProofService

RETRY_S: Final = 5
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")
_ID = re.compile(r"[0-9a-f]{64}")


class ProofFiles:
    """Read-only, without a key: what it serves is made of what the public log holds. A proof never changes."""

    def __init__(self, proofs: ProofService) -> None:
        self._proofs = proofs

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.get("/log/proof/{index}/{id}.tlog-proof", self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Serve a proof; 404 with Retry-After while no checkpoint covers the entry yet."""
        index, entry_id = request.match_info["index"], request.match_info["id"]
        if not _INDEX.fullmatch(index) or not _ID.fullmatch(entry_id):
            return _not_found()
        if request.if_none_match and any(tag.value in (entry_id, "*") for tag in request.if_none_match):
            return web.Response(status=304, headers={hdrs.ETAG: f'"{entry_id}"'})
        proof = await self._proofs.proof(int(index), entry_id)
        if proof is Absent.NOT_COVERED:
            answer = error_answer(
                404, "NOT_IN_A_CHECKPOINT_YET", f"no published checkpoint covers entry {index} yet; ask again"
            )
            answer.headers[hdrs.RETRY_AFTER] = str(RETRY_S)
            return answer
        if isinstance(proof, Absent):
            return _not_found()
        response = web.Response(body=proof, content_type="text/plain", charset="utf-8")
        response.headers[hdrs.CACHE_CONTROL] = "public, max-age=31536000, immutable"
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{entry_id}.tlog-proof"'
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.etag = entry_id
        return response


def _not_found() -> web.Response:
    return error_answer(404, "NOT_FOUND", "the log has no such entry; the address is /log/proof/INDEX/ID.tlog-proof")
