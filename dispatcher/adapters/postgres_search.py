"""The search index in the ledger's PostgreSQL database, with its own full-text search, in tables of its own.

The tables may be dropped while no dispatcher runs: they are filled anew. One dispatcher at a time writes to them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from dispatcher.adapters.postgres_errors import described
from dispatcher.errors import LedgerError
from dispatcher.search_index import Found, PageText, SearchIndex

_LOCK: Final = 0x6D656164_6F770001
_CONNECTIONS: Final = 2
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS search_pages (
    job_id text COLLATE "C" PRIMARY KEY,
    team_id text COLLATE "C" NOT NULL,
    url text COLLATE "C" NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    text text NOT NULL,
    fetched_ms bigint NOT NULL,
    words tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('simple', title), 'A') || setweight(to_tsvector('simple', description), 'B')
        || setweight(to_tsvector('simple', text), 'D')
    ) STORED
);
CREATE UNIQUE INDEX IF NOT EXISTS search_pages_url ON search_pages (team_id, md5(url));
CREATE INDEX IF NOT EXISTS search_pages_words ON search_pages USING gin (words);
CREATE TABLE IF NOT EXISTS search_place (place integer PRIMARY KEY CHECK (place = 1), position bigint NOT NULL);
INSERT INTO search_place VALUES (1, 0) ON CONFLICT DO NOTHING;
"""
_PUT: Final = (
    "INSERT INTO search_pages (job_id, team_id, url, title, description, text, fetched_ms)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (team_id, md5(url)) DO UPDATE SET job_id = EXCLUDED.job_id,"
    " title = EXCLUDED.title, description = EXCLUDED.description, text = EXCLUDED.text,"
    " fetched_ms = EXCLUDED.fetched_ms WHERE search_pages.fetched_ms <= EXCLUDED.fetched_ms"
)
_FIND: Final = (
    "SELECT job_id, url, title, description, ts_headline('simple', text, query,"
    ' \'StartSel="", StopSel="", MaxWords=24, MinWords=12\') AS excerpt, fetched_ms'
    " FROM search_pages, to_tsquery('simple', $2) AS query WHERE team_id = $1 AND words @@ query"
    " ORDER BY ts_rank_cd(words, query) DESC, fetched_ms DESC LIMIT $3"
)


class PostgresSearch(SearchIndex):
    """The index in a database; its tables are made when it is first used."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def position(self) -> int:
        """See SearchIndex."""
        async with self._connection() as connection:
            return int(await connection.fetchval("SELECT position FROM search_place"))

    async def add(self, pages: Sequence[PageText], *, position: int) -> None:
        """See SearchIndex."""
        rows = [
            (
                page.job_id,
                page.team_id,
                _stored(page.url),
                _stored(page.title),
                _stored(page.description),
                _stored(page.text),
                page.fetched_ms,
            )
            for page in pages
        ]
        async with self._connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM search_pages WHERE job_id = ANY($1)", [row[0] for row in rows])
            await connection.executemany(_PUT, rows)
            await connection.execute("UPDATE search_place SET position = greatest(position, $1)", position)

    async def find(self, team_id: str, words: Sequence[str], *, limit: int) -> list[Found]:
        """See SearchIndex."""
        async with self._connection() as connection:
            rows = await connection.fetch(_FIND, team_id, " & ".join(f"'{word}'" for word in words), limit)
        return [Found(**dict(row)) for row in rows]

    async def indexed(self, *, after_job_id: str, limit: int) -> list[str]:
        """See SearchIndex."""
        query = "SELECT job_id FROM search_pages WHERE job_id > $1 ORDER BY job_id LIMIT $2"
        async with self._connection() as connection:
            return [str(row[0]) for row in await connection.fetch(query, after_job_id, limit)]

    async def forget(self, job_ids: Sequence[str]) -> None:
        """See SearchIndex."""
        async with self._connection() as connection:
            await connection.execute("DELETE FROM search_pages WHERE job_id = ANY($1)", list(job_ids))

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            await self._pool.close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with self._opening:
                if self._pool is None:
                    self._pool = await _open(self._url)
            async with self._pool.acquire() as connection:
                yield connection
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise LedgerError(f"the search index in {described(self._url)} failed: {error}") from error


async def _open(url: str) -> asyncpg.Pool:
    pool = await asyncpg.create_pool(url, min_size=0, max_size=_CONNECTIONS, timeout=10, command_timeout=60)
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(_TABLES)
    except BaseException:
        await pool.close()
        raise
    return pool


def _stored(text: str) -> str:
    """PostgreSQL's text holds no NUL."""
    return text.replace("\0", " ")
