"""What a run of the benches was asked for."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """`jobs` of the network bench, `idle` nodes to connect, `queued` jobs while some are worked off.

    `profile`: a folder for the dispatcher's profiles.
    """

    folder: Path
    jobs: int = 500
    idle: int = 1_000
    profile: Path | None = None
    queued: tuple[int, ...] = (10_000, 100_000)
