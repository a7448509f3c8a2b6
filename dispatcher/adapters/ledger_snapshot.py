"""Copies of a ledger that is in use, and ledgers made of such copies: SQLite's backup API, `pg_dump`, `pg_restore`."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from dispatcher.adapters.postgres_engine import engine_of
from dispatcher.adapters.postgres_errors import PostgresRules
from dispatcher.errors import LedgerError, SetupError
from dispatcher.settings import redacted

LOCK_S = 30.0
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Instant:
    """What a ledger holds at the instant it is copied. `head` is the size and root of the newest checkpoint; `epochs`
    maps each payout epoch's number to whether it is paid."""

    log_entries: int
    head: tuple[int, bytes] | None
    epochs: Mapping[int, bool]


def snapshot_sqlite(ledger: Path, copies: Mapping[Path, Path]) -> None:
    """Copy SQLite files of one instant, while others read and write them; the files are in WAL mode.

    `copies` names each file's copy; `ledger`, one of them, is the one whose writers wait while the instant is taken:
    milliseconds. The copying itself reads from snapshots and holds up nobody.

    Raises:
        LedgerError: a file cannot be read, or the copy not be written.
    """
    try:
        with ExitStack() as stack:
            readers = {
                source: stack.enter_context(closing(sqlite3.connect(source, timeout=LOCK_S, isolation_level=None)))
                for source in copies
            }
            with closing(sqlite3.connect(ledger, timeout=LOCK_S, isolation_level=None)) as lock:
                lock.execute("BEGIN IMMEDIATE")
                for reader in readers.values():
                    _take_instant(reader)
                lock.execute("ROLLBACK")
            for source, target in copies.items():
                _copy(readers[source], target)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"the ledger {ledger} could not be copied: {error}; look at the space left") from error


async def dump_postgres(url: str, target: Path, *, chain: tuple[Path, Path] | None) -> Instant:
    """Dump a database that is in use into a file, as it is at one instant; what it holds then.

    `chain` is the simulator's, a SQLite file in WAL mode, and the copy to make of it, as it is at the same instant. No
    transaction is stored while that is taken: none is on the chain that the dump does not know of, and none confirmed
    in the dump that the chain has not. LedgerError where `pg_dump` or the copy fails.
    """
    engine, rules = engine_of(url, connections=2), PostgresRules(url)
    try:
        async with engine.connect() as keeper:
            await keeper.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            with ExitStack() as stack:
                async with engine.begin() as lock:
                    if chain is not None:
                        await lock.execute(text(f"SET LOCAL lock_timeout = {int(LOCK_S * 1000)}"))
                        await lock.execute(text("LOCK TABLE signed_transactions IN SHARE MODE"))
                    snapshot = (await keeper.execute(text("SELECT pg_export_snapshot()"))).scalar_one()
                    if chain is not None:
                        reader = stack.enter_context(
                            closing(sqlite3.connect(chain[0], timeout=LOCK_S, isolation_level=None))
                        )
                        _take_instant(reader)
                if chain is not None:
                    _copy(reader, chain[1])
            held = await _held(keeper)
            # An exported snapshot is there for as long as its transaction is open.
            await asyncio.to_thread(_dump, url, target, str(snapshot))
            return held
    except rules.errors as error:
        raise rules.translated(error) from error
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{redacted(url)} and its chain could not be copied: {error}") from error
    finally:
        await engine.dispose()


async def _held(connection: AsyncConnection) -> Instant:
    size = (await connection.execute(text("SELECT coalesce(max(log_index) + 1, 0) FROM log_entries"))).scalar_one()
    head = (await connection.execute(text("SELECT size, root FROM checkpoints ORDER BY size DESC LIMIT 1"))).first()
    epochs = await connection.execute(text("SELECT number, paid_ms IS NOT NULL FROM epochs ORDER BY number"))
    return Instant(
        log_entries=int(size),
        head=None if head is None else (int(head[0]), bytes(head[1])),
        epochs={int(number): bool(is_paid) for number, is_paid in epochs},
    )


def _dump(url: str, target: Path, snapshot: str) -> None:
    target.touch(mode=0o600)
    of_instant = [f"--file={target}", f"--snapshot={snapshot}"]
    _run(url, "pg_dump", ["--format=custom", "--no-owner", "--no-privileges", *of_instant])
    sync_file(target)


def _take_instant(reader: sqlite3.Connection) -> None:
    # A read transaction begins with its first read, and sees this instant until it ends.
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _copy(reader: sqlite3.Connection, target: Path) -> None:
    target.touch(mode=0o600)
    with closing(sqlite3.connect(target)) as copy:
        reader.backup(copy)
    sync_file(target)


def restore_postgres(url: str, source: Path) -> None:
    """Fill an empty database from a dump, in one transaction. LedgerError where `pg_restore` fails."""
    _run(url, "pg_restore", ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(source)])


def find_program(name: str) -> Path:
    """Return a program of PostgreSQL's, of the newest version on this machine; SetupError says what to install."""
    found = sorted(_DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parent.parent.name), reverse=True)
    if found:
        return found[0]
    if on_path := shutil.which(name):
        return Path(on_path)
    raise SetupError(f"{name} is not on this machine; install PostgreSQL's client programs (postgresql-client)")


def _run(url: str, program: str, arguments: list[str]) -> None:
    """Run a program on a database. The password goes through the environment: others may read command lines."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    address = urlunsplit(parts._replace(netloc=user + parts.netloc.rpartition("@")[2]))
    environment = {**os.environ, "PGCONNECT_TIMEOUT": "10"}
    if parts.password:
        environment["PGPASSWORD"] = unquote(parts.password)
    ran = subprocess.run(  # noqa: S603  (a program of PostgreSQL's, found by its name)
        [str(find_program(program)), f"--dbname={address}", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        said = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LedgerError(
            f"{program} failed for {redacted(url)}: {said}; its version must not be older than the server's"
        )


def sync_file(path: Path) -> None:
    """Return once a file's bytes and its name are on the disk."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
