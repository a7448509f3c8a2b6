"""The node's reward address: a Solana address, its own key's unless the owner gives another."""

from protocol import base58
from protocol.keys import KEY_BYTES

_LONGEST_ADDRESS = 44


def check_wallet(text: str) -> str:
    """Return a Solana address as given; ValueError says what is wrong with it."""
    expected = "a wallet is a Solana address: 32 bytes in base58, 32 to 44 characters"
    if len(text) > _LONGEST_ADDRESS:
        raise ValueError(f"{expected}; got {len(text)} characters")
    try:
        size = len(base58.decode(text))
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from error
    if size != KEY_BYTES:
        raise ValueError(f"{expected}; got {size} bytes")
    return text
