"""Hostile HTML to documents, documents to datasets.

`to_document` is pure: bytes in, a `Document` or a `Dropped` with its reason out, no network, no clock. Bytes from the
open web belong in `cleaning.adapters.worker_pool`, which runs the same function in processes that can be killed.

Names are loaded on first use, so importing this package costs nothing and needs none of the `clean` extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cleaning.document import Document, Dropped
    from cleaning.pipeline import to_document

__all__ = ["Document", "Dropped", "to_document"]

_HOMES = {"Document": "cleaning.document", "Dropped": "cleaning.document", "to_document": "cleaning.pipeline"}


def __getattr__(name: str) -> object:
    """Load an exported name from the module it lives in (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
