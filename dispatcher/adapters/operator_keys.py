"""The operator's keys, in files of the data folder, made at the first start."""

import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
from solders.keypair import Keypair

from dispatcher import api_keys
from dispatcher.adapters.key_files import load_or_create_secret
from dispatcher.errors import SetupError
from protocol.keys import SigningKey

_SEED_BYTES = 32
API_KEY_SECRET = "api_key_hmac.secret"  # noqa: S105  (a file's name)


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """`root` certifies `job`; `log` signs checkpoints; `wallet` anchors and pays; `mint` names the simulator's token;
    `api_key_secret` keys the HMAC of labs' keys."""

    root: SigningKey
    job: SigningKey
    log: SigningKey
    wallet: Keypair
    mint: Keypair
    api_key_secret: bytes


def load_operator_keys(folder: Path, *, solana_keypair: Path | None) -> OperatorKeys:
    """Load the keys, making those that are missing; SetupError where a file cannot be used."""

    def seed(name: str) -> bytes:
        return load_or_create_secret(folder / name, _SEED_BYTES)

    return OperatorKeys(
        root=SigningKey(seed("root_key.seed")),
        job=SigningKey(seed("job_key.seed")),
        log=SigningKey(seed("log_key.seed")),
        wallet=read_keypair(solana_keypair) if solana_keypair else Keypair.from_seed(seed("wallet.seed")),
        mint=Keypair.from_seed(seed("mint.seed")),
        api_key_secret=load_or_create_secret(folder / API_KEY_SECRET, api_keys.SERVER_SECRET_BYTES),
    )


def local_api_key(folder: Path) -> api_keys.NewKey:
    """Return the key of the person who runs this network, the same at every start."""
    randomness = load_or_create_secret(folder / "local_api_key.random", api_keys.RANDOM_BYTES)
    return api_keys.make_key(randomness)


def new_api_key() -> api_keys.NewKey:
    """Make a fresh API key."""
    return api_keys.make_key(secrets.token_bytes(api_keys.RANDOM_BYTES))


def read_keypair(path: Path) -> Keypair:
    """Read a key pair as the Solana command line writes it: a JSON array of 64 numbers."""
    try:
        return Keypair.from_bytes(bytes(msgspec.json.decode(path.read_bytes(), type=list[int])))
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise SetupError(
            f"MEADOW_SOLANA_KEYPAIR={path} is not a readable Solana key pair (a JSON array of 64 numbers)"
        ) from error
