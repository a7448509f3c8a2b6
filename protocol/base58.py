"""Base58 in Bitcoin's alphabet, as Solana writes addresses, signatures and instruction data."""

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
MAX_CHARS = 2_048
"""Longest text decoded: the conversion is quadratic, and no Solana field needs more than 1,683 characters."""

_VALUE = {char: value for value, char in enumerate(ALPHABET)}


def encode(data: bytes) -> str:
    """Return ``data`` as base58 text; each leading zero byte becomes one ``1``."""
    zeros = len(data) - len(data.lstrip(b"\0"))
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, remainder = divmod(number, 58)
        digits.append(ALPHABET[remainder])
    return "1" * zeros + "".join(reversed(digits))


def decode(text: str) -> bytes:
    """Return the bytes of base58 ``text``.

    Raises:
        ValueError: a character outside the alphabet, or more than ``MAX_CHARS`` characters.
    """
    if len(text) > MAX_CHARS:
        raise ValueError(f"base58 text of {len(text)} characters is longer than {MAX_CHARS}")
    number = 0
    for char in text:
        value = _VALUE.get(char)
        if value is None:
            raise ValueError(f"{char!r} is not a base58 character")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
