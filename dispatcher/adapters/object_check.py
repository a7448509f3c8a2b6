"""Is an object what its name says? A body's name is the hash of what it decodes to, a document's that of its bytes."""

import asyncio
import hashlib
from typing import get_args

from dispatcher.backup import BODY_KIND
from protocol.bodies import decode_body
from protocol.errors import BodyError
from protocol.record import ContentEncoding

_INLINE_BYTES = 65_536


async def matches(kind: str, name: str, data: bytes) -> bool:
    """Tell whether the bytes are the object of that kind and name."""
    if len(data) <= _INLINE_BYTES:
        return _matches(kind, name, data)
    return await asyncio.to_thread(_matches, kind, name, data)


def _matches(kind: str, name: str, data: bytes) -> bool:
    if kind != BODY_KIND:
        return hashlib.sha256(data).hexdigest() == name
    digest, _, encoding = name.partition(".")
    for known in get_args(ContentEncoding):
        if encoding == known:
            try:
                return decode_body(data, known)[1] == digest
            except BodyError:
                return False
    return False
