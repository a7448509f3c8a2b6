"""The operator's keys: made once, kept private, and refused where they are not."""

import json
from pathlib import Path

import pytest
from solders.keypair import Keypair

from dispatcher.adapters.operator_keys import load_operator_keys, local_api_key, read_keypair
from dispatcher.adapters.ready_file import write_private
from dispatcher.errors import SetupError


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first, second = (load_operator_keys(folder, solana_keypair=None) for _ in range(2))
    assert (first.root.public, first.job.public, first.log.public, first.wallet, first.mint, first.api_key_secret) == (
        second.root.public,
        second.job.public,
        second.log.public,
        second.wallet,
        second.mint,
        second.api_key_secret,
    )
    assert len({first.root.public, first.job.public, first.log.public, str(first.wallet.pubkey())}) == 4
    assert local_api_key(folder) == local_api_key(folder)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "name", ["root_key.seed", "job_key.seed", "log_key.seed", "wallet.seed", "api_key_hmac.secret"]
)
@pytest.mark.parametrize("fault", ["mode", "short", "long", "folder"])
def test_a_key_file_that_is_not_right_is_named_with_what_to_do(tmp_path: Path, name: str, fault: str) -> None:
    load_operator_keys(tmp_path, solana_keypair=None)
    path = tmp_path / name
    if fault == "mode":
        path.chmod(0o640)
    elif fault == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(path.read_bytes()[:-1] if fault == "short" else path.read_bytes() + b"x")
    with pytest.raises(SetupError, match=name) as refused:
        load_operator_keys(tmp_path, solana_keypair=None)
    assert ("chmod 600" in str(refused.value)) is (fault == "mode")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[1,2]", json.dumps([256] * 64), json.dumps([-1] * 64), json.dumps([0] * 64), json.dumps([1] * 65), "{}", "\udcff"],
)  # fmt: skip
def test_a_file_that_is_no_solana_key_pair_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "id.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SetupError, match=r"MEADOW_SOLANA_KEYPAIR=.*id\.json is not"):
        read_keypair(path)
    with pytest.raises(SetupError, match="MEADOW_SOLANA_KEYPAIR"):
        read_keypair(tmp_path / "missing.json")


def test_a_solana_key_pair_is_read_as_the_command_line_writes_it(tmp_path: Path) -> None:
    path, pair = tmp_path / "id.json", Keypair.from_seed(bytes(32))
    path.write_text(json.dumps(list(bytes(pair))))
    assert read_keypair(path) == pair
    assert load_operator_keys(tmp_path / "keys", solana_keypair=path).wallet == pair


def test_a_private_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ready.json"
    write_private(path, b"one")
    write_private(path, b"two")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)
    path.unlink()
    path.mkdir()
    (path / "occupied").touch()
    with pytest.raises(SetupError, match="cannot be written"):
        write_private(path, b"three")
    assert [child.name for child in path.parent.iterdir()] == ["ready.json"]
    with pytest.raises(SetupError, match="cannot be written"):
        write_private(path / "occupied" / "x", b"four")
