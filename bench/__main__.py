"""Runs the benches: `python -m bench [name...]`; without a name, all of them."""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench import api, bodies, cleaning, engine, extension, frontier, idle_nodes, ledger, network, objects, verify
from bench.options import Options
from bench.table import Table

BENCHES: dict[str, Callable[[Options], Awaitable[list[Table]]]] = {
    "engine": engine.run,
    "network": network.run,
    "bodies": bodies.run,
    "idle_nodes": idle_nodes.run,
    "ledger": ledger.run,
    "objects": objects.run,
    "frontier": frontier.run,
    "cleaning": cleaning.run,
    "api": api.run,
    "verify": verify.run,
    "extension": extension.run,
}


async def _run(name: str, options: Options) -> None:
    started = time.perf_counter()
    for table in await BENCHES[name](options):
        table.print()
    print(f"({name}: {time.perf_counter() - started:.0f} s)", flush=True)


def main() -> None:
    """Run what was asked for, each bench in a folder of its own that is removed afterwards."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHES))
    parser.add_argument("--jobs", type=int, default=500, help="jobs of the network bench")
    parser.add_argument(
        "--queued",
        type=int,
        nargs="*",
        default=(10_000, 100_000),
        help="how many jobs are queued while the engine works some off, and in the frontier bench",
    )
    parser.add_argument("--idle", type=int, default=1_000, help="idle nodes to connect")
    parser.add_argument("--profile", type=Path, help="folder for cProfile files of the dispatcher (network bench)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(BENCHES):
        parser.error(f"no bench is named {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    if given.profile:
        given.profile.mkdir(parents=True, exist_ok=True)
    for name in given.names or BENCHES:
        with tempfile.TemporaryDirectory(prefix="meadow-bench-") as folder:
            asyncio.run(_run(name, Options(Path(folder), given.jobs, given.idle, given.profile, tuple(given.queued))))


if __name__ == "__main__":
    main()
