"""Ed25519 keys (RFC 8032) and the base64url text (RFC 4648, section 5, unpadded) they travel in."""

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.errors import BadSignature, MalformedMessage

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_FIELD_PRIME = 2**255 - 19
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y})
"""The y coordinates of the eight points whose order divides 8: with such a key one signature fits many messages."""


def to_base64url(data: bytes) -> str:
    """Encode bytes as unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_base64url(text: str) -> bytes:
    """Decode unpadded base64url; anything else, and any second spelling of the same bytes, is MalformedMessage."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage(f"not base64url: {text[:40]!r}") from error
    if to_base64url(data) != text:
        raise MalformedMessage(f"not the one base64url spelling of its bytes: {text[:40]!r}")
    return data


class SigningKey:
    """An Ed25519 private key. The object never shows its secret in `repr`."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ValueError(f"an Ed25519 seed has {KEY_BYTES} bytes, got {len(seed)}")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_bytes = self._key.public_key().public_bytes_raw()
        self.public = to_base64url(self.public_bytes)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public!r})"

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for the key's own file and for nothing else."""
        return self._seed

    def sign(self, message: bytes) -> bytes:
        """Sign a message; 64 bytes."""
        return self._key.sign(message)


def verify_signature(public: str, signature: bytes, message: bytes) -> None:
    """Check an Ed25519 signature against a base64url public key; BadSignature when it does not hold.

    Stricter than RFC 8032, section 5.1.7, as PROTOCOL.md, section 2.2, says: a key or an R that is not the one
    encoding of its point, or is of small order, never verifies. MalformedMessage where `public` is not base64url.
    """
    raw = from_base64url(public)
    if len(raw) != KEY_BYTES:
        raise BadSignature(f"an Ed25519 public key has {KEY_BYTES} bytes, got {len(raw)}")
    if len(signature) != SIGNATURE_BYTES:
        raise BadSignature(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes, got {len(signature)}")
    if _is_weak(raw) or _is_weak(signature[:KEY_BYTES]):
        raise BadSignature("the Ed25519 key or signature holds a point of small order or not in its one encoding")
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
    except InvalidSignature as error:
        raise BadSignature("the Ed25519 signature does not verify") from error
    except ValueError as error:
        raise BadSignature(f"not an Ed25519 public key: {public!r}") from error


def _is_weak(encoded: bytes) -> bool:
    y = int.from_bytes(encoded, "little") & ((1 << 255) - 1)
    return y >= _FIELD_PRIME or y in _SMALL_ORDER_Y
