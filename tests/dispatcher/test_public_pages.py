"""What anyone can ask a dispatcher for: the log's files and nothing beside them, and no console from elsewhere."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from dispatcher.adapters.console_page import ConsolePage
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.memory_frontier import MemoryFrontier
from dispatcher.adapters.prometheus_metrics import Metrics
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.chain import ChainFacts
from dispatcher.errors import FrontierError
from dispatcher.frontier import HostPace
from dispatcher.node_sessions import Nodes
from provenance.adapters.local_tiles import LocalTiles
from tests.dispatcher.conftest import Clock, Faults, Room, breaking
from tests.dispatcher.test_cleaning_service import service as cleaning_service

FACTS = ChainFacts(genesis_hash="g", simulator=True, operator="o", mint="m", decimals=6)


@dataclass
class Server:
    """A running server that is asked byte by byte: no client tidies the path up."""

    port: int

    def ask(self, path: str, *, host: str | None = None) -> tuple[int, str]:
        """Return the status and the whole answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            asked = f"GET {path} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{self.port}'}\r\nConnection: close\r\n\r\n"
            connection.sendall(asked.encode("latin-1"))
            answer = b"".join(iter(lambda: connection.recv(65_536), b"")).decode("latin-1")
        return int(answer.split()[1]), answer


@pytest.fixture
async def server(ledger: SqlLedger, tmp_path: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "log"
    for path in ("checkpoint", "checkpoints/3", "tile/0/000.p/3", "log-info.json", ".writing-x", "tile/.hidden"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"the file {path}")
    (tmp_path / "ledger.key").write_text("SECRET")
    app = web.Application()
    app.add_routes(LogFiles(LocalTiles(folder)).routes())
    console = ConsolePage(ledger=ledger, nodes=Nodes(), facts=FACTS, origin="o", clock=Clock())
    app.add_routes(console.routes())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Server(runner.addresses[0][1])
    await runner.cleanup()


async def ask(server: Server, path: str, *, host: str | None = None) -> tuple[int, str]:

    return await asyncio.to_thread(server.ask, path, host=host)


@pytest.mark.parametrize(
    ("path", "kept_for_ever", "kind"),
    [
        ("checkpoint", False, "text/plain"),
        ("checkpoints/3", True, "text/plain"),
        ("tile/0/000.p/3", True, "application/octet-stream"),
        ("log-info.json", False, "application/octet-stream"),
    ],
)
async def test_the_logs_files_are_served(server: Server, path: str, kept_for_ever: bool, kind: str) -> None:
    status, answer = await ask(server, f"/log/{path}")
    assert (status, f"the file {path}" in answer) == (200, True)
    assert ("immutable" in answer, "no-cache" in answer) == (kept_for_ever, not kept_for_ever)
    assert f"Content-Type: {kind}" in answer


@pytest.mark.parametrize(
    "path",
    [
        "../ledger.key",
        "..%2fledger.key",
        "%2e%2e/ledger.key",
        "tile/../../ledger.key",
        "tile/%2e%2e/%2e%2e/ledger.key",
        "..\\ledger.key",
        "%5c..%5cledger.key",
        "%2fetc/passwd",
        "/etc/passwd",
        "tile//0/000.p/3",
        ".writing-x",
        "tile/.hidden",
        "tile",
        "tile/",
        "checkpoint/x",
        "checkpoint%00",
        "a%00b",
        "x" * 300,
        "tile/" + "x" * 256,
        "x/" * 1_000,
        "%ff%fe",
        "",
    ],
)
async def test_nothing_beside_the_log_is_served(server: Server, path: str) -> None:
    status, answer = await ask(server, f"/log/{path}")
    assert status in (400, 404), answer[:200]
    assert "SECRET" not in answer and "the file" not in answer and "root:" not in answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:8420", "localhost:1", "[::1]:8420", "[::1]"])
async def test_the_console_is_shown_to_this_machine(server: Server, host: str) -> None:
    assert (await ask(server, "/", host=host))[0] == 200
    assert (await ask(server, "/console/state", host=host))[0] == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8420", "localhost.evil.example", "127.0.0.1.evil.example:80", "127.0.0.1:80:evil", "0.0.0.0"],
)  # fmt: skip
async def test_a_rebound_name_sees_no_console(server: Server, host: str) -> None:
    for path in ("/", "/console/state"):
        assert (await ask(server, path, host=host))[0] in (400, 403)


async def test_the_consoles_own_files_only(server: Server) -> None:
    assert (await ask(server, "/console/console.js"))[0] == 200
    for name in ("index.html", "..%2fconsole_page.py", "x"):
        assert (await ask(server, f"/console/{name}"))[0] == 404


@pytest.mark.parametrize(
    "remote", ["203.0.113.9", "8.8.8.8", "192.168.1.7", "10.0.0.1", "fe80::1%eth0", "2001:db8::1", ""]
)
async def test_another_machine_sees_no_console_whatever_name_it_dials(ledger: SqlLedger, remote: str) -> None:
    console = ConsolePage(ledger=ledger, nodes=Nodes(), facts=FACTS, origin="o", clock=Clock())
    request = make_mocked_request("GET", "/", headers={"Host": "127.0.0.1:8420"}).clone(remote=remote)
    with pytest.raises(web.HTTPForbidden):
        await console.page(request)
    with pytest.raises(web.HTTPForbidden):
        await console.state(request)


async def test_metrics_are_read_also_while_the_frontier_is_down(room: Room) -> None:
    node = room.connect(window=3)
    await room.begin(node)
    empty = MemoryFrontier(default_pace=HostPace(delay_ms=0, max_concurrent=1))
    frontier = breaking(empty, Faults({"size": 1}, error=FrontierError))
    cleaning = cleaning_service(room)
    metrics = Metrics(ledger=room.truth, frontier=frontier, nodes=room.nodes, cleaning=cleaning)
    for known in ('meadow_store_up{store="frontier"} 0.0', "meadow_frontier_jobs 0.0"):
        response = await metrics.handle(make_mocked_request("GET", "/metrics"))
        assert isinstance(response.body, bytes)
        lines = response.body.decode().splitlines()
        assert known in lines
        assert 'meadow_jobs{state="queued"} 1.0' in lines
        assert "meadow_nodes_connected 1.0" in lines
        assert "meadow_node_slots_free 2.0" in lines
        assert "meadow_jobs_in_flight 1.0" in lines
