"""The log over http or https: reads the static files that a web server or an object store serves."""

from typing import Self
from urllib.parse import urlsplit

import aiohttp

from provenance.errors import AuditInputError, LogUnavailable

MAX_FILE_BYTES = 64 * 1024 * 1024
TIMEOUT_SECONDS = 30.0
ATTEMPTS = 3


class HttpTiles:
    """Reads files of a log below a URL. Use as an asynchronous context manager."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise AuditInputError(f"not the address of a log: {url!r}; expected http(s)://host/path or a folder")
        self._prefix = url.rstrip("/") + "/"
        self._session: aiohttp.ClientSession | None = None

    def __str__(self) -> str:
        return self._prefix

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def read(self, path: str) -> bytes | None:
        """Return a file's bytes, None where the server says 404 or 410.

        Raises:
            LogUnavailable: no answer after three attempts, another status, or a file above 64 MiB.
        """
        failure = ""
        for _ in range(ATTEMPTS):
            try:
                async with self._open().get(self._prefix + path) as response:
                    if response.status in (404, 410):
                        return None
                    if response.status == 200:
                        return await self._body(response, path)
                    failure = f"it answers {response.status} for {path}"
                    if response.status < 500:
                        break
            except TimeoutError:
                failure = f"no answer within {TIMEOUT_SECONDS:.0f} s for {path}"
            except aiohttp.ClientError as error:
                failure = f"{type(error).__name__} for {path}"
        raise LogUnavailable(f"the log at {self._prefix} cannot be read: {failure}; check the address")

    async def paths(self, prefix: str) -> list[str] | None:
        """Return None: files served over HTTP cannot be listed."""
        return None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        return self._session

    async def _body(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        parts: list[bytes] = []
        total = 0
        async for part in response.content.iter_any():
            total += len(part)
            if total > MAX_FILE_BYTES:
                raise LogUnavailable(f"{path} of the log at {self._prefix} is larger than {MAX_FILE_BYTES} bytes")
            parts.append(part)
        return b"".join(parts)
