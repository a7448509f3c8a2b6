"""Pictures of hostile pages by a real Chromium: what they show, what they load (nothing), and how they end."""

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from dispatcher.adapters import chromium_process
from dispatcher.adapters.chromium_camera import ChromiumCamera
from dispatcher.errors import PictureError
from dispatcher.screenshot_format import MAX_PICTURE_HEIGHT, ScreenshotFormat
from tests.network.processes import still_alive, until
from tests.pictures.conftest import new_camera
from tests.pictures.png import read_png

pytestmark = [pytest.mark.browser]

SMALL = ScreenshotFormat(width=64, height=48)
TALL = ScreenshotFormat(width=64, height=48, full_page=True)
HTML = "text/html; charset=utf-8"
OPEN_LAUNCHER = "tests.pictures.open_launcher"
PAGE = b"""<!doctype html><style>body{margin:0;background:#123456}div{height:300px}div+div{background:#fedcba}</style>
<div></div><div></div><script>document.body.style.background='#ff0000'</script>"""
RED_DOT = (
    b"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='64' height='48'%3E"
    b"%3Crect width='64' height='48' fill='%2300ff00'/%3E%3C/svg%3E"
)


@contextmanager
def trap() -> Iterator[socket.socket]:
    """A listening socket that nobody answers at: what arrives waits to be accepted."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.setblocking(False)
        yield server


def arrivals(server: socket.socket) -> int:
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def first_arrival(server: socket.socket) -> tuple[socket.socket, object] | None:
    try:
        return server.accept()
    except BlockingIOError:
        return None


async def test_a_picture_is_of_the_window_or_of_the_whole_page_and_scripts_are_off(camera: ChromiumCamera) -> None:
    part = await camera.take(PAGE, content_type=HTML, wanted=SMALL)
    pixels = read_png(part.data)
    assert (part.media_type, part.width, part.height) == ("image/png", 64, 48)
    assert (pixels.width, pixels.height) == (64, 48)
    assert {pixels.at(x, y) for x in (0, 32, 63) for y in (0, 47)} == {(0x12, 0x34, 0x56)}
    whole = await camera.take(PAGE, content_type=HTML, wanted=TALL)
    pixels = read_png(whole.data)
    assert (pixels.width, pixels.height) == (64, 600) and not whole.is_cut and whole.missing == 0
    assert (pixels.at(32, 299), pixels.at(32, 301)) == ((0x12, 0x34, 0x56), (0xFE, 0xDC, 0xBA))
    wanted = ScreenshotFormat(width=64, height=48, quality=40)
    jpeg = await camera.take(PAGE, content_type=HTML, wanted=wanted)
    assert jpeg.media_type == "image/jpeg" and jpeg.data[:3] == b"\xff\xd8\xff"
    inline = await camera.take(
        b"<!doctype html><body style='margin:0'><img src=\"" + RED_DOT + b'">', content_type=HTML, wanted=SMALL
    )
    assert read_png(inline.data).at(32, 24) == (0, 255, 0) and inline.missing == 0


def everything_from(address: str) -> bytes:
    """A page that tries every way to load something that the author could think of."""
    return f"""<!doctype html><html manifest="{address}/manifest"><head>
<base href="{address}/base/"><meta http-equiv="refresh" content="0;url={address}/refresh">
<meta http-equiv="Link" content="<{address}/preload>; rel=preload; as=image">
<link rel="stylesheet" href="{address}/style.css"><link rel="preconnect" href="{address}">
<link rel="dns-prefetch" href="{address}"><link rel="prefetch" href="{address}/prefetch">
<link rel="preload" as="image" href="{address}/preload.png"><link rel="modulepreload" href="{address}/module.js">
<link rel="prerender" href="{address}/prerender"><link rel="icon" href="{address}/icon.png">
<link rel="manifest" href="{address}/manifest.json" crossorigin="use-credentials">
<script type="speculationrules">{{"prefetch":[{{"urls":["{address}/rules"],"eagerness":"immediate"}}]}}</script>
<script src="{address}/script.js"></script>
<script>fetch("{address}/fetch"); new WebSocket("{address.replace("http", "ws")}/socket"); new Image().src="{address}/i";
navigator.sendBeacon("{address}/beacon"); location.href="{address}/gone"; new EventSource("{address}/events");
new RTCPeerConnection({{iceServers:[{{urls:"stun:{address[7:]}"}}]}}).createOffer();</script>
<style>@import "{address}/import.css"; @font-face {{font-family:f;src:url({address}/font.woff2)}}
body {{font-family:f;margin:0;background:#123456 url({address}/background.png);cursor:url({address}/cursor.cur),auto}}
p::after {{content:url({address}/content.png)}} li {{list-style-image:url({address}/list.png)}}</style></head>
<body onload="fetch('{address}/onload')"><p>words</p><ul><li>item</ul>
<img src="{address}/img.png" srcset="{address}/set.png 2x"><picture><source srcset="{address}/source.png"><img></picture>
<iframe src="{address}/frame"></iframe><iframe srcdoc="<img src='{address}/inner.png'>"></iframe>
<iframe sandbox="allow-scripts" srcdoc="<img src='{address}/boxed.png'><script>fetch('{address}/s')</script>"></iframe>
<iframe src="data:text/html,<img src='{address}/data.png'><link rel=preconnect href='{address}'>"></iframe>
<object data="{address}/object"></object><embed src="{address}/embed"><video poster="{address}/poster.png"
 src="{address}/film.mp4" autoplay></video><audio src="{address}/sound.mp3" preload="auto"></audio>
<track src="{address}/track.vtt"><input type="image" src="{address}/input.png">
<svg><use href="{address}/use.svg#a"/><image href="{address}/svg.png"/><filter id="f"><feImage href="{address}/fe.png"/>
</filter><rect width="9" height="9" filter="url({address}/filter.svg#f)"/></svg>
<form action="{address}/form" id="form"><button autofocus onfocus="form.submit()">x</button></form>
<a href="{address}/ping" ping="{address}/ping">x</a><img src="//{address[7:]}/noscheme.png"><img src="file:///etc/passwd">
<math><mi xlink:href="{address}/math">x</mi></math></body></html>""".encode()


async def test_a_page_that_tries_everything_reaches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without the kernel's help, which not every machine gives.
    monkeypatch.setattr(chromium_process, "LAUNCHER", OPEN_LAUNCHER)
    camera = new_camera()
    try:
        assert not (await camera.look())[1]
        with trap() as server:
            page = everything_from(f"http://127.0.0.1:{server.getsockname()[1]}")
            taken = await camera.take(page, content_type=HTML, wanted=SMALL)
            assert read_png(taken.data).at(63, 40) == (0x12, 0x34, 0x56)
            assert taken.missing > 10
            assert arrivals(server) == 0
    finally:
        await camera.close()


@pytest.mark.parametrize("wall", ["none", "names", "kernel"])
async def test_each_wall_below_the_browsers_own_answers_holds_alone(wall: str, monkeypatch: pytest.MonkeyPatch) -> None:
    only_page = {"patterns": [{"urlPattern": chromium_process.PAGE_ADDRESS}]}
    monkeypatch.setattr(chromium_process, "_walls", lambda: (("Fetch.enable", only_page),))
    if wall != "kernel":
        monkeypatch.setattr(chromium_process, "LAUNCHER", OPEN_LAUNCHER)
    if wall != "names":
        kept = [each for each in chromium_process._ARGUMENTS if "resolver" not in each and "proxy" not in each]
        monkeypatch.setattr(chromium_process, "_ARGUMENTS", (*kept, "--no-proxy-server"))
    camera = new_camera()
    try:
        _, is_cut_off = await camera.look()
        if wall == "kernel" and not is_cut_off:
            pytest.skip("the kernel gives no network namespace here")
        with trap() as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}"
            loads = f"<!doctype html><img src='{address}/a.png'><iframe src='{address}/frame'></iframe>".encode()
            taking = asyncio.create_task(camera.take(loads, content_type=HTML, wanted=SMALL))
            if wall == "none":
                # A connection shows that the trap would tell. Its page waits for an answer that never comes, so that the
                # browser dies while it waits: it is replaced, once.
                waiting, _ = await asyncio.to_thread(until, "a connection arrives", lambda: first_arrival(server))
                first = camera.pid
                assert first is not None
                os.kill(first, signal.SIGKILL)
                second = await asyncio.to_thread(
                    until, "another browser", lambda: camera.pid if camera.pid != first else None
                )
                os.kill(second, signal.SIGKILL)
                with pytest.raises(PictureError, match="ended twice"):
                    await taking
                waiting.close()
            else:
                assert (await taking).width == 64
                assert arrivals(server) == 0
    finally:
        await camera.close()


async def test_a_page_without_end_is_cut_and_one_that_is_too_much_has_no_picture(camera: ChromiumCamera) -> None:
    endless = b"<!doctype html><body style='margin:0'><div style='height:30000000px;background:#123456'>"
    cut = await camera.take(endless, content_type=HTML, wanted=TALL)
    assert cut.is_cut and cut.height == MAX_PICTURE_HEIGHT
    assert int.from_bytes(cut.data[20:24], "big") == MAX_PICTURE_HEIGHT
    flood = b"<!doctype html>" + b"".join(b"<img src=/%d>" % number for number in range(5_000))
    with pytest.raises(PictureError, match="more than 2000 parts from elsewhere"):
        await camera.take(flood, content_type=HTML, wanted=SMALL)
    assert (await camera.take(PAGE, content_type=HTML, wanted=SMALL)).missing == 0


async def test_a_browser_that_dies_in_the_middle_is_replaced(camera: ChromiumCamera) -> None:
    await camera.look()
    first = camera.pid
    assert first is not None
    family = psutil.Process(first).children(recursive=True)
    assert family
    taking = asyncio.create_task(camera.take(PAGE, content_type=HTML, wanted=SMALL))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert (await taking).width == 64
    assert camera.pid not in (None, first) and still_alive(family) == []


async def test_a_browser_that_hangs_is_killed_in_time() -> None:
    camera = new_camera(picture_ms=1_000)
    try:
        await camera.look()
        pid = camera.pid or 0
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(PictureError, match="within 1000 ms"):
            await camera.take(PAGE, content_type=HTML, wanted=SMALL)
        assert camera.pid is None and not psutil.pid_exists(pid)
    finally:
        await camera.close()


async def test_a_page_that_takes_too_much_memory_ends_its_browser_alone() -> None:
    camera = new_camera(memory_bytes=1 << 20)
    layers = b"<style>p{filter:blur(400px);position:absolute;width:9000px;height:9000px}</style>" + b"<p>" * 200
    try:
        with pytest.raises(PictureError, match="more than the 1048576 bytes of memory"):
            await camera.take(layers, content_type=HTML, wanted=TALL)
        assert camera.pid is None
    finally:
        await camera.close()


async def test_a_folder_that_no_browser_starts_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 10)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(PictureError, match="TMPDIR"):
        await new_camera().look()
    assert list(folder.iterdir()) == []


async def test_a_program_that_is_no_browser_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho this is no browser >&2\nexit 3\n")
    program.chmod(0o755)
    for path, words in ((program, "this is no browser"), (tmp_path / "none", "does not start")):
        camera = ChromiumCamera(path, sandbox=True)
        with pytest.raises(PictureError, match=words):
            await camera.take(PAGE, content_type=HTML, wanted=SMALL)
        await camera.close()
