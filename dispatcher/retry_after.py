"""Reading Retry-After (RFC 9110, section 10.2.3)."""

from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER_MS = 3_600_000
DEFAULT_BACK_OFF_MS = 30_000


def retry_after_ms(value: str | None, *, now_ms: int) -> int:
    """Return how long to stay away, between 1 s and 1 h; 30 s where the header is missing or unreadable."""
    text = (value or "").strip()
    delay = DEFAULT_BACK_OFF_MS
    if text.isascii() and text.isdecimal():
        delay = int(text[:9]) * 1000
    elif text:
        try:
            delay = int(parsedate_to_datetime(text).timestamp() * 1000) - now_ms
        except (ValueError, OverflowError):
            delay = DEFAULT_BACK_OFF_MS
    return min(MAX_RETRY_AFTER_MS, max(1_000, delay))
