"""UUIDv7 identifiers (RFC 9562, section 5.7): time-sorted, so that keys are appended to the end of an index."""

import re
import uuid

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}
"""The digit that holds the variant (RFC 9562, section 4.1), for what randomness drew there."""


def uuid7(time_ms: int, randomness: bytes) -> str:
    """Make a UUIDv7 of a time in UTC milliseconds and 10 random bytes, in lower-case hyphenated form."""
    if not 0 <= time_ms < 1 << 48:
        raise ValueError(f"a UUIDv7 holds 48 bits of milliseconds; {time_ms} does not fit")
    if len(randomness) != 10:
        raise ValueError(f"a UUIDv7 takes 10 random bytes, got {len(randomness)}")
    digits = f"{time_ms:012x}{randomness.hex()}"
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def is_uuid7(text: str) -> bool:
    """Tell whether a string is a UUIDv7 in lower-case hyphenated form."""
    return _UUID7.fullmatch(text) is not None


def uuid7_time_ms(identifier: str) -> int:
    """Return the UTC milliseconds a UUIDv7 was made at."""
    return uuid.UUID(identifier).int >> 80
