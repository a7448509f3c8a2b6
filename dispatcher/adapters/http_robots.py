"""Reads robots.txt over HTTP, through the guarded connector, redirects by hand (RFC 9309, section 2.3.1.2)."""

from collections.abc import Callable

import aiohttp

from dispatcher.compliance import AGENT_TOKEN, MAX_ROBOTS_BYTES, RobotsRules, RobotsState, state_of_status
from dispatcher.retry_after import retry_after_ms
from protocol import limits
from protocol.adapters.guarded_connector import guarded_connector
from protocol.bodies import ACCEPT_ENCODING, BoundedDecoder, parse_content_encoding
from protocol.errors import BodyError, BodyTooLarge
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url, join_url

USER_AGENT = f"{AGENT_TOKEN}/0.1 (+https://meadow.example/bot)"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpRobots:
    """The RobotsSource that asks the site itself."""

    def __init__(
        self, clock: Callable[[], int], *, test_sites: TestSites = NO_TEST_SITES, timeout_s: float = 15.0
    ) -> None:
        self._clock, self._test_sites = clock, test_sites
        self._http = aiohttp.ClientSession(
            connector=guarded_connector(test_sites=test_sites, limit=200),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPT_ENCODING},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def read(self, origin: str) -> RobotsRules:
        """Read an origin's robots.txt; a failure of any kind counts as unreachable."""
        checked = check_url(f"{origin}/robots.txt", test_sites=self._test_sites)
        for _ in range(limits.REDIRECTS + 1):
            if not isinstance(checked, AllowedUrl):
                return RobotsRules(RobotsState.UNREACHABLE)
            try:
                async with self._http.get(checked.href, allow_redirects=False) as response:
                    location = response.headers.get("Location")
                    if response.status not in _REDIRECTS or location is None:
                        return await self._rules(response)
                    checked = join_url(checked, location, test_sites=self._test_sites)
            except (TimeoutError, aiohttp.ClientError, OSError, BodyError, ValueError):
                return RobotsRules(RobotsState.UNREACHABLE)
        return RobotsRules(RobotsState.ABSENT)

    async def _rules(self, response: aiohttp.ClientResponse) -> RobotsRules:
        state = state_of_status(response.status)
        if state is RobotsState.BUSY:
            delay = retry_after_ms(response.headers.get("Retry-After"), now_ms=self._clock())
            return RobotsRules(state, retry_after_ms=delay)
        if state is not RobotsState.FOUND:
            return RobotsRules(state)
        decoder = BoundedDecoder(parse_content_encoding(response.headers.get("Content-Encoding")))
        body = b""
        try:
            async for piece in response.content.iter_chunked(65_536):
                body += decoder.feed(piece)
                if len(body) >= MAX_ROBOTS_BYTES:
                    break
        except BodyTooLarge:
            return RobotsRules(RobotsState.UNREACHABLE)
        return RobotsRules(state, body)
