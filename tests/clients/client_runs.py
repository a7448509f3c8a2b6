"""Runs the published clients of Firecrawl's API, unmodified, against a dispatcher, and reads what came of each check."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.clients.site import Site, serving
from tests.install_browser import find_browser
from tests.network.processes import Up

FOLDER = Path(__file__).parent
PYTHON = FOLDER / ".venv" / "bin" / "python"
MCP_SERVER = FOLDER / "node_modules" / "firecrawl-mcp" / "dist" / "index.js"
CLIENTS = ("sync", "async", "js", "mcp")
QUICK = {"MEADOW_HOST_DELAY_MS": "0", "MEADOW_HOST_MAX_CONCURRENT": "16"}
"""The site is the test's own and need not be spared."""


class Check(msgspec.Struct, frozen=True):
    """What came of one check: how many calls of the client it made, how long it took, and the problem, if any."""

    check: str
    calls: int
    seconds: float
    problem: str


def missing() -> str | None:
    """None where every client is installed, otherwise what is not."""
    if not PYTHON.exists() or not MCP_SERVER.exists():
        return "the clients are not installed: run make clients"
    if find_browser() is None:
        return "there is no Chromium: run python -m tests.install_browser"
    return None if shutil.which("node") else "there is no node"


def settings() -> dict[str, str]:
    """The settings of the clients' network, which takes pictures too; its pages are the test's own."""
    return {**QUICK, "MEADOW_SCREENSHOT_BROWSER": str(find_browser()), "MEADOW_SCREENSHOT_SANDBOX": "false"}


def run_program(client: str, api_url: str, api_key: str, site: str, checks: Sequence[str] = ()) -> list[Check]:
    """Run every check, or those named, through `sync`, `async` or `js`."""
    command = (
        ["node", str(FOLDER / "programs" / "js_client.mjs")]
        if client == "js"
        else [str(PYTHON), str(FOLDER / "programs" / "python_client.py"), client]
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FIRECRAWL_", "MEADOW_"))}
    ran = subprocess.run(
        [*command, api_url, api_key, site, *checks],
        env={**kept, "FIRECRAWL_API_URL": api_url},
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert ran.returncode == 0, ran.stderr
    return [msgspec.json.decode(line, type=Check) for line in ran.stdout.splitlines() if line.startswith("{")]


class Tools:
    """A session with `firecrawl-mcp` over its standard input and output; counts the calls that were answered."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.calls = 0

    async def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool; what it returns, as JSON. AssertionError with its words where it says that it failed."""
        result = await self._session.call_tool(tool, arguments)
        text = "".join(getattr(part, "text", "") for part in getattr(result, "content", ()))
        assert not getattr(result, "is_error", False), text
        self.calls += 1
        return json.loads(text)

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail; its words."""
        try:
            await self.call(tool, **arguments)
        except AssertionError as error:
            self.calls += 1
            return str(error)
        raise AssertionError(f"{tool} was to be refused")


@asynccontextmanager
async def mcp_tools(api_url: str, api_key: str) -> AsyncIterator[Tools]:
    """Start `firecrawl-mcp` for a dispatcher."""
    parameters = StdioServerParameters(
        command="node",
        args=[str(MCP_SERVER)],
        env={"FIRECRAWL_API_URL": api_url, "FIRECRAWL_API_KEY": api_key, "PATH": os.environ["PATH"]},
    )
    with Path(os.devnull).open("w") as silent:
        async with stdio_client(parameters, silent) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield Tools(session)


async def _scrape(tools: Tools, site: str) -> None:
    document = await tools.call("firecrawl_scrape", url=f"{site}/p/3", formats=["markdown", "links"])
    assert "Page 3" in document["markdown"]
    assert document["metadata"]["provenance"]["recordId"]
    assert f"{site}/p/7" in document["links"]


async def _refused(tools: Tools, site: str) -> None:
    assert "robots" in (await tools.refused("firecrawl_scrape", url=f"{site}/private/1")).lower()


async def _map(tools: Tools, site: str) -> None:
    found = await tools.call("firecrawl_map", url=site, limit=50)
    assert len(found["links"]) == 50


async def _crawl(tools: Tools, site: str) -> None:
    job = await tools.call("firecrawl_crawl", url=site, limit=8, sitemap="skip")
    assert (job["status"], job["completed"], len(job["data"])) == ("completed", 8, 8)
    again = await tools.call("firecrawl_check_crawl_status", id=job["id"])
    assert again["status"] == "completed"


async def _credits(tools: Tools, site: str) -> None:
    usage = await tools.call("firecrawl_credit_usage")
    assert "remainingCredits" in json.dumps(usage)


async def run_mcp(api_url: str, api_key: str, site: str) -> list[Check]:
    """Run every check through `firecrawl-mcp`."""
    found = []
    for check in (_scrape, _refused, _map, _crawl, _credits):
        began, problem, calls = time.monotonic(), "", 0
        try:
            async with asyncio.timeout(90), mcp_tools(api_url, api_key) as tools:
                try:
                    await check(tools, site)
                finally:
                    calls = tools.calls
        except Exception:  # noqa: BLE001 (whatever failed is what is reported)
            problem = traceback.format_exc()
        seconds = round(time.monotonic() - began, 2)
        found.append(Check(check.__name__.removeprefix("_"), calls, seconds, problem))
    return found


def run_client(client: str, up: Up, site: Site) -> list[Check]:
    """Run every check through one of `CLIENTS`."""
    if client == "mcp":
        return asyncio.run(run_mcp(up.ready.api_url, up.ready.api_key, site.url("")))
    return run_program(client, up.ready.api_url, up.ready.api_key, site.url(""))


def main() -> int:
    """Run all clients against a network of three nodes; a line for each, and 1 where a check failed."""
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    failed = 0
    with tempfile.TemporaryDirectory() as folder, serving() as site:
        up = Up(Path(folder), nodes=3, sites=[site.address], env=settings()).started()
        try:
            for client in CLIENTS:
                checks = run_client(client, up, site)
                bad = [check for check in checks if check.problem]
                failed += len(bad)
                calls = sum(check.calls for check in checks)
                print(f"{client}: {len(checks) - len(bad)} of {len(checks)} checks passed, {calls} calls answered")
                for check in bad:
                    print(f"  {check.check}: {check.problem}")
        finally:
            up.close()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
