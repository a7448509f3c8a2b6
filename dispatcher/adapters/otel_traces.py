"""Traces through the OpenTelemetry SDK, sent as OTLP over HTTP (protobuf) by a thread of their own.

Imported only where `MEADOW_OTLP_ENDPOINT` is set. Spans wait in a queue of bounded length; where it is full, or the
receiver does not take them, they are dropped and counted (`Telemetry.spans_dropped`): the network never waits for its
own observation. Which traces are recorded is decided by the SDK's sampler: `OTEL_TRACES_SAMPLER` and its argument, all
of them by default.
"""

import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from dispatcher import __version__
from dispatcher.adapters.structured_logs import NODE_KEY_CHARS
from dispatcher.errors import SetupError
from dispatcher.telemetry import Telemetry
from dispatcher.tracing import RequestSpan, Tracing

MAX_QUEUED_SPANS = 20_000
BATCH_SPANS = 512
EXPORT_EVERY_S = 1.0
EXPORT_TIMEOUT_S = 5.0
CLOSE_S = 5.0
MAX_OPEN_JOBS = 20_000
"""Jobs whose spans are open at once; beyond it the oldest ends as lost."""

_log = structlog.get_logger("traces")
_SUCCESSFUL = frozenset({"stored", "duplicate", "kept"})


def traces_endpoint(address: str) -> str:
    """Return where OTLP traces are posted, for the address of a collector; SetupError for anything else."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SetupError(
            "MEADOW_OTLP_ENDPOINT must be the http or https address of an OpenTelemetry collector, "
            "as http://127.0.0.1:4318"
        )
    path = parts.path.rstrip("/")
    return parts._replace(path=path if path.endswith("/v1/traces") else f"{path}/v1/traces").geturl()


def trace_id_of(kind: str, identifier: str) -> int:
    """Return the trace id of a job or a batch: see `dispatcher.tracing`."""
    return int.from_bytes(_digest(kind, identifier)[:16], "big")


def _batch_span_id(batch_id: str) -> int:
    return int.from_bytes(_digest("batch", batch_id)[16:24], "big")


def _digest(kind: str, identifier: str) -> bytes:
    return hashlib.sha256(f"{kind}:{identifier}".encode()).digest()


class _Ids(RandomIdGenerator):
    """Random ids, except where a span is to begin a trace of a known id. Used from the event loop alone."""

    def __init__(self) -> None:
        self.trace_id: int | None = None
        self.span_id: int | None = None

    def generate_trace_id(self) -> int:
        """Return the id that was asked for, once, else a random one."""
        chosen, self.trace_id = self.trace_id, None
        return super().generate_trace_id() if chosen is None else chosen

    def generate_span_id(self) -> int:
        """Return the id that was asked for, once, else a random one."""
        chosen, self.span_id = self.span_id, None
        return super().generate_span_id() if chosen is None else chosen


class _Background(SpanProcessor):
    """Owns the queue of ended spans and the thread that exports them."""

    def __init__(self, exporter: SpanExporter, telemetry: Telemetry) -> None:
        self._exporter, self._telemetry = exporter, telemetry
        self._queue: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="otlp-traces", daemon=True)
        self._thread.start()

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or drop it where the queue is full."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        if len(self._queue) >= MAX_QUEUED_SPANS or self._closing.is_set():
            self._telemetry.spans_dropped += 1
            return
        self._queue.append(span)
        if len(self._queue) >= BATCH_SPANS:
            self._wake.set()

    def shutdown(self) -> None:
        """Export what is waiting, for `CLOSE_S` at most."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_S)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Wake the thread; it is not waited for."""
        self._wake.set()
        return True

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(EXPORT_EVERY_S)
            self._wake.clear()
            self._export_all()
        self._export_all()

    def _export_all(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH_SPANS, len(self._queue)))]
            if self._exporter.export(batch) is not SpanExportResult.SUCCESS:
                self._telemetry.spans_dropped += len(batch)
                if not self._told:
                    _log.warning(
                        "traces_not_taken", spans=len(batch), hint="is the collector at MEADOW_OTLP_ENDPOINT up?"
                    )
                self._told = True
                return
            self._told = False


class _RequestSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int) -> None:
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


class _OpenJob:
    """The span of a leased job, and that of what is done with it now."""

    __slots__ = ("span", "stage")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.stage: Span | None = None

    def end(self, error: str | None = None) -> None:
        self.end_stage(error)
        _end(self.span, error)

    def end_stage(self, error: str | None = None, at_ns: int | None = None) -> None:
        if self.stage is not None:
            _end(self.stage, error, at_ns)
            self.stage = None


class OtelTracing(Tracing):
    """Records every moment as spans. Owns the open spans; used from one event loop."""

    is_recording = True

    def __init__(self, endpoint: str, *, dispatcher: str, telemetry: Telemetry) -> None:
        _quiet_sdk()
        self._ids = _Ids()
        resource = Resource.create(
            {
                "service.name": "meadow-dispatcher",
                "service.version": __version__,
                "service.instance.id": dispatcher,
            }
        )
        self._provider = TracerProvider(resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(traces_endpoint(endpoint), timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(_Background(exporter, telemetry))
        self._tracer = self._provider.get_tracer("meadow", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._jobs: OrderedDict[str, _OpenJob] = OrderedDict()
        self._acknowledged: OrderedDict[str, Span] = OrderedDict()
        self._cleaning: dict[str, Span] = {}

    @contextmanager
    def request(self, method: str, route: str, traceparent: str | None) -> Iterator[RequestSpan]:
        """See Tracing. The span is the current one while the request is served."""
        parent = self._propagator.extract({"traceparent": traceparent}, Context()) if traceparent else Context()
        attributes = {"http.request.method": method, "http.route": route}
        with self._tracer.start_as_current_span(
            f"{method} {route}",
            context=parent,
            kind=SpanKind.SERVER,
            attributes=attributes,
            record_exception=False,
        ) as span:
            yield _RequestSpan(span)

    def batch_accepted(self, batch_id: str, jobs: int) -> None:
        """See Tracing. Request and batch link to each other, as neither belongs into the other's trace."""
        request = trace.get_current_span()
        request.set_attribute("meadow.batch_id", batch_id)
        request.add_link(_batch_context(batch_id))
        self._ids.trace_id, self._ids.span_id = trace_id_of("batch", batch_id), _batch_span_id(batch_id)
        links = [Link(request.get_span_context())] if request.get_span_context().is_valid else []
        attributes: dict[str, AttributeValue] = {"meadow.batch_id": batch_id, "meadow.jobs": jobs}
        self._tracer.start_span("batch", context=Context(), attributes=attributes, links=links).end()

    def leased(self, job_id: str, batch_id: str, token: int) -> None:
        """See Tracing."""
        self._lose(job_id)
        self._ids.trace_id = trace_id_of("job", job_id)
        span = self._tracer.start_span(
            "job",
            context=Context(),
            attributes={"meadow.job_id": job_id, "meadow.batch_id": batch_id, "meadow.lease": token},
            links=[Link(_batch_context(batch_id))],
        )
        job = self._jobs[job_id] = _OpenJob(span)
        self._begin(job, "gate")
        if len(self._jobs) > MAX_OPEN_JOBS:
            self._lose(next(iter(self._jobs)))

    def passed_gate(self, job_id: str, decision: str) -> None:
        """See Tracing."""
        if job := self._jobs.get(job_id):
            if job.stage is not None:
                job.stage.set_attribute("meadow.decision", decision)
            self._begin(job, "hand-over")

    def handed_over(self, job_id: str, node_key: str) -> None:
        """See Tracing."""
        if job := self._jobs.get(job_id):
            job.span.set_attribute("meadow.node_key", node_key[:NODE_KEY_CHARS])
            self._begin(job, "fetch")

    def received(self, job_id: str, seconds_ago: float = 0.0) -> None:
        """See Tracing. A result of a job that another dispatcher leased gets a span of its own in the job's trace."""
        then_ns = time.time_ns() - int(seconds_ago * 1e9)
        job = self._jobs.get(job_id)
        if job is None:
            self._ids.trace_id = trace_id_of("job", job_id)
            attributes = {"meadow.job_id": job_id}
            span = self._tracer.start_span("job", context=Context(), attributes=attributes, start_time=then_ns)
            job = self._jobs[job_id] = _OpenJob(span)
        self._begin(job, "settle", then_ns)

    def acknowledged(self, job_id: str, outcome: str) -> None:
        """See Tracing."""
        if job := self._jobs.pop(job_id, None):
            job.span.set_attribute("meadow.outcome", outcome)
            job.end(None if outcome in _SUCCESSFUL else outcome)
            self._acknowledged[job_id] = job.span
            if len(self._acknowledged) > MAX_OPEN_JOBS:
                self._acknowledged.popitem(last=False)

    def given_up(self, job_id: str, reason: str) -> None:
        """See Tracing."""
        if job := self._jobs.pop(job_id, None):
            job.end(reason)

    def cleaning(self, job_id: str) -> None:
        """See Tracing. A page whose result came to another dispatcher, or before a restart, has no job's span here."""
        parent, context = self._acknowledged.pop(job_id, None), Context()
        if parent is None and (job := self._jobs.get(job_id)):
            parent = job.span
        if parent is None:
            self._ids.trace_id = trace_id_of("job", job_id)
        else:
            context = trace.set_span_in_context(parent, context)
        self._cleaning[job_id] = self._tracer.start_span("clean", context=context, attributes={"meadow.job_id": job_id})

    def cleaned(self, job_id: str, outcome: str) -> None:
        """See Tracing."""
        if span := self._cleaning.pop(job_id, None):
            span.set_attribute("meadow.outcome", outcome)
            span.end()

    def close(self) -> None:
        """End every span and send what is waiting."""
        for job_id in list(self._jobs):
            self._lose(job_id)
        self._provider.shutdown()

    def _begin(self, job: _OpenJob, stage: str, at_ns: int | None = None) -> None:
        job.end_stage(at_ns=at_ns)
        context = trace.set_span_in_context(job.span, Context())
        job.stage = self._tracer.start_span(stage, context=context, start_time=at_ns)

    def _lose(self, job_id: str) -> None:
        if job := self._jobs.pop(job_id, None):
            job.end("lost")


def _batch_context(batch_id: str) -> SpanContext:
    return SpanContext(
        trace_id_of("batch", batch_id), _batch_span_id(batch_id), is_remote=True, trace_flags=TraceFlags(1)
    )


def _end(span: Span, error: str | None, at_ns: int | None = None) -> None:
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(at_ns)


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _log.info("opentelemetry", message=record.getMessage().splitlines()[0][:200])


def _quiet_sdk() -> None:
    """The SDK's own messages go where this process's log goes, without their tracebacks."""
    loggers: Sequence[logging.Logger] = [logging.getLogger(name) for name in ("opentelemetry", "urllib3")]
    for logger in loggers:
        if not any(isinstance(handler, _ToStructlog) for handler in logger.handlers):
            logger.addHandler(_ToStructlog(logging.WARNING))
        logger.propagate = False
