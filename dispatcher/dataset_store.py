"""The dataset store port: the files of finished datasets, for all dispatchers of a network."""

from pathlib import Path
from typing import Protocol

from protocol.dataset import ManifestFile


class DatasetStore(Protocol):
    """The port. Files lie in places that are named by an id (UUIDv7). A place is published whole, with its manifest
    last, and never changes after that.

    Every method raises ObjectError where the store cannot be reached, refuses, is full, or holds what is damaged.
    """

    @property
    def folder(self) -> Path:
        """Where this dispatcher builds: each place is the folder of its id."""
        ...

    async def publish(self, place: str) -> None:
        """Make what is finished in its folder readable for every dispatcher. May be repeated."""
        ...

    async def manifest(self, place: str) -> Path | None:
        """Return where the manifest of a published place can be read here, None where there is no such place."""
        ...

    async def file(self, place: str, file: ManifestFile) -> Path | None:
        """Return where a file of a published place can be read here, None where there is none. Its bytes are those
        that `file` names."""
        ...

    async def tidy(self) -> None:
        """Remove what this dispatcher keeps for itself and nobody has asked for in a day."""
        ...

    async def remove(self, place: str) -> None:
        """Erase a place with all its files, published or not; nothing where there is none. May be repeated."""
        ...
