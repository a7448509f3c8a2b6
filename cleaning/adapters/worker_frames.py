"""What the pool and a worker process say to each other, over the worker's standard input and output.

A frame is a 4-byte big-endian length and a MessagePack value. The worker first says `Ready`, then answers each `Page`
with what it asks for, one at a time. End of file on its input ends it.
"""

from typing import Literal

import msgspec

from cleaning.document import Document, Dropped
from cleaning.page_links import PageLinks
from cleaning.site_map import SiteMap
from cleaning.wants import NOTHING_MORE, Wants

LENGTH_BYTES = 4
MAX_FRAME_BYTES = 128 * 1024 * 1024

EXIT_OUT_OF_MEMORY = 71
"""Exit status of a worker that ran into its memory limit."""


Reads = Literal["document", "links", "site_map"]
Answer = Document | Dropped | PageLinks | SiteMap


class Page(msgspec.Struct, frozen=True, array_like=True):
    """The arguments of `to_document`; with other `reads` those of `read_links` or `read_site_map`."""

    body: bytes
    url: str
    content_type: str | None
    wants: Wants = NOTHING_MORE
    reads: Reads = "document"


class Ready(msgspec.Struct, frozen=True, array_like=True):
    """The worker has loaded everything. `memory_limited` is False where the system has no such limit."""

    memory_limited: bool


_encoder = msgspec.msgpack.Encoder()
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)
_pages = msgspec.msgpack.Decoder(Page)
_ready = msgspec.msgpack.Decoder(Ready)


def to_frame(value: Page | Ready | Answer) -> bytes:
    """Encode a value with its length before it."""
    payload = _encoder.encode(value)
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def decode_page(payload: bytes) -> Page:
    """Decode what a worker is asked."""
    return _pages.decode(payload)


def decode_ready(payload: bytes) -> Ready:
    """Decode a worker's first word."""
    return _ready.decode(payload)


def decode_answer(payload: bytes) -> Answer:
    """Decode what a worker answers."""
    return _answers.decode(payload)
