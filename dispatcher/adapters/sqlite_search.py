"""The search index in a SQLite file of its own beside the ledger's, with SQLite's full-text search (FTS5).

The file may be deleted while no dispatcher runs: it is filled anew. One dispatcher at a time writes to it.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from dispatcher.errors import LedgerError
from dispatcher.search_index import Found, PageText, SearchIndex

FILE_NAME: Final = "search.sqlite3"
_VERSION: Final = 1
_BUSY_MS: Final = 10_000
_TABLES: Final = (
    "CREATE TABLE pages (page INTEGER PRIMARY KEY, team_id TEXT NOT NULL, job_id TEXT NOT NULL UNIQUE,"
    " url TEXT NOT NULL, title TEXT NOT NULL, description TEXT NOT NULL, text TEXT NOT NULL,"
    " fetched_ms INTEGER NOT NULL, UNIQUE (team_id, url))",
    "CREATE VIRTUAL TABLE words USING fts5(title, description, text, content='pages', content_rowid='page',"
    " tokenize='unicode61 remove_diacritics 2')",
    "CREATE TABLE place (position INTEGER NOT NULL)",
    "INSERT INTO place VALUES (0)",
    f"PRAGMA user_version = {_VERSION}",
)
_FIND: Final = (
    "SELECT pages.job_id, pages.url, pages.title, pages.description, snippet(words, 2, '', '', '…', 24),"
    " pages.fetched_ms FROM words JOIN pages ON pages.page = words.rowid"
    " WHERE words MATCH ? AND pages.team_id = ? ORDER BY bm25(words, 8.0, 4.0, 1.0) LIMIT ?"
)
_Answer = TypeVar("_Answer")


class SqliteSearch(SearchIndex):
    """The index in a file, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def position(self) -> int:
        """See SearchIndex."""
        return await self._run(lambda file: int(file.execute("SELECT position FROM place").fetchone()[0]))

    async def add(self, pages: Sequence[PageText], *, position: int) -> None:
        """See SearchIndex."""

        def work(file: sqlite3.Connection) -> None:
            for page in pages:
                _put(file, page)
            file.execute("UPDATE place SET position = max(position, ?)", (position,))

        await self._run(work)

    async def find(self, team_id: str, words: Sequence[str], *, limit: int) -> list[Found]:
        """See SearchIndex."""
        match = " ".join(f'"{word}"' for word in words)

        def work(file: sqlite3.Connection) -> list[Found]:
            rows = file.execute(_FIND, (match, team_id, limit))
            return [Found(**dict(zip(Found.__struct_fields__, row, strict=True))) for row in rows]

        return await self._run(work)

    async def indexed(self, *, after_job_id: str, limit: int) -> list[str]:
        """See SearchIndex."""
        query = "SELECT job_id FROM pages WHERE job_id > ? ORDER BY job_id LIMIT ?"
        return await self._run(lambda file: [str(job_id) for (job_id,) in file.execute(query, (after_job_id, limit))])

    async def forget(self, job_ids: Sequence[str]) -> None:
        """See SearchIndex."""

        def work(file: sqlite3.Connection) -> None:
            for job_id in job_ids:
                _remove(file, "job_id = ?", (job_id,))

        await self._run(work)

    async def _run(self, work: Callable[[sqlite3.Connection], _Answer]) -> _Answer:
        def in_thread() -> _Answer:
            try:
                with _opened(self._path) as file:
                    return work(file)
            except sqlite3.Error as error:
                raise LedgerError(f"{self._path}: {error}") from error

        return await asyncio.to_thread(in_thread)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction; its tables are made where they are missing or of another version."""
    with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = NORMAL")
        if file.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            _make(file)
        file.execute("BEGIN")
        try:
            yield file
            file.execute("COMMIT")
        finally:
            if file.in_transaction:
                file.execute("ROLLBACK")


def _make(file: sqlite3.Connection) -> None:
    file.execute("BEGIN IMMEDIATE")
    try:
        if file.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            for name in ("words", "pages", "place"):
                file.execute(f"DROP TABLE IF EXISTS {name}")
            for statement in _TABLES:
                file.execute(statement)
        file.execute("COMMIT")
    finally:
        if file.in_transaction:
            file.execute("ROLLBACK")


def _put(file: sqlite3.Connection, page: PageText) -> None:
    standing = file.execute(
        "SELECT fetched_ms FROM pages WHERE team_id = ? AND url = ?", (page.team_id, page.url)
    ).fetchone()
    if standing is not None and standing[0] > page.fetched_ms:
        return
    _remove(file, "(team_id = ? AND url = ?) OR job_id = ?", (page.team_id, page.url, page.job_id))
    row = file.execute(
        "INSERT INTO pages (team_id, job_id, url, title, description, text, fetched_ms) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " RETURNING page",
        (page.team_id, page.job_id, page.url, page.title, page.description, page.text, page.fetched_ms),
    ).fetchone()
    file.execute(
        "INSERT INTO words (rowid, title, description, text) VALUES (?, ?, ?, ?)",
        (row[0], page.title, page.description, page.text),
    )


def _remove(file: sqlite3.Connection, condition: str, values: Sequence[str]) -> None:
    """Remove pages; the words of a row have to be said again to be taken out of the index."""
    rows = file.execute(f"SELECT page, title, description, text FROM pages WHERE {condition}", values).fetchall()  # noqa: S608 (own conditions)
    for row in rows:
        file.execute("INSERT INTO words (words, rowid, title, description, text) VALUES ('delete', ?, ?, ?, ?)", row)
        file.execute("DELETE FROM pages WHERE page = ?", row[:1])
