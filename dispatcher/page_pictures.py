"""Pictures of pages, where the operator configured a browser: of the bytes that the record's hash is of, and no others.

The port is `Camera`. What a page would load from elsewhere is not loaded, so that a picture is of what was fetched, and
anybody who has the body may take it again. A picture that cannot be had costs a page nothing else: the lab is told.
"""

import hashlib
from typing import Final, Literal, Protocol

import msgspec
from msgspec.structs import replace

from cleaning.document import Document, Extract, PictureFacts
from dispatcher.errors import PictureError
from dispatcher.screenshot_format import NO_BROWSER, ScreenshotFormat
from protocol.record import Record

PICTURE: Final = "picture"
"""The kind of object: a picture has the name of the document that holds its hash, and goes where the document goes."""
MediaType = Literal["image/png", "image/jpeg"]
SUFFIXES: Final[dict[str, str]] = {"image/png": ".png", "image/jpeg": ".jpg"}


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """A picture as the browser made it. `missing` parts of the page were not loaded; `is_cut`: the page goes on below.

    Where `missing_more`, there are more missing parts than were counted.
    """

    data: bytes
    media_type: MediaType
    width: int
    height: int
    missing: int = 0
    missing_more: bool = False
    is_cut: bool = False


class Camera(Protocol):
    """The port. Raises PictureError where the browser cannot be had or makes no picture; always ends in bounded
    time for each picture."""

    async def take(self, body: bytes, *, content_type: str | None, wanted: ScreenshotFormat) -> Picture:
        """Take a picture of a decoded body, with the Content-Type that it was sent with."""
        ...


async def with_picture(
    document: Document, body: bytes | None, record: Record, wanted: ScreenshotFormat, camera: Camera | None
) -> tuple[Document, bytes | None]:
    """Return a document with what is known of its picture, and the picture; with a warning where there is none."""
    extract = document.extract or Extract()
    try:
        if camera is None:
            raise PictureError(NO_BROWSER)
        if body is None:
            raise PictureError("the body is not in the object store, or damaged")
        taken = await camera.take(body, content_type=record.content_type, wanted=wanted)
    except PictureError as error:
        warnings = (*extract.warnings, f"screenshot is left out: {error}")
        return replace(document, extract=replace(extract, warnings=warnings)), None
    facts = PictureFacts(
        sha256=hashlib.sha256(taken.data).hexdigest(),
        media_type=taken.media_type,
        width=taken.width,
        height=taken.height,
    )
    warnings = (*extract.warnings, *_notes(taken))
    return replace(document, extract=replace(extract, picture=facts, warnings=warnings)), taken.data


def _notes(taken: Picture) -> list[str]:
    notes: list[str] = []
    if taken.missing:
        parts = "1 part" if taken.missing == 1 else f"{taken.missing} parts"
        notes.append(
            f"screenshot: {parts}{' or more' if taken.missing_more else ''} of the page (stylesheets, images, frames,"
            " fonts) lie elsewhere and were not loaded: the picture is of the fetched bytes alone"
        )
    if taken.is_cut:
        notes.append(f"screenshot: the page goes on below the picture's {taken.height} rows")
    return notes


def picture_name(facts: PictureFacts) -> str:
    """Return the last part of a picture's address."""
    return f"{facts.sha256}{SUFFIXES.get(facts.media_type, '')}"


def picture_path(job_id: str, facts: PictureFacts) -> str:
    """Return the path of a picture in the API."""
    return f"/v2/pictures/{job_id}/{picture_name(facts)}"
