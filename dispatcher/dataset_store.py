"""The dataset store port: finished datasets, and where each build stands, for all dispatchers of a network."""

from pathlib import Path
from typing import Protocol

import msgspec

from dispatcher.lab_service import DatasetJob
from protocol.dataset import ManifestFile

STATE_EVERY_S = 5.0
"""How often a dispatcher that builds a dataset says so."""
STATE_OLD_MS = 60_000
"""A build of which nothing was said for so long has gone with its dispatcher."""


class BuildState(msgspec.Struct, frozen=True, kw_only=True):
    """What a dispatcher last said of a build, and when."""

    dataset: DatasetJob
    updated_ms: int


class DatasetStore(Protocol):
    """The port. A dataset is published whole, with its manifest last, and never changes after that.

    Every method raises ObjectError where the store cannot be reached, refuses, is full, or holds what is damaged.
    """

    @property
    def folder(self) -> Path:
        """Where this dispatcher builds: each dataset in the folder of its id."""
        ...

    async def set_state(self, state: BuildState) -> None:
        """Keep what there is to say of a build."""
        ...

    async def state(self, dataset_id: str) -> BuildState | None:
        """Return what was last said of a build, None where nothing was."""
        ...

    async def publish(self, dataset_id: str) -> None:
        """Make a dataset that is finished in its folder readable for every dispatcher. May be repeated."""
        ...

    async def manifest(self, dataset_id: str) -> Path | None:
        """Return where the manifest of a published dataset can be read here, None where there is no such dataset."""
        ...

    async def file(self, dataset_id: str, file: ManifestFile) -> Path | None:
        """Return where a file of a published dataset can be read here, None where there is none. Its bytes are those
        that the manifest names."""
        ...
