"""The API described: `/openapi.json` for programs, and `/docs`, the same drawn for people."""

from collections.abc import Sequence
from importlib import resources
from typing import Final

from aiohttp import hdrs, web

from dispatcher import __version__
from dispatcher.adapters.api_address import ApiAddress
from dispatcher.adapters.lab_errors import ErrorAnswer
from dispatcher.openapi import Operation, openapi_document

_FILES: Final = {"docs.css": "text/css", "docs.js": "text/javascript"}
_POLICY: Final = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'"


class OpenapiPages:
    """Serves the document of `operations`. `address` is the API's."""

    def __init__(self, operations: Sequence[Operation], *, address: ApiAddress | None = None) -> None:
        self._operations, self._address = operations, address or ApiAddress()
        self._documents: dict[str, bytes] = {}

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.get("/openapi.json", self.document),
            web.get("/docs", self.page),
            web.get("/docs/{name}", self.file),
        ]

    async def document(self, request: web.Request) -> web.Response:
        """Serve the document, for whichever program asks: browsers of other sites too."""
        server = self._address.of(request)
        if server not in self._documents:
            self._documents = {
                server: openapi_document(self._operations, error=ErrorAnswer, server=server, version=__version__)
            }
        headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
        return web.Response(body=self._documents[server], content_type="application/json", headers=headers)

    async def page(self, request: web.Request) -> web.Response:
        """Serve the page that draws it."""
        headers = {"Content-Security-Policy": _POLICY, hdrs.CACHE_CONTROL: "no-cache"}
        return web.Response(body=_read("index.html"), content_type="text/html", charset="utf-8", headers=headers)

    async def file(self, request: web.Request) -> web.Response:
        """Serve the page's script or style sheet."""
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound
        headers = {hdrs.CACHE_CONTROL: "no-cache"}
        return web.Response(body=_read(name), content_type=_FILES[name], charset="utf-8", headers=headers)


def _read(name: str) -> bytes:
    return (resources.files("dispatcher.adapters") / "api_docs" / name).read_bytes()
