"""One page in one line: `curl -H "Authorization: Bearer KEY" API/r/https://example.org/page`.

    GET    /r/URL                            the page as markdown

The URL is taken as it stands behind `/r/`, its query included. Everything that may be said of a page otherwise is said
in `POST /v2/scrape`, whose answers this gives: a refusal is the same JSON.
"""

import msgspec
from aiohttp import hdrs, web

from dispatcher.adapters.lab_api import LabApi
from dispatcher.lab_documents import LabDocument

_PREFIX = "/r/"


class QuickPage:
    """The route. `pages` fetches."""

    def __init__(self, pages: LabApi) -> None:
        self._pages = pages

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.get("/r/{url:(?s:.+)}", self.read)]

    async def read(self, request: web.Request) -> web.Response:
        """Fetch a page; its markdown, and headers that say where it is proved."""
        url = request.raw_path.removeprefix(_PREFIX)
        found = await self._pages.page(request, msgspec.json.encode({"url": url, "formats": ["markdown"]}))
        if isinstance(found, web.Response):
            return found
        return web.Response(
            text=found.markdown if isinstance(found.markdown, str) else "",
            content_type="text/markdown",
            charset="utf-8",
            headers=_proof(found),
        )


def _proof(document: LabDocument) -> dict[str, str]:
    provenance = document.metadata.provenance
    return {
        hdrs.CACHE_CONTROL: "no-store",
        "Meadow-Record": provenance.record_id,
        "Meadow-Proof": provenance.proof_url,
        "Meadow-Status": str(document.metadata.status_code),
    }
