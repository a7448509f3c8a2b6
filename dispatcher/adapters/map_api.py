"""Maps over HTTP, in the shape of Firecrawl's v2 API.

POST   /v2/map                      the links of a site; waits for them, at most as long as the request says
"""

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.lab_service import LabService
from dispatcher.map_request import decode_map
from dispatcher.map_service import MapService
from dispatcher.request_fields import Rejected
from dispatcher.site_links import MappedLink
from protocol.urls import NO_TEST_SITES, TestSites


class MapAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to `POST /v2/map`. `warning` says where the time was up, and what could not be read."""

    success: bool = True
    links: list[MappedLink]
    warning: str | UnsetType = UNSET


class MapApi:
    """The route."""

    def __init__(self, service: LabService, maps: MapService, *, test_sites: TestSites = NO_TEST_SITES) -> None:
        self._service, self._maps, self._test_sites = service, maps, test_sites

    def routes(self) -> list[web.RouteDef]:
        """List the routes, to be added to an application that has the middleware `json_errors`."""
        return [web.post("/v2/map", self.map_site)]

    async def map_site(self, request: web.Request) -> web.Response:
        """Find the links of a site."""
        caller = await caller_of(request, self._service)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        wanted = decode_map(body, test_sites=self._test_sites)
        if isinstance(wanted, Rejected):
            return rejected_answer(wanted)
        links, warnings = await self._maps.map(caller, wanted)
        return json_answer(MapAnswer(links=links, warning="; ".join(warnings) or UNSET))
