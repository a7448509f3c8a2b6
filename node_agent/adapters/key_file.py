"""The node's private key on disk: 32 bytes in base64url, readable by its owner only."""

import os
import stat
from pathlib import Path

from node_agent.errors import FolderError, KeyFileUnsafe
from protocol.errors import MalformedMessage
from protocol.keys import SigningKey, from_base64url, to_base64url

KEY_FILE = "node.key"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def load_or_create(folder: Path, fresh_seed: bytes) -> SigningKey:
    """Read the key, or make it of `fresh_seed` (32 random bytes) where there is none yet."""
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _create(path, SigningKey(fresh_seed))
        return load(folder)
    except OSError as error:
        raise FolderError(f"the key file {path} cannot be used: {error.strerror}") from error


def load(folder: Path) -> SigningKey:
    """Read the key; KeyFileUnsafe where others could read it too, or where it is no key."""
    path = folder / KEY_FILE
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        content = file.read(1_024)
    if not stat.S_ISREG(mode) or mode & _OTHERS:
        raise KeyFileUnsafe(
            f"other users can read the key file {path}: make it yours alone with 'chmod 600 {path}', "
            "or delete it to start with a new key (rewards not yet paid stay with the old one)"
        )
    try:
        return SigningKey(from_base64url(content.decode("ascii").strip()))
    except (MalformedMessage, ValueError) as error:
        raise KeyFileUnsafe(f"the key file {path} holds no key: restore it from a copy, or delete it") from error


def _create(path: Path, key: SigningKey) -> None:
    """Write the whole key or nothing; a key that stands already is never replaced."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(to_base64url(key.seed).encode("ascii") + b"\n")
            file.flush()
            os.fsync(descriptor)
        path.hardlink_to(fresh)
    except FileExistsError:
        return
    finally:
        fresh.unlink(missing_ok=True)
