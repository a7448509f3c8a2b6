"""Site maps (sitemaps.org protocol 0.9): XML lists of pages, indexes of such lists, plain text lists; gzip or not.

Hostile input: run it where it can be killed (`cleaning.adapters.worker_pool`). A file is read in pieces, as far as the
limits go; whatever declares an entity is refused (billion laughs, external entities); a file that breaks off or breaks
the rules of XML gives what stood before that.
"""

import zlib
from collections.abc import Iterator
from xml.parsers import expat

import msgspec
from ada_url import URL

from cleaning.links import resolve

MAX_ENTRIES = 50_000
"""As many addresses as a file may list (sitemaps.org)."""
MAX_BYTES = 50 * 1024 * 1024
"""As many bytes as a file may have unpacked (sitemaps.org: 52,428,800)."""
_PIECE = 65_536
_MAX_ADDRESS = 4_096
_MAX_DEPTH = 32
_GZIP = b"\x1f\x8b"


class SiteMap(msgspec.Struct, frozen=True, tag="site_map"):
    """What a site map lists, in its order, each once: `pages` and further site maps (`maps`), absolute and normalised.

    `fault` says why the file was not read to its end, empty where it was.
    """

    pages: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    fault: str = ""


class _Refused(Exception):
    """What a file does that it must not; the words are for a person."""


def read_site_map(body: bytes, *, url: str) -> SiteMap:
    """Read a site map that was found at `url`; never raises for what it contains."""
    reader = _Reader(url)
    fault = ""
    try:
        pieces = _unpacked(body)
        first = next(pieces, b"")
        if first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or b"\x00" in first[:4]:
            _read_xml(reader, first, pieces)
        else:
            _read_text(reader, first, pieces)
    except _Refused as refused:
        fault = str(refused)
    except (expat.ExpatError, zlib.error) as error:
        fault = f"the file breaks off or breaks the rules of its format: {error}"
    return SiteMap(tuple(reader.pages), tuple(reader.maps), fault)


def _unpacked(body: bytes) -> Iterator[bytes]:
    if not body.startswith(_GZIP):
        for start in range(0, min(len(body), MAX_BYTES), _PIECE):
            yield body[start : start + _PIECE]
        if len(body) > MAX_BYTES:
            raise _Refused(f"more than {MAX_BYTES} bytes")
        return
    size, packed = 0, body
    unpacker = zlib.decompressobj(wbits=31)
    while packed and not unpacker.eof:
        piece = unpacker.decompress(packed, _PIECE)
        packed = unpacker.unconsumed_tail
        size += len(piece)
        if size > MAX_BYTES:
            raise _Refused(f"more than {MAX_BYTES} bytes unpacked")
        if piece:
            yield piece
    if not unpacker.eof:
        raise _Refused("the gzip file breaks off")


class _Reader:
    """Owns what was found. Elements are told apart by their local names: files in the wild spell namespaces freely."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.pages: dict[str, None] = {}
        self.maps: dict[str, None] = {}
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._size = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        """An element begins."""
        if len(self._path) >= _MAX_DEPTH:
            raise _Refused(f"elements nest deeper than {_MAX_DEPTH}")
        self._path.append(name.rpartition(":")[2].lower())
        self._text, self._size = ([], 0) if self._is_address() else (None, 0)

    def text(self, data: str) -> None:
        """Characters."""
        if self._text is not None and self._size <= _MAX_ADDRESS:
            self._text.append(data)
            self._size += len(data)

    def end(self, _: str) -> None:
        """An element ends."""
        if self._text is not None and self._size <= _MAX_ADDRESS:
            self.add("".join(self._text), to=self.maps if self._path[-2] == "sitemap" else self.pages)
        self._text = None
        self._path.pop()

    def _is_address(self) -> bool:
        return len(self._path) >= 2 and self._path[-1] == "loc" and self._path[-2] in {"url", "sitemap"}

    def add(self, written: str, *, to: dict[str, None]) -> None:
        """Take up an address as it is written."""
        if not URL.can_parse(written.strip(), self._url):
            return
        address = resolve(written, self._url)
        if address is not None:
            to[address.partition("#")[0]] = None
        if len(self.pages) + len(self.maps) >= MAX_ENTRIES:
            raise _Refused(f"more than {MAX_ENTRIES} addresses")


def _read_xml(reader: _Reader, first: bytes, rest: Iterator[bytes]) -> None:
    def refuse_entities(*_: object) -> None:
        raise _Refused("the file declares an entity")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = refuse_entities
    parser.ExternalEntityRefHandler = refuse_entities  # type: ignore[assignment]  # it raises before it could answer
    parser.Parse(first, False)
    for piece in rest:
        parser.Parse(piece, False)
    parser.Parse(b"", True)


def _read_text(reader: _Reader, first: bytes, rest: Iterator[bytes]) -> None:
    """Take up a text file of one address a line; anything else gives none."""
    left = b""
    for piece in (first, *rest):
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            _read_line(reader, line)
        if len(left) > _MAX_ADDRESS:
            raise _Refused("the file is neither XML nor a list of addresses")
    _read_line(reader, left)


def _read_line(reader: _Reader, line: bytes) -> None:
    written = line.strip().decode("utf-8", "replace").removeprefix("\ufeff")
    if written.lower().startswith(("http://", "https://")) and len(written) <= _MAX_ADDRESS:
        reader.add(written, to=reader.pages)
