"""The public side of a network's keys, read from their files without making any."""

from pathlib import Path

from solders.keypair import Keypair

from dispatcher.adapters.key_files import load_secret
from dispatcher.adapters.operator_keys import API_KEY_SECRET, read_keypair
from dispatcher.api_keys import SERVER_SECRET_BYTES
from dispatcher.network_facts import secret_fingerprint
from protocol.keys import SigningKey

_SEED_BYTES = 32


def public_facts(folder: Path, keypair: Path | None) -> dict[str, str]:
    """Return what may be shown of the keys whose files are there, by the names under which dispatchers compare them.

    SetupError where a file cannot be used.
    """
    names = {"root_key": "root_key.seed", "job_key": "job_key.seed", "log_key": "log_key.seed"}
    facts = {
        name: SigningKey(load_secret(folder / file, _SEED_BYTES)).public
        for name, file in names.items()
        if (folder / file).exists()
    }
    if (secret := folder / API_KEY_SECRET).exists():
        facts["api_key_secret"] = secret_fingerprint(load_secret(secret, SERVER_SECRET_BYTES))
    if (wallet := operator_wallet(folder, keypair)) is not None:
        facts["wallet"] = str(wallet.pubkey())
    return facts


def operator_wallet(folder: Path, keypair: Path | None) -> Keypair | None:
    """Return the operator's key pair: of MEADOW_SOLANA_KEYPAIR, else of the keys folder; None where there is none yet.

    SetupError where its file cannot be used.
    """
    if keypair is not None:
        return read_keypair(keypair)
    path = folder / "wallet.seed"
    return Keypair.from_seed(load_secret(path, _SEED_BYTES)) if path.exists() else None
