"""Prices beforehand: POST /v1/estimate."""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from dispatcher.account_ledger import PrepaidLedger
from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.lab_errors import json_answer, rejected_answer
from dispatcher.estimate import Decoder, EstimateKind, estimate, estimate_answer
from dispatcher.lab_service import LabService
from dispatcher.request_fields import Rejected


class EstimateApi:
    """The route. `decoders` read the bodies of the requests whose price is asked for."""

    def __init__(self, service: LabService, ledger: PrepaidLedger, decoders: Mapping[EstimateKind, Decoder]) -> None:
        self._service, self._ledger, self._decoders = service, ledger, decoders

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [web.post("/v1/estimate", self.estimate)]

    async def estimate(self, request: web.Request) -> web.Response:
        """Say what a request may cost."""
        caller = await caller_of(request, self._service)
        body = await read_json(request)
        if isinstance(body, web.Response):
            return body
        estimated = await asyncio.to_thread(estimate, body, self._decoders)
        if isinstance(estimated, Rejected):
            return rejected_answer(estimated)
        return json_answer(estimate_answer(estimated, await self._ledger.account(caller.team_id)))
