"""A picture from a whole network: `meadow up` with a node and a browser, its API and its command line."""

import hashlib
import json
import signal
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.network.processes import Up, run, still_alive, until
from tests.pictures.conftest import BROWSER, SANDBOX
from tests.pictures.png import read_png

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: run python -m tests.install_browser"),
]

PAGE = b"""<!doctype html><title>Green</title><style>body{margin:0;background:#008000}div{height:900px}</style>
<img src="/elsewhere.png"><p>These are words enough for a document to be made of this page about a colour.</p><div>"""
SHOT = {"type": "screenshot", "viewport": {"width": 80, "height": 60}}


class _Pages(BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200 if self.path.startswith("/green") else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Pages", (_Pages,), {"asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def browsers(up: Up) -> list[psutil.Process]:
    """The first process of the network's browser."""
    lines = ((process, process.cmdline()) for process in up.family())
    return [
        process
        for process, line in lines
        if "--remote-debugging-pipe" in line and not any(part.startswith("--type=") for part in line)
    ]


def ended(status: dict[str, Any]) -> dict[str, Any] | None:
    return None if status["status"] == "scraping" else status


@pytest.fixture
def short_folder() -> Iterator[str]:
    """For temporary files: the browser keeps a Unix socket there, whose path has a hundred characters at most."""
    with tempfile.TemporaryDirectory(prefix="mp-") as folder:
        yield folder


def test_a_network_takes_pictures_and_leaves_no_browser_behind(
    tmp_path: Path, short_folder: str, site: tuple[str, list[str]]
) -> None:
    address, asked = site
    env = {
        "MEADOW_SCREENSHOT_BROWSER": str(BROWSER),
        "MEADOW_SCREENSHOT_SANDBOX": str(SANDBOX).lower(),
        "TMPDIR": short_folder,
    }
    up = Up(tmp_path, nodes=1, sites=[address], env=env).started()
    try:
        wanted = {"url": f"http://{address}/green", "formats": ["markdown", SHOT], "timeout": 60_000}
        answer = up.lab.call("POST", "/v2/scrape", wanted, timeout_s=70)
        assert answer.status == 200, answer
        document = answer.body["data"]
        assert document["warning"].startswith("screenshot: 1 part of the page")
        request = urllib.request.Request(document["screenshot"], headers={"Authorization": f"Bearer {up.lab.key}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            picture = response.read()
        assert hashlib.sha256(picture).hexdigest() in document["screenshot"]
        assert read_png(picture).at(79, 59) == (0, 128, 0)
        estimate = up.lab.call("POST", "/v1/estimate", {**wanted, "kind": "scrape"})
        assert estimate.body["credits"] == {"low": 0, "high": 1}
        crawl = {"url": f"http://{address}/green/0", "limit": 1, "scrapeOptions": {"formats": ["screenshot"]}}
        crawl_id = up.lab.call("POST", "/v2/crawl", crawl).body["id"]
        status = until("the crawl ends", lambda: ended(up.lab.call("GET", f"/v2/crawl/{crawl_id}").body))
        assert status["status"] == "completed" and "/v2/pictures/" in status["data"][0]["screenshot"]
        (browser,) = browsers(up)
        browser.send_signal(signal.SIGKILL)
        out = tmp_path / "out"
        ran = run(
            "dispatcher.cli", "scrape", f"http://{address}/green/2", "--format", "screenshot@fullPage", "--out", str(out),
            "--api-url", up.ready.api_url, "--api-key", up.ready.api_key, "--json", env=up.env,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        (page,) = json.loads(ran.stdout)["pages"]
        written = Path(page["file"]).read_bytes()
        assert page["file"].endswith(".png") and written[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = (int.from_bytes(written[place : place + 4], "big") for place in (16, 20))
        assert width == 1280 and height > 900
        assert [path for path in asked if not path.startswith(("/green", "/robots.txt"))] == []
        family = until("the browser runs", lambda: up.family() if browsers(up) else None)
        up.kill()
        assert still_alive(family) == []
    finally:
        up.close()
