"""The fetch: one GET through the guarded connector, redirects by hand, the body bounded while it streams in."""

import asyncio
from http import HTTPStatus
from types import TracebackType
from typing import Self

import ada_url
import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from node_agent.fetching import USER_AGENT, AskHop, CountBytes, FetchedPage, FetchOrder, NotFetched
from protocol import bodies, limits
from protocol.adapters.guarded_connector import (
    AddressRefused,
    OwnNetworks,
    check_peer,
    guarded_connector,
    refusal_in,
)
from protocol.errors import BodyCorrupt, BodyTooLarge
from protocol.messages import FailureCode, RefusalCode
from protocol.urls import AllowedUrl, Reason, Refusal, TestSites, check_url

CONNECT_MS = 15_000
IDLE_MS = 15_000
_ACCEPT = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
_HEADER_LINE_BYTES = 65_536
_STATUSES = range(200, 1_000)
_FOLLOWED = frozenset({301, 302, 303, 307, 308})


class AiohttpFetch:
    """Fetches pages; an async context manager. Holds no cookies, no credentials, no proxy from the environment."""

    def __init__(
        self,
        *,
        test_sites: TestSites,
        own_networks: OwnNetworks,
        resolver: AbstractResolver | None = None,
        idle_ms: int = IDLE_MS,
    ) -> None:
        self._test_sites, self._own_networks, self._resolver = test_sites, own_networks, resolver
        self._idle_ms = idle_ms

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(
            connector=guarded_connector(
                test_sites=self._test_sites,
                own_networks=self._own_networks,
                resolver=self._resolver,
                limit=limits.NODE_CONCURRENT_JOBS,
            ),
            trust_env=False,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_MS / 1000, sock_read=self._idle_ms / 1000, ceil_threshold=3_600
            ),
            max_line_size=_HEADER_LINE_BYTES,
            max_field_size=_HEADER_LINE_BYTES,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def fetch(self, order: FetchOrder, *, ask_hop: AskHop, count_bytes: CountBytes) -> FetchedPage | NotFetched:
        """Fetch a page within the order's bounds; `ask_hop` is awaited before each redirect, inside the deadline."""
        try:
            async with asyncio.timeout(order.timeout_ms / 1000):
                return await self._follow(order, ask_hop, count_bytes)
        except TimeoutError:
            return NotFetched(FailureCode.TIMEOUT, f"not done within {order.timeout_ms} ms")

    async def _follow(self, order: FetchOrder, ask_hop: AskHop, count_bytes: CountBytes) -> FetchedPage | NotFetched:
        url, visited = order.url, [order.url.href]
        while True:
            step = await self._request(url, order, tuple(visited[1:-1]), count_bytes)
            if not isinstance(step, _Redirect):
                return step
            if len(visited) > order.max_redirects:
                return NotFetched(FailureCode.TOO_MANY_REDIRECTS, f"more than {order.max_redirects} redirects")
            following = self._resolve(step.location, url)
            if isinstance(following, NotFetched):
                return following
            denied = await ask_hop(following)
            if denied is not None:
                return denied
            url = following
            visited.append(url.href)

    def _resolve(self, location: str, base: AllowedUrl) -> AllowedUrl | NotFetched:
        try:
            absolute = ada_url.URL(location, base=base.href).href
        except (ValueError, UnicodeEncodeError):
            return NotFetched(FailureCode.BAD_RESPONSE, "the page redirects to what is no URL")
        checked = check_url(absolute, test_sites=self._test_sites)
        if isinstance(checked, Refusal):
            return NotFetched(FailureCode.HOP_REFUSED, f"the page redirects to a refused URL: {checked.detail}")
        return checked

    async def _request(
        self, url: AllowedUrl, order: FetchOrder, hops: tuple[str, ...], count_bytes: CountBytes
    ) -> "FetchedPage | NotFetched | _Redirect":
        target = yarl.URL(url.href, encoded=True)
        if target.raw_host != url.host or target.port != url.port or target.scheme != url.scheme:
            return NotFetched(RefusalCode.URL_REFUSED, "the URL's host is read in two ways")
        headers = {"User-Agent": USER_AGENT, "Accept": _ACCEPT, "Accept-Encoding": bodies.ACCEPT_ENCODING}
        if order.accept_language is not None:
            headers["Accept-Language"] = order.accept_language
        is_first = url is order.url
        try:
            async with self._http.get(target, headers=headers, allow_redirects=False) as response:
                check_peer(response, test_sites=self._test_sites, own_networks=self._own_networks)
                if response.status not in _STATUSES:
                    return NotFetched(FailureCode.BAD_RESPONSE, f"{url.host} answers with status {response.status}")
                location = response.headers.get("Location")
                if response.status in _FOLLOWED and location is not None:
                    response.close()
                    return _Redirect(location)
                return await _read(response, url, order, hops, count_bytes)
        except AddressRefused as error:
            return _address_refused(error.refusal, is_first=is_first)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            refusal = refusal_in(error)
            if refusal is not None:
                return _address_refused(refusal, is_first=is_first)
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                raise
            return _failure(error, url)


class _Redirect:
    def __init__(self, location: str) -> None:
        self.location = location


async def _read(
    response: aiohttp.ClientResponse,
    url: AllowedUrl,
    order: FetchOrder,
    hops: tuple[str, ...],
    count_bytes: CountBytes,
) -> FetchedPage | NotFetched:
    payload = bytearray()
    try:
        encoding = bodies.parse_content_encoding(", ".join(response.headers.getall("Content-Encoding", ())))
        decoder = bodies.BoundedDecoder(
            encoding, max_wire_bytes=order.max_wire_bytes, max_body_bytes=order.max_body_bytes
        )
        async for piece in response.content.iter_any():
            may_continue = count_bytes(len(piece))
            decoder.feed(piece)
            payload += piece
            if not may_continue:
                return NotFetched(RefusalCode.CAP_REACHED, "the owner's limit of bytes a day was reached on the way")
        body_hash = decoder.finish()
    except BodyTooLarge as error:
        return NotFetched(FailureCode.BODY_TOO_LARGE, str(error))
    except BodyCorrupt as error:
        return NotFetched(FailureCode.BODY_CORRUPT, str(error))
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers)
    return FetchedPage(
        final_url=url.href,
        hops=hops,
        status=response.status,
        headers=headers,
        content_encoding=encoding,
        payload=bytes(payload),
        body_hash=body_hash,
        body_bytes=decoder.body_bytes,
    )


def _address_refused(refusal: Refusal, *, is_first: bool) -> NotFetched:
    """Say it by whose rule it is: the node's own network is its own matter, the rest holds on every node."""
    if refusal.reason is Reason.OWN_NETWORK:
        return NotFetched(RefusalCode.BLOCKED_BY_OWNER, refusal.detail)
    if is_first:
        return NotFetched(RefusalCode.ADDRESS_REFUSED, refusal.detail)
    return NotFetched(FailureCode.HOP_REFUSED, f"the page redirects to a refused host: {refusal.detail}")


def _failure(error: Exception, url: AllowedUrl) -> NotFetched:
    """Put an error into the protocol's words. The library's own words may carry a resolved address: not used."""
    if isinstance(error, aiohttp.ClientConnectorDNSError | UnicodeError):
        return NotFetched(FailureCode.DNS_FAILED, f"the name {url.host} does not resolve")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NotFetched(FailureCode.TLS_FAILED, f"the certificate of {url.host} is not valid")
    if isinstance(error, aiohttp.ClientSSLError):
        return NotFetched(FailureCode.TLS_FAILED, f"no TLS connection with {url.host}")
    if isinstance(error, aiohttp.ServerTimeoutError):
        return NotFetched(FailureCode.TIMEOUT, f"{url.host} was silent for too long")
    if isinstance(error, aiohttp.ClientConnectorError):
        return NotFetched(FailureCode.CONNECT_FAILED, f"no connection to {url.host}, port {url.port}")
    if isinstance(error, aiohttp.ClientResponseError) and error.status == HTTPStatus.BAD_REQUEST:
        return NotFetched(FailureCode.BAD_RESPONSE, f"{url.host} answers with what is no HTTP")
    return NotFetched(FailureCode.BAD_RESPONSE, f"the answer of {url.host} broke off or is no HTTP")
