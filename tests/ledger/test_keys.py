"""API keys and the files secrets are kept in."""

from __future__ import annotations

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from dispatcher.adapters.key_files import load_or_create_secret
from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key, matching_key, parse_prefix
from dispatcher.errors import SetupError

if TYPE_CHECKING:
    from tests.ledger.conftest import Rows

SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(1, 33))
RANDOMNESS = bytes(range(100, 100 + RANDOM_BYTES))


def test_a_key_holds_its_prefix_and_256_bits() -> None:
    key = make_key(RANDOMNESS)
    assert key.text.startswith(key.prefix + "_")
    assert len(key.prefix) == 15
    assert len(key.text) == 15 + 1 + 43
    assert parse_prefix(key.text) == key.prefix
    changed = [make_key(bytes([*RANDOMNESS[:n], RANDOMNESS[n] ^ 1, *RANDOMNESS[n + 1 :]])) for n in range(RANDOM_BYTES)]
    assert len({key.text, *(other.text for other in changed)}) == RANDOM_BYTES + 1
    with pytest.raises(ValueError, match="39 random bytes"):
        make_key(b"short")


@pytest.mark.parametrize(
    "text",
    ["", "mw_", "fc-1234", "mw_abcdefghijkl_short", "mw_ABCDEFGHIJKL_" + "a" * 43, "mw_abcdefghijkl_" + "é" * 43],
)
def test_what_does_not_look_like_a_key_has_no_prefix(text: str) -> None:
    assert parse_prefix(text) is None


def test_the_mac_is_hmac_sha256_of_the_whole_key() -> None:
    text = make_key(RANDOMNESS).text
    assert key_mac(SECRET, text) == hmac.digest(SECRET, text.encode(), hashlib.sha256)
    with pytest.raises(ValueError, match="at least 32 bytes"):
        key_mac(b"short", text)


def test_only_the_same_key_under_the_same_secret_matches(rows: Rows) -> None:
    new = make_key(RANDOMNESS)
    stored = msgspec.structs.replace(rows.key(prefix=new.prefix), mac=key_mac(SECRET, new.text))
    neighbour = rows.key(prefix=new.prefix)
    assert matching_key(SECRET, new.text, [neighbour, stored]) == stored
    assert matching_key(SECRET, new.text, [stored, neighbour]) == stored
    assert matching_key(SECRET, new.text, []) is None
    assert matching_key(OTHER_SECRET, new.text, [stored]) is None
    assert matching_key(SECRET, new.text[:-1] + "A", [stored]) is None
    ended = msgspec.structs.replace(stored, revoked_ms=1)
    assert matching_key(SECRET, new.text, [ended]) == ended


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root.key"
    secret = load_or_create_secret(path, 32)
    assert len(secret) == 32
    assert load_or_create_secret(path, 32) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_secret(tmp_path / "keys" / "job.key", 32) != secret
    assert sorted(file.name for file in path.parent.iterdir()) == ["job.key", "root.key"]


def test_racing_makers_get_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        secrets = set(threads.map(partial(load_or_create_secret, tmp_path / "k"), [32] * 40))
    assert len(secrets) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["k"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777])
def test_a_secret_others_may_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "k"
    load_or_create_secret(path, 32)
    path.chmod(mode)
    with pytest.raises(SetupError, match=f"chmod 600 {path}"):
        load_or_create_secret(path, 32)


def test_a_secret_of_another_length_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "k"
    load_or_create_secret(path, 16)
    with pytest.raises(SetupError, match="secret of 32 bytes"):
        load_or_create_secret(path, 32)
    assert len(load_or_create_secret(path, 16)) == 16


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot read"):
        load_or_create_secret(tmp_path, 32)
