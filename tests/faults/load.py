"""A lab that posts batches without pause, and believes in a batch only after its 200."""

import http.client
import itertools
import random
import threading
import time
import urllib.error
from collections import Counter
from dataclasses import dataclass, field

from tests.network.processes import Lab
from tests.network.site import Site

_ANSWER_S = 60.0
_BUSY_EVERY_S = 4.0
_TRY_AGAIN = (503, 507)
_DOWN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass
class Load:
    """Posts until stopped. `accepted` maps each batch that was answered with 200 to how many pages it has.

    A request without an answer, or that is told to try again (503, 507), is sent again with the same idempotency key until
    it is accepted. `refused` counts these answers by status and code. Between two batches it pauses for
    `pause_s`, from the least to the most. `busy` are sites that are asked for a page they have no time for at first, one of
    them every few seconds: seldom enough for each to be forgiven.
    """

    lab: Lab
    sites: list[Site]
    random: random.Random
    accepted: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    resent: int = 0
    name: str = "load"
    most_open: int = 600
    refused: Counter[str] = field(default_factory=Counter)
    pages: int = 0
    busy: list[Site] = field(default_factory=list)
    pause_s: tuple[float, float] = (0.02, 0.2)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._looking = threading.Lock()
        self._asked_for: set[str] = set()
        self._looked_at = [0] * len(self.sites)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; the request under way is finished first."""
        self._stop.set()
        self._thread.join(60)
        if self._thread.is_alive():
            self.problems.append("the last batch was never answered")

    def fetched(self) -> int:
        """How many times the sites were asked for anything."""
        return sum(len(site.seen) for site in self.sites)

    def is_full(self) -> bool:
        """Whether it waits for the network: too many of its pages were not asked for yet."""
        with self._looking:
            for number, site in enumerate(self.sites):
                seen = site.seen[self._looked_at[number] :]
                self._looked_at[number] += len(seen)
                self._asked_for.update(each.path for each in seen if each.path.startswith(f"/p/{self.name}-"))
            return self.pages - len(self._asked_for) > self.most_open

    def _run(self) -> None:
        number, busy, busy_at = 0, itertools.cycle(self.busy), 0.0
        while not self._stop.wait(self.random.uniform(*self.pause_s)):
            if self.is_full():
                continue
            number += 1
            size = self.random.randint(1, 12)
            urls = [
                self.sites[self.random.randrange(len(self.sites))].url(f"/p/{self.name}-{number}-{place}")
                for place in range(size)
            ]
            if self.random.random() < 0.1:
                urls[0] = self.sites[0].url(f"/private/{self.name}-{number}")
            self.pages += sum("/p/" in url for url in urls)
            if self.busy and time.monotonic() - busy_at > _BUSY_EVERY_S:
                busy_at = time.monotonic()
                urls.append(next(busy).url(f"/busy/{self.name}-{number}"))
            self._post(urls, f"{self.name}-{number}")

    def _post(self, urls: list[str], key: str) -> None:
        while True:
            try:
                answer = self.lab.call(
                    "POST", "/v2/batch/scrape", {"urls": urls}, headers={"x-idempotency-key": key}, timeout_s=_ANSWER_S
                )
            except _DOWN:
                self.resent += 1
                if self._stop.wait(0.05):
                    return
                continue
            if answer.status == 200:
                self.accepted[str(answer.body["id"])] = len(urls)
                return
            self.refused[f"{answer.status} {answer.body.get('code')}"] += 1
            if answer.status not in _TRY_AGAIN:
                self.problems.append(f"batch {key}: {answer}")
                return
            if self._stop.wait(0.2):
                return
