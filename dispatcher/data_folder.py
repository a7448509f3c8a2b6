"""What a network keeps in its data folder, and where."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from dispatcher.settings import SQLITE_URL

LEDGER_NAME: Final = "ledger.sqlite3"
KEYS_NAME: Final = "keys"
LOCAL_TEAM: Final = "local"
"""The team of the key that a network makes for whoever runs it."""


def database_in(data_dir: Path) -> str:
    """Return the address of a data folder's own ledger."""
    return f"{SQLITE_URL}{quote(str(data_dir.absolute() / LEDGER_NAME))}"
