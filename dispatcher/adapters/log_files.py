"""Serves the public log over HTTP under `/log/`: its files, from wherever they are kept, and nothing else."""

import hashlib
import re

import structlog
from aiohttp import hdrs, web

from provenance.errors import LogUnavailable
from provenance.tiles import TileReader

PREFIX = "/log"
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}")
_PARTS = 16
_IMMUTABLE = "public, max-age=31536000, immutable"
_log = structlog.get_logger("log")


class LogFiles:
    """Read-only. Tiles and kept checkpoints never change; everything else is served with `no-cache`."""

    def __init__(self, files: TileReader) -> None:
        self._files = files

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.get(PREFIX + "/{path:.+}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one file of the log."""
        path = request.match_info["path"]
        parts = path.split("/")
        if len(parts) > _PARTS or not all(map(_PART.fullmatch, parts)):
            raise web.HTTPNotFound(text="no such file in the log\n")
        try:
            data = await self._files.read(path)
        except LogUnavailable as error:
            _log.warning("log_file_unavailable", path=path, error=str(error))
            raise web.HTTPServiceUnavailable(
                text="the log's store does not answer; try again\n", headers={hdrs.RETRY_AFTER: "5"}
            ) from error
        if data is None:
            raise web.HTTPNotFound(text="no such file in the log\n")
        is_fixed = parts[0] == "tile" or (parts[0] == "checkpoints" and len(parts) == 2)
        response = web.Response(body=data, headers={hdrs.CACHE_CONTROL: _IMMUTABLE if is_fixed else "no-cache"})
        response.content_type = "text/plain" if "checkpoint" in parts[0] else "application/octet-stream"
        tag = hashlib.sha256(data).hexdigest()[:32]
        response.etag = tag
        if request.if_none_match and any(asked.value in (tag, "*") for asked in request.if_none_match):
            response.set_status(web.HTTPNotModified.status_code)
            response.body = None
        return response
