"""The public log over HTTP, out of a bucket: what a verifier sees is what the folder would have shown."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from dispatcher.adapters import obstore_client
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.obstore_tiles import ObstoreTiles
from provenance.adapters.http_tiles import HttpTiles
from provenance.log_writer import publish
from provenance.tiles import TileReader, TileTree
from tests.objects.s3_server import Bucket
from tests.objects.test_tiles import entries, note


async def serve(files: TileReader) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.add_routes(LogFiles(files).routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/log"


@pytest.fixture
async def address(bucket: Bucket) -> AsyncIterator[str]:
    tiles = ObstoreTiles(bucket.location())
    root = await publish(tiles, entries, old_size=0, new_size=300)
    await tiles.write_once("checkpoints/300", note(300, root).encode())
    await tiles.replace("checkpoint", note(300, root).encode())
    runner, address = await serve(tiles)
    yield address
    await runner.cleanup()


async def test_a_verifier_reads_the_log_that_a_bucket_holds(address: str, bucket: Bucket) -> None:
    async with HttpTiles(f"{address}/") as tiles:
        root = await TileTree(ObstoreTiles(bucket.location()), 300).root()
        assert await TileTree(tiles, 300).root() == root
        assert await TileTree(tiles, 300).entry(299) == b"entry 299"
        assert await tiles.read("checkpoint") == note(300, root).encode()
        assert await tiles.read("checkpoints/7") is None


async def test_fixed_files_may_be_kept_and_others_are_asked_for_again(address: str) -> None:
    async with ClientSession() as client:
        for path, kept in (("tile/0/000", True), ("checkpoints/300", True), ("checkpoint", False)):
            async with client.get(f"{address}/{path}") as answer:
                assert answer.status == 200
                assert ("immutable" in answer.headers["Cache-Control"]) is kept
                tag = answer.headers["ETag"]
            async with client.get(f"{address}/{path}", headers={"If-None-Match": tag}) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
            async with client.get(f"{address}/{path}", headers={"If-None-Match": '"other"'}) as answer:
                assert answer.status == 200
            async with client.head(f"{address}/{path}") as answer:
                assert (answer.status, await answer.read()) == (200, b"")


async def test_a_store_that_does_not_answer_is_no_missing_file(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstore_client, "RETRIES", 0)
    runner, address = await serve(ObstoreTiles(bucket.location(AWS_ENDPOINT_URL="http://127.0.0.1:1")))
    try:
        async with ClientSession() as client, client.get(f"{address}/checkpoint") as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert "127.0.0.1:1" not in await answer.text()
    finally:
        await runner.cleanup()
