"""What all dispatchers of a network must have in common, and what to do about one that differs.

The first dispatcher of a network records its facts in the ledger; every later start is compared with them. Only what
may be shown is a fact: public keys, names, hashes of secrets.
"""

import hashlib
from collections.abc import Mapping

from dispatcher.errors import SetupError

_DOMAIN = b"meadow api key secret\n"

_REMEDIES: Mapping[str, str] = {
    "root_key": "copy the keys folder of a dispatcher that runs (MEADOW_KEYS_DIR)",
    "job_key": "copy the keys folder of a dispatcher that runs (MEADOW_KEYS_DIR)",
    "log_key": "copy the keys folder of a dispatcher that runs (MEADOW_KEYS_DIR)",
    "api_key_secret": "copy the keys folder of a dispatcher that runs (MEADOW_KEYS_DIR)",
    "wallet": "give every dispatcher the same MEADOW_SOLANA_KEYPAIR, or the same keys folder without it",
    "log_origin": "give every dispatcher the same MEADOW_LOG_ORIGIN",
    "chain": "give every dispatcher the same MEADOW_SOLANA_URL, or another address of the same chain",
    "token_mint": "give every dispatcher the same MEADOW_TOKEN_MINT",
    "object_store": "give every dispatcher the same MEADOW_STORE_URL",
    "frontier_shards": "give every dispatcher the same MEADOW_FRONTIER_SHARDS",
}


def secret_fingerprint(secret: bytes) -> str:
    """Return what may be shown of a random secret of 256 bits: equal for equal secrets, and telling nothing of it."""
    return hashlib.sha256(_DOMAIN + secret).hexdigest()[:32]


def require_agreement(ours: Mapping[str, str], standing: Mapping[str, str]) -> None:
    """Make sure that this dispatcher is one of the network whose facts these are.

    Raises:
        SetupError: names every fact that differs, both values, and what to do.
    """
    lines = [
        f"{name} is {ours[name]!r} here and {standing[name]!r} in the network: {_REMEDIES[name]}"
        for name in ours
        if standing.get(name, ours[name]) != ours[name]
    ]
    if lines:
        raise SetupError(
            "this dispatcher does not fit the network whose ledger it was given:\n  "
            + "\n  ".join(lines)
            + "\nIf it belongs to another network, name that network's ledger in MEADOW_DATABASE_URL. If the whole"
            " network has moved, stop every dispatcher and delete the row of that name from the table network_facts"
        )
