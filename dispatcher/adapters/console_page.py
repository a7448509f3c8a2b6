"""The operator's console at `/`: one page, live figures from `/console/state`, for this machine's own browser only."""

import base64
from collections.abc import Callable
from importlib import resources

import msgspec
from aiohttp import web

from dispatcher.chain import ChainFacts
from dispatcher.jobs import BatchCounts
from dispatcher.ledger import Ledger, NodeTotals
from dispatcher.node_sessions import Nodes
from protocol.urls import AllowedAddress, check_address

_RECENT_JOBS = 20
_FILES = {
    "console.css": "text/css",
    "console.js": "text/javascript",
}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'"


class ConsoleNode(msgspec.Struct, frozen=True):
    """A connected node: public key, agent, jobs in hand, jobs it takes at once, why it takes none, its reputation."""

    node_key: str
    agent: str
    country: str | None
    in_hand: int
    window: int
    reason: str
    connected_ms: int
    reputation: int


class ConsoleJob(msgspec.Struct, frozen=True):
    """A job that changed lately."""

    job_id: str
    url: str
    state: str
    reason: str | None
    updated_ms: int


class ConsoleCheckpoint(msgspec.Struct, frozen=True):
    """The newest checkpoint: size, base64 root, time, and its anchor's transaction once there is one."""

    size: int
    root: str
    created_ms: int
    anchor: str | None


class ConsoleState(msgspec.Struct, frozen=True):
    """Everything the console shows."""

    now_ms: int
    origin: str
    simulator: bool
    nodes: list[ConsoleNode]
    jobs: BatchCounts
    recent: list[ConsoleJob]
    log_entries: int
    checkpoint: ConsoleCheckpoint | None
    anchored_size: int
    credits: NodeTotals


class ConsolePage:
    """Serves the page and its figures. Anyone who is not on this machine gets 403: it shows labs' URLs."""

    def __init__(
        self, *, ledger: Ledger, nodes: Nodes, facts: ChainFacts, origin: str, clock: Callable[[], int]
    ) -> None:
        self._ledger, self._nodes, self._facts, self._origin, self._clock = ledger, nodes, facts, origin, clock

    def routes(self) -> list[web.RouteDef]:
        """List the routes."""
        return [
            web.get("/", self.page),
            web.get("/console/state", self.state),
            web.get("/console/{name}", self.file),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Serve the page."""
        _require_local(request)
        return web.Response(
            body=_read("index.html"),
            content_type="text/html",
            charset="utf-8",
            headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"},
        )

    async def file(self, request: web.Request) -> web.Response:
        """Serve the page's script or style sheet."""
        name = request.match_info["name"]
        if name not in _FILES:
            raise web.HTTPNotFound(text="no such file\n")
        return web.Response(
            body=_read(name), content_type=_FILES[name], charset="utf-8", headers={"Cache-Control": "no-cache"}
        )

    async def state(self, request: web.Request) -> web.Response:
        """Serve the figures of this moment as JSON."""
        _require_local(request)
        newest = await self._ledger.newest_checkpoint()
        anchored = await self._ledger.newest_anchored()
        state = ConsoleState(
            now_ms=self._clock(),
            origin=self._origin,
            simulator=self._facts.simulator,
            nodes=[
                ConsoleNode(
                    session.node_key,
                    session.agent,
                    session.country,
                    session.load,
                    session.window,
                    session.unavailable_reason,
                    session.opened_ms,
                    session.reputation,
                )
                for session in self._nodes.all()
            ],
            jobs=await self._ledger.job_counts(),
            recent=[
                ConsoleJob(job.job_id, job.url, job.state.value, job.reason or job.dropped, job.updated_ms)
                for job in await self._ledger.recent_jobs(_RECENT_JOBS)
            ],
            log_entries=await self._ledger.log_size(),
            checkpoint=ConsoleCheckpoint(
                newest.size, base64.b64encode(newest.root).decode(), newest.created_ms, newest.anchor_signature
            )
            if newest
            else None,
            anchored_size=anchored.size if anchored else 0,
            credits=await self._ledger.credit_total(),
        )
        return web.Response(
            body=msgspec.json.encode(state), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


def _read(name: str) -> bytes:
    return resources.files("dispatcher.adapters").joinpath("console", name).read_bytes()


def _require_local(request: web.Request) -> None:
    """Let this machine's own browser in, by its address and by the name it dialled (a rebound name is another)."""
    host = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    by_name = (host or request.host).strip("[]") in ("127.0.0.1", "localhost", "::1")
    by_address = isinstance(check_address(request.remote or "", allow_loopback=True), AllowedAddress)
    if not (by_name and by_address):
        raise web.HTTPForbidden(text="the console is shown on the dispatcher's own machine only\n")
