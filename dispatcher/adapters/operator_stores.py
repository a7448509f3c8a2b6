"""The stores of a network as an operator's command finds them: by the settings, else in the data folder."""

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dispatcher.adapters.local_objects import LocalObjects
from dispatcher.adapters.obstore_objects import ObstoreObjects
from dispatcher.adapters.obstore_tiles import ObstoreTiles
from dispatcher.adapters.probe_ledger import postgres_checkpoints, postgres_forget, postgres_tables
from dispatcher.adapters.sql_audit import broken_invariants_of
from dispatcher.adapters.sql_ledger import SqlLedger, open_ledger
from dispatcher.adapters.sqlite_engine import connect
from dispatcher.adapters.sqlite_executor import SqliteExecutor
from dispatcher.data_folder import LEDGER_NAME
from dispatcher.errors import LedgerError, SetupError
from dispatcher.ledger import Ledger
from dispatcher.objects import ObjectStore
from dispatcher.settings import SQLITE_URL, DispatcherSettings
from dispatcher.store_location import StoreLocation, folder_location, parse_location
from provenance.adapters.local_tiles import LocalTiles

PLACE_FACT = "object_store"
PAGE = 1_000


@dataclass(frozen=True, slots=True)
class OperatorStores:
    """Where everything is. `sqlite_path` is None where the ledger is in PostgreSQL, at `postgres_url`."""

    data_dir: Path
    sqlite_path: Path | None
    postgres_url: str | None
    keys_dir: Path
    location: StoreLocation

    def open_objects(self) -> ObjectStore:
        """Open the object store; SetupError where it cannot be used."""
        if self.location.scheme == "file":
            return LocalObjects(self.location.folder / "objects")
        return ObstoreObjects(self.location)

    def open_tiles(self) -> LocalTiles | ObstoreTiles:
        """Open the public log's files."""
        return (
            LocalTiles(self.location.folder / "log") if self.location.scheme == "file" else ObstoreTiles(self.location)
        )

    async def open_ledger(self) -> Ledger:
        """Open the network's ledger, to use it."""
        return await open_ledger(self.postgres_url or f"{SQLITE_URL}{self.sqlite_path}")

    async def read_ledger(self, sqlite_file: Path | None = None) -> Ledger:
        """Open the network's ledger, or the one in a file, to read it while others use it. Writes raise LedgerError."""
        path = sqlite_file or self.sqlite_path
        if path is None:
            return await self.open_ledger()
        connection = await asyncio.to_thread(partial(connect, path, read_only=True))
        return SqlLedger(SqliteExecutor(connection, path), lambda: None)

    async def broken_invariants(self) -> list[str]:
        """Audit the ledger: the invariants it breaks."""
        return await broken_invariants_of(self.postgres_url or f"{SQLITE_URL}{self.sqlite_path}")

    async def checkpoints(self, after: int) -> list[tuple[int, str]]:
        """The next checkpoints of a size above `after`, by size: the size and the signed note."""
        if self.sqlite_path is not None:
            return await asyncio.to_thread(_checkpoints_in_file, self.sqlite_path, after)
        return await postgres_checkpoints(str(self.postgres_url), after, PAGE)

    async def forget_place(self) -> None:
        """Let the network, which has moved, agree anew on where its objects are."""
        if self.sqlite_path is not None:
            await asyncio.to_thread(_forget_in_file, self.sqlite_path)
        elif self.postgres_url is not None:
            await postgres_forget(self.postgres_url, PLACE_FACT)

    async def table_count(self) -> int:
        """How many tables the PostgreSQL database has; 0 for a ledger in a file."""
        return 0 if self.postgres_url is None else await postgres_tables(self.postgres_url)

    def require_network(self) -> None:
        """SetupError where the data folder holds no ledger and the settings name none."""
        if self.sqlite_path is not None and not self.sqlite_path.exists():
            raise SetupError(
                f"{self.data_dir} holds no network; name the data folder with --data, or set MEADOW_DATABASE_URL"
            )


def find_stores(data_dir: Path, settings: DispatcherSettings) -> OperatorStores:
    """Read where the stores are; SetupError where a setting cannot be used."""
    url = settings.database_url
    is_sqlite = url is None or url.startswith(SQLITE_URL)
    path = data_dir / LEDGER_NAME if url is None else Path(url.removeprefix(SQLITE_URL))
    location = (
        parse_location(settings.store_url, os.environ) if settings.store_url is not None else folder_location(data_dir)
    )
    return OperatorStores(
        data_dir=data_dir,
        sqlite_path=path if is_sqlite else None,
        postgres_url=None if is_sqlite else url,
        keys_dir=settings.keys_dir or data_dir / "keys",
        location=location,
    )


def _checkpoints_in_file(path: Path, after: int) -> list[tuple[int, str]]:
    try:
        with closing(sqlite3.connect(path)) as connection:
            sql = "SELECT size, note FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?"
            return [(int(size), str(note)) for size, note in connection.execute(sql, (after, PAGE))]
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be read: {error}") from error


def _forget_in_file(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM network_facts WHERE name = ?", (PLACE_FACT,))
    except sqlite3.Error as error:
        raise LedgerError(f"{path} cannot be written: {error}") from error
