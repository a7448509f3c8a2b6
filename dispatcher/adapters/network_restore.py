"""Makes a network out of a backup, in an empty place, and verifies all of it before anything is in its place."""

import asyncio
import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dispatcher import backup
from dispatcher.adapters import migrations
from dispatcher.adapters.ledger_snapshot import restore_postgres, sync_file
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.object_check import matches
from dispatcher.backup import Manifest, ObjectLine, decode_manifest
from dispatcher.errors import LedgerError, ObjectError, SetupError
from dispatcher.ledger import Ledger, StoredCheckpoint
from dispatcher.log_guard import published_head, refuse_fork
from dispatcher.objects import ObjectStore
from provenance.checkpoint import parse_checkpoint_text
from provenance.errors import LogConflict, LogError
from provenance.log_info import LOG_INFO_PATH, decode_log_info
from provenance.log_writer import CHECKPOINT_PATH, TileStore, checkpoint_path, publish, write_checkpoint
from provenance.signed_note import parse_note, parse_vkey
from provenance.tiles import TileReader

_AT_ONCE = 8
_READ_ENTRIES = 1_024


@dataclass(frozen=True, slots=True)
class Target:
    """Where the network is to be. One of `sqlite_path` and `postgres_url` is set.

    `open_ledger` opens the restored ledger; `broken_invariants` audits it; `checkpoints` reads the next ones above a
    size, each with its note; `forget_place` lets the network agree anew
    on where its objects are; `table_count` says how many tables the PostgreSQL database has. `public_log` is the log as
    the world sees it, where that can be looked at.
    """

    data_dir: Path
    sqlite_path: Path | None
    postgres_url: str | None
    objects: ObjectStore
    tiles: TileStore
    public_log: TileReader | None
    keys_dir: Path
    open_ledger: Callable[[], Awaitable[Ledger]]
    broken_invariants: Callable[[], Awaitable[list[str]]]
    checkpoints: Callable[[int], Awaitable[list[tuple[int, str]]]]
    forget_place: Callable[[], Awaitable[None]]
    table_count: Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored and verified."""

    manifest: Manifest
    objects: int
    log_entries: int
    head_verified: bool


async def restore(source: Path, target: Target) -> Restored:
    """Restore a backup: a folder, or a file made by `back_up`.

    Raises:
        SetupError: not a backup, or a target that is not empty.
        LogConflict: the public log is ahead of the backup, see `dispatcher.log_guard`.
        StoreError: a store failed, or what the backup holds is not whole; the message says what to do.
    """
    async with _unpacked(source) as folder:
        manifest = await asyncio.to_thread(_read_manifest, folder)
        if (manifest.ledger == backup.SQLITE_LEDGER) is not (target.sqlite_path is not None):
            kind = "SQLite" if manifest.ledger == backup.SQLITE_LEDGER else "PostgreSQL"
            raise SetupError(f"the backup's ledger is of {kind}; set MEADOW_DATABASE_URL to a database of that kind")
        await _require_empty(target)
        await _refuse_fork(folder, manifest, target)
        objects = await _restore_objects(folder, manifest, target)
        try:
            entries, verified = await _restore_ledger_and_log(folder, manifest, target)
            await asyncio.to_thread(_restore_folders, folder, manifest, target)
        except BaseException:
            # Nobody is to start a network on a ledger that was not verified.
            if target.sqlite_path is not None:
                await asyncio.to_thread(_remove_ledger, target.sqlite_path)
            raise
        return Restored(manifest, objects, entries, verified)


async def _restore_ledger_and_log(folder: Path, manifest: Manifest, target: Target) -> tuple[int, bool]:
    await _restore_ledger(folder, manifest, target)
    ledger = await target.open_ledger()
    try:
        verified = await _restore_log(folder, ledger, target)
        return await ledger.log_size(), verified
    finally:
        await ledger.close()


@asynccontextmanager
async def _unpacked(source: Path) -> AsyncIterator[Path]:
    if await asyncio.to_thread(source.is_dir):
        yield source
        return
    async with AsyncExitStack() as stack:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".restore-", dir=source.parent))
        stack.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
        try:
            await asyncio.to_thread(_unpack, source, folder)
        except (OSError, tarfile.TarError) as error:
            raise SetupError(f"{source} is not a backup: {error}; name what `meadow backup` wrote") from error
        yield folder


def _unpack(source: Path, folder: Path) -> None:
    with tarfile.open(source, "r") as archive:
        archive.extractall(folder, filter="data")


def _read_manifest(folder: Path) -> Manifest:
    try:
        data = (folder / backup.MANIFEST).read_bytes()
    except OSError as error:
        raise SetupError(f"{folder} is not a backup: it has no {backup.MANIFEST}; a backup ends with it") from error
    manifest = decode_manifest(data)
    if manifest.revision not in migrations.REVISIONS:
        raise SetupError(
            f"the backup was made by a newer Meadow ({manifest.version}, tables of revision {manifest.revision}); "
            "restore it with that version"
        )
    try:
        with (folder / manifest.ledger).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SetupError(f"{folder / manifest.ledger} cannot be read: {error.strerror}") from error
    if digest != manifest.ledger_sha256:
        raise SetupError(f"{folder / manifest.ledger} is damaged: its hash is not the manifest's; use another backup")
    return manifest


async def _require_empty(target: Target) -> None:
    def present() -> list[str]:
        keys = target.keys_dir.resolve()
        found = sorted(target.data_dir.iterdir()) if target.data_dir.is_dir() else []
        return [path.name for path in found if path.resolve() != keys]

    if names := await asyncio.to_thread(present):
        raise SetupError(
            f"{target.data_dir} is not empty ({', '.join(names[:3])}): a backup is restored into an empty folder, "
            "which may hold the keys; name another one with --data"
        )
    if target.sqlite_path is not None and await asyncio.to_thread(target.sqlite_path.exists):
        raise SetupError(f"{target.sqlite_path} exists already; a backup is restored where there is no ledger")
    if target.postgres_url is not None and (tables := await target.table_count()):
        raise SetupError(
            f"the database of MEADOW_DATABASE_URL has {tables} tables; a backup is restored into an empty one: "
            "make one with CREATE DATABASE"
        )


async def _refuse_fork(folder: Path, manifest: Manifest, target: Target) -> None:
    """Compare the backup's head with what the world has seen: at the target's log, and where the operator points."""
    info_file = folder / "log" / LOG_INFO_PATH
    if not await asyncio.to_thread(info_file.exists):
        return
    info = decode_log_info(await asyncio.to_thread(info_file.read_bytes))
    head = manifest.head
    newest = (
        StoredCheckpoint(size=head.size, root=bytes.fromhex(head.root), note="", created_ms=0, anchor_sequence=0)
        if head
        else None
    )
    readers: Sequence[TileReader | None] = (target.tiles, target.public_log)
    for reader in readers:
        if reader is not None:
            note = await reader.read(CHECKPOINT_PATH)
            refuse_fork(published_head(note, parse_vkey(info.vkey)), newest)


async def _restore_ledger(folder: Path, manifest: Manifest, target: Target) -> None:
    if target.sqlite_path is not None:
        await asyncio.to_thread(_copy_ledger, folder / manifest.ledger, target.sqlite_path)
    else:
        await asyncio.to_thread(restore_postgres, str(target.postgres_url), folder / manifest.ledger)
    # Tables of an earlier revision are brought up by the first opening.
    await (await target.open_ledger()).close()
    await target.forget_place()
    if broken := await target.broken_invariants():
        raise LedgerError(f"the restored ledger is not sound: {'; '.join(broken)}; use another backup")


def _copy_ledger(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)
    sync_file(target)


def _remove_ledger(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", ".lock"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


async def _restore_objects(folder: Path, manifest: Manifest, target: Target) -> int:
    """Put every object into the target's store, or find it there, and compare each with its name."""
    copies, turns = LocalObjects(folder / "objects"), asyncio.Semaphore(_AT_ONCE)
    known = missing = 0

    async def one(line: ObjectLine) -> bool:
        async with turns:
            data = await (copies if manifest.with_objects else target.objects).get(line.kind, line.name)
            if data is None or not await matches(line.kind, line.name, data):
                return False
            if manifest.with_objects:
                await target.objects.put(line.kind, line.name, data)
            return True

    try:
        with (folder / backup.OBJECTS).open("rb") as file:
            while lines := file.readlines(65_536):
                page = [msgspec.json.decode(line, type=ObjectLine) for line in lines]
                whole = await asyncio.gather(*(one(line) for line in page if not line.gone))
                known, missing = known + len(whole), missing + whole.count(False)
    except (OSError, msgspec.DecodeError) as error:
        raise SetupError(f"{folder / backup.OBJECTS} cannot be read: {error}") from error
    finally:
        await copies.close()
    if missing:
        place = "the backup" if manifest.with_objects else "the object store"
        raise ObjectError(f"{missing} of {known} objects are missing or damaged in {place}; use another backup")
    return known


async def _restore_log(folder: Path, ledger: Ledger, target: Target) -> bool:
    """Build every tile anew from the ledger's entries; every root that was signed must come out."""
    newest = await ledger.newest_checkpoint()
    for path in await asyncio.to_thread(_files, folder / "log"):
        data = await asyncio.to_thread((folder / "log" / path).read_bytes)
        await target.tiles.replace(path, data)
    if newest is None:
        return False

    async def entries(start: int, end: int) -> Sequence[bytes]:
        found: list[bytes] = []
        for low in range(start, end, _READ_ENTRIES):
            part = await ledger.entries(low, min(end, low + _READ_ENTRIES))
            found.extend(entry.statement for entry in part)
        return found

    size = 0
    while page := await target.checkpoints(size):
        for next_size, note in page:
            # Step by step, as it was published: a head that was signed needs the partial tiles of its size.
            try:
                root = await publish(target.tiles, entries, old_size=size, new_size=next_size)
                signed = parse_checkpoint_text(parse_note(note.encode()).text).root
                await target.tiles.write_once(checkpoint_path(next_size), note.encode())
            except LogConflict as error:
                raise LogConflict(f"the log at the target holds other entries than the backup: {error}") from error
            except LogError as error:
                raise LedgerError(f"the log could not be built from the ledger: {error}") from error
            if root != signed:
                raise LedgerError(
                    f"the ledger's entries do not lead to the root that was signed for size {next_size}; use another "
                    "backup"
                )
            size = next_size
    await write_checkpoint(target.tiles, newest.size, newest.note)
    return True


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _restore_folders(folder: Path, manifest: Manifest, target: Target) -> None:
    if (folder / "datasets").is_dir():
        shutil.copytree(folder / "datasets", target.data_dir / "datasets")
    if manifest.with_keys:
        target.keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in (folder / "keys").iterdir():
            copy = target.keys_dir / file.name
            if not copy.exists():
                copy.touch(mode=0o600)
                copy.write_bytes(file.read_bytes())
            elif copy.read_bytes() != file.read_bytes():
                raise SetupError(f"{copy} is another key than the backup's; move one of them away")
    if manifest.with_chain:
        chain = target.data_dir / "solana" / backup.CHAIN
        chain.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / backup.CHAIN, chain)
