"""What documents say beside their content, gathered for many pages at once: places in the log, robots.txt files."""

from collections.abc import Collection
from dataclasses import dataclass, field

from dispatcher.jobs import Result
from dispatcher.log_coverage import LogCoverage, LogCoverages
from dispatcher.robots_evidence import RobotsUsages
from dispatcher.robots_usage import RobotsUsage


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of some results: the published checkpoints, by log index, and what robots.txt files say of use, by their hash."""

    coverage: dict[int, LogCoverage] = field(default_factory=dict)
    robots: dict[str, RobotsUsage] = field(default_factory=dict)


class PageEvidence:
    """Gathers it. LedgerError and ObjectError where ledger or log store fail."""

    def __init__(self, coverages: LogCoverages, usages: RobotsUsages) -> None:
        self._coverages, self._usages = coverages, usages

    async def of(self, results: Collection[Result]) -> Evidence:
        """Return what is known of these results now."""
        return Evidence(
            coverage=await self._coverages.of(result.log_index for result in results),
            robots=await self._usages.of(result.robots_hash for result in results if result.robots_hash is not None),
        )
