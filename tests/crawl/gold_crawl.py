"""A crawl of the gold pages through a whole network.

    python -m tests.crawl.gold_crawl [--pages 968] [--nodes 4] [--keep]

Serves pages of the extraction corpus as one site with a link graph and site maps (`gold_site`), crawls it, crawls it
again with `maxAge`, and cancels a third crawl. By the site's own log every page was asked for exactly once, the second
crawl asked for none, and nothing was asked for later than 2 s after the cancel. Prints one line; exits with 1 if anything
does not hold.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crawl.gold_site import GoldSite, serving_site
from tests.demo.gold_pages import PAGES, available
from tests.network.processes import Lab, Up, until

CANCEL_S = 2.0
_FIRST_S, _PAGE_S = 90.0, 1.5
_AGE_MS = 3_600_000


@dataclass
class Findings:
    """What a run came to. `problems` is empty where everything held."""

    pages: int
    total: int = 0
    refused: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    late_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """One line for people and for logs."""
        times = ", ".join(f"{name} {value:.1f} s" for name, value in self.seconds.items())
        rate = self.pages / self.seconds.get("crawl", 1.0)
        return (
            f"{'SOUND' if not self.problems else 'BROKEN'}: pages={self.pages} completed=total={self.total}"
            f" refused={self.refused}; {rate:.0f} pages/s ({times}); last request {self.late_s:.2f} s after the cancel"
        )


def start(lab: Lab, site: GoldSite, **fields: object) -> str:
    """Start a crawl; its id."""
    answer = lab.call("POST", "/v2/crawl", {"url": site.url, **fields})
    assert answer.status == 200, answer
    return str(answer.body["id"])


def status(lab: Lab, crawl_id: str, query: str = "limit=1") -> dict[str, Any]:
    """Where a crawl stands."""
    answer = lab.call("GET", f"/v2/crawl/{crawl_id}?{query}")
    assert answer.status == 200, answer
    return answer.body


def ended(lab: Lab, crawl_id: str, *, timeout_s: float) -> dict[str, Any]:
    """Wait for the end of a crawl."""

    def look() -> dict[str, Any] | None:
        found = status(lab, crawl_id)
        return found if found["status"] != "scraping" else None

    return until(f"crawl {crawl_id} has ended", look, timeout_s=timeout_s, poll_s=0.25)


def documents(lab: Lab, crawl_id: str) -> Iterator[dict[str, Any]]:
    """Every document of a crawl, page after page as clients read them."""
    query = "limit=100"
    while True:
        page = status(lab, crawl_id, query)
        yield from page["data"]
        if "next" not in page:
            return
        query = str(page["next"]).partition("?")[2]


def check_crawl(lab: Lab, site: GoldSite, crawl_id: str, found: Findings) -> None:
    """Hold an ended crawl of a site beside the site's own pages."""
    last = status(lab, crawl_id)
    found.total, found.refused = last["total"], last["refused"]
    if last["status"] != "completed" or not last["completed"] == last["total"] == len(site.files):
        found.problems.append(f"{last['status']}: {last['completed']} of {last['total']}, {len(site.files)} expected")
    urls = [document["metadata"]["sourceURL"] for document in documents(lab, crawl_id)]
    if sorted(urls) != sorted(f"{site.url}{path.removeprefix('/')}" for path in site.paths):
        found.problems.append(f"{len(urls)} documents of {len(set(urls))} pages, not each page once")
    blocked = lab.call("GET", f"/v2/crawl/{crawl_id}/errors").body["robotsBlocked"]
    if sorted(blocked) != sorted(f"{site.url}private/{number}" for number in range(len(site.files))):
        found.problems.append(f"{len(blocked)} pages are listed as blocked by robots.txt")


def check_visits(site: GoldSite, found: Findings) -> None:
    """Every page once, every site map once, and nothing else."""
    visits = site.visits()
    if missing := [path for path in site.paths if path not in visits]:
        found.problems.append(f"never asked for: {len(missing)}, as {missing[:3]}")
    if twice := [path for path, times in visits.items() if times > 1]:
        found.problems.append(f"asked for more than once: {len(twice)}, as {twice[:3]}")
    own = {*site.paths, "/robots.txt", "/maps/index.xml", "/maps/even.xml", "/maps/odd.xml.gz"}
    if others := [request.path for request in site.requests if request.path not in own]:
        found.problems.append(f"asked for besides: {len(others)}, as {others[:3]}")


def crawl_gold(folder: Path, *, pages: int, nodes: int) -> Findings:
    """Run with the first `pages` pages of the corpus in an empty folder."""
    found = Findings(pages)
    with serving_site(available()[:pages]) as site:
        up = Up(folder, nodes=nodes, sites=[site.address], env={"MEADOW_CLEANING_WORKERS": "2"})
        try:
            up.started()
            lab = up.lab
            began_s = time.monotonic()
            first = start(lab, site)
            ended(lab, first, timeout_s=_FIRST_S + pages * _PAGE_S)
            found.seconds["crawl"] = time.monotonic() - began_s
            check_crawl(lab, site, first, found)
            check_visits(site, found)
            _mapped(lab, site, found)
            _again(lab, site, found)
            _cancelled(lab, site, found)
        finally:
            up.close()
    return found


def _mapped(lab: Lab, site: GoldSite, found: Findings) -> None:
    """Hold a map of the site beside its pages: site maps name them all, the start page some besides."""
    began_s = time.monotonic()
    answer = lab.call("POST", "/v2/map", {"url": site.url, "timeout": 120_000}, timeout_s=150)
    found.seconds["map"] = time.monotonic() - began_s
    links = [link["url"] for link in answer.body.get("links", [])]
    pages = {f"{site.url}{path.removeprefix('/')}" for path in site.paths}
    if answer.status != 200 or "warning" in answer.body or not pages <= set(links) or len(links) != len(set(links)):
        found.problems.append(
            f"the map has {len(set(links) & pages)} of {len(pages)} pages: {answer.body.get('warning')}"
        )
    name = site.paths[-1].rpartition("/")[2]
    searched = lab.call("POST", "/v2/map", {"url": site.url, "search": name, "limit": 3, "sitemap": "only"})
    if [link["url"].endswith(name) for link in searched.body.get("links", [])] != [True, False, False]:
        found.problems.append(f"a search for {name} is answered with {searched.body}")


def _again(lab: Lab, site: GoldSite, found: Findings) -> None:
    before = len(site.requests)
    began_s = time.monotonic()
    again = start(lab, site, scrapeOptions={"maxAge": _AGE_MS})
    last = ended(lab, again, timeout_s=_FIRST_S + len(site.files) * _PAGE_S)
    found.seconds["again"] = time.monotonic() - began_s
    check_crawl(lab, site, again, found)
    if asked := site.requests[before:]:
        found.problems.append(f"the same crawl with maxAge made {len(asked)} requests, as {asked[0].path}")
    if last["creditsUsed"] != 0:
        found.problems.append(f"the same crawl with maxAge cost {last['creditsUsed']} credits")


def _cancelled(lab: Lab, site: GoldSite, found: Findings) -> None:
    site.latency_s = 0.1
    before = len(site.requests)
    crawl_id = start(lab, site)
    until("some pages are fetched", lambda: len(site.requests) > before + 5 or None, timeout_s=_FIRST_S)
    answer = lab.call("DELETE", f"/v2/crawl/{crawl_id}")
    cancelled_s = time.monotonic()
    if answer.status != 200 or answer.body.get("status") != "cancelled":
        found.problems.append(f"cancelling: {answer}")
    first = status(lab, crawl_id)
    time.sleep(CANCEL_S + 3.0)
    last = status(lab, crawl_id)
    found.late_s = max(0.0, site.requests[-1].at_s - cancelled_s)
    if found.late_s > CANCEL_S:
        found.problems.append(f"a page was asked for {found.late_s:.1f} s after the cancel")
    if last["status"] != "cancelled" or last["total"] != first["total"]:
        found.problems.append(f"after the cancel: {last['status']}, {first['total']} pages became {last['total']}")
    if len(site.requests) - before >= len(site.files):
        found.problems.append("the crawl was over before it was cancelled: nothing is shown")
    if lab.call("DELETE", f"/v2/crawl/{crawl_id}").status != 409:
        found.problems.append("a crawl was cancelled twice")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=len(available()))
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    options = parser.parse_args()
    if not 0 < options.pages <= len(available()):
        print(f"{PAGES} holds {len(available())} pages, {options.pages} are needed", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="meadow-crawl-"))
    found = crawl_gold(folder, pages=options.pages, nodes=options.nodes)
    print(found.line(), flush=True)
    for problem in found.problems:
        print(f"  {problem}", file=sys.stderr)
    if options.keep or found.problems:
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
