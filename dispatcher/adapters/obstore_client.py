"""A bucket through obstore: bounded times and retries, and what its errors mean in words.

S3 (and servers of its protocol), Google Cloud Storage and Azure acknowledge a put once it is durable.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from dispatcher.errors import ObjectError, SetupError
from dispatcher.store_location import StoreLocation

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, RetryConfig, S3Config

REQUEST_S = 30.0
"""The longest a single request may take."""
OPERATION_S = 60.0
"""The longest a small operation may take, its retries and its wait for a free connection included."""
RETRIES = 3
WAIT_S = 0.1
"""The wait before the first repetition; it doubles with each."""
CONNECTIONS = 64
"""How many operations of one store are under way at once; others wait."""

Bucket = S3Store | GCSStore | AzureStore | MemoryStore

_MISSING = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
_DENIED = (
    "AccessDenied",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "403 Forbidden",
    "401 Unauthorized",
)
_UNREACHABLE = (
    "kind: Connect",
    "error sending request",
    "dns error",
    "Connection refused",
    "connection closed",
    "tcp connect error",
)
_FULL = (
    "QuotaExceeded",
    "StorageFull",
    "InsufficientCapacity",
    "507 Insufficient",
    "AccountLimitExceeded",
    "No space left",
)
_SLOW = ("kind: Timeout", "operation timed out", "timed out", "SlowDown", "503 Service", "429 Too Many")
_NO_CREDENTIALS = ("/latest/api/token", "169.254.169.254", "metadata.google.internal", "CredentialsProvider")
_BUSY = "is slow or overloaded: it did not answer in time; the work is tried again"


def open_bucket(location: StoreLocation) -> Bucket:
    """Open a bucket; nothing is sent yet. SetupError where the options cannot be used."""
    retry: RetryConfig = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=REQUEST_S),
        "backoff": {"init_backoff": timedelta(seconds=WAIT_S), "max_backoff": timedelta(seconds=2), "base": 2},
    }
    endpoint = location.endpoint
    client: ClientConfig = {
        "timeout": timedelta(seconds=REQUEST_S),
        "connect_timeout": timedelta(seconds=5),
        "allow_http": endpoint is not None and endpoint.startswith("http://"),
    }
    name, prefix, options = location.container, location.prefix or None, location.options
    try:
        match location.scheme:
            case "s3":
                return S3Store(
                    name, prefix=prefix, config=cast("S3Config", options), client_options=client, retry_config=retry
                )
            case "gs":
                return GCSStore(
                    name, prefix=prefix, config=cast("GCSConfig", options), client_options=client, retry_config=retry
                )
            case "az":
                return AzureStore(
                    name, prefix=prefix, config=cast("AzureConfig", options), client_options=client, retry_config=retry
                )
            case "memory":
                return MemoryStore()
            case "file":
                raise SetupError(f"{location} is a folder: obstore does not sync what it writes there")
    except (BaseError, ValueError) as error:
        raise SetupError(f"the object store {location} cannot be opened: {_first_line(error)}") from error


class Place:
    """Owns the turns at a bucket, and says what went wrong there."""

    def __init__(self, location: StoreLocation) -> None:
        self._location = location
        self._turns = asyncio.Semaphore(CONNECTIONS)

    def __str__(self) -> str:
        at = f" at {self._location.endpoint}" if self._location.endpoint else ""
        return f"{self._location}{at}"

    @asynccontextmanager
    async def turn(self, doing: str, *, within_s: float | None = None) -> AsyncIterator[None]:
        """Do something with the bucket in its turn; ObjectError, with what to do, where that fails."""
        try:
            async with asyncio.timeout(within_s or OPERATION_S), self._turns:
                yield
        except TimeoutError as error:
            raise ObjectError(f"cannot {doing}: the object store {self} {_BUSY}") from error
        except (BaseError, OSError, ValueError) as error:
            raise ObjectError(f"cannot {doing}: the object store {self} {meaning(error)}") from error

    def lacks_bucket(self, error: FileNotFoundError) -> bool:
        """Tell whether it is the bucket that was not found, and not an object in it."""
        return any(sign in str(error) for sign in _MISSING)


def meaning(error: Exception) -> str:
    """Say what an error of obstore means, and what to do. Nothing of a request's headers is repeated."""
    said = str(error)
    if any(sign in said for sign in _NO_CREDENTIALS):
        return "was given no credentials: set the service's variables, as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if any(sign in said for sign in _MISSING):
        return "has no such bucket: create it, or correct MEADOW_STORE_URL"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or any(sign in said for sign in _DENIED):
        return "refuses: check the keys, their rights to read, write, list and delete there, and this machine's clock"
    if any(sign in said for sign in _FULL):
        return "is full: free some space or raise its quota; the network goes on by itself"
    if any(sign in said for sign in _SLOW):
        return _BUSY
    if any(sign in said for sign in _UNREACHABLE):
        return "cannot be reached: check its address and the network; the work is tried again"
    if isinstance(error, FileNotFoundError):
        return "has no such bucket or object: check MEADOW_STORE_URL"
    return f"failed: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return re.sub(r"\s+", " ", lines[0])[:300] if lines else type(error).__name__
