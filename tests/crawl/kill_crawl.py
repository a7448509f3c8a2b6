"""Kills the dispatcher again and again while it crawls.

    python -m tests.crawl.kill_crawl [--pages 300] [--kills 8] [--keep]

`meadow up --nodes 0` is killed with signal 9 at random moments of a crawl of real pages and started again; two nodes are
processes of their own and survive. At the end the crawl has completed what it came to, every page of the site is one
document, and every page was asked for once, save those that a node had in hand at a kill and nobody took the answer of.
Prints one line; exits with 1 if anything does not hold.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.crawl.gold_crawl import Findings, check_crawl, ended, start, status
from tests.crawl.gold_site import GoldSite, serving_site
from tests.demo.gold_pages import available
from tests.network.processes import Node, Up, quiet_port, until

NODES = 2
AT_ONCE = 4
_LATENCY_S = 0.1
_REST_S, _PAGE_S = 180.0, 2.0


def kill_crawl(folder: Path, *, pages: int, kills: int, seed: int) -> tuple[Findings, int]:
    """Run in an empty folder; what it came to, and how many pages were asked for more than once."""
    found, chance = Findings(pages), random.Random(seed)
    with ExitStack() as stack:
        site = stack.enter_context(serving_site(available()[:pages], latency_s=_LATENCY_S))
        up = Up(folder / "network", port=quiet_port(), sites=[site.address])
        stack.callback(up.close)
        up.started()
        for number in range(NODES):
            node = Node(folder / f"node-{number}", up.ready.api_url, sites=[site.address], max_concurrent=AT_ONCE)
            stack.callback(node.close)
        crawl_id = start(up.lab, site)
        began_s = time.monotonic()
        made = _kill(up, site, crawl_id, kills, chance)
        ended(up.lab, crawl_id, timeout_s=_REST_S + pages * _PAGE_S)
        found.seconds["crawl"] = time.monotonic() - began_s
        check_crawl(up.lab, site, crawl_id, found)
        found.problems += [f"{rule} in the ledger" for rule in up.ledger.broken()]
    if made < kills:
        found.problems.append(f"the crawl was over after {made} kills")
    twice = sum(times - 1 for times in site.visits().values())
    if twice > made * NODES * AT_ONCE:
        found.problems.append(f"{twice} visits too many: more than nodes had in hand at {made} kills")
    return found, twice


def _kill(up: Up, site: GoldSite, crawl_id: str, kills: int, chance: random.Random) -> int:
    """Kill and start again; how many times while the crawl went on. Each kill waits for some new pages."""
    for made in range(kills):
        _wait_for_pages(site)
        time.sleep(chance.uniform(0.0, 0.5))
        if status(up.lab, crawl_id)["status"] != "scraping":
            return made
        up.kill()
        up.started()
    return kills


def _wait_for_pages(site: GoldSite) -> None:
    before = len(site.requests)
    until("pages are asked for", lambda: len(site.requests) > before + 3 or None, timeout_s=_REST_S)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=300)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(2**32)
    folder = Path(tempfile.mkdtemp(prefix="meadow-crawl-"))
    found, twice = kill_crawl(folder, pages=options.pages, kills=options.kills, seed=seed)
    print(f"{found.line()}; kills={options.kills} seed={seed}, visits that were made again: {twice}", flush=True)
    for problem in found.problems:
        print(f"  {problem}", file=sys.stderr)
    if options.keep or found.problems:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
