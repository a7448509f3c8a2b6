"""The format `screenshot` of a request: how a picture of a page is to be taken, and the bounds of every picture."""

from typing import Final

import msgspec

from dispatcher.request_fields import JsonObject, JsonValue, is_whole

WIDTH: Final = 1280
HEIGHT: Final = 800
MAX_WIDTH: Final = 3840
MAX_HEIGHT: Final = 2160
MAX_PICTURE_HEIGHT: Final = 16_384
"""A picture of a full page ends here: the browser draws no larger surface."""
MAX_PIXELS: Final = 25_000_000
"""A picture of a full page ends with the row that reaches this number, too."""
BROWSER_SETTING: Final = "MEADOW_SCREENSHOT_BROWSER"
NO_BROWSER: Final = (
    "this network has no browser to take pictures with: pages are read without a browser, and its operator sets"
    f" {BROWSER_SETTING} for pictures of them"
)


class ScreenshotFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of a page as it lies in a window of `width` by `height` CSS pixels, one pixel of the picture each.

    `full_page` asks for the page down to its end instead of the window's part. A JPEG of `quality` 1 to 100 where that
    is given, a PNG otherwise.
    """

    full_page: bool = False
    quality: int | None = None
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def most_rows(self) -> int:
        """The height of the tallest picture that is taken."""
        return min(MAX_PICTURE_HEIGHT, MAX_PIXELS // self.width) if self.full_page else self.height


class ScreenshotFault(msgspec.Struct, frozen=True):
    """An option that is wrong: its name below the format, what it is, and what it may be."""

    option: str
    got: JsonValue
    accepts: str


def read_screenshot(given: JsonObject, *, full_page: bool) -> tuple[ScreenshotFormat, list[ScreenshotFault]]:
    """Read the options of the format, null members left out; `full_page` is what holds where they do not say."""
    faults: list[ScreenshotFault] = []
    wanted, quality, viewport = given.get("fullPage", full_page), given.get("quality"), given.get("viewport")
    if not isinstance(wanted, bool):
        faults.append(ScreenshotFault("fullPage", wanted, "true or false"))
    if quality is not None and not is_whole(quality, 1, 100):
        faults.append(ScreenshotFault("quality", quality, "a whole number from 1 to 100"))
    width, height = WIDTH, HEIGHT
    if viewport is not None:
        sides = viewport if isinstance(viewport, dict) else {}
        got_width, got_height = sides.get("width"), sides.get("height")
        if (
            sides.keys() == {"width", "height"}
            and is_whole(got_width, 1, MAX_WIDTH)
            and is_whole(got_height, 1, MAX_HEIGHT)
            and isinstance(got_width, int)
            and isinstance(got_height, int)
        ):
            width, height = got_width, got_height
        else:
            accepts = f"an object with a width from 1 to {MAX_WIDTH} and a height from 1 to {MAX_HEIGHT}"
            faults.append(ScreenshotFault("viewport", viewport, accepts))
    if faults:
        return ScreenshotFormat(), faults
    return ScreenshotFormat(
        full_page=wanted is True, quality=quality if isinstance(quality, int) else None, width=width, height=height
    ), []
