"""What PostgreSQL's errors mean, and what to do. No message shows the account or the password of an address."""

import socket
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from dispatcher.errors import LedgerError, LedgerFull

_AGAIN: Final = frozenset({"40001", "40P01", "55P03"})
_LOST: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})
_WHOLE_CLASSES: Final = frozenset({"53", "58", "XX"})
_READ_ONLY: Final = "25006"
_ADVICE: Final = {
    "28P01": "refuses the password; check the account and the password of MEADOW_DATABASE_URL",
    "28000": "does not let this account in; check the account of MEADOW_DATABASE_URL and the server's pg_hba.conf",
    "3D000": "does not exist; make it: createdb NAME, then start again",
    "53300": "has no connection left; raise max_connections, or run fewer dispatchers",
    "42501": "does not allow this account to do that; make it the owner of the database and its tables",
    "58030": "cannot read or write its files; look at the server's log and its disk",
    "57014": "ended a statement that ran for too long; look for one that holds its locks",
    "55P03": "kept a row locked for 30 s; look for a session that is idle in a transaction",
    _READ_ONLY: "takes no writes: it is a standby or set to read-only; name the primary server",
}


class PostgresRules:
    """What the errors of one database mean."""

    errors: tuple[type[Exception], ...] = (
        SQLAlchemyError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        OSError,
    )

    def __init__(self, url: str) -> None:
        self._place = described(url)

    def translated(self, error: Exception) -> LedgerError:
        """See DatabaseRules."""
        root = _root(error)
        state = _state(root) or ""
        if state == "53100":
            return LedgerFull(
                f"cannot write to {self._place}: the server's disk is full; nothing of the write is kept. Free some"
                " space there: the network goes on by itself"
            )
        if state in _ADVICE:
            return LedgerError(f"{self._place} {_ADVICE[state]}")
        if state in {"42P01", "42703"}:
            return LedgerError(
                f"{self._place} has not the tables of this version ({_words(root)}); run `meadow migrate`"
            )
        if state.startswith("23"):
            return LedgerError(f"the ledger keeps its rules and refused a write: {_words(root)}")
        if state.startswith("22") or isinstance(root, asyncpg.DataError | OverflowError | ValueError | TypeError):
            return LedgerError(f"a value that the ledger cannot hold: {_words(root)}")
        if is_lost(error):
            return LedgerError(
                f"{self._place} is not reachable ({_why(root)}); start the server, or correct MEADOW_DATABASE_URL"
            )
        return LedgerError(f"{self._place} failed: {_words(root)}")

    def unknown_fate(self) -> LedgerError:
        """The error where the connection broke during a commit."""
        return LedgerError(
            f"the connection to {self._place} broke during a commit: whether the write is kept is not known. Do it"
            " again: what is kept already is not done twice"
        )

    def is_whole(self, error: Exception, connection: Connection) -> bool:
        """See DatabaseRules."""
        state = _state(_root(error)) or ""
        return is_lost(error) or is_worth_a_rerun(error) or state[:2] in _WHOLE_CLASSES or state == _READ_ONLY

    def command(self, connection: Connection, sql: str) -> None:
        """See DatabaseRules."""
        connection.exec_driver_sql(sql)


def is_worth_a_rerun(error: Exception) -> bool:
    """Tell whether a transaction failed because of another one that ran beside it: a deadlock, a lock held too long."""
    return _state(_root(error)) in _AGAIN


def is_lost(error: Exception) -> bool:
    """Tell whether the connection is gone, or could not be made."""
    root = _root(error)
    state = _state(root) or ""
    if state in _LOST or state.startswith("08"):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(root, OSError | asyncpg.InternalClientError) or (
        isinstance(root, asyncpg.InterfaceError) and not isinstance(root, ValueError)
    )


def described(url: str) -> str:
    """Where a database is, without who asks for it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "the local socket", parts.port or 5432
    except ValueError:
        return "the PostgreSQL database"
    return f"the PostgreSQL database {unquote(parts.path.lstrip('/')) or 'of the account'} at {host}:{port}"


def _root(error: BaseException) -> BaseException:
    """The driver's error inside of SQLAlchemy's."""
    if isinstance(error, DBAPIError) and isinstance(error.orig, BaseException):
        return error.orig.__cause__ or error.orig
    return error


def _state(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None


def _words(error: BaseException) -> str:
    """The server's message without its detail, which repeats rows."""
    return str(error).partition("\n")[0]


def _why(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "it refuses connections"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, FileNotFoundError):
        return "there is no socket of a server"
    if _state(error) == "57P03":
        return "it is starting or stopping"
    return "the connection broke" if isinstance(error, asyncpg.InterfaceError | OSError) else _words(error)
