"""How a receiver knows that an event is ours: signatures over the body under a secret that it shares with us.

    X-Firecrawl-Signature: sha256=HEX        HMAC-SHA256 (RFC 2104) of the body
    Meadow-Signature: t=SECONDS,v1=HEX       HMAC-SHA256 of `SECONDS.` and the body; a receiver refuses old times

A team's secret is derived from the network's and a generation, so that a copy of the ledger holds none. After a
rotation the old one goes on for `OVERLAP_MS`: `Meadow-Signature` has a second `v1` by it.
"""

import base64
import hashlib
import hmac
from typing import Final

import msgspec

OVERLAP_MS: Final = 24 * 3_600_000
_PREFIX = "whsec_"


class SecretGeneration(msgspec.Struct, frozen=True, kw_only=True):
    """Which secret of a team is in use: the first is 1. `rotated_ms` is when it took the place of the one before."""

    generation: int = 1
    rotated_ms: int | None = None

    def old_until_ms(self) -> int | None:
        """When the secret before this one ends; None where there was none."""
        return None if self.rotated_ms is None else self.rotated_ms + OVERLAP_MS


def secret_of(server_secret: bytes, team_id: str, generation: int) -> str:
    """Derive a team's secret, as the lab gets it: `whsec_` and 43 characters of base64url."""
    derived = hmac.digest(server_secret, f"meadow webhook secret\n{generation}\n{team_id}".encode(), hashlib.sha256)
    return _PREFIX + base64.urlsafe_b64encode(derived).decode("ascii").rstrip("=")


def secrets_in_use(server_secret: bytes, team_id: str, standing: SecretGeneration, *, now_ms: int) -> tuple[str, ...]:
    """Return the secrets events are signed with now, the newest first."""
    newest = secret_of(server_secret, team_id, standing.generation)
    until_ms = standing.old_until_ms()
    if standing.generation == 1 or until_ms is None or until_ms <= now_ms:
        return (newest,)
    return newest, secret_of(server_secret, team_id, standing.generation - 1)


def signature_headers(secrets: tuple[str, ...], body: bytes, *, now_ms: int) -> dict[str, str]:
    """Sign a body as it is sent."""
    seconds = now_ms // 1000
    stamped = f"{seconds}.".encode() + body
    marks = ",".join(f"v1={_mac(secret, stamped)}" for secret in secrets)
    return {
        "X-Firecrawl-Signature": f"sha256={_mac(secrets[0], body)}",
        "Meadow-Signature": f"t={seconds},{marks}",
    }


def _mac(secret: str, message: bytes) -> str:
    return hmac.digest(secret.encode(), message, hashlib.sha256).hex()
