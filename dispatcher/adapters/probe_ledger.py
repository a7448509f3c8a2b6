"""What `meadow doctor` finds out about the ledger's database. It reads only: nothing is made, migrated or locked."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import msgspec

from dispatcher.adapters import migrations
from dispatcher.doctor import Check, fail, judge_facts, judge_skew, ok, warn
from dispatcher.errors import LedgerError
from dispatcher.settings import redacted

ANSWER_S = 5.0
ONCE = "preparation"
"""The duty that is led while a dispatcher starts, and by nobody afterwards."""
_OWN_TABLES = "FROM pg_tables WHERE schemaname = current_schema()"
_NEEDED = ("jobs", "results", "log_entries", "credits", "checkpoints", "leaderships")


class Leader(msgspec.Struct, frozen=True):
    """Who leads a duty, as the ledger has it."""

    duty: str
    holder: str
    expires_ms: int


class LedgerProbe(NamedTuple):
    """What was found: the checks, and whether the database has tables that the others may be asked about."""

    checks: list[Check]
    usable: bool


async def probe_sqlite(path: Path, *, facts: dict[str, str], now_ms: int) -> LedgerProbe:
    """Look at a SQLite file, which may be in use."""
    return await asyncio.to_thread(_probe_sqlite, path, facts, now_ms)


def _probe_sqlite(path: Path, facts: dict[str, str], now_ms: int) -> LedgerProbe:
    if not path.exists():
        return LedgerProbe([ok("ledger", f"{path} does not exist yet; the first start makes it")], usable=False)
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=ANSWER_S)
        try:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if migrations.TABLE not in tables:
                return LedgerProbe([_unversioned(str(path), tables)], usable=False)
            (revision,) = connection.execute(f"SELECT version_num FROM {migrations.TABLE}").fetchone()  # noqa: S608 (own name)
            checks = [_schema(str(path), str(revision))]
            if checks[0].level == "FAIL":
                return LedgerProbe(checks, usable=False)
            if revision == migrations.HEAD:
                recorded = dict(connection.execute("SELECT name, value FROM network_facts"))
                checks.append(judge_facts(recorded, facts))
                rows = connection.execute("SELECT duty, holder, expires_ms FROM leaderships ORDER BY duty")
                checks.append(judge_leaders([Leader(*row) for row in rows], now_ms))
        finally:
            connection.close()
    except sqlite3.Error as error:
        fix = "check the file's owner and mode; a damaged file is restored from a backup"
        return LedgerProbe([fail("ledger", f"{path} cannot be read: {error}", fix)], usable=False)
    checks.append(_writable(path))
    return LedgerProbe(checks, usable=True)


def _writable(path: Path) -> Check:
    """Ask for the right to write, as a writer would, and give it back."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=ANSWER_S, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return warn(
                "ledger-writes", f"{path} was held by another process for {ANSWER_S:.0f} s", "look who holds it"
            )
        return fail("ledger-writes", f"{path} takes no writes: {error}", "check owner, mode and free space")
    return ok("ledger-writes", f"{path} takes writes")


async def probe_postgres(url: str, *, facts: dict[str, str], now_ms: int) -> LedgerProbe:
    """Look at the database of MEADOW_DATABASE_URL."""
    where = redacted(url)
    try:
        async with asyncio.timeout(ANSWER_S):
            connection = await asyncpg.connect(url, timeout=ANSWER_S)
            try:
                return await _questions(connection, where, facts, now_ms)
            finally:
                connection.terminate()
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        return _no_ledger(f"{where} refuses the user or the password", "correct them in MEADOW_DATABASE_URL")
    except asyncpg.InvalidCatalogNameError:
        name = urlsplit(url).path.strip("/")
        return _no_ledger(f"{where}: there is no database {name}", f"make it: CREATE DATABASE {name}")
    except asyncpg.CannotConnectNowError:
        return _no_ledger(f"{where} is starting or stopping", "try again in a moment")
    except (OSError, TimeoutError):
        fix = "start PostgreSQL, or correct MEADOW_DATABASE_URL; look at the firewall between"
        return _no_ledger(f"{where} is not reachable", fix)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return _no_ledger(f"{where} refused a question: {error}", "look at PostgreSQL's log")


def _no_ledger(says: str, fix: str) -> LedgerProbe:
    return LedgerProbe([fail("ledger", f"MEADOW_DATABASE_URL: {says}", fix)], usable=False)


async def _questions(connection: asyncpg.Connection, where: str, facts: dict[str, str], now_ms: int) -> LedgerProbe:
    checks = [await _clock(connection, where)]
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        checks.append(fail("ledger", f"{where} is a read-only replica", "give the address of the primary"))
        return LedgerProbe(checks, usable=False)
    rows = await connection.fetch(f"SELECT tablename {_OWN_TABLES}")
    tables = {str(row[0]) for row in rows}
    if migrations.TABLE not in tables:
        checks.append(_unversioned(where, tables))
        return LedgerProbe(checks, usable=False)
    revision = await connection.fetchval(f"SELECT version_num FROM {migrations.TABLE}")  # noqa: S608 (own name)
    checks.append(_schema(where, str(revision)))
    if revision != migrations.HEAD:
        return LedgerProbe(checks, usable=False)
    denied = [
        name
        for name in _NEEDED
        if not await connection.fetchval("SELECT has_table_privilege(current_user, $1, 'INSERT, UPDATE')", name)
    ]
    if denied:
        fix = "grant SELECT, INSERT, UPDATE and DELETE on all tables to the user of MEADOW_DATABASE_URL"
        checks.append(fail("ledger-writes", f"this user may not write {', '.join(denied)}", fix))
    elif await connection.fetchval("SHOW default_transaction_read_only") == "on":
        fix = "set default_transaction_read_only = off"
        checks.append(fail("ledger-writes", f"{where} takes no writes: default_transaction_read_only is on", fix))
    else:
        checks.append(ok("ledger-writes", f"{where} takes writes"))
    recorded = {
        str(name): str(value) for name, value in await connection.fetch("SELECT name, value FROM network_facts")
    }
    checks.append(judge_facts(recorded, facts))
    leaders = await connection.fetch("SELECT duty, holder, expires_ms FROM leaderships ORDER BY duty")
    checks.append(judge_leaders([Leader(*row) for row in leaders], now_ms))
    return LedgerProbe(checks, usable=True)


async def postgres_tables(url: str) -> int:
    """How many tables a database has. LedgerError where it cannot be asked."""
    return int((await _ask(url, f"SELECT count(*) {_OWN_TABLES}"))[0][0])


async def postgres_forget(url: str, fact: str) -> None:
    """Delete a fact of the network. LedgerError where the database fails."""
    await _ask(url, "DELETE FROM network_facts WHERE name = $1", fact)


async def postgres_checkpoints(url: str, after: int, limit: int) -> list[tuple[int, str]]:
    """Size and note of the next checkpoints above a size. LedgerError where the database cannot be asked."""
    rows = await _ask(url, "SELECT size, note FROM checkpoints WHERE size > $1 ORDER BY size LIMIT $2", after, limit)
    return [(int(size), str(note)) for size, note in rows]


async def _ask(url: str, question: str, *arguments: str | int) -> list[Any]:
    try:
        connection = await asyncpg.connect(url, timeout=ANSWER_S)
        try:
            return list(await connection.fetch(question, *arguments))
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LedgerError(f"MEADOW_DATABASE_URL: {redacted(url)} cannot be asked: {error}") from error


async def _clock(connection: asyncpg.Connection, where: str) -> Check:
    begun_ms = time.time() * 1000
    theirs_ms = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    ended_ms = time.time() * 1000
    skew_ms = int(theirs_ms - (begun_ms + ended_ms) / 2)
    return judge_skew("ledger-clock", where, skew_ms, int(ended_ms - begun_ms) + 1)


def _unversioned(where: str, tables: set[str]) -> Check:
    if not tables:
        return ok("ledger", f"{where} is empty; the first start makes the tables")
    if "schema_version" in tables:
        return warn("ledger", f"{where} was written by an older Meadow", "the next start brings it up to date")
    return fail("ledger", f"{where} is a database, but not a Meadow ledger", "name another database")


def _schema(where: str, revision: str) -> Check:
    if revision == migrations.HEAD:
        return ok("ledger", f"{where}: tables of revision {revision}")
    if revision in migrations.REVISIONS:
        says = f"{where} has tables of revision {revision}, this version needs {migrations.HEAD}"
        return warn("ledger", says, "back up, then migrate: see docs/operations.md, migrations")
    says = f"{where} was written by a newer Meadow (revision {revision}, this one knows {migrations.HEAD})"
    return fail("ledger", says, "install that version")


def judge_leaders(leaders: Sequence[Leader], now_ms: int) -> Check:
    """Who leads the duties now: on a network that runs each duty has a leader."""
    led = [leader for leader in leaders if leader.expires_ms > now_ms]
    if not led:
        return ok("duties", "no duty is led now: no dispatcher runs")
    by_holder: dict[str, list[str]] = {}
    for leader in led:
        by_holder.setdefault(leader.holder, []).append(leader.duty)
    shown = "; ".join(f"{holder}: {', '.join(duties)}" for holder, duties in sorted(by_holder.items()))
    free = [leader.duty for leader in leaders if leader.expires_ms <= now_ms and leader.duty != ONCE]
    if free:
        says = f"{shown}; nobody leads {', '.join(free)}"
        return warn("duties", says, "look again in 15 s; then look at the dispatchers' logs for duty_failed")
    return ok("duties", shown)
