"""Prometheus metrics of one dispatcher, under `/metrics`."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dispatcher.cleaning_service import CleaningService
from dispatcher.errors import FrontierError
from dispatcher.frontier import Frontier
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import Nodes


class Metrics:
    """Reads the figures anew at each scrape; keeps none of its own."""

    def __init__(self, *, ledger: Ledger, frontier: Frontier, nodes: Nodes, cleaning: CleaningService) -> None:
        self._ledger, self._frontier, self._nodes, self._cleaning = ledger, frontier, nodes, cleaning
        self._registry = CollectorRegistry()
        self._connected = Gauge("meadow_nodes_connected", "Nodes with an open session", registry=self._registry)
        self._free = Gauge("meadow_node_slots_free", "Jobs the nodes would take now", registry=self._registry)
        self._in_flight = Gauge("meadow_jobs_in_flight", "Jobs in the hands of nodes", registry=self._registry)
        self._frontier_jobs = Gauge("meadow_frontier_jobs", "Jobs queued or leased", registry=self._registry)
        self._jobs = Gauge("meadow_jobs", "Jobs in the ledger by state", ["state"], registry=self._registry)
        self._waiting = Gauge("meadow_cleaning_waiting", "Pages that wait for cleaning", registry=self._registry)
        self._entries = Gauge("meadow_log_entries", "Entries of the record log", registry=self._registry)
        self._checkpoint = Gauge("meadow_checkpoint_size", "Size of the newest checkpoint", registry=self._registry)
        self._credits = Gauge(
            "meadow_credit_units", "Credits by state, base units of the token", ["state"], registry=self._registry
        )

    async def handle(self, _: web.Request) -> web.Response:
        """Serve `/metrics`."""
        sessions = self._nodes.all()
        self._connected.set(len(sessions))
        self._free.set(self._nodes.free_slots())
        self._in_flight.set(sum(len(session.in_flight) for session in sessions))
        try:
            self._frontier_jobs.set(await self._frontier.size())
        except FrontierError:
            self._frontier_jobs.set(float("nan"))
        counts = await self._ledger.job_counts()
        for state in ("queued", "fetched", "completed", "refused", "failed", "cancelled"):
            self._jobs.labels(state).set(getattr(counts, state))
        self._waiting.set(self._cleaning.waiting())
        self._entries.set(await self._ledger.log_size())
        newest = await self._ledger.newest_checkpoint()
        self._checkpoint.set(newest.size if newest else 0)
        totals = await self._ledger.credit_total()
        for state in ("pending", "confirmed", "void", "paid"):
            self._credits.labels(state).set(getattr(totals, state))
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
