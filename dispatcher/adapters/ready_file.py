"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from dispatcher.errors import SetupError


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600 in one step; SetupError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(f"{path} cannot be written: {error.strerror}") from error
