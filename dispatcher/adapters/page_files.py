"""Pages on disk, as `meadow scrape` leaves them, each whole or not at all: `<n>-<slug>.md` or `.png`, and `.json`."""

import os
import re
import secrets
from pathlib import Path
from typing import Final

import ada_url
import msgspec

from dispatcher.errors import SetupError
from dispatcher.lab_documents import LabDocument

FORMAT_SUFFIXES: Final = {"markdown": ".md", "rawHtml": ".html", "links": ".txt"}
_SLUG_CHARACTERS: Final = 60


def slug(url: str) -> str:
    """Make a file name's words of a URL: host and path, lower-case ASCII letters, digits and hyphens."""
    try:
        parsed = ada_url.URL(url)
        text = f"{parsed.hostname}{parsed.pathname}"
    except ValueError:
        text = url
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:_SLUG_CHARACTERS].rstrip("-") or "page"


def make_folder(folder: Path) -> None:
    """Make the output folder; SetupError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{folder} cannot be made a folder: {error.strerror}; choose another with --out") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then move it to its place. SetupError where the disk refuses."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}") from error


def write_page(
    folder: Path, document: LabDocument, *, number: int, digits: int, format_: str, picture: bytes | None = None
) -> Path:
    """Write a page and its metadata; the path of the page, or of the metadata where there is nothing else to write."""
    stem = f"{number:0{digits}}-{slug(document.metadata.source_url)}"
    metadata = folder / f"{stem}.json"
    write_whole(metadata, msgspec.json.format(msgspec.json.encode(document.metadata), indent=2) + b"\n")
    if picture is not None and isinstance(document.screenshot, str):
        path = folder / f"{stem}{Path(document.screenshot).suffix}"
        write_whole(path, picture)
        return path
    text = page_text(document, format_)
    if not text:
        return metadata
    path = folder / f"{stem}{FORMAT_SUFFIXES[format_]}"
    write_whole(path, text.encode())
    return path


def page_text(document: LabDocument, format_: str) -> str:
    """Return a document's text in one of the formats; empty where it has none, as a picture."""
    if format_ == "rawHtml":
        return document.raw_html if isinstance(document.raw_html, str) else ""
    if format_ == "links":
        return "".join(f"{link}\n" for link in document.links) if isinstance(document.links, tuple) else ""
    return f"{document.markdown.rstrip()}\n" if isinstance(document.markdown, str) and document.markdown else ""
