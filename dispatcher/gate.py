"""The gate every URL passes before a node is asked to fetch it: URL rules, robots rules, and the host's pace."""

from dataclasses import dataclass

from dispatcher.compliance import Decision, RobotsRules, Verdict
from dispatcher.frontier import Frontier, HostPace
from dispatcher.robots_cache import RobotsCache
from protocol.urls import NO_TEST_SITES, AllowedUrl, Refusal, TestSites, check_url


@dataclass(frozen=True, slots=True)
class PacePolicy:
    """How hosts may be visited unless their robots.txt asks for more patience.

    Until an origin's robots.txt is read its host gets one visit at a time (the frontier's default pace), and so does a
    host that asks for a Crawl-delay: its delay counts from the end of a visit. Test sites belong to the operator: only
    their own Crawl-delay slows them down.
    """

    delay_ms: int = 1_000
    max_concurrent: int = 2
    test_site_max_concurrent: int = 8

    def pace_of(self, url: AllowedUrl, rules: RobotsRules) -> HostPace:
        """Return the pace of a URL's host."""
        floor_ms = 0 if url.is_test_site else self.delay_ms
        most = self.test_site_max_concurrent if url.is_test_site else self.max_concurrent
        return HostPace(
            delay_ms=max(floor_ms, rules.crawl_delay_ms or 0), max_concurrent=1 if rules.crawl_delay_ms else most
        )


@dataclass(frozen=True, slots=True)
class Passage:
    """What the gate says of a URL. `url` is None where the URL rules refuse it; `rules` where nobody was asked."""

    verdict: Verdict
    url: AllowedUrl | None = None
    rules: RobotsRules | None = None


class Gate:
    """Owns which hosts' paces this process has told the frontier."""

    def __init__(
        self, robots: RobotsCache, frontier: Frontier, policy: PacePolicy, *, test_sites: TestSites = NO_TEST_SITES
    ) -> None:
        self._robots, self._frontier, self._policy, self._test_sites = robots, frontier, policy, test_sites
        self._paced: dict[str, HostPace] = {}
        self._crawl_delays_ms: dict[str, int] = {}

    def check_url(self, url: str) -> AllowedUrl | Refusal:
        """Apply the URL rules alone."""
        return check_url(url, test_sites=self._test_sites)

    async def pass_through(self, href: str) -> Passage:
        """Judge a URL and make its host's pace known to the frontier."""
        url = self.check_url(href)
        if isinstance(url, Refusal):
            return Passage(Verdict(Decision.DENY, "url_refused", url.detail))
        rules = await self._robots.rules(url.origin)
        pace = self._policy.pace_of(url, rules)
        self._crawl_delays_ms[url.origin_host] = rules.crawl_delay_ms or 0
        if self._paced.get(url.origin_host) != pace:
            await self._frontier.set_pace(url.origin_host, pace)
            self._paced[url.origin_host] = pace
        return Passage(rules.judge(url.href), url, rules)

    def rest_ms(self, host: str) -> int:
        """How long a host is left alone after a visit has ended: its Crawl-delay, 0 where it asks for none.

        Nodes take different times to arrive, so a delay between the starts of visits is not one between arrivals.
        """
        return self._crawl_delays_ms.get(host, 0)

    def forget_paces(self) -> None:
        """The frontier has lost its data: tell it every pace again."""
        self._paced.clear()
