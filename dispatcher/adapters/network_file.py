"""The network last started on this machine by this user: `<state dir>/meadow/network.json`, readable by them alone.

It holds an API key. `meadow up` writes it once everything answers and removes it when it ends.
"""

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from dispatcher.errors import SetupError


class NetworkFile(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running network answers."""

    api_url: str
    api_key: str
    gateway_url: str
    log_url: str
    solana_url: str
    data_dir: str


def network_path(state_dir: Path) -> Path:
    """Return where the file lies."""
    return state_dir / "meadow" / "network.json"


def write_network(state_dir: Path, network: NetworkFile) -> Path:
    """Write the file whole or not at all, mode 0600 in a folder of mode 0700. SetupError where it cannot be written."""
    path = network_path(state_dir)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp creates the file with mode 0600, so the key is never readable by others.
        descriptor, temporary = tempfile.mkstemp(prefix=".network-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(network), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise SetupError(
            f"{path} cannot be written: {error.strerror}; set XDG_STATE_HOME to a folder of yours"
        ) from error
    return path


def read_network(state_dir: Path) -> NetworkFile | None:
    """Read the file; None where there is none. SetupError where it is not what `write_network` writes."""
    path = network_path(state_dir)
    try:
        return msgspec.json.decode(path.read_bytes(), type=NetworkFile)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} is damaged ({error}); remove it, or start the network again") from error


def remove_network(state_dir: Path, network: NetworkFile) -> bool:
    """Remove the file if it still describes this network; another one may have been started since."""
    try:
        current = read_network(state_dir)
    except SetupError:
        return False
    if current != network:
        return False
    with contextlib.suppress(FileNotFoundError):
        network_path(state_dir).unlink()
    return True
