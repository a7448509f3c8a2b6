"""What a backup holds, what a restore refuses, and that neither leaves anything half done."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dispatcher.adapters.operator_keys import load_operator_keys
from dispatcher.adapters.operator_stores import OperatorStores, find_stores
from dispatcher.doctor import Level
from dispatcher.ledger import Epoch, StoredCheckpoint
from dispatcher.log_guard import refuse_fork
from dispatcher.settings import DispatcherSettings
from provenance.checkpoint import Checkpoint
from provenance.errors import LogConflict
from provenance.log_info import epoch_path, payouts_path
from tests.ledger.conftest import NOW_MS, Rows
from tests.operations.doctor import Doctor, meadow
from tests.operations.saved_network import Manifested, SavedNetwork, damaged
from tests.servers import missing_postgres, shared_postgres

PAGES = 7


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """The settings of a network and of the empty place it is restored into."""
    if request.param == "sqlite":
        yield {}, {}
        return
    if missing := missing_postgres():
        pytest.skip(missing)
    server = shared_postgres()
    with server.database() as one, server.database() as other:
        yield {"MEADOW_DATABASE_URL": one}, {"MEADOW_DATABASE_URL": other}


def stores_of(data: Path, settings: dict[str, str]) -> OperatorStores:
    return find_stores(data, DispatcherSettings(database_url=settings.get("MEADOW_DATABASE_URL")))


def work(data: Path, settings: dict[str, str], *steps: Callable[[SavedNetwork], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Open a network's stores, do something, close them; what each step answers."""

    async def run() -> list[Any]:
        stores = stores_of(data, settings)
        ledger, objects = await stores.open_ledger(), stores.open_objects()
        try:
            size = await ledger.log_size()
            network = SavedNetwork(ledger, objects, stores.open_tiles(), Rows(seed=size), pages=size)
            await network.introduce()
            return [await step(network) for step in steps]
        finally:
            await objects.close()
            await ledger.close()

    return asyncio.run(run())


def worked(data: Path, settings: dict[str, str]) -> None:
    """A network that fetched, published, and fetched some more."""
    work(data, settings, lambda net: net.fetch(PAGES - 2), lambda net: net.sign_head(), lambda net: net.fetch(2))


def backed_up(data: Path, out: Path, settings: dict[str, str], *options: str) -> Manifested:
    ran = meadow("backup", "--data", str(data), "--out", str(out), "--json", *options, **settings)
    assert ran.status == 0, ran.err
    return msgspec.json.decode(ran.out, type=Manifested)


def test_everything_comes_back(tmp_path: Path, databases: tuple[dict[str, str], dict[str, str]]) -> None:
    before, after = databases
    old, new = tmp_path / "old", tmp_path / "new"
    worked(old, before)
    manifest = backed_up(old, tmp_path / "copy", before)
    assert (manifest.log_entries, manifest.objects, manifest.copied, manifest.gone) == (PAGES, 2 * PAGES, 2 * PAGES, 0)
    ran = meadow("restore", str(tmp_path / "copy"), "--data", str(new), **after)
    assert ran.status == 0, ran.err
    for path in (old / "log").rglob("*"):
        if path.is_file():
            assert (new / path.relative_to(old)).read_bytes() == path.read_bytes(), path
    # It goes on where it was: the next head follows from the last one.
    (size,) = work(new, after, lambda net: net.sign_head())
    assert size == PAGES
    again = meadow("restore", str(tmp_path / "copy"), "--data", str(tmp_path / "third" if after else new), **after)
    assert again.status == 1
    assert ("tables" if after else "not empty") in again.err


def test_the_chain_is_of_the_ledgers_instant_and_payouts_are_those_on_it(
    tmp_path: Path, databases: tuple[dict[str, str], dict[str, str]]
) -> None:
    settings, _ = databases
    data, out = tmp_path / "data", tmp_path / "copy"

    async def pay_one_of_two(net: SavedNetwork) -> None:
        for number in (0, 1):
            epoch = Epoch(number=number, statement=b"%d" % number, total=0, created_ms=NOW_MS)
            assert await net.ledger.open_epoch(epoch, [])
            await net.tiles.write_once(epoch_path(number), epoch.statement)
            await net.tiles.write_once(payouts_path(number), b"signatures")
        await net.ledger.mark_epoch_paid(0, NOW_MS)

    work(data, settings, lambda net: net.fetch(1), pay_one_of_two)
    (data / "solana").mkdir()
    with contextlib.closing(sqlite3.connect(data / "solana" / "chain.sqlite3")) as chain:
        chain.execute("PRAGMA journal_mode = WAL")
        chain.execute("CREATE TABLE slots AS SELECT 7 AS slot")
        chain.commit()
        backed_up(data, out, settings)
    with contextlib.closing(sqlite3.connect(out / "chain.sqlite3")) as copy:
        assert copy.execute("SELECT slot FROM slots").fetchall() == [(7,)]
    paths = [epoch_path(0), epoch_path(1), payouts_path(0), payouts_path(1)]
    assert [(out / "log" / path).exists() for path in paths] == [True, True, True, False]


def test_a_backup_may_be_one_file_without_the_keys(tmp_path: Path) -> None:
    old, out = tmp_path / "old", tmp_path / "copy.tar"
    worked(old, {})
    load_operator_keys(old / "keys", solana_keypair=None)
    backed_up(old, out, {})
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    ran = meadow("restore", str(out), "--data", str(tmp_path / "new"))
    assert ran.status == 0, ran.err
    assert "holds no keys" in ran.out
    assert not (tmp_path / "new" / "keys").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_keys_are_for_their_owner_only_there_and_back(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    worked(old, {})
    load_operator_keys(old / "keys", solana_keypair=None)
    backed_up(old, tmp_path / "copy", {}, "--keys")
    assert meadow("restore", str(tmp_path / "copy"), "--data", str(new)).status == 0
    for folder in (tmp_path / "copy" / "keys", new / "keys"):
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert {path.name: path.read_bytes() for path in (new / "keys").iterdir()} == {
        path.name: path.read_bytes() for path in (old / "keys").iterdir()
    }


def test_keys_may_be_there_before_the_restore(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    worked(old, {})
    backed_up(old, tmp_path / "copy", {})
    load_operator_keys(new / "keys", solana_keypair=None)
    assert meadow("restore", str(tmp_path / "copy"), "--data", str(new)).status == 0


def test_objects_that_are_only_listed_must_be_in_the_store(tmp_path: Path) -> None:
    old, new, store = tmp_path / "old", tmp_path / "new", tmp_path / "store"
    worked(old, {})
    manifest = backed_up(old, tmp_path / "copy", {}, "--no-objects")
    assert (manifest.objects, manifest.copied) == (2 * PAGES, 0)
    assert not (tmp_path / "copy" / "objects").exists()
    missing = meadow("restore", str(tmp_path / "copy"), "--data", str(new))
    assert missing.status == 1
    assert f"{2 * PAGES} of {2 * PAGES} objects are missing" in missing.err
    assert not (new / "ledger.sqlite3").exists()
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(old / "objects", store / "objects")
    ran = meadow("restore", str(tmp_path / "copy"), "--data", str(new), MEADOW_STORE_URL=f"file://{store}")
    assert ran.status == 0, ran.err


def test_a_missing_object_fails_the_backup_and_leaves_nothing(tmp_path: Path) -> None:
    old = tmp_path / "old"
    ((name, *_), *_) = work(old, {}, lambda net: net.fetch(PAGES))
    next((old / "objects").rglob(name)).unlink()
    ran = meadow("backup", "--data", str(old), "--out", str(tmp_path / "copy"))
    assert ran.status == 1
    assert name in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_a_damaged_object_fails_the_backup(tmp_path: Path) -> None:
    old = tmp_path / "old"
    ((name, *_), *_) = work(old, {}, lambda net: net.fetch(PAGES))
    path = next((old / "objects").rglob(name))
    path.write_bytes(damaged(path.read_bytes()))
    ran = meadow("backup", "--data", str(old), "--out", str(tmp_path / "copy"))
    assert (ran.status, "damaged" in ran.err) == (1, True)


@pytest.mark.parametrize("part", ["ledger.sqlite3", "objects", "backup.json"])
def test_a_damaged_backup_is_not_restored(tmp_path: Path, part: str) -> None:
    old, copy, new = tmp_path / "old", tmp_path / "copy", tmp_path / "new"
    worked(old, {})
    backed_up(old, copy, {})
    path = copy / part
    if path.is_dir():
        path = next(found for found in path.rglob("*") if found.is_file())
    path.write_bytes(damaged(path.read_bytes()))
    ran = meadow("restore", str(copy), "--data", str(new))
    assert ran.status == 1
    assert ran.err.startswith("meadow: ")


def test_a_ledger_that_does_not_lead_to_its_signed_heads_is_not_left_in_place(tmp_path: Path) -> None:
    old, copy, new = tmp_path / "old", tmp_path / "copy", tmp_path / "new"
    worked(old, {})
    connection = sqlite3.connect(old / "ledger.sqlite3")
    with connection:
        swap = "SELECT statement FROM log_entries AS other WHERE other.log_index = 1 - log_entries.log_index"
        connection.execute(f"UPDATE log_entries SET statement = ({swap}) WHERE log_index < 2")
    connection.close()
    backed_up(old, copy, {})
    ran = meadow("restore", str(copy), "--data", str(new))
    assert ran.status == 1
    assert "do not lead to the root that was signed" in ran.err
    assert not (new / "ledger.sqlite3").exists()


def test_an_interrupted_backup_is_no_backup(tmp_path: Path) -> None:
    old, copy = tmp_path / "old", tmp_path / "copy"
    worked(old, {})
    backed_up(old, copy, {})
    (copy / "backup.json").unlink()
    ran = meadow("restore", str(copy), "--data", str(tmp_path / "new"))
    assert (ran.status, "is not a backup" in ran.err) == (1, True)


def test_a_log_that_was_published_further_is_not_forked(tmp_path: Path) -> None:
    old, copy = tmp_path / "old", tmp_path / "copy"
    worked(old, {})
    backed_up(old, copy, {})
    arguments = ["restore", str(copy), "--data"]
    assert meadow(*arguments, str(tmp_path / "same"), "--log", str(old / "log")).status == 0
    work(old, {}, lambda net: net.sign_head())
    ahead = meadow(*arguments, str(tmp_path / "older"), "--log", str(old / "log"))
    assert ahead.status == 1
    assert f"up to entry {PAGES}" in ahead.err
    assert not (tmp_path / "older").exists()
    # Where the log's files are in the store that is restored into, the comparison is always made.
    store = tmp_path / "store"
    shutil.copytree(old / "log", store / "log")
    seen = meadow(*arguments, str(tmp_path / "older"), MEADOW_STORE_URL=f"file://{store}")
    assert (seen.status, "contradict" in seen.err) == (1, True)


def test_nothing_is_signed_by_a_ledger_that_is_behind_or_beside_the_log() -> None:
    def stored(size: int, root: bytes) -> StoredCheckpoint:
        return StoredCheckpoint(size=size, root=root, note="", created_ms=0, anchor_sequence=0)

    one, other = b"\1" * 32, b"\2" * 32
    refuse_fork(None, None)
    refuse_fork(None, stored(5, one))
    refuse_fork(Checkpoint("log", 5, one), stored(5, one))
    refuse_fork(Checkpoint("log", 4, one), stored(5, other))
    for published, newest in [((5, one), None), ((6, one), stored(5, one)), ((5, other), stored(5, one))]:
        with pytest.raises(LogConflict, match="Nothing is signed"):
            refuse_fork(Checkpoint("log", *published), newest)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_full_disk_is_named_and_leaves_no_backup(tmp_path: Path) -> None:
    old, disk = tmp_path / "old", tmp_path / "disk"
    worked(old, {})
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        ran = meadow("backup", "--data", str(old), "--out", str(disk / "copy"))
        assert ran.status == 1
        assert list(disk.iterdir()) == []
        (disk / "ballast").write_bytes(bytes(65_536))
        found = {check.name: check for check in Doctor(disk).look().checks}
        assert found["disk"].level is found["data-folder"].level is found["object-store"].level is Level.FAIL
        assert "free some space" in found["disk"].fix
    finally:
        subprocess.run(["umount", str(disk)], check=True)
