"""Masking of WebSocket payloads (RFC 6455, section 5.3): a C routine where one is installed, else long integers."""

try:
    from websockets.speedups import apply_mask as _apply_mask
except ImportError:
    _apply_mask = None  # type: ignore[assignment]  # (the fallback below)


def masked_slowly(data: bytes | bytearray | memoryview, key: bytes | bytearray) -> bytes:
    """Return data XORed with a key of 4 bytes, repeated."""
    size = len(data)
    keys = bytes(key) * (size // 4 + 1)
    return (int.from_bytes(data, "big") ^ int.from_bytes(keys[:size], "big")).to_bytes(size, "big")


masked = masked_slowly if _apply_mask is None else _apply_mask


def mask_in_place(key: bytes, data: bytearray) -> None:
    """XOR data with a key of 4 bytes, repeated, in its place."""
    data[:] = masked(data, key)
