"""Spans of requests and jobs reach a real receiver as OTLP protobuf, in traces that any dispatcher can compute."""

import asyncio
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from dispatcher.adapters import otel_traces
from dispatcher.adapters.otel_traces import OtelTracing, trace_id_of, traces_endpoint
from dispatcher.adapters.request_tracing import trace_requests
from dispatcher.errors import SetupError
from dispatcher.telemetry import Telemetry
from tests.operations.otlp_receiver import attributes, receiving

LAB_TRACE = "0af7651916cd43dd8448eb211c80319c"
NODE = "n" * 43


def a_job(tracing: OtelTracing, job_id: str = "job-1") -> None:
    tracing.leased(job_id, "batch-1", 7)
    tracing.passed_gate(job_id, "allow")
    tracing.handed_over(job_id, NODE)
    tracing.received(job_id)
    tracing.acknowledged(job_id, "stored")
    tracing.cleaning(job_id)
    tracing.cleaned(job_id, "kept")


async def closed(tracing: OtelTracing) -> None:
    await asyncio.to_thread(tracing.close)


async def test_a_job_is_one_trace_from_lease_to_acknowledgement() -> None:
    async with receiving() as receiver:
        tracing = OtelTracing(receiver.url, dispatcher="d-1", telemetry=Telemetry())
        a_job(tracing)
        await closed(tracing)
    assert receiver.resource["service.instance.id"] == "d-1"
    (job,) = receiver.named("job")
    children = {span.name: span for span in receiver.spans if span.name != "job"}
    assert list(children) == ["gate", "hand-over", "fetch", "settle", "clean"]
    trace_id = trace_id_of("job", "job-1").to_bytes(16, "big")
    assert {span.trace_id for span in receiver.spans} == {trace_id}
    assert {span.parent_span_id for span in children.values()} == {job.span_id}
    assert attributes(job)["meadow.node_key"] == NODE[:10]
    order = [children[name] for name in ("gate", "hand-over", "fetch", "settle")]
    assert all(before.end_time_unix_nano <= after.start_time_unix_nano for before, after in pairwise(order))
    assert order[-1].end_time_unix_nano <= job.end_time_unix_nano
    assert job.links[0].trace_id == trace_id_of("batch", "batch-1").to_bytes(16, "big")


async def test_a_lab_request_keeps_the_labs_trace_and_links_to_its_batch() -> None:
    async with receiving() as receiver, aiohttp.ClientSession() as client:
        tracing = OtelTracing(receiver.url, dispatcher="d-1", telemetry=Telemetry())

        async def submit(_: web.Request) -> web.Response:
            tracing.batch_accepted("batch-1", 2)
            return web.Response(status=202)

        app = web.Application(middlewares=[trace_requests(tracing)])
        app.router.add_post("/v2/batch/{id}", submit)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        header = {"traceparent": f"00-{LAB_TRACE}-b7ad6b7169203331-01"}
        async with client.post(f"http://127.0.0.1:{port}/v2/batch/secret-id?key=x", headers=header) as answer:
            assert answer.status == 202
        await runner.cleanup()
        await closed(tracing)
    (request,) = receiver.named("POST /v2/batch/{id}")
    (batch,) = receiver.named("batch")
    assert request.trace_id.hex() == LAB_TRACE
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    assert attributes(request)["http.response.status_code"] == 202
    assert (request.links[0].trace_id, request.links[0].span_id) == (batch.trace_id, batch.span_id)
    assert (batch.links[0].trace_id, batch.links[0].span_id) == (request.trace_id, request.span_id)
    assert "secret-id" not in str(receiver.spans)


async def test_a_trace_the_lab_does_not_sample_is_not_sent() -> None:
    async with receiving() as receiver:
        tracing = OtelTracing(receiver.url, dispatcher="d-1", telemetry=Telemetry())
        with tracing.request("GET", "/v2/x", f"00-{LAB_TRACE}-b7ad6b7169203331-00") as span:
            span.answered(200)
        await closed(tracing)
    assert receiver.spans == []


async def test_a_result_at_another_dispatcher_continues_the_jobs_trace() -> None:
    async with receiving() as receiver:
        first = OtelTracing(receiver.url, dispatcher="d-1", telemetry=Telemetry())
        second = OtelTracing(receiver.url, dispatcher="d-2", telemetry=Telemetry())
        first.leased("job-1", "batch-1", 1)
        second.received("job-1")
        second.acknowledged("job-1", "stored")
        first.given_up("job-1", "node_gone")
        await closed(first)
        await closed(second)
    assert len(receiver.named("job")) == 2
    assert len({span.trace_id for span in receiver.spans}) == 1
    assert sorted(span.status.message for span in receiver.named("job")) == ["", "node_gone"]


async def test_a_full_queue_and_a_deaf_receiver_drop_spans_and_count_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otel_traces, "MAX_QUEUED_SPANS", 10)
    monkeypatch.setattr(otel_traces, "EXPORT_TIMEOUT_S", 0.2)
    async with receiving() as receiver:
        receiver.status = 400
        telemetry = Telemetry()
        tracing = OtelTracing(receiver.url, dispatcher="d-1", telemetry=telemetry)
        for number in range(10):
            a_job(tracing, f"job-{number}")
        assert telemetry.spans_dropped == 60 - 10
        await closed(tracing)
        assert telemetry.spans_dropped == 60
        assert receiver.requests == 1


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("https://collector/otlp/", "https://collector/otlp/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    ],
)
def test_the_endpoint_is_the_collectors_address(given: str, used: str) -> None:
    assert traces_endpoint(given) == used


@pytest.mark.parametrize("given", ["collector:4317", "grpc://collector:4317", "http://", ""])
def test_an_endpoint_that_is_no_http_address_is_named(given: str) -> None:
    with pytest.raises(SetupError, match="MEADOW_OTLP_ENDPOINT"):
        traces_endpoint(given)


def test_without_an_endpoint_no_tracing_is_imported() -> None:
    """The Redis client imports part of OpenTelemetry's metrics where it is installed; that is not ours."""
    code = (
        "import sys, dispatcher.cli; print([name for name in sys.modules"
        " if name.startswith(('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'dispatcher.adapters.otel'))])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
