"""A bucket that does not do its part: every failure says what happened, where, and what to do; nothing hangs."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import obstore
import pytest

from dispatcher.adapters import obstore_client
from dispatcher.adapters.obstore_client import open_bucket
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.errors import ObjectError
from dispatcher.objects import KNOWN_MS, AsideCopy
from dispatcher.store_location import StoreLocation
from tests.objects.s3_server import Bucket, S3Server

NAME = hashlib.sha256(b"body").hexdigest()
COPY = AsideCopy(NAME, "0123456789abcdef", 1)
Work = Callable[[ObstoreObjects], Coroutine[Any, Any, object]]

WORKS: dict[str, Work] = {
    "put": lambda store: store.put("body", NAME, b"x"),
    "get": lambda store: store.get("body", NAME),
    "page": lambda store: store.page("body", older_than_ms=0),
    "set_aside": lambda store: store.set_aside("body", [NAME]),
    "aside": lambda store: store.aside("body", older_than_ms=0),
    "restore": lambda store: store.restore("body", [COPY]),
    "erase": lambda store: store.erase("body", [COPY]),
}


@pytest.fixture(autouse=True)
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore_client, "RETRIES", 1)
    monkeypatch.setattr(obstore_client, "WAIT_S", 0.01)


async def fails(location: StoreLocation, works: dict[str, Work], *words: str) -> None:
    store = ObstoreObjects(location)
    started = time.monotonic()
    for name, work in works.items():
        with pytest.raises(ObjectError) as failed:
            await work(store)
        said = str(failed.value)
        assert all(word in said for word in words), (name, said)
        assert "secret-of-tests" not in said and "\n" not in said
    assert time.monotonic() - started < 8
    await store.close()


async def test_a_server_that_is_not_there(bucket: Bucket) -> None:
    gone = bucket.location(AWS_ENDPOINT_URL="http://127.0.0.1:1")
    await fails(gone, WORKS, "cannot ", f"s3://{bucket.name}/meadow at http://127.0.0.1:1", "cannot be reached: check")


async def test_a_bucket_that_does_not_exist(bucket: Bucket) -> None:
    missing = Bucket(bucket.server, "no-such-bucket").location()
    await fails(missing, WORKS, "s3://no-such-bucket/meadow", "has no such bucket: create it")


async def test_keys_that_are_not_known() -> None:
    with S3Server(strict=True) as server:
        denied = Bucket(server, "bucket-1").location()
        await fails(denied, WORKS, "refuses: check the keys, their rights")


async def test_no_keys_at_all(bucket: Bucket) -> None:
    # Without keys they are asked of the machine's cloud, at an address that can be set; here nobody answers.
    location = bucket.location(
        AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_METADATA_ENDPOINT="http://127.0.0.1:1"
    )
    assert "AWS_ACCESS_KEY_ID" not in location.options
    await fails(location, {"put": WORKS["put"]}, "was given no credentials: set")


@asynccontextmanager
async def answering(reply: Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]) -> AsyncIterator[str]:
    """Run a server that treats every request alike; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reply(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        ("507 Insufficient Storage", "<Error><Code>XMinioStorageFull</Code></Error>", "is full: free some space"),
        ("503 Service Unavailable", "<Error><Code>SlowDown</Code></Error>", "is slow or overloaded"),
        ("403 Forbidden", "<Error><Code>SignatureDoesNotMatch</Code></Error>", "this machine's clock"),
        ("500 Internal Server Error", "<html>", "failed: "),
        ("418 I'm a teapot", "", "failed: "),
    ],
)
async def test_what_a_server_answers_is_put_in_words(bucket: Bucket, status: str, body: str, words: str) -> None:
    async def reply(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()

    async with answering(reply) as address:
        await fails(bucket.location(AWS_ENDPOINT_URL=address), WORKS, words)


async def test_a_server_that_never_answers(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore_client, "REQUEST_S", 0.3)

    async def reply(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    async with answering(reply) as address:
        location = bucket.location(AWS_ENDPOINT_URL=address)
        await fails(location, {name: WORKS[name] for name in ("put", "get", "page")}, "is slow or overloaded")


async def test_a_paused_server_is_waited_for_no_longer_than_told(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ObstoreObjects(bucket.location())
    await store.put("body", NAME, b"x")
    monkeypatch.setattr(obstore_client, "OPERATION_S", 0.3)
    bucket.server.pause()
    try:
        started = time.monotonic()
        with pytest.raises(ObjectError, match="is slow or overloaded"):
            await store.get("body", NAME)
        assert time.monotonic() - started < 2
    finally:
        bucket.server.resume()
    assert await store.get("body", NAME) == b"x"


async def test_an_object_seen_lately_is_not_sent_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObstoreObjects(bucket.location())
    await store.put("body", NAME, b"x")
    # Emptied behind its back: a put that sends nothing leaves it empty, one that asks fills it.
    await obstore.delete_async(open_bucket(bucket.location()), f"objects/body/{NAME[:2]}/{NAME}")
    await store.put("body", NAME, b"x")
    assert await store.get("body", NAME) is None
    later = time.monotonic() + KNOWN_MS / 1000 + 1
    monkeypatch.setattr("dispatcher.adapters.obstore_objects.time.monotonic", lambda: later)
    await store.put("body", NAME, b"x")
    assert await store.get("body", NAME) == b"x"


async def test_two_networks_share_a_bucket_under_two_prefixes(bucket: Bucket) -> None:
    stores = [ObstoreObjects(bucket.location(prefix)) for prefix in ("one", "two/deep", "")]
    for number, store in enumerate(stores):
        await store.put("body", NAME, str(number).encode())
    for number, store in enumerate(stores):
        assert await store.get("body", NAME) == str(number).encode()
        assert len((await store.page("body", older_than_ms=4_000_000_000_000)).objects) == 1
