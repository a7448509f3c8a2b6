"""Backs up a network while it runs: what is in a backup, and in which order, is said in `dispatcher.backup`."""

import asyncio
import hashlib
import shutil
import tarfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dispatcher import __version__, backup
from dispatcher.adapters.ledger_snapshot import Instant, dump_postgres, snapshot_sqlite, sync_file
from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.migrations import HEAD
from dispatcher.adapters.object_check import matches
from dispatcher.backup import Head, Manifest, ObjectLine, WantedObject
from dispatcher.errors import ObjectError, SetupError
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from provenance.log_info import CERTIFICATES_PATH, LOG_INFO_PATH, epoch_path, payouts_path
from provenance.tiles import TileReader

_AT_ONCE = 8
LOG_FILES = (CERTIFICATES_PATH, LOG_INFO_PATH)


@dataclass(frozen=True, slots=True)
class Source:
    """The network to back up. One of `sqlite_path` and `postgres_url` is set; `chain_file` where a simulator runs.

    `open_ledger` opens the ledger of a SQLite file, or for None the one in use. `keys_dir` is set where the
    keys are to be in the backup.
    """

    objects: ObjectStore
    tiles: TileReader
    open_ledger: Callable[[Path | None], Awaitable[Ledger]]
    sqlite_path: Path | None
    postgres_url: str | None
    chain_file: Path | None
    datasets_dir: Path | None
    keys_dir: Path | None
    copy_objects: bool


async def back_up(source: Source, out: Path, *, clock: Callable[[], int]) -> Manifest:
    """Write a backup into a new folder, or a new file where the name ends in `.tar`.

    Nothing is under that name until the backup is whole.

    Raises:
        SetupError: there is something under that name, or it cannot be written.
        StoreError: a store failed, or the ledger refers to an object that is not there.
    """
    if await asyncio.to_thread(out.exists):
        raise SetupError(f"{out} exists already; name a new file or folder")
    partial = out.with_name(f".{out.name}.partial")
    try:
        await asyncio.to_thread(_fresh, partial)
        manifest = await _write(source, partial, clock())
        await asyncio.to_thread(_finish, partial, out)
    except OSError as error:
        raise SetupError(f"the backup {out} cannot be written: {error.strerror or error}") from error
    finally:
        await asyncio.to_thread(shutil.rmtree, partial, ignore_errors=True)
    return manifest


async def _write(source: Source, folder: Path, created_ms: int) -> Manifest:
    ledger_file, held = await _snapshot(source, folder)
    async with AsyncExitStack() as stack:
        # Of PostgreSQL the ledger in use is read: it refers to every object that the dump does.
        ledger = await source.open_ledger(ledger_file if source.sqlite_path is not None else None)
        stack.push_async_callback(ledger.close)
        if held is None:
            held = await _held(ledger)
        counts = await _copy_objects(source, ledger, folder, log_entries=held.log_entries)
        await _copy_log(source, held, folder / "log")
    digest = await asyncio.to_thread(_digest, ledger_file)
    for name, extra in (("datasets", source.datasets_dir), ("keys", source.keys_dir)):
        if extra is not None and await asyncio.to_thread(extra.is_dir):
            await asyncio.to_thread(_copy_folder, extra, folder / name)
    manifest = Manifest(
        format=backup.FORMAT,
        version=__version__,
        created_ms=created_ms,
        ledger=backup.POSTGRES_LEDGER if source.sqlite_path is None else backup.SQLITE_LEDGER,
        ledger_sha256=digest,
        revision=HEAD,
        log_entries=held.log_entries,
        head=Head(held.head[0], held.head[1].hex()) if held.head else None,
        objects=counts.listed,
        copied=counts.copied,
        gone=counts.gone,
        bytes=counts.bytes,
        with_objects=source.copy_objects,
        with_keys=source.keys_dir is not None,
        with_chain=(folder / backup.CHAIN).exists(),
    )
    path = folder / backup.MANIFEST
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    await asyncio.to_thread(path.write_bytes, encoded)
    await asyncio.to_thread(sync_file, path)
    return manifest


async def _snapshot(source: Source, folder: Path) -> tuple[Path, Instant | None]:
    """Copy ledger and chain; the ledger's copy, and what it holds where the copy itself cannot be asked."""
    chain, chain_copy = source.chain_file, folder / backup.CHAIN
    if chain is not None and not await asyncio.to_thread(chain.exists):
        chain = None
    if source.sqlite_path is None:
        url, target = str(source.postgres_url), folder / backup.POSTGRES_LEDGER
        return target, await dump_postgres(url, target, chain=None if chain is None else (chain, chain_copy))
    target = folder / backup.SQLITE_LEDGER
    copies = {source.sqlite_path: target, **({} if chain is None else {chain: chain_copy})}
    await asyncio.to_thread(snapshot_sqlite, source.sqlite_path, copies)
    return target, None


async def _held(ledger: Ledger) -> Instant:
    newest = await ledger.newest_checkpoint()
    return Instant(
        log_entries=await ledger.log_size(),
        head=(newest.size, newest.root) if newest else None,
        epochs={epoch.number: epoch.paid_ms is not None for epoch in await ledger.epochs()},
    )


@dataclass(slots=True)
class _Counts:
    listed: int = 0
    copied: int = 0
    gone: int = 0
    bytes: int = 0


async def _copy_objects(source: Source, ledger: Ledger, folder: Path, *, log_entries: int) -> _Counts:
    copies = LocalObjects(folder / "objects")
    counts, turns = _Counts(), asyncio.Semaphore(_AT_ONCE)

    async def one(wanted: WantedObject) -> ObjectLine:
        async with turns:
            data = await source.objects.get(wanted.kind, wanted.name)
            if data is None:
                if await _is_wanted_now(source, wanted):
                    raise ObjectError(
                        f"the ledger refers to {wanted.kind} {wanted.name}, and the object store does not have it; "
                        "look whether MEADOW_STORE_URL names the network's store, and who deleted objects there"
                    )
                return ObjectLine(wanted.kind, wanted.name, 0, gone=True)
            if not await matches(wanted.kind, wanted.name, data):
                raise ObjectError(
                    f"{wanted.kind} {wanted.name} is damaged in the object store; restore it from a backup"
                )
            if source.copy_objects:
                await copies.put(wanted.kind, wanted.name, data)
            return ObjectLine(wanted.kind, wanted.name, len(data))

    path = folder / backup.OBJECTS
    try:
        with path.open("wb") as file:
            async for page in backup.wanted_by(ledger, log_entries=log_entries):
                lines = await asyncio.gather(*(one(wanted) for wanted in page))
                for line in lines:
                    file.write(msgspec.json.encode(line) + b"\n")
                counts.listed += len(lines)
                counts.gone += sum(line.gone for line in lines)
                counts.copied += sum(not line.gone for line in lines) if source.copy_objects else 0
                counts.bytes += sum(line.bytes for line in lines)
    finally:
        await copies.close()
    await asyncio.to_thread(sync_file, path)
    return counts


async def _is_wanted_now(source: Source, wanted: WantedObject) -> bool:
    """Ask the ledger in use: what retention took since the snapshot is wanted there no more."""
    ledger = await source.open_ledger(None)
    try:
        return wanted.name in await ledger.wanted_objects(wanted.kind, [wanted.name])
    finally:
        await ledger.close()


async def _copy_log(source: Source, held: Instant, folder: Path) -> None:
    paths = list(LOG_FILES)
    for number, is_paid in held.epochs.items():
        paths.append(epoch_path(number))
        if is_paid:  # else the file may be of later, and name transactions that the chain's copy does not have
            paths.append(payouts_path(number))
    for path in paths:
        data = await source.tiles.read(path)
        if data is not None:
            target = folder.joinpath(*path.split("/"))
            await asyncio.to_thread(_write_file, target, data)


def _write_file(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _copy_folder(source: Path, target: Path) -> None:
    """Copy complete files, none of writes in hand. Keys stay readable by their owner only."""
    shutil.copytree(
        source, target, ignore=shutil.ignore_patterns("*.partial", ".writing-*", ".*.seed.*", ".*.secret.*")
    )
    if target.name == "keys":
        target.chmod(0o700)
        for file in target.rglob("*"):
            file.chmod(0o600)


def _fresh(partial: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)


def _finish(partial: Path, out: Path) -> None:
    if out.suffix != ".tar":
        partial.rename(out)
        return
    packed = partial.with_suffix(".tar")
    packed.touch(mode=0o600)
    with tarfile.open(packed, "w") as archive:
        archive.add(partial, arcname=".")
    packed.rename(out)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
