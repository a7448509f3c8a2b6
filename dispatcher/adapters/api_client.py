"""A client of the lab API, for the command line.

    LabClientError        the root of what this module raises
    ├── ApiUnreachable    no answer from the address: wrong address, or the network is down
    ├── ApiAnswerError    an answer that is not one of this API
    ├── ApiRefused        the API says no: `status`, `code` and its own words
    └── DownloadError     a file that is not what the API announced

The key is sent to the configured address alone: redirects are not followed, and of `next` only the query is used.
"""

import asyncio
import hashlib
import io
import os
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote

import ada_url
import aiohttp
import msgspec
from aiohttp import hdrs

from dispatcher.adapters.lab_errors import ErrorAnswer
from dispatcher.dataset_views import DatasetFileView, DatasetView
from dispatcher.errors import ApiAnswerError, ApiRefused, ApiUnreachable, DownloadError, LabClientError
from dispatcher.lab_documents import (
    BatchAccepted,
    BatchErrors,
    BatchStatus,
    LabDocument,
)

ANSWER_BYTES: Final = 64 * 1024 * 1024
_PIECE_BYTES: Final = 1 << 20
_CONNECT_S: Final = 10
_SILENCE_S: Final = 60
WAITING_S: Final = 330
"""How long the API may say nothing where it waits itself, for a page or for a map: at most five minutes."""
BATCHES: Final = "/v2/batch/scrape"
CRAWLS: Final = "/v2/crawl"
_PICTURE = re.compile(r"/v2/pictures/[0-9a-f-]{36}/(?P<sha256>[0-9a-f]{64})\.(?:png|jpg)\Z")
_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of `POST /v2/batch/scrape` as this client sends it."""

    urls: list[str]
    formats: list[str]
    origin: str = "meadow-cli"


class DatasetRequest(msgspec.Struct, frozen=True):
    """The body of `POST /v1/datasets`."""

    job: str


def check_api_url(text: str) -> str:
    """Return an API address without a trailing slash; ValueError says what is expected."""
    try:
        url = ada_url.URL(text)
    except ValueError as error:
        raise ValueError(f"got {text!r}, accepts an address as http://127.0.0.1:8080") from error
    if url.protocol not in ("http:", "https:") or url.username or url.password or url.search or url.hash:
        raise ValueError(f"got {text!r}, accepts http or https, without user name, query or fragment")
    return url.href.rstrip("/")


class ApiClient:
    """Owns one HTTP session. Use as an async context manager."""

    def __init__(self, api_url: str, api_key: str) -> None:
        self._api_url = api_url
        self._session = aiohttp.ClientSession(
            headers={hdrs.AUTHORIZATION: f"Bearer {api_key}", hdrs.USER_AGENT: "meadow-cli"},
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        type_: type[_Answer],
        *,
        body: msgspec.Struct | None = None,
        silence_s: float = _SILENCE_S,
    ) -> _Answer:
        """Make any request of the API; `path` starts with `/` and holds the query, `body` becomes JSON."""
        encoded = None if body is None else msgspec.json.encode(body)
        return _decode(await self.ask_bytes(method, path, body=encoded, silence_s=silence_s), type_)

    async def ask_bytes(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        silence_s: float = _SILENCE_S,
    ) -> bytes:
        """Make any request of the API; the answer's body as it came. `body` is JSON."""
        if not path.startswith("/"):
            raise ApiAnswerError(
                f"got the path {path[:200]!r}; a path of the API starts with /, as /v2/team/credit-usage"
            )
        received = bytearray()
        try:
            async with self._request(method, path, body=body, headers=headers, silence_s=silence_s) as response:
                async for piece in response.content.iter_any():
                    received += piece
                    if len(received) > ANSWER_BYTES:
                        raise ApiAnswerError(f"the answer of {self._api_url} is over {ANSWER_BYTES} bytes")
                status = response.status
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise self._unreachable(error) from error
        if status != 200:
            raise _refused(status, bytes(received))
        return bytes(received)

    async def start(self, path: str, type_: type[_Answer], body: msgspec.Struct) -> _Answer:
        """Post what starts something. A fresh idempotency key makes the one retry after a lost connection safe."""
        encoded, headers = msgspec.json.encode(body), {"x-idempotency-key": secrets.token_hex(16)}
        try:
            return await self._ask("POST", path, type_, body=encoded, headers=headers)
        except ApiUnreachable:
            return await self._ask("POST", path, type_, body=encoded, headers=headers)

    async def start_batch(self, urls: list[str], formats: list[str]) -> BatchAccepted:
        """Post a batch."""
        return await self.start("/v2/batch/scrape", BatchAccepted, BatchRequest(urls=urls, formats=formats))

    async def batch_status(self, batch_id: str, *, skip: int = 0, limit: int = 100) -> BatchStatus:
        """Read where a batch stands and one page of its documents."""
        return await self.job_status(BATCHES, batch_id, skip=skip, limit=limit)

    async def job_status(self, jobs: str, job_id: str, *, skip: int = 0, limit: int = 100) -> BatchStatus:
        """Read where a job stands and one page of its documents; `jobs` is `BATCHES` or `CRAWLS`."""
        return await self._ask("GET", f"{jobs}/{quoted(job_id)}?skip={skip}&limit={limit}", BatchStatus)

    async def documents(self, job_id: str, jobs: str = BATCHES) -> AsyncIterator[LabDocument]:
        """Read every document of a job, page by page."""
        skip: int | None = 0
        while skip is not None:
            page = await self.job_status(jobs, job_id, skip=skip)
            for raw in page.data:
                yield _decode(bytes(raw), LabDocument)
            skip = skip_of(page.next) if isinstance(page.next, str) else None

    async def picture(self, address: str) -> bytes:
        """Fetch the picture of a page at the address that its document gives; its bytes, which its name is the hash
        of. The address names the picture alone: it is asked for where everything else is."""
        named = _PICTURE.search(address)
        if named is None:
            raise ApiAnswerError(f"a document says that its picture lies at {address[:200]!r}, where none can be")
        data = await self.ask_bytes("GET", named[0])
        if (await asyncio.to_thread(hashlib.sha256, data)).hexdigest() != named["sha256"]:
            raise DownloadError(f"the picture at {named[0]} has not the hash of its name; run the command again")
        return data

    async def batch_errors(self, batch_id: str) -> BatchErrors:
        """Read which pages of a batch were refused or failed."""
        return await self.job_errors(BATCHES, batch_id)

    async def job_errors(self, jobs: str, job_id: str) -> BatchErrors:
        """Read which pages of a job were refused or failed."""
        return await self._ask("GET", f"{jobs}/{quoted(job_id)}/errors", BatchErrors)

    async def start_dataset(self, batch_id: str) -> DatasetView:
        """Start to build a dataset."""
        return await self._ask("POST", "/v1/datasets", DatasetView, body=msgspec.json.encode(DatasetRequest(batch_id)))

    async def dataset(self, dataset_id: str) -> DatasetView:
        """Read where a dataset build stands."""
        return await self._ask("GET", f"/v1/datasets/{dataset_id}", DatasetView)

    async def download(self, dataset_id: str, file: DatasetFileView, target: Path) -> None:
        """Fetch a file of a dataset to `target`; it appears there whole, with the announced hash, or not at all."""
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        path = f"/v1/datasets/{dataset_id}/files/{file.name}"
        digest, size = hashlib.sha256(), 0
        try:
            try:
                with temporary.open("xb") as out:
                    async with self._request("GET", path) as response:
                        if response.status != 200:
                            raise _refused(response.status, await response.content.read(_PIECE_BYTES))
                        async for piece in response.content.iter_chunked(_PIECE_BYTES):
                            size += len(piece)
                            if size > file.bytes:
                                raise DownloadError(f"{file.name} is larger than the {file.bytes} bytes announced")
                            digest.update(piece)
                            out.write(piece)
                    out.flush()
                    os.fsync(out.fileno())
                if size != file.bytes or digest.hexdigest() != file.sha256:
                    raise DownloadError(
                        f"{file.name} came with {size} bytes and SHA-256 {digest.hexdigest()}; announced were "
                        f"{file.bytes} bytes and {file.sha256}. Nothing was kept; run the command again"
                    )
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        except OSError as error:
            raise DownloadError(f"{target} cannot be written: {error.strerror or error}") from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        silence_s: float = _SILENCE_S,
    ) -> "aiohttp.client._RequestContextManager":
        sent = dict(headers or {})
        if body is not None:
            sent[hdrs.CONTENT_TYPE] = "application/json"
        data = None if body is None else io.BytesIO(body)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=silence_s)
        return self._session.request(
            method, self._api_url + path, data=data, headers=sent, allow_redirects=False, timeout=timeout
        )

    async def _ask(
        self,
        method: str,
        path: str,
        type_: type[_Answer],
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        return _decode(await self.ask_bytes(method, path, body=body, headers=headers), type_)

    def _unreachable(self, error: Exception) -> ApiUnreachable:
        if isinstance(error, aiohttp.ClientConnectorError):
            words = error.os_error.strerror or "no connection"
        else:
            words = str(error) or "no answer in time"
        return ApiUnreachable(
            f"{self._api_url} does not answer ({words}). Is the network running ('meadow up'), and is this its address?"
        )


def quoted(part: str) -> str:
    """Write a part of an address, as an id, so that nothing in it leads elsewhere."""
    return quote(part, safe="")


def _decode(data: bytes, type_: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(data, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiAnswerError(f"the answer is not one of this API ({error}); is the address right?") from error


def _refused(status: int, body: bytes) -> LabClientError:
    try:
        answer = msgspec.json.decode(body, type=ErrorAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ApiAnswerError(f"HTTP {status}, but not in the words of this API; is the address right?")
    return ApiRefused(f"{answer.error} [{answer.code}]", status=status, code=answer.code)


def skip_of(address: str) -> int:
    """Return the position that a `next` address names."""
    query = ada_url.URLSearchParams(ada_url.URL(address, "http://unknown.invalid/").search)
    skip = query.get("skip") or ""
    if not skip.isdecimal():
        raise ApiAnswerError(f"the answer's next address has no position: {address[:200]!r}")
    return int(skip)
