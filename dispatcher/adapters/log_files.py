"""Serves the public log's folder over HTTP under `/log/`: static files, nothing else."""

from pathlib import Path

from aiohttp import web

PREFIX = "/log"
_NAME_CHARS = 63
"""No file of a log has a longer name; file systems raise an error when asked for names over 255 bytes."""
_IMMUTABLE = "public, max-age=31536000, immutable"


class LogFiles:
    """Read-only. Tiles and kept checkpoints never change; everything else is served with `no-cache`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.get(PREFIX + "/{path:.+}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one file of the log."""
        path = request.match_info["path"]
        parts = path.split("/")
        if any(part in ("", ".", "..") or part.startswith(".") or "\\" in part for part in parts):
            raise web.HTTPNotFound(text="no such file in the log\n")
        target = self._folder.joinpath(*parts)
        if max(map(len, parts)) > _NAME_CHARS or not target.is_file():
            raise web.HTTPNotFound(text="no such file in the log\n")
        is_fixed = parts[0] == "tile" or (parts[0] == "checkpoints" and len(parts) == 2)
        response = web.FileResponse(target, headers={"Cache-Control": _IMMUTABLE if is_fixed else "no-cache"})
        response.content_type = "text/plain" if "checkpoint" in parts[0] else "application/octet-stream"
        return response
