"""The bodies and documents of fetched pages in the object store, and the port of what makes one of the other."""

import asyncio
import hashlib
from typing import Protocol

import msgspec
import structlog

from cleaning.document import Document, Dropped, PictureFacts
from cleaning.wants import NOTHING_MORE, Wants
from dispatcher.objects import ObjectStore
from dispatcher.page_pictures import PICTURE
from dispatcher.settlement import BODY, body_name
from protocol.bodies import decode_body
from protocol.errors import BodyError
from protocol.record import Record

DOCUMENT = "document"
_log = structlog.get_logger("page_bodies")
_INLINE_DECODE_BYTES = 524_288
"""Bodies of up to this many decoded bytes are decoded on the event loop (about a millisecond), others in a thread."""


class Cleaner(Protocol):
    """The port: hostile page in, document or reason out. Never raises for what the page contains."""

    async def clean(
        self, body: bytes, *, url: str, content_type: str | None, wants: Wants = NOTHING_MORE
    ) -> Document | Dropped:
        """Make a document of a decoded body, with what is wanted of it besides its main content."""
        ...


async def load_body(objects: ObjectStore, record: Record) -> bytes | None:
    """Return a record's decoded body, None where the store does not have it, or not as it was recorded."""
    stored = await objects.get(BODY, body_name(record))
    if stored is None:
        return None
    try:
        if record.body_bytes <= _INLINE_DECODE_BYTES:
            body, digest = decode_body(stored, record.content_encoding, max_body_bytes=record.body_bytes)
        else:
            body, digest = await asyncio.to_thread(decode_body, stored, record.content_encoding)
    except BodyError as error:
        _log.error("body_damaged", job_id=record.job_id, name=body_name(record), error=str(error))
        return None
    if digest != record.body_hash:
        _log.error("body_damaged", job_id=record.job_id, name=body_name(record), error="it has another hash")
        return None
    return body


async def load_document(objects: ObjectStore, document_hash: str) -> Document | None:
    """Return a stored document, None where the store does not have it, or other bytes than its name says."""
    stored = await objects.get(DOCUMENT, document_hash)
    if stored is None:
        return None
    if hashlib.sha256(stored).hexdigest() != document_hash:
        _log.error("document_damaged", name=document_hash)
        return None
    return msgspec.json.decode(stored, type=Document)


async def load_picture(objects: ObjectStore, document_hash: str, facts: PictureFacts) -> bytes | None:
    """Return the picture that a document's `facts` are about, None where the store does not have it, or another one."""
    stored = await objects.get(PICTURE, document_hash)
    if stored is None:
        return None
    if (await asyncio.to_thread(hashlib.sha256, stored)).hexdigest() != facts.sha256:
        _log.error("picture_damaged", name=document_hash)
        return None
    return stored


async def store_document(objects: ObjectStore, document: Document, picture: bytes | None = None) -> str:
    """Store a document, after its picture where it has one; the name of both."""
    stored = msgspec.json.encode(document)
    name = hashlib.sha256(stored).hexdigest()
    if picture is not None:
        await objects.put(PICTURE, name, picture)
    await objects.put(DOCUMENT, name, stored)
    return name
