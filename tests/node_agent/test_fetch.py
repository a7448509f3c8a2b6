import asyncio
import datetime
import gzip
import hashlib
import ipaddress
import os
import ssl
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import brotli
import pytest
import zstandard
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from node_agent.fetching import USER_AGENT
from node_agent.journal import Outcome
from protocol import limits
from protocol.messages import FailureCode, Hop, HopVerdict, RefusalCode, Refuse
from protocol.record import Header
from tests.node_agent.conftest import NamedAnswers, RunningNode, Site, running_node
from tests.node_agent.played_dispatcher import Dispatcher

BODY = b"<h1>Harbour</h1>" + b"".join(f"<p>tide {n * 7919 % 1000}</p>".encode() for n in range(4_000))


async def test_page_travels_with_its_record(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    site.page("/page", BODY, ETag='"7"', X_Robots_Tag="noai", Set_Cookie="a=b", Link="</x>; rel=next")
    result = await dispatcher.result(site.url("/page#part"), purpose="train-ai", accept_language="de, en;q=0.5")
    record = result.record
    assert result.payload == BODY
    assert record.body_hash == hashlib.sha256(BODY).hexdigest()
    assert (record.status, record.body_bytes, record.wire_bytes) == (200, len(BODY), len(BODY))
    assert record.final_url == site.url("/page")
    assert record.content_type == "text/html"
    assert record.headers == (Header("etag", '"7"'), Header("link", "</x>; rel=next"), Header("x-robots-tag", "noai"))
    assert record.started_ms <= record.finished_ms
    await dispatcher.until(lambda: node.jobs.acknowledged)
    (entry,) = node.journal.newest(None)
    assert (entry.outcome, entry.reward, entry.purpose, entry.wire_bytes) == (
        *(Outcome.STORED, 7, "train-ai", len(BODY)),
    )


async def test_only_allow_listed_headers_are_sent(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    site.page("/", Set_Cookie="session=1; Path=/")
    await dispatcher.result(site.url("/"), accept_language="de")
    await dispatcher.result(site.url("/"), accept_language="de")
    for request in site.requests:
        assert set(request.headers) == {
            "Host",
            "User-Agent",
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Connection",
        }
        assert request.headers["User-Agent"] == USER_AGENT
        assert request.method == "GET"


async def test_proxy_of_the_environment_is_not_used(
    dispatcher: Dispatcher, node: RunningNode, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert (await dispatcher.result(site.url("/"))).record.status == 200


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
async def test_encoded_body_is_kept_as_it_came(
    dispatcher: Dispatcher, node: RunningNode, site: Site, encoding: str, encode: object
) -> None:
    assert callable(encode)
    encoded = encode(BODY)
    site.page("/", encoded, Content_Encoding=encoding)
    result = await dispatcher.result(site.url("/"))
    assert result.payload == encoded
    assert result.record.content_encoding == encoding
    assert result.record.body_hash == hashlib.sha256(BODY).hexdigest()
    assert (result.record.wire_bytes, result.record.body_bytes) == (len(encoded), len(BODY))


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
async def test_bomb_is_cut_off(
    dispatcher: Dispatcher, node: RunningNode, site: Site, encoding: str, encode: object
) -> None:
    assert callable(encode)
    site.page("/", encode(bytes(40_000_000)), Content_Encoding=encoding)
    failure = await dispatcher.failure(site.url("/"))
    assert failure.reason is FailureCode.BODY_TOO_LARGE


async def test_oversized_body_is_cut_off(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100_000_000:
            await response.write(os.urandom(65_536))
            sent += 65_536
        return response

    site.handlers["/"] = endless
    failure = await dispatcher.failure(site.url("/"))
    assert failure.reason is FailureCode.BODY_TOO_LARGE
    assert sent < 3 * limits.WIRE_BYTES


async def test_a_jobs_own_bounds_hold_and_never_widen(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    site.page("/", BODY)
    assert (await dispatcher.failure(site.url("/"), max_body_bytes=1_000)).reason is FailureCode.BODY_TOO_LARGE
    site.page("/big", os.urandom(limits.WIRE_BYTES + 1))
    huge = await dispatcher.failure(site.url("/big"), max_wire_bytes=1 << 40, max_body_bytes=1 << 40)
    assert huge.reason is FailureCode.BODY_TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", b"no gzip at all"), ("gzip", gzip.compress(BODY, mtime=0)[:-20]), ("gzip, br", BODY), ("rot13", BODY)],
)
async def test_corrupt_body_fails(
    dispatcher: Dispatcher, node: RunningNode, site: Site, encoding: str, body: bytes
) -> None:
    site.page("/", body, Content_Encoding=encoding)
    assert (await dispatcher.failure(site.url("/"))).reason is FailureCode.BODY_CORRUPT


async def test_slow_body_meets_the_idle_deadline(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a")
        await asyncio.sleep(30)
        return response

    site.handlers["/"] = stalls
    failure = await dispatcher.failure(site.url("/"), timeout_ms=20_000, expires_ms=4_102_444_800_000)
    assert failure.reason is FailureCode.TIMEOUT
    assert "silent" in failure.detail


async def test_dripping_body_meets_the_total_deadline(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    async def drips(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"a")
            await asyncio.sleep(0.05)
        return response

    site.handlers["/"] = drips
    failure = await dispatcher.failure(site.url("/"), timeout_ms=400)
    assert (failure.reason, failure.detail) == (FailureCode.TIMEOUT, "not done within 400 ms")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_is_followed_after_a_verdict(
    dispatcher: Dispatcher, node: RunningNode, site: Site, status: int
) -> None:
    site.page("/a", status=status, Location="b?x=1")
    site.page("/b", status=status, Location=site.url("/c#part"))
    result = await dispatcher.result(site.url("/a"))
    hops = [message.url for message in dispatcher.heard if isinstance(message, Hop)]
    assert hops == [site.url("/b?x=1"), site.url("/c")]
    assert result.record.final_url == site.url("/c")
    assert result.record.hops == (site.url("/b?x=1"),)
    assert site.paths() == ["/a", "/b?x=1", "/c"]


async def test_hop_is_not_fetched_before_its_verdict(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    dispatcher.allows_hop = lambda hop: None
    site.page("/a", status=302, Location="/b")
    job = await dispatcher.give(site.url("/a"))
    await dispatcher.until(lambda: [message for message in dispatcher.heard if isinstance(message, Hop)])
    await dispatcher.send(HopVerdict(job_id=job.job_id, lease=job.lease, url=site.url("/other"), allowed=True))
    await asyncio.sleep(0.1)
    assert site.paths() == ["/a"]
    await dispatcher.send(HopVerdict(job_id=job.job_id, lease=job.lease, url=site.url("/b"), allowed=True))
    await dispatcher.answer(job)
    assert site.paths() == ["/a", "/b"]


async def test_hop_that_the_dispatcher_refuses_fails(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    dispatcher.allows_hop = lambda hop: False
    site.page("/a", status=302, Location="/b")
    failure = await dispatcher.failure(site.url("/a"))
    assert (failure.reason, failure.detail) == (FailureCode.HOP_REFUSED, "robots")
    assert site.paths() == ["/a"]


async def test_hop_without_a_verdict_meets_the_deadline(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    dispatcher.allows_hop = lambda hop: None
    site.page("/a", status=302, Location="/b")
    assert (await dispatcher.failure(site.url("/a"), timeout_ms=300)).reason is FailureCode.TIMEOUT


async def test_open_hop_is_asked_again_in_the_next_session(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    dispatcher.allows_hop = lambda hop: None
    site.page("/a", status=302, Location="/b")
    job = await dispatcher.give(site.url("/a"))
    await dispatcher.until(lambda: [message for message in dispatcher.heard if isinstance(message, Hop)])
    dispatcher.allows_hop = lambda hop: True
    await dispatcher.drop()
    await dispatcher.connected(sessions=2)
    assert not isinstance(await dispatcher.answer(job), Refuse)


async def test_hop_to_a_blocked_domain_is_the_owners_refusal(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    node.rules.block("example.com")
    site.page("/a", status=302, Location="https://www.example.com/")
    refusal = await dispatcher.refusal(site.url("/a"))
    assert refusal.reason is RefusalCode.BLOCKED_BY_OWNER


async def test_redirects_end_after_five(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    async def onward(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"/?n={int(request.query['n']) + 1}")

    site.handlers["/"] = onward
    failure = await dispatcher.failure(site.url("/?n=0"), max_redirects=1_000)
    assert failure.reason is FailureCode.TOO_MANY_REDIRECTS
    assert len(site.requests) == limits.REDIRECTS + 1


async def test_status_without_location_is_an_ordinary_page(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    for status in (302, 404, 503, 429):
        site.page(f"/{status}", b"text", status=status, Retry_After="30")
        record = (await dispatcher.result(site.url(f"/{status}"))).record
        assert record.status == status
        assert record.headers == (Header("retry-after", "30"),)


async def test_long_headers_are_left_out_of_the_record(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    site.page("/", b"text", Link="<x>," * 5_000, ETag="e")
    assert (await dispatcher.result(site.url("/"))).record.headers == (Header("etag", "e"),)


async def test_unresolvable_name_fails(tmp_path: Path, dispatcher: Dispatcher) -> None:
    async with running_node(tmp_path / "n", dispatcher, resolver=NamedAnswers({})):
        await dispatcher.connected()
        assert (await dispatcher.failure("http://gone.example.com/")).reason is FailureCode.DNS_FAILED


async def test_closed_port_fails_without_an_address(tmp_path: Path, dispatcher: Dispatcher) -> None:
    resolver = NamedAnswers({"site.example.com": [["127.0.0.1"]]})
    async with running_node(tmp_path / "n", dispatcher, resolver=resolver, test_sites=("site.example.com:9",)):
        await dispatcher.connected()
        failure = await dispatcher.failure("http://site.example.com:9/")
        assert failure.reason is FailureCode.CONNECT_FAILED
        assert failure.detail == "no connection to site.example.com, port 9"


@pytest.fixture
async def broken_site() -> AsyncIterator[tuple[int, list[bytes]]]:
    answers: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[-1])
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], answers


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\x01\x02 no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_answer_that_is_no_http_fails(
    tmp_path: Path, dispatcher: Dispatcher, broken_site: tuple[int, list[bytes]], answer: bytes
) -> None:
    port, answers = broken_site
    answers.append(answer)
    async with running_node(tmp_path / "n", dispatcher, test_sites=(f"127.0.0.1:{port}",)):
        await dispatcher.connected()
        failure = await dispatcher.failure(f"http://127.0.0.1:{port}/")
        assert failure.reason is FailureCode.BAD_RESPONSE


async def test_invalid_certificate_fails(tmp_path: Path, dispatcher: Dispatcher) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_self_signed(tmp_path))

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the handshake must not succeed")

    async with await asyncio.start_server(never, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        async with running_node(tmp_path / "n", dispatcher, test_sites=(f"127.0.0.1:{port}",)):
            await dispatcher.connected()
            failure = await dispatcher.failure(f"https://127.0.0.1:{port}/")
            assert failure.reason is FailureCode.TLS_FAILED
            assert "certificate" in failure.detail


async def test_plain_http_on_a_tls_url_fails(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    assert (await dispatcher.failure(f"https://{site.host}/")).reason is FailureCode.TLS_FAILED


def _self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "site.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
