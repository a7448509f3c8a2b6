"""Secrets in files of the data folder: made once, atomically, readable by their owner alone."""

import os
import secrets
import stat
import tempfile
from pathlib import Path

from dispatcher.errors import SetupError

FILE_MODE = 0o600


def load_or_create_secret(path: Path, length: int) -> bytes:
    """Return the secret of `length` random bytes in a file; made where there is none.

    Of two processes that make it at once both return the same bytes. Raises SetupError where others may read the
    file, where its length is another, or where it cannot be read or written.
    """
    try:
        return _load(path, length)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}; check its owner and its mode") from error
    try:
        _create(path, secrets.token_bytes(length))
        return _load(path, length)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}; check the folder, its mode and free space") from error


def load_secret(path: Path, length: int) -> bytes:
    """Return the secret of `length` bytes in a file that is there; SetupError where it cannot be used."""
    try:
        return _load(path, length)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}; check its owner and its mode") from error


def _load(path: Path, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise SetupError(
                f"{path} may be read by other accounts (mode {mode:04o}); run: chmod 600 {path} - and if others had"
                " access to this machine, replace the secret"
            )
        data = file.read(length + 1)
    if len(data) != length:
        raise SetupError(f"{path} should hold a secret of {length} bytes and does not; restore it from a backup")
    return data


def _create(path: Path, data: bytes) -> None:
    """Write a complete file beside the final one, then link it there: the first of two writers wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, FILE_MODE)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
