"""Labs' API keys: how they look, and what of them is stored.

    mw_ <prefix: 12 characters of base32> _ <secret: 43 characters of base64url, 256 bits>

The prefix is public: it finds the stored key and is shown in lists. Of the whole key only its HMAC-SHA256 (RFC 2104)
under the server's secret is kept, so a copy of the ledger opens nothing.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import NamedTuple

from dispatcher.jobs import ApiKey

PREFIX_BYTES = 7
SECRET_BYTES = 32
RANDOM_BYTES = PREFIX_BYTES + SECRET_BYTES
"""Random bytes that make one key."""
SERVER_SECRET_BYTES = 32

_NO_ONES_MAC = bytes(32)
_KEY = re.compile(r"(mw_[a-z2-7]{12})_[A-Za-z0-9_-]{43}")


class NewKey(NamedTuple):
    """A key that was just made. `text` is shown to the lab once and never stored."""

    text: str
    prefix: str


def make_key(randomness: bytes) -> NewKey:
    """Make a key of RANDOM_BYTES random bytes."""
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"an API key takes {RANDOM_BYTES} random bytes, got {len(randomness)}")
    prefix = "mw_" + base64.b32encode(randomness[:PREFIX_BYTES]).decode("ascii").rstrip("=").lower()
    secret = base64.urlsafe_b64encode(randomness[PREFIX_BYTES:]).decode("ascii").rstrip("=")
    return NewKey(f"{prefix}_{secret}", prefix)


def parse_prefix(text: str) -> str | None:
    """The prefix of a key a lab offers; None where it does not look like a key."""
    match = _KEY.fullmatch(text)
    return None if match is None else match.group(1)


def key_mac(server_secret: bytes, text: str) -> bytes:
    """The HMAC-SHA256 of a whole key: what is stored of it, 32 bytes."""
    if len(server_secret) < SERVER_SECRET_BYTES:
        raise ValueError(f"the server's secret has at least {SERVER_SECRET_BYTES} bytes, got {len(server_secret)}")
    return hmac.new(server_secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def matching_key(server_secret: bytes, text: str, candidates: Iterable[ApiKey]) -> ApiKey | None:
    """The stored key an offered key is, ended ones too; None for no match.

    Every candidate is compared in constant time, and all of them, whichever matches. Without one the offered key is
    compared all the same.
    """
    mac = key_mac(server_secret, text)
    found: ApiKey | None = None
    hmac.compare_digest(_NO_ONES_MAC, mac)
    for candidate in candidates:
        if hmac.compare_digest(candidate.mac, mac):
            found = candidate
    return found
