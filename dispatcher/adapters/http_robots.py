"""Reads robots.txt over HTTP, through the guarded connector, redirects by hand (RFC 9309, section 2.3.1.2)."""

import asyncio
from collections.abc import Callable

import aiohttp

from dispatcher.compliance import AGENT_TOKEN, MAX_ROBOTS_BYTES, RobotsRules, RobotsState, is_heavy, state_of_status
from dispatcher.retry_after import retry_after_ms
from protocol import limits
from protocol.adapters.guarded_connector import guarded_connector
from protocol.bodies import ACCEPT_ENCODING, BoundedDecoder, parse_content_encoding
from protocol.errors import BodyError
from protocol.urls import NO_TEST_SITES, AllowedUrl, TestSites, check_url, join_url

USER_AGENT = f"{AGENT_TOKEN}/0.1 (+https://meadow.example/bot)"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONNECT_S = 5.0
_CONNECTIONS = 512
_PIECE_BYTES = 8_192
"""Encoded bytes decoded at once: what comes out of one piece is held beside the file."""


class HttpRobots:
    """The RobotsSource that asks the site itself. `timeout_s` bounds a read with all its redirects."""

    def __init__(
        self, clock: Callable[[], int], *, test_sites: TestSites = NO_TEST_SITES, timeout_s: float = 15.0
    ) -> None:
        self._clock, self._test_sites, self._timeout_s = clock, test_sites, timeout_s
        self._http = aiohttp.ClientSession(
            connector=guarded_connector(test_sites=test_sites, limit=_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
            auto_decompress=False,
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPT_ENCODING},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def read(self, origin: str) -> RobotsRules:
        """Read an origin's robots.txt; a failure of any kind counts as unreachable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._read(origin)
        except (TimeoutError, aiohttp.ClientError, OSError, BodyError, ValueError):
            return RobotsRules(RobotsState.UNREACHABLE)

    async def _read(self, origin: str) -> RobotsRules:
        checked = check_url(f"{origin}/robots.txt", test_sites=self._test_sites)
        for _ in range(limits.REDIRECTS + 1):
            if not isinstance(checked, AllowedUrl):
                return RobotsRules(RobotsState.UNREACHABLE)
            async with self._http.get(checked.href, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or location is None:
                    return await self._rules(response)
                checked = join_url(checked, location, test_sites=self._test_sites)
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
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            body += decoder.feed(piece)
            if len(body) >= MAX_ROBOTS_BYTES:
                break
        else:
            decoder.finish()
        if is_heavy(len(body)):
            return await asyncio.to_thread(RobotsRules, state, body)
        return RobotsRules(state, body)
