"""The object store's URL, and what is said of a store before a dispatcher starts on it."""

from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from dispatcher.adapters import obstore_client
from dispatcher.adapters.store_check import check_store
from dispatcher.errors import SetupError
from dispatcher.store_location import StoreLocation, folder_location, parse_location
from tests.objects.s3_server import Bucket, S3Server


@pytest.mark.parametrize(
    ("url", "scheme", "container", "prefix"),
    [
        ("file:///srv/meadow", "file", "", "/srv/meadow"),
        ("file://localhost/srv/with%20space/", "file", "", "/srv/with space"),
        ("s3://bucket", "s3", "bucket", ""),
        ("s3://bucket/a/b/", "s3", "bucket", "a/b"),
        ("gs://bucket/a", "gs", "bucket", "a"),
        ("az://container/a", "az", "container", "a"),
        ("memory:///", "memory", "", ""),
    ],
)
def test_urls_are_read(url: str, scheme: str, container: str, prefix: str) -> None:
    variables = {"AZURE_STORAGE_ACCOUNT_NAME": "account", "AWS_REGION": "eu-central-1", "AWS_CA_BUNDLE": "/x"}
    location = parse_location(url, variables)
    assert (location.scheme, location.container, location.prefix) == (scheme, container, prefix)
    expected = {"az": {"AZURE_STORAGE_ACCOUNT_NAME": "account"}, "s3": {"AWS_REGION": "eu-central-1"}}
    assert location.options == expected.get(scheme, {})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must be one of"),
        ("/srv/meadow", "must be one of"),
        ("ftp://host/x", "must be one of"),
        ("s3:///prefix", "names no bucket"),
        ("s3://key:secret@bucket/x", "own variables"),
        ("s3://bucket/x?region=y", "own variables"),
        ("s3://bucket/a/../b", "whole path"),
        ("file://srv/meadow", "three slashes"),
        ("file:///", "three slashes"),
        ("az://container/x", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("s3://buck et/x", "cannot be"),
    ],
)
def test_urls_that_cannot_be_used_are_told_why(url: str, words: str) -> None:
    with pytest.raises(SetupError, match=words) as failed:
        parse_location(url, {})
    assert "secret" not in str(failed.value)


def test_an_endpoint_that_is_no_address_is_named() -> None:
    for address in ("no address", "ftp://host", "host:9000", "http://", "http://a b"):
        with pytest.raises(SetupError, match=r"AWS_ENDPOINT_URL is '.*'; it must be an address"):
            parse_location("s3://bucket/x", {"AWS_ENDPOINT_URL": address})


def test_a_location_shows_no_secret(bucket: Bucket) -> None:
    location = bucket.location()
    assert "secret-of-tests" in location.options.values()
    assert "secret-of-tests" not in f"{location} {location!r}"
    assert str(location) == f"s3://{bucket.name}/meadow"


async def test_stores_that_work_pass_and_keep_nothing_of_it(bucket: Bucket, tmp_path: Path) -> None:
    await check_store(bucket.location())
    await check_store(folder_location(tmp_path / "new" / "folder"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    await check_store(parse_location("memory:///", {}))
    listed = obstore_client.open_bucket(bucket.location())
    assert [entry async for page in listed.list() for entry in page] == []


async def test_stores_that_do_not_work_are_told_why(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore_client, "RETRIES", 0)
    (tmp_path / "file").write_bytes(b"")
    cases: list[tuple[StoreLocation, str]] = [
        (folder_location(tmp_path / "file"), "check the folder"),
        (bucket.location(AWS_ENDPOINT_URL="http://127.0.0.1:1"), "cannot be reached"),
        (Bucket(bucket.server, "no-such-bucket").location(), "create it"),
        (bucket.location(AWS_SECRET_ACCESS_KEY=""), "cannot be opened: .*SecretAccessKey"),
    ]
    for location, words in cases:
        with pytest.raises(SetupError, match=words) as failed:
            await check_store(location)
        assert "secret-of-tests" not in str(failed.value)


@pytest.mark.parametrize("ignored", ["If-None-Match", "If-Match"])
async def test_a_server_that_ignores_conditions_is_refused(bucket: Bucket, s3: S3Server, ignored: str) -> None:
    """A proxy drops a header on its way to the server: what is left is a store without conditional writes."""

    async def forward(request: web.Request) -> web.Response:
        dropped = {"host", ignored.lower(), "content-length", "accept-encoding"}
        headers = {name: value for name, value in request.headers.items() if name.lower() not in dropped}
        async with ClientSession(auto_decompress=False) as client:
            url = f"{s3.url}{request.path_qs}"
            async with client.request(request.method, url, headers=headers, data=await request.read()) as answer:
                kept = {
                    name: value for name, value in answer.headers.items() if name.lower() in {"etag", "last-modified"}
                }
                if request.method == "HEAD":
                    kept["Content-Length"] = answer.headers["Content-Length"]
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(SetupError, match=f"ignores {ignored}"):
            await check_store(bucket.location(AWS_ENDPOINT_URL=address))
    finally:
        await runner.cleanup()
