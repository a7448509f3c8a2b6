"""The gate every URL passes before a node is asked to fetch it: URL rules, robots rules, and the host's pace."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from dispatcher.bus import Bus, Event, PacesLost
from dispatcher.compliance import Decision, RobotsRules, RobotsState, Verdict
from dispatcher.frontier import Frontier, HostPace
from dispatcher.robots_cache import RobotsCache
from protocol.urls import NO_TEST_SITES, AllowedUrl, Refusal, TestSites, check_url

MAX_HOSTS = 50_000
_TELL_AGAIN_MS = 60_000
"""A host's pace is told to the frontier again after this: a flush is then made up for, though nobody heard of it."""


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

    def pace_of(self, url: AllowedUrl, crawl_delay_ms: int) -> HostPace:
        """Return the pace of a URL's host that asks for this Crawl-delay, 0 for none."""
        floor_ms = 0 if url.is_test_site else self.delay_ms
        most = self.test_site_max_concurrent if url.is_test_site else self.max_concurrent
        return HostPace(delay_ms=max(floor_ms, crawl_delay_ms), max_concurrent=1 if crawl_delay_ms else most)


@dataclass(frozen=True, slots=True)
class Passage:
    """What the gate says of a URL. `url` is None where the URL rules refuse it; `rules` where nobody was asked."""

    verdict: Verdict
    url: AllowedUrl | None = None
    rules: RobotsRules | None = None


@dataclass(slots=True)
class _Host:
    """What is known of a host: the Crawl-delay of each of its origins by scheme, and the pace the frontier was told."""

    crawl_delays_ms: dict[str, int] = field(default_factory=dict)
    told: HostPace | None = None
    told_ms: int = 0

    @property
    def crawl_delay_ms(self) -> int:
        return max(self.crawl_delays_ms.values(), default=0)


class Gate:
    """Owns what this process knows of hosts' paces, for the hosts visited lately."""

    def __init__(
        self,
        robots: RobotsCache,
        frontier: Frontier,
        policy: PacePolicy,
        *,
        test_sites: TestSites = NO_TEST_SITES,
        bus: Bus | None = None,
    ) -> None:
        self._robots, self._frontier, self._policy, self._test_sites = robots, frontier, policy, test_sites
        self._hosts: OrderedDict[str, _Host] = OrderedDict()
        if bus is not None:
            bus.subscribe(self._on_event)

    def check_url(self, url: str) -> AllowedUrl | Refusal:
        """Apply the URL rules alone."""
        return check_url(url, test_sites=self._test_sites)

    def at_once(self, href: str) -> Passage | None:
        """Judge a URL whose site's rules and pace are settled; None where somebody has to be asked or told first."""
        url = self.check_url(href)
        if isinstance(url, Refusal):
            return Passage(Verdict(Decision.DENY, "url_refused", url.detail))
        rules = self._robots.known(url.origin)
        if rules is None or rules.is_heavy:
            return None
        host = self._hosts.get(url.origin_host)
        if host is None or not self._is_told(host, self._pace(url, host, rules)):
            return None
        self._hosts.move_to_end(url.origin_host)
        return Passage(rules.judge(url.href), url, rules)

    async def pass_through(self, href: str) -> Passage:
        """Judge a URL and make its host's pace known to the frontier."""
        url = self.check_url(href)
        if isinstance(url, Refusal):
            return Passage(Verdict(Decision.DENY, "url_refused", url.detail))
        known = self._robots.known(url.origin)
        rules = known or await self._robots.rules(url.origin)
        host = self._host(url.origin_host)
        pace = self._pace(url, host, rules)
        if known is None:
            # Whoever waited for the answer goes now, not at the moment of its lease: the next visit counts from here.
            await self._frontier.postpone_host(url.origin_host, self._robots.now_ms() + pace.delay_ms)
        if not self._is_told(host, pace):
            now_ms = self._robots.now_ms()
            await self._frontier.set_pace(url.origin_host, pace)
            host.told, host.told_ms = pace, now_ms
        verdict = await asyncio.to_thread(rules.judge, url.href) if rules.is_heavy else rules.judge(url.href)
        return Passage(verdict, url, rules)

    async def site_maps(self, url: AllowedUrl) -> tuple[str, ...]:
        """Return the site maps that the robots.txt of a URL's origin names, as written; asks the site if need be."""
        return (await self._robots.rules(url.origin)).site_maps

    async def permits(self, href: str, *, asking: bool) -> bool | None:
        """Tell whether a page that was fetched before may still be read. None where its site has to be asked, and is
        not to be (`asking`)."""
        url = self.check_url(href)
        if isinstance(url, Refusal):
            return False
        rules = self._robots.known(url.origin)
        if rules is None and not asking:
            return None
        rules = rules or await self._robots.rules(url.origin)
        verdict = await asyncio.to_thread(rules.judge, url.href) if rules.is_heavy else rules.judge(url.href)
        return verdict.decision is Decision.ALLOW

    def _is_told(self, host: _Host, pace: HostPace) -> bool:
        return host.told == pace and self._robots.now_ms() - host.told_ms < _TELL_AGAIN_MS

    def _pace(self, url: AllowedUrl, host: _Host, rules: RobotsRules) -> HostPace:
        """Note the Crawl-delay of a host's origin; the pace the host has now."""
        if rules.state in (RobotsState.FOUND, RobotsState.ABSENT):
            host.crawl_delays_ms[url.scheme] = rules.crawl_delay_ms or 0
        return self._policy.pace_of(url, host.crawl_delay_ms)

    def _host(self, name: str) -> _Host:
        host = self._hosts.setdefault(name, _Host())
        self._hosts.move_to_end(name)
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
        return host

    def rest_ms(self, host: str) -> int:
        """How long a host is left alone after a visit has ended: its Crawl-delay, 0 where it asks for none.

        Nodes take different times to arrive, so a delay between the starts of visits is not one between arrivals.
        """
        known = self._hosts.get(host)
        return known.crawl_delay_ms if known else 0

    def _on_event(self, event: Event) -> None:
        if isinstance(event, PacesLost):
            self.forget_paces()

    def forget_paces(self) -> None:
        """The frontier has lost its data: tell it every pace again."""
        for host in self._hosts.values():
            host.told = None
