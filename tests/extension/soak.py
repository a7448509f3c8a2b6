"""The long runs of the extension in real browsers: `python -m tests.extension.soak`. One summary line a run.

--jobs 200 --kills 50 --idle-minutes 10 [--browser chromium|firefox] [--seed N] [--keep]
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.extension.conftest import World, opening_world, reset
from tests.extension.drills import Findings, Life, all_sound, jobs_run, kill_run, living, restart_run, silence_run
from tests.extension.sandbox import available
from tests.extension.sharer import BROWSERS, BrowserName, missing
from tests.extension.unattended import idle_side_by_side


def soak(
    world: World, folder: Path, names: Sequence[BrowserName], *, jobs: int, kills: int, idle_s: float, seed: int
) -> int:
    """Run everything in the named browsers, the idle ones side by side; 1 where anything did not hold."""
    runs: list[Callable[[Life], Findings]] = [
        lambda life: jobs_run(life, jobs=jobs),
        lambda life: kill_run(life, kills=kills, seed=seed),
        restart_run,
        lambda life: silence_run(life, seconds=45),
    ]
    broken = 0
    for name in names:
        reset(world)
        own = folder / f"life-{name}"
        own.mkdir()
        with living(world, name, own) as life:
            for run in runs:
                reset(world)
                broken |= all_sound([run(life)])
    reset(world)
    return broken | all_sound(idle_side_by_side(world, names, folder, seconds=idle_s))


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--idle-minutes", type=float, default=10.0)
    parser.add_argument("--browser", choices=BROWSERS, action="append")
    parser.add_argument("--seed", type=int, default=None, help="repeats the moments, not the interleaving")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    given = parser.parse_args()
    names: Sequence[BrowserName] = given.browser or BROWSERS
    if reason := available() or next(filter(None, map(missing, names)), None):
        print(f"skipped: {reason}", file=sys.stderr)
        return 1
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    folder = Path(tempfile.mkdtemp(prefix="meadow-extension-"))
    with opening_world(folder) as world:
        broken = soak(
            world, folder, names, jobs=given.jobs, kills=given.kills, idle_s=given.idle_minutes * 60, seed=seed
        )
    print(f"(seed {seed})")
    if given.keep or broken:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return broken


if __name__ == "__main__":
    sys.exit(main())
