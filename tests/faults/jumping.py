"""A dispatcher whose clock jumps: `python -m tests.faults.jumping FILE ARGUMENTS...`.

FILE holds how many milliseconds its wall clock is off, and may be rewritten at any time. The monotonic clock goes on as
it should. ARGUMENTS are those of the command `meadow`. The product has no such switch: this module gives the
process's clock another wall clock, before anything else has imported it.
"""

import sys
from pathlib import Path

from dispatcher.adapters import system_clock
from dispatcher.steady_clock import SteadyClock


def arm(offset: Path) -> None:
    """Have the wall clock be off by what the file says."""

    def wall_ms() -> float:
        return system_clock.wall_ms() + int(offset.read_text() or 0)

    system_clock.clock = SteadyClock(wall_ms, system_clock.monotonic_ms)


def main() -> None:
    """Arm, then run the command."""
    offset, *arguments = sys.argv[1:]
    arm(Path(offset))
    sys.argv = ["meadow", *arguments]
    from dispatcher.command import main as meadow

    meadow()


if __name__ == "__main__":
    main()
