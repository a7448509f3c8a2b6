"""The harness itself: the network leads nowhere else, and both browsers do in it what the tests rely on."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.extension import chromium, firefox
from tests.extension.chromium import Chromium
from tests.extension.conftest import DOMAIN, HOME, NEWS, SHOP, World, reset
from tests.extension.firefox import Firefox, find_firefox
from tests.extension.sandbox import HOME_ADDRESS, PRIVATE_ADDRESSES, SITE_ADDRESSES, available, sandbox
from tests.extension.sharer import started as started_network
from tests.extension.site_answers import Answer
from tests.install_browser import find_browser
from tests.network.processes import Up, until
from tests.network.site import page

PROBE = Path(__file__).parent / "probe"
REASON = available()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

NAMES = [
    pytest.param("chromium", marks=pytest.mark.skipif(find_browser() is None, reason="there is no Chromium")),
    pytest.param("firefox", marks=pytest.mark.skipif(find_firefox() is None, reason="there is no Firefox")),
]
Browser = Chromium | Firefox
ALLOWED = "chrome.permissions.contains({ origins: ['<all_urls>'] })"


def started(name: str, world: World, folder: Path) -> AbstractContextManager[Browser]:
    if name == "chromium":
        return chromium.chromium(world.sandbox, PROBE, folder / "profile", more=world.authority.chromium_arguments)
    return firefox.firefox(world.sandbox, PROBE, folder / "profile", trusted=world.authority.certificate_der)


def left_alone(name: str, world: World, folder: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    start = chromium.left_alone if name == "chromium" else firefox.left_alone
    return start(world.sandbox, PROBE, folder / "profile")


def ask(view: Page | firefox.Tab, what: str, url: str = "") -> Any:
    return view.evaluate("message => chrome.runtime.sendMessage(message)", {"ask": what, "url": url})


def heard(view: Page | firefox.Tab) -> list[str]:
    return [event["name"] for event in ask(view, "events")]


def permit(browser: Browser) -> Page | firefox.Tab:
    """Have the extension ask, and its owner say yes; the page it asked from."""
    view = browser.open("page.html")
    browser.will_allow()
    view.click("#allow")
    until("the permission is there", lambda: view.evaluate(ALLOWED))
    return view


@pytest.fixture(scope="module", params=NAMES)
def running(
    request: pytest.FixtureRequest, opened_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """One browser for all tests that need no profile of their own."""
    reset(opened_world)
    with started(request.param, opened_world, tmp_path_factory.mktemp(request.param)) as browser:
        yield browser


# --- the network ---


def test_the_sandbox_takes_its_processes_with_it() -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with sandbox() as box:
        assert Path("/proc/thread-self/ns/net").readlink() != before
        process = subprocess.Popen(box.command(["sh", "-c", "sleep 300 & sleep 300"]))
        until("both sleep", lambda: len(box.processes()) >= 2)
        folder = box.folder
    assert Path("/proc/thread-self/ns/net").readlink() == before
    assert box.processes() == []
    assert process.wait(60) != 0
    assert not folder.exists()


def test_other_threads_stay_where_they_are() -> None:
    before, seen = Path("/proc/thread-self/ns/net").readlink(), []
    go = threading.Event()

    def look() -> None:
        go.wait(60)
        seen.append(Path("/proc/thread-self/ns/net").readlink())

    thread = threading.Thread(target=look)
    thread.start()
    with sandbox():
        go.set()
        thread.join(60)
    assert seen == [before]


def test_programs_in_it_ask_the_tests_name_server_and_the_machine_does_not(world: World) -> None:
    outside = Path("/etc/resolv.conf").read_text()
    inside = subprocess.run(
        world.sandbox.command(["cat", "/etc/resolv.conf"]), capture_output=True, text=True, check=True
    )
    assert inside.stdout.startswith("nameserver 127.0.0.1\n")
    assert Path("/etc/resolv.conf").read_text() == outside
    found = subprocess.run(
        world.sandbox.command(["getent", "ahosts", NEWS]), capture_output=True, text=True, check=True
    )
    assert {line.split()[0] for line in found.stdout.splitlines()} == {"93.184.216.34", "2606:2800:220:1::1"}
    assert world.names.times(NEWS, "A") == 1
    none = subprocess.run(world.sandbox.command(["getent", "hosts", "no.example"]), capture_output=True, check=False)
    assert none.returncode == 2


@pytest.mark.parametrize("address", [*PRIVATE_ADDRESSES, HOME_ADDRESS, "8.8.8.8", "fd77::1", "2a00::77"])
@pytest.mark.parametrize("port", [80, 443, 8080])
def test_every_address_without_a_site_is_a_trap(world: World, address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=60) as connection:
        until(
            "the trap has it",
            lambda: [(caught.address, caught.port) for caught in world.trap.caught] == [(address, port)],
        )
        connection.sendall(b"let me in")
        assert connection.recv(1) == b""
    assert world.trap.heard == [b"let me in"]
    until(
        "the wire saw it", lambda: ("tcp", address, port) in [(s.protocol, s.address, s.port) for s in world.wire.sent]
    )


@pytest.mark.parametrize("address", SITE_ADDRESSES)
def test_a_site_is_no_trap(world: World, address: str) -> None:
    with socket.create_connection((address, 80), timeout=60) as connection:
        connection.sendall(b"GET /p/1?q=2 HTTP/1.1\r\nhOsT: a.example\r\nX-B: 2\r\nX-A: 1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.partition(b"\r\n\r\n")[2].decode() == page("/p/1")
    (request,) = world.site.requests
    assert (request.method, request.target, request.address, request.secure) == ("GET", "/p/1?q=2", address, False)
    assert request.headers == (("hOsT", "a.example"), ("X-B", "2"), ("X-A", "1"), ("Connection", "close"))
    until("all of it was sent", lambda: request.whole)
    assert world.trap.caught == []


def test_a_script_answers_each_question_by_its_next_step(world: World) -> None:
    world.names.script("rebind.example", [["93.184.216.34"], ["10.0.0.1", "fd00::1"]])

    def resolve(family: str) -> list[str]:
        program = (
            f"import socket; print(*(at[4][0] for at in socket.getaddrinfo('rebind.example', 1, socket.{family}, 1)))"
        )
        ran = subprocess.run(
            world.sandbox.command([sys.executable, "-c", program]), capture_output=True, text=True, check=False
        )
        return ran.stdout.split()

    assert resolve("AF_INET") == ["93.184.216.34"]
    assert resolve("AF_INET") == ["10.0.0.1"]
    assert resolve("AF_INET") == ["10.0.0.1"]
    assert resolve("AF_INET6") == []
    assert resolve("AF_INET6") == ["fd00::1"]
    assert [question.kind for question in world.names.asked] == ["A", "A", "A", "AAAA", "AAAA"]


def test_the_wire_sees_datagrams_to_any_port(world: World) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"x", ("198.51.100.7", 3478))
    until(
        "it is seen",
        lambda: [(s.protocol, s.address, s.port) for s in world.wire.outside()] == [("udp", "198.51.100.7", 3478)],
    )


# --- both browsers ---


def test_a_permission_comes_by_a_click_and_goes_by_the_browsers_settings(running: Browser) -> None:
    view = running.open("page.html")
    assert view.evaluate(ALLOWED) is False
    running.will_allow()
    assert view.evaluate(ALLOWED) is False, "the click is what gives it"
    for _ in range(2):
        view.click("#allow")
        until("the permission is there", lambda: view.evaluate(ALLOWED))
        running.withdraw()
        until("the permission is gone", lambda: not view.evaluate(ALLOWED))
        running.will_allow()
    until("the worker heard of it", lambda: heard(view)[:4] == ["added", "removed"] * 2)


def test_the_worker_fetches_a_public_name_and_nothing_else_leaves_the_browser(
    running: Browser, opened_world: World
) -> None:
    """Nothing else since it was started, for the world was not reset meanwhile."""
    world = opened_world
    view = permit(running)
    assert ask(view, "fetch", f"http://{NEWS}/p/1") == {"status": 200, "text": page("/p/1")}
    assert ask(view, "fetch", f"https://{SHOP}/br/2") == {"status": 200, "text": page("/p/2")}
    until(
        "webRequest tells the address",
        lambda: [f"https://{SHOP}/br/2", "93.184.216.35"] in [event["detail"] for event in ask(view, "events")],
    )
    time.sleep(1)
    assert running.errors() == []
    assert [(request.host, request.path, request.secure) for request in world.site.requests] == [
        (NEWS, "/p/1", False),
        (SHOP, "/br/2", True),
    ]
    assert {question.name for question in world.names.asked} == {NEWS, SHOP}
    assert world.trap.caught == []
    assert {sent.address for sent in world.wire.outside()} <= set(SITE_ADDRESSES)


def test_a_name_can_move_into_the_home_between_two_requests(running: Browser, world: World) -> None:
    url = f"http://moving.{DOMAIN}/closed"
    world.site.answers["/closed"] = Answer(headers=(("Connection", "close"),), keep_alive=False)
    world.names.script(f"moving.{DOMAIN}", [["93.184.216.34"], ["192.168.1.1"]])
    view = permit(running)
    assert ask(view, "fetch", url)["status"] == 200
    assert ask(view, "fetch", url)["status"] == 200
    assert world.names.times(f"moving.{DOMAIN}", "A") == 1
    running.forget_names()
    assert "error" in ask(view, "fetch", url)
    assert world.names.times(f"moving.{DOMAIN}", "A") >= 2
    until("the trap has it", lambda: {caught.address for caught in world.trap.caught} == {"192.168.1.1"})


def test_a_page_is_shown_at_a_size_and_in_a_colour_scheme(running: Browser, world: World, tmp_path: Path) -> None:
    for width, scheme in ((320, "dark"), (1280, "light")):
        view = running.open("page.html", width=width, height=700, scheme="dark" if scheme == "dark" else "light")
        assert view.evaluate("[innerWidth, innerHeight]") == [width, 700]
        assert view.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") is (scheme == "dark")
        picture = tmp_path / f"{scheme}.png"
        view.screenshot(path=picture, full_page=True)
        header = picture.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(header[16:20]) == width


def test_errors_of_worker_and_pages_are_heard(running: Browser, world: World) -> None:
    before = len(running.errors())
    view = running.open("page.html")
    ask(view, "fail")
    view.press("#fail", "Enter")
    until("four complaints", lambda: len(running.errors()) == before + 4)
    complaints = "\n".join(running.errors()[before:])
    for text in ("thrown", "rejected", "said", "from the page"):
        assert text in complaints


def test_a_killed_worker_starts_again_when_it_is_asked(running: Browser, world: World) -> None:
    view = running.open("page.html")
    starts = "chrome.storage.local.get('starts').then((kept) => kept.starts)"
    before = until("it started", lambda: view.evaluate(starts))
    for more in (1, 2):
        running.kill_worker()
        assert ask(view, "events") == []
        until("it started again", partial(_is, view, starts, before + more))
    running.reload()
    anew = running.open("page.html")
    until("it was loaded anew", lambda: anew.evaluate(starts) == before + 3)


@pytest.mark.skipif(find_firefox() is None, reason="there is no Firefox")
def test_firefox_asks_its_own_question(world: World, tmp_path: Path) -> None:
    with firefox.firefox(world.sandbox, PROBE, tmp_path / "profile") as browser:
        view = browser.open("page.html")
        for allow in (False, True):
            view.click("#allow")
            assert "Access your data for all websites" in browser.answer_question(allow=allow)
            until(
                "the page heard",
                partial(_is, view, "document.querySelector('#answer').textContent", str(allow).lower()),
            )
            assert view.evaluate(ALLOWED) is allow


def _is(view: Page | firefox.Tab, expression: str, value: object) -> bool:
    return bool(view.evaluate(expression) == value)


# --- the dispatcher ---


def test_a_network_reads_a_public_name_without_any_allowance(world: World, tmp_path: Path) -> None:
    up = Up(tmp_path / "up", nodes=1, wrap=world.sandbox.command, env=world.authority.environment)
    try:
        started_network(up)
        answer = up.lab.scrape(f"http://{NEWS}/p/1")
        assert answer.status == 200, answer
        assert up.lab.scrape(f"https://{SHOP}/p/2").status == 200
        assert up.lab.scrape(f"http://{NEWS}/private/3").status != 200
        assert up.lab.scrape(f"http://{HOME}/p/4").status != 200
    finally:
        up.close()
    assert [request.host for request in world.site.seen("/robots.txt")] == [NEWS, SHOP]
    assert world.site.seen("/private/3") == []
    assert world.trap.caught == []
    assert os.getpid() not in world.sandbox.processes()
