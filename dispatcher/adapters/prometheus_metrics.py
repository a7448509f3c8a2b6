"""Prometheus metrics of one dispatcher process, under `/metrics`.

What this process counted comes from its `Telemetry`; what all dispatchers share (jobs by state, the log, credits) is
read from the stores at each scrape, and is the same at each of them. A store that fails leaves its metrics out and
`meadow_store_up` at 0: a scrape always answers.

No label has a value from outside: no host, no URL, no node's key, no team.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dispatcher import __version__
from dispatcher.adapters.loop_lag import watch_loop
from dispatcher.adapters.system_clock import now_ms
from dispatcher.cleaning_service import CleaningService
from dispatcher.errors import StoreError
from dispatcher.frontier import Frontier
from dispatcher.ledger import Ledger
from dispatcher.node_sessions import Nodes
from dispatcher.telemetry import Histogram, Tally, Telemetry

PATH = "/metrics"
STORE_S = 2.0
_JOB_STATES = ("queued", "fetched", "completed", "refused", "failed", "cancelled")
_CREDIT_STATES = ("pending", "confirmed", "void", "paid")


class Metrics:
    """Keeps no figures of its own. `led` names the duties this dispatcher leads now."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        frontier: Frontier,
        nodes: Nodes,
        cleaning: CleaningService,
        telemetry: Telemetry | None = None,
        led: Callable[[], Iterable[str]] = tuple,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._ledger, self._frontier, self._nodes, self._cleaning = ledger, frontier, nodes, cleaning
        self._telemetry, self._led, self._clock = telemetry or Telemetry(), led, clock

    def add_to(self, app: web.Application) -> None:
        """Serve `/metrics`, and watch the event loop while the application runs."""
        app.router.add_get(PATH, self.handle)
        app.cleanup_ctx.append(self._watching)

    async def _watching(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(watch_loop(self._telemetry), name="loop lag")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def handle(self, _: web.Request) -> web.Response:
        """Serve `/metrics`."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Fixed([*self._own(), *await self._shared()]))
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _own(self) -> Iterator[Metric]:
        """What this process counted or has in hand."""
        seen, sessions = self._telemetry, self._nodes.all()
        info = GaugeMetricFamily("meadow_build_info", "The version that runs", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _gauge("meadow_nodes_connected", "Nodes with an open session here", len(sessions))
        yield _gauge("meadow_node_slots_free", "Jobs the nodes here would take now", self._nodes.free_slots())
        in_hand = sum(len(session.in_flight) for session in sessions)
        yield _gauge("meadow_jobs_in_flight", "Jobs in the hands of the nodes here", in_hand)
        yield _gauge("meadow_cleaning_waiting", "Pages that wait for cleaning here", self._cleaning.waiting())
        yield _ended(seen.jobs_ended)
        yield _counter("meadow_leases_given", "Leases taken from the frontier", seen.leases_given)
        yield _counter("meadow_leases_expired", "Leases that ran out and were put back", seen.leases_expired)
        yield _counter("meadow_leases_late", "Jobs whose node did not answer in time", seen.leases_late)
        yield _tally("meadow_results", "Results of nodes by what became of them", "outcome", seen.results)
        yield _histogram("meadow_ack_seconds", "From a result's arrival to its acknowledgement", seen.ack_s)
        yield _histogram("meadow_commit_operations", "Operations in one commit of the ledger", seen.commit_rows)
        yield _histogram("meadow_commit_seconds", "How long a commit of the ledger takes", seen.commit_s)
        yield _histogram("meadow_frontier_call_seconds", "How long a call of the frontier takes", seen.frontier_s)
        yield _counter("meadow_frontier_errors", "Calls of the frontier that failed", seen.frontier_errors)
        yield _counter("meadow_node_handshakes", "Sessions nodes opened", seen.handshakes)
        yield _tally("meadow_nodes_refused", "Nodes that were not taken, or were cut off", "reason", seen.refused)
        yield _counter("meadow_node_received_bytes", "Bytes of nodes' frames", seen.bytes_in)
        yield _counter("meadow_node_sent_bytes", "Bytes of frames to nodes", seen.bytes_out)
        yield _tally("meadow_back_offs", "Hosts left alone for a while", "cause", seen.back_offs)
        yield _tally("meadow_pages_cleaned", "Pages cleaned: kept, or why not", "outcome", seen.cleaned)
        yield _histogram("meadow_cleaning_seconds", "How long a page takes to clean", seen.clean_s)
        yield _tally("meadow_object_calls", "Calls of the object store", "operation", seen.objects)
        yield _tally("meadow_object_errors", "Calls of the object store that failed", "operation", seen.object_errors)
        yield _counter("meadow_object_put_bytes", "Bytes given to the object store", seen.object_bytes_in)
        yield _counter("meadow_object_got_bytes", "Bytes got from the object store", seen.object_bytes_out)
        leader = GaugeMetricFamily("meadow_leader", "1 for each duty this dispatcher leads", labels=["duty"])
        for duty in self._led():
            leader.add_metric([duty], 1)
        yield leader
        yield _histogram("meadow_event_loop_lag_seconds", "How late the event loop wakes up", seen.loop_lag_s)
        yield _tally("meadow_keys_refused", "Requests with an API key that is no good", "why", seen.keys_refused)
        yield _counter("meadow_spans_dropped", "Spans that were not exported", seen.spans_dropped)

    async def _shared(self) -> list[Metric]:
        """What is read from the stores."""
        up = GaugeMetricFamily("meadow_store_up", "1 while a store answers", labels=["store"])
        found: list[Metric] = [up]
        questions = {"ledger": self._of_ledger(), "frontier": self._of_frontier()}
        for store, question in questions.items():
            try:
                found += await asyncio.wait_for(question, STORE_S)
                up.add_metric([store], 1)
            except (StoreError, TimeoutError):
                up.add_metric([store], 0)
        return found

    async def _of_frontier(self) -> list[Metric]:
        return [_gauge("meadow_frontier_jobs", "Jobs queued or leased, all dispatchers", await self._frontier.size())]

    async def _of_ledger(self) -> list[Metric]:
        ledger, now = self._ledger, self._clock()
        counts, totals = await ledger.job_counts(), await ledger.credit_total()
        newest, anchored = await ledger.newest_checkpoint(), await ledger.newest_anchored()
        oldest, unanchored = await ledger.unfinished(limit=1), await ledger.unanchored()
        jobs = GaugeMetricFamily("meadow_jobs", "Jobs in the ledger", labels=["state"])
        for state in _JOB_STATES:
            jobs.add_metric([state], getattr(counts, state))
        units = GaugeMetricFamily("meadow_credit_units", "Credits, base units of the token", labels=["state"])
        for state in _CREDIT_STATES:
            units.add_metric([state], getattr(totals, state))
        return [
            jobs,
            units,
            _gauge(
                "meadow_oldest_queued_seconds",
                "How long the oldest queued job waits",
                _age(now, oldest[0].created_ms if oldest else None),
            ),
            _gauge("meadow_log_entries", "Entries of the record log", await ledger.log_size()),
            _gauge("meadow_checkpoint_size", "Size of the newest checkpoint", newest.size if newest else 0),
            _gauge(
                "meadow_checkpoint_age_seconds",
                "Age of the newest checkpoint",
                _age(now, newest.created_ms if newest else None),
            ),
            _gauge("meadow_anchored_size", "Size of the newest anchored checkpoint", anchored.size if anchored else 0),
            _gauge(
                "meadow_anchor_lag_seconds",
                "Age of the oldest checkpoint without an anchor",
                _age(now, unanchored[0].created_ms if unanchored else None),
            ),
        ]


class _Fixed(Collector):
    """Metrics that were put together before."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _age(now: int, then: int | None) -> float:
    return 0.0 if then is None else max(0, now - then) / 1000


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _tally(name: str, text: str, label: str, tally: Tally) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in tally:
        family.add_metric([value], count)
    return family


def _ended(tally: Tally) -> Metric:
    family = CounterMetricFamily("meadow_jobs_ended", "Jobs this process ended", labels=["state", "reason"])
    for value, count in tally:
        state, _, reason = value.partition("/")
        family.add_metric([state, reason], count)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        below += count
        buckets.append((bound, below))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)
