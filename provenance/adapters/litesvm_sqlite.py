"""The embedded chain's memory on disk: accounts, transactions and who they touched, in one SQLite file."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from provenance.errors import ChainStoreError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS chain(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS account(address BLOB PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tx(
    sequence INTEGER PRIMARY KEY, signature BLOB NOT NULL UNIQUE, slot INTEGER NOT NULL,
    block_time_s INTEGER NOT NULL, wire BLOB NOT NULL, outcome BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tx_address(
    address BLOB NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY(address, sequence)) WITHOUT ROWID;
"""
_BY_SIGNATURE = "SELECT sequence, signature, slot, block_time_s, wire, outcome FROM tx WHERE signature = ?"
_BY_ADDRESS = """
SELECT tx.sequence, signature, slot, block_time_s, wire, outcome FROM tx_address JOIN tx USING(sequence)
WHERE address = ? AND tx.sequence > ? AND tx.sequence < ? AND slot <= ? ORDER BY tx_address.sequence DESC LIMIT ?
"""
_IN_USE = "the chain file {path} is in use by another process; stop it or use another folder"


class ChainIdentity(Struct, frozen=True):
    """What makes one embedded chain different from another.

    Attributes:
        genesis: 32 random bytes, the genesis hash; every blockhash derives from it.
        faucet: the 64-byte key pair that pays airdrops.
        start_ms: UTC milliseconds of slot 0.
    """

    genesis: bytes
    faucet: bytes
    start_ms: int


class StoredTransaction(Struct, frozen=True):
    """One processed transaction, successful or failed with its fee charged.

    Attributes:
        sequence: order of execution, from 1, without meaning outside the file.
        signature: 64 bytes, the first signature, unique.
        slot: slot of execution.
        block_time_s: UTC seconds of execution.
        wire: the signed transaction, byte for byte as received.
        outcome: JSON of `provenance.adapters.litesvm_chain.Outcome`.
    """

    sequence: int
    signature: bytes
    slot: int
    block_time_s: int
    wire: bytes
    outcome: bytes


class ChainStore:
    """SQLite file with a lock beside it held while open: one writer. Others may read it, as a backup does.

    Writes join one SQL transaction until `commit`, which returns only when the bytes are on disk
    (WAL, ``synchronous=FULL``). Every method raises `ChainStoreError` when SQLite fails.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: int) -> None:
        self._db = connection
        self._path = path
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file at ``path`` (its folder is created)."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ChainStoreError(f"cannot open the chain file {path}: {error}; check the folder's rights") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise ChainStoreError(_IN_USE.format(path=path)) from error
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        except sqlite3.Error as error:
            os.close(lock)
            raise ChainStoreError(f"cannot open the chain file {path}: {error}; check the folder's rights") from error
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.executescript(_SCHEMA)
        except sqlite3.Error as error:
            connection.close()
            os.close(lock)
            raise cls._translate(error, path) from error
        return cls(connection, path, lock)

    @staticmethod
    def _translate(error: sqlite3.Error, path: Path) -> ChainStoreError:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return ChainStoreError(_IN_USE.format(path=path))
        if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
            return ChainStoreError(f"the disk holding {path} is full; free space and send the transaction again")
        if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return ChainStoreError(f"the chain file {path} is damaged ({error}); restore it, or start an empty folder")
        return ChainStoreError(f"the chain file {path} cannot be used: {error}")

    def _run(self, sql: str, values: tuple[bytes | int | str, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._translate(error, self._path) from error

    def identity(self) -> ChainIdentity | None:
        """Return the identity of the chain in the file, None for an empty file."""
        values = dict(self._run("SELECT key, value FROM chain"))
        if not values:
            return None
        return ChainIdentity(values["genesis"], values["faucet"], int(values["start_ms"]))

    def set_identity(self, identity: ChainIdentity) -> None:
        """Write the identity of a new chain; part of the open SQL transaction."""
        for key, value in (
            ("genesis", identity.genesis),
            ("faucet", identity.faucet),
            ("start_ms", str(identity.start_ms).encode()),
        ):
            self._run("INSERT INTO chain(key, value) VALUES(?, ?)", (key, value))

    def begin(self) -> None:
        """Open the SQL transaction that the following writes join."""
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make every write since `begin` durable, all or none."""
        self._run("COMMIT")

    def rollback(self) -> None:
        """Forget every write since `begin`."""
        if self._db.in_transaction:
            self._run("ROLLBACK")

    def close(self) -> None:
        """Release the file and its lock. Doing so twice is no error."""
        self._db.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def accounts(self) -> Iterator[tuple[Any, ...]]:
        """Yield each stored account as (address, serialised state)."""
        yield from self._run("SELECT address, state FROM account")

    def put_account(self, address: bytes, state: bytes | None) -> None:
        """Write one account's state; None removes it."""
        if state is None:
            self._run("DELETE FROM account WHERE address = ?", (address,))
        else:
            self._run("INSERT OR REPLACE INTO account(address, state) VALUES(?, ?)", (address, state))

    def add_transaction(self, entry: StoredTransaction, addresses: Iterable[bytes]) -> None:
        """Append ``entry`` (its ``sequence`` is assigned here) to the history of every address it names."""
        ((sequence,),) = self._run(
            "INSERT INTO tx(signature, slot, block_time_s, wire, outcome) VALUES(?, ?, ?, ?, ?) RETURNING sequence",
            (entry.signature, entry.slot, entry.block_time_s, entry.wire, entry.outcome),
        )
        for address in addresses:
            self._run("INSERT OR IGNORE INTO tx_address(address, sequence) VALUES(?, ?)", (address, sequence))

    def transaction(self, signature: bytes) -> StoredTransaction | None:
        """Return the transaction with this first signature."""
        rows = self._run(_BY_SIGNATURE, (signature,))
        return StoredTransaction(*rows[0]) if rows else None

    def transactions_of(
        self, address: bytes, *, after: int, before: int, last_slot: int, limit: int
    ) -> list[StoredTransaction]:
        """Return transactions naming ``address``, newest first.

        Args:
            address: 32 bytes.
            after: only sequences above this one.
            before: only sequences below this one.
            last_slot: only slots up to this one.
            limit: at most this many.
        """
        rows = self._run(_BY_ADDRESS, (address, after, before, last_slot, limit))
        return [StoredTransaction(*row) for row in rows]

    def transaction_count(self) -> int:
        """Return how many transactions the chain has processed."""
        return int(self._run("SELECT coalesce(max(sequence), 0) FROM tx")[0][0])

    def last_slot(self) -> int:
        """Return the slot of the newest transaction, 0 for none."""
        rows = self._run("SELECT slot FROM tx ORDER BY sequence DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0
