"""What `meadow doctor` finds out about the browser that pictures of pages are taken with: it takes one."""

from pathlib import Path

from dispatcher.adapters.chromium_camera import ChromiumCamera
from dispatcher.doctor import Check, judge_browser
from dispatcher.errors import PictureError
from dispatcher.screenshot_format import ScreenshotFormat

_PAGE = b"<!doctype html><title>Meadow</title><p>Meadow"


async def probe_browser(executable: Path, *, sandbox: bool) -> Check:
    """Start the browser and take a small picture of a page of our own."""
    camera = ChromiumCamera(executable, sandbox=sandbox)
    fault, product, is_cut_off = None, "", False
    try:
        product, is_cut_off = await camera.look()
        await camera.take(_PAGE, content_type="text/html", wanted=ScreenshotFormat(width=64, height=64))
    except PictureError as error:
        fault = str(error)
    finally:
        await camera.close()
    return judge_browser(str(executable), product, fault, sandbox=sandbox, is_cut_off=is_cut_off)
