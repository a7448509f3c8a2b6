"""`meadow mcp` over its standard input and output, as a program that speaks MCP starts it, against a real network."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from provenance.checkpoint import VerifierKey
from provenance.signed_note import ED25519
from tests.clients.client_runs import QUICK
from tests.clients.site import Site, serving
from tests.network.processes import ROOT, Up, environment

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Site]]:
    with serving() as site:
        env = {**QUICK, "MEADOW_CHECKPOINT_MS": "500"}
        up = Up(tmp_path_factory.mktemp("mcp"), nodes=1, sites=[site.address], env=env).started()
        try:
            yield up, site
        finally:
            up.close()


@asynccontextmanager
async def session_with(up: Up, folder: Path, *flags: str, key: str = "") -> AsyncIterator[ClientSession]:
    """Start the server for a network; its standard error goes to `err.log` in the folder."""
    found = {"MEADOW_API_URL": up.ready.api_url, "MEADOW_API_KEY": key or up.ready.api_key}
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "dispatcher.cli", "mcp", *flags],
        env=environment(folder / "state", found),
        cwd=ROOT,
    )
    with (folder / "err.log").open("w") as err:
        async with stdio_client(parameters, err) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session


async def answered(session: ClientSession, tool: str, **arguments: Any) -> Any:
    result = await session.call_tool(tool, arguments)
    text = "".join(getattr(part, "text", "") for part in result.content)
    assert not result.is_error, text
    return json.loads(text)


async def refused(session: ClientSession, tool: str, **arguments: Any) -> str:
    result = await session.call_tool(tool, arguments)
    assert result.is_error
    return "".join(getattr(part, "text", "") for part in result.content)


async def test_every_tool_answers(network: tuple[Up, Site], tmp_path: Path) -> None:
    up, site = network
    async with session_with(up, tmp_path) as session:
        listed = (await session.list_tools()).tools
        assert {tool.name for tool in listed} == {"scrape", "crawl", "read_crawl", "map", "search", "verify"}
        assert all(tool.description for tool in listed)

        page = await answered(session, "scrape", url=site.url("/p/3"), formats=["markdown", "links"])
        assert "paragraph 2 of page 3" in page["markdown"] and site.url("/p/7") in page["links"]
        asked = site.seen.count("/p/3")
        again = await answered(session, "scrape", url=site.url("/p/3"), max_age_ms=3_600_000)
        assert "paragraph 2 of page 3" in again["markdown"] and site.seen.count("/p/3") == asked

        crawl = await answered(session, "crawl", url=site.url("/"), limit=6, exclude_paths=["^/p/1$"], wait_s=60)
        assert (crawl["status"], crawl["completed"], len(crawl["data"])) == ("completed", 6, 6)
        read = {page["metadata"]["sourceURL"] for page in crawl["data"]}
        assert site.url("/p/1") not in read and "nextSkip" not in crawl
        rest = await answered(session, "read_crawl", id=crawl["id"], skip=4)
        assert rest["status"] == "completed" and len(rest["data"]) == 2

        links = await answered(session, "map", url=site.url("/"), limit=30)
        assert len(links["links"]) == 30

        async with asyncio.timeout(60):  # pages are indexed a moment after they came
            while len((await answered(session, "search", query="larks hares"))["data"]["web"]) < 2:
                await asyncio.sleep(0.2)
        assert len((await answered(session, "search", query="larks hares", limit=1))["data"]["web"]) == 1

        provenance = page["metadata"]["provenance"]
        proof = await answered(session, "verify", proof_url=provenance["proofUrl"], wait_s=60)
        assert proof["isProven"] and proof["recordId"] == provenance["recordId"]
        steps = {step["step"]: step["outcome"] for step in proof["steps"]}
        assert steps == {
            "log key pinned": "NOT CHECKED",
            "entry": "OK",
            "inclusion": "OK",
            "checkpoint in log": "OK",
        }
        named = {"record_id": provenance["recordId"], "log_index": provenance["logIndex"]}
        assert (await answered(session, "verify", **named))["isProven"]
    assert "Traceback" not in (tmp_path / "err.log").read_text()


async def test_what_is_refused_is_said_in_the_words_of_the_api(network: tuple[Up, Site], tmp_path: Path) -> None:
    up, site = network
    async with session_with(up, tmp_path) as session:
        assert "ROBOTS_DISALLOWED" in await refused(session, "scrape", url=site.url("/private/1"))
        assert "URL_MALFORMED" in await refused(session, "scrape", url="nowhere")
        assert "NOT_FOUND" in await refused(session, "read_crawl", id="../../v2/team/credit-usage")
        assert "the log has no such entry" in await refused(session, "verify", record_id="0" * 64, log_index=0)
        assert "accepts metadata.provenance.proofUrl" in await refused(session, "verify", proof_url="http://[::1]/x")
        assert "give proof_url, or" in await refused(session, "verify", record_id="0" * 64)
        assert "limit" in await refused(session, "map", url=site.url("/"), limit=0)
    async with session_with(up, tmp_path, key="mw_wrong") as session:
        assert "UNAUTHORIZED" in await refused(session, "search", query="larks")


async def test_a_log_with_another_key_than_the_one_known_beforehand_proves_nothing(
    network: tuple[Up, Site], tmp_path: Path
) -> None:
    up, site = network
    place = up.lab.scrape(site.url("/p/5")).body["data"]["metadata"]["provenance"]
    other = VerifierKey(name=place["logOrigin"], signature_type=ED25519, public=b"1" * 32)
    async with session_with(up, tmp_path, "--log-key", str(other)) as session:
        proof = await answered(session, "verify", proof_url=place["proofUrl"], wait_s=60)
    outcomes = {step["step"]: step["outcome"] for step in proof["steps"]}
    assert not proof["isProven"] and outcomes["log key pinned"] == outcomes["inclusion"] == "FAILED"
