"""What every drill's command line has in common: a seed, a folder that is kept on failure, one line, an exit code."""

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol


class Findings(Protocol):
    """What a drill came to. `problems` is empty where everything held."""

    problems: list[str]

    def line(self) -> str:
        """One line for people and for logs."""
        ...


def run_drill(
    name: str,
    parser: argparse.ArgumentParser,
    drill: Callable[[Path, int, argparse.Namespace], Findings],
    *,
    missing: str | None = None,
) -> int:
    """Run a drill in a folder of its own with a seed; the exit code. `missing` says why it cannot be run here."""
    parser.add_argument("--seed", type=int, default=None, help="repeats the choices, not the interleaving")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if missing is not None:
        print(f"{name} cannot be run here: {missing}", file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix=f"meadow-{name}-"))
    findings = drill(folder, seed, options)
    print(f"{findings.line()} (seed {seed})", flush=True)
    for problem in findings.problems:
        print(f"  {problem}", file=sys.stderr)
    if options.keep or findings.problems:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if findings.problems else 0
