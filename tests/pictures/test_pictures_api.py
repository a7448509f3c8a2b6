"""Pictures over the API: of the bytes of a real site's page, at an address of ours, for its own team alone."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession

from dispatcher.adapters.chromium_camera import ChromiumCamera
from dispatcher.adapters.system_clock import now_ms
from dispatcher.cleaning_service import MODEL_PAGES
from dispatcher.errors import PictureError
from dispatcher.jobs import ZERO_RETENTION_MS
from dispatcher.objects import HOLD_MS
from dispatcher.page_pictures import PICTURE, Camera, Picture
from dispatcher.retention import Retention
from dispatcher.screenshot_format import ScreenshotFormat
from tests.documents.conftest import Answer, Network, Site, opened
from tests.pictures.conftest import new_camera
from tests.pictures.png import read_png

pytestmark = [pytest.mark.browser]

WORDS = "<p>These are words enough for a document to be made of this page, which is about nothing in particular."
BLUE = f"<!doctype html><title>Blue</title><style>body{{margin:0;background:#0000ff}}</style>{WORDS}</p>"
SHOT = {"type": "screenshot", "viewport": {"width": 80, "height": 60}}


@dataclass
class Counting(Camera):
    """A camera that is asked through this one; what it was asked for."""

    camera: ChromiumCamera
    asked: list[ScreenshotFormat] = field(default_factory=list)

    async def take(self, body: bytes, *, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        self.asked.append(wanted)
        return await self.camera.take(body, content_type=content_type, wanted=wanted)


@pytest.fixture
async def camera() -> AsyncIterator[Counting]:
    built = new_camera()
    yield Counting(built)
    await built.close()


@pytest.fixture
async def network(tmp_path: Path, camera: Counting) -> AsyncIterator[Network]:
    site = Site(pages={"/blue": BLUE, "/poor": BLUE.replace("<p>", "<img src='/a.png'><link rel=stylesheet href=/b>")})
    async with opened(tmp_path, site=site, camera=camera) as built:
        yield built


def path_of(network: Network, answer: Answer) -> str:
    address = answer.at("data", "screenshot")
    assert isinstance(address, str) and address.startswith(f"{network.url}/v2/pictures/")
    return address.removeprefix(network.url)


async def test_a_picture_is_read_where_its_document_says_by_its_own_team_alone(network: Network) -> None:
    answer = await network.scrape("/blue", formats=["markdown", SHOT])
    assert set(answer.data()) == {"markdown", "screenshot", "metadata"}
    path = path_of(network, answer)
    async with ClientSession(headers={"Authorization": f"Bearer {network._keys['lab']}"}) as session:
        async with session.get(network.url + path) as response:
            data = await response.read()
            assert (response.status, response.content_type) == (200, "image/png")
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "sandbox" in response.headers["Content-Security-Policy"]
        async with session.get(network.url + path, headers={"Authorization": "Bearer wrong"}) as response:
            assert response.status == 401
    assert hashlib.sha256(data).hexdigest() == path.rpartition("/")[2].removesuffix(".png")
    pixels = read_png(data)
    assert (pixels.width, pixels.height, pixels.at(79, 59)) == (80, 60, (0, 0, 255))
    head, _, name = path.rpartition("/")
    absent = [
        await network.get(path, team="other"),
        await network.get(f"{head}/{'0' * 64}.png"),
        await network.get(path.removesuffix("png") + "jpg"),
        await network.get(f"/v2/pictures/0190a000-0000-7000-8000-000000000000/{name}"),
        await network.get(f"/v2/pictures/none/{name}"),
    ]
    assert [each.status for each in absent] == [404] * 5


async def test_a_batch_tells_what_its_pictures_lack_and_repeats_nothing_for_the_same_picture(
    network: Network, camera: Counting
) -> None:
    batch = await network.batch("/blue", "/poor", formats=[SHOT])
    whole = batch.at("data", 0)
    assert isinstance(whole, dict) and "warning" not in whole
    assert str(batch.at("data", 1, "warning")).startswith("screenshot: 2 parts of the page")
    visits = dict(network.site.asked)
    same = await network.scrape("/blue", formats=[SHOT], maxAge=60_000)
    assert path_of(network, same).rpartition("/")[2] == str(batch.at("data", 0, "screenshot")).rpartition("/")[2]
    assert (await network.get(path_of(network, same))).status == 200
    assert len(camera.asked) == 2
    jpeg = {**SHOT, "quality": 30}
    other = await network.scrape("/blue", formats=[jpeg], maxAge=60_000, team="other")
    assert path_of(network, other).endswith(".jpg") and len(camera.asked) == 3
    assert (await network.get(path_of(network, other), team="other")).body[:3] == b"\xff\xd8\xff"
    plain = await network.scrape("/blue", maxAge=60_000)
    assert "screenshot" not in plain.data() and len(camera.asked) == 3
    assert network.site.asked == visits


async def test_a_picture_goes_when_its_page_goes(network: Network) -> None:
    answer = await network.scrape("/blue", formats=[SHOT], zeroDataRetention=True)
    path = path_of(network, answer)
    assert (await network.get(path)).status == 200
    house = network.house
    later_ms = now_ms() + ZERO_RETENTION_MS + 1
    moments = [later_ms, later_ms + HOLD_MS + 1]
    retention = Retention(ledger=house.ledger, objects=house.objects, clock=lambda: moments[0])
    await retention.once()
    assert (await network.get(path)).status == 404
    assert len(await house.objects.aside(PICTURE, older_than_ms=later_ms)) == 1
    moments.pop(0)
    assert (await retention.once()).erased == 3
    assert await house.objects.aside(PICTURE, older_than_ms=moments[0]) == []
    assert (await house.objects.page(PICTURE, older_than_ms=moments[0])).objects == []


class Busy(Camera):
    """A camera that takes no picture before it is told to, and none then."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def take(self, body: bytes, *, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        await self.go_on.wait()
        raise PictureError("it was too busy")


async def test_pages_without_pictures_do_not_wait_for_the_browser(tmp_path: Path) -> None:
    busy, paths = Busy(), [f"/{number}" for number in range(2 * MODEL_PAGES)]
    async with opened(tmp_path, site=Site(pages=dict.fromkeys([*paths, "/blue"], BLUE)), camera=busy) as network:
        urls = [network.at(path) for path in paths]
        accepted = await network.post("/v2/batch/scrape", {"urls": urls, "formats": [SHOT], "purpose": "research"})
        async with asyncio.timeout(60):
            while not {*paths} <= network.site.asked.keys():
                await asyncio.sleep(0.02)
        assert (await network.scrape("/blue")).status == 200
        standing = await network.get(f"/v2/batch/scrape/{accepted.at('id')}")
        assert standing.at("completed") == 0
        busy.go_on.set()
        async with asyncio.timeout(60):
            while standing.at("status") == "scraping":
                standing = await network.get(f"/v2/batch/scrape/{accepted.at('id')}")
        assert standing.at("completed") == len(paths)
        assert standing.at("data", 0, "warning") == "screenshot is left out: it was too busy"


async def test_a_browser_that_fails_costs_a_page_its_picture_alone(tmp_path: Path) -> None:
    broken = ChromiumCamera(tmp_path / "no-browser", sandbox=True)
    async with opened(tmp_path, site=Site(pages={"/blue": BLUE}), camera=broken) as network:
        data = (await network.scrape("/blue", formats=["markdown", SHOT])).data()
    await broken.close()
    assert "words enough" in str(data["markdown"]) and "screenshot" not in data
    assert str(data["warning"]).startswith("screenshot is left out: the network's browser does not start")


async def test_a_page_without_a_browser_any_more_still_completes(network: Network, camera: Counting) -> None:
    network.house.core.cleaning._camera = None
    data = (await network.scrape("/blue", formats=[SHOT])).data()
    assert "MEADOW_SCREENSHOT_BROWSER" in str(data["warning"]) and camera.asked == []
