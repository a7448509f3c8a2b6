"""The node's address as a reward address: base58 (Bitcoin alphabet), as Solana writes its public keys."""

from protocol.keys import KEY_BYTES

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LONGEST_ADDRESS = 44


def to_base58(data: bytes) -> str:
    """Encode bytes; each leading zero byte becomes a leading `1`."""
    number = int.from_bytes(data, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def from_base58(text: str) -> bytes:
    """Decode; ValueError for a character outside the alphabet."""
    number = 0
    for character in text:
        digit = _ALPHABET.find(character)
        if digit < 0:
            raise ValueError(f"{character!r} is no base58 character")
        number = number * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def check_wallet(text: str) -> str:
    """Return a Solana address as given; ValueError says what is wrong with it."""
    expected = "a wallet is a Solana address: 32 bytes in base58, 32 to 44 characters"
    if len(text) > _LONGEST_ADDRESS:
        raise ValueError(f"{expected}; got {len(text)} characters")
    try:
        size = len(from_base58(text))
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from error
    if size != KEY_BYTES:
        raise ValueError(f"{expected}; got {size} bytes")
    return text
