"""Sends webhooks' events over HTTP, through the guarded connector: whatever a receiver's name resolves to, only an
address that may be connected to is, and it is checked again at the moment of connecting (PROTOCOL.md, section 10).
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver

from dispatcher.webhook_sending import Outcome
from protocol.adapters.guarded_connector import guarded_connector, refusal_in
from protocol.urls import NO_TEST_SITES, TestSites

TIMEOUT_S: Final = 10.0
ANSWER_BYTES: Final = 65_536
"""So much of an answer's body is read, that the connection may be used again; what it says is of no interest."""
USER_AGENT: Final = "MeadowWebhooks/0.1"
_CONNECTIONS = 256
_REDIRECTS = range(300, 400)


class WebhookSender:
    """The EventSender. Needs a running event loop; owns its connections until `close`."""

    def __init__(
        self,
        *,
        test_sites: TestSites = NO_TEST_SITES,
        timeout_s: float = TIMEOUT_S,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._http = aiohttp.ClientSession(
            connector=guarded_connector(test_sites=test_sites, resolver=resolver, limit=_CONNECTIONS, keep_alive=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
            headers={hdrs.USER_AGENT: USER_AGENT},
            skip_auto_headers=[hdrs.ACCEPT_ENCODING],
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Post a body; the status is what counts. Redirects are not followed."""
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._http.post(
                    url,
                    data=body,
                    headers={**headers, hdrs.CONTENT_TYPE: "application/json"},
                    allow_redirects=False,
                )
        except TimeoutError:
            return Outcome(error=f"no answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if (refusal := refusal_in(error)) is not None:
                return Outcome(error=f"the receiver's address is refused: {refusal.detail}", is_final=True)
            return Outcome(error=_words(error))
        status = response.status
        await self._drain(response)
        if status in _REDIRECTS:
            return Outcome(status=status, error="a redirect, which is not followed")
        if status == 410:
            return Outcome(status=status, error="the receiver is gone for good (410)", is_final=True)
        return Outcome(status=status, error=None if 200 <= status < 300 else f"the receiver answered {status}")

    async def _drain(self, response: aiohttp.ClientResponse) -> None:
        """Read the answer's end where it is near; close the connection otherwise."""
        try:
            async with asyncio.timeout(self._timeout_s):
                left = ANSWER_BYTES
                async for piece in response.content.iter_any():
                    left -= len(piece)
                    if left < 0:
                        break
        except (TimeoutError, aiohttp.ClientError, OSError):
            left = -1
        if left < 0:
            response.close()
        else:
            response.release()


def _words(error: Exception) -> str:
    """Say what went wrong without an address that a name resolved to."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the receiver's name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the receiver's certificate is not valid"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS connection to the receiver"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection to the receiver"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return "the receiver closed the connection without an answer"
    return f"the receiver's answer is not HTTP ({type(error).__name__})"
