"""What a log says of itself, beside its tiles: `meadow.json`, `certificates.json` and the epoch files.

Files of a log, below its folder or URL:

    checkpoint                  the newest signed head (C2SP tlog-checkpoint); changes
    checkpoints/<size>          every signed head
    tile/...                    tiles and entry bundles (C2SP tlog-tiles)
    meadow.json                 LogInfo; changes
    certificates.json           job-key certificates, a JSON array of base64url statements; grows
    epochs/<n>.json             the statement of payout epoch n, from 0
    epochs/<n>.payouts.json     the payout transactions of epoch n, a JSON array of base58 signatures; grows
"""

from typing import TypeVar

import msgspec

from protocol.errors import ProtocolError
from protocol.keys import from_base64url, to_base64url
from protocol.statements import Statement, parse
from provenance.errors import FormatError

LOG_INFO_PATH = "meadow.json"
CERTIFICATES_PATH = "certificates.json"


class LogInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs a log and where its anchors and payouts are. Unsigned: an auditor who knows better pins the keys.

    Attributes:
        origin: the checkpoint origin.
        vkey: the log's note key (C2SP signed-note).
        root_key: the dispatcher's root key, base64url; it certifies the job keys that sign datasets.
        anchor_address: base58 address that signs anchors.
        payer_address: base58 address that pays rewards.
        mint: base58 address of the reward token.
        genesis_hash: base58 hash that names the Solana chain.
        simulator: whether that chain is an embedded simulator, which proves code paths and not immutability.
        tariff: version of the tariff.
    """

    origin: str
    vkey: str
    root_key: str
    anchor_address: str
    payer_address: str
    mint: str
    genesis_hash: str
    simulator: bool
    tariff: str


def encode_log_info(info: LogInfo) -> bytes:
    """Encode as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(info), indent=2) + b"\n"


def decode_log_info(data: bytes) -> LogInfo:
    """Decode `meadow.json`; FormatError otherwise. Unknown members are ignored."""
    return _decode(data, LogInfo, LOG_INFO_PATH)


def encode_certificates(certificates: tuple[Statement, ...]) -> bytes:
    """Encode certificate statements as `certificates.json`."""
    return msgspec.json.encode([to_base64url(statement.to_bytes()) for statement in certificates]) + b"\n"


def decode_certificates(data: bytes) -> tuple[Statement, ...]:
    """Decode `certificates.json` into statements, not yet verified; FormatError otherwise."""
    texts = _decode(data, tuple[str, ...], CERTIFICATES_PATH)
    try:
        return tuple(parse(from_base64url(text)) for text in texts)
    except ProtocolError as error:
        raise FormatError(f"{CERTIFICATES_PATH} of the log: {error}") from error


def epoch_path(number: int) -> str:
    """Name the file of an epoch's statement."""
    return f"epochs/{number}.json"


def payouts_path(number: int) -> str:
    """Name the file that lists an epoch's payout transactions."""
    return f"epochs/{number}.payouts.json"


def encode_signatures(signatures: tuple[str, ...]) -> bytes:
    """Encode the payout transactions of an epoch."""
    return msgspec.json.encode(signatures) + b"\n"


def decode_signatures(data: bytes, path: str) -> tuple[str, ...]:
    """Decode a list of transaction signatures; FormatError otherwise."""
    return _decode(data, tuple[str, ...], path)


_Decoded = TypeVar("_Decoded")


def _decode(data: bytes, kind: type[_Decoded], path: str) -> _Decoded:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} of the log is not readable: {error}") from error
