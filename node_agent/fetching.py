"""A fetch: what is ordered, what comes back, and the questions that are asked on the way."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protocol.messages import FailureCode, RefusalCode
from protocol.record import ContentEncoding
from protocol.urls import AllowedUrl

USER_AGENT = "MeadowBot/0.1 (+https://meadow.example/bot)"


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """One page to fetch, already checked, with bounds already clamped to the protocol's."""

    url: AllowedUrl
    accept_language: str | None
    max_wire_bytes: int
    max_body_bytes: int
    max_redirects: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """A page. `payload` is the body as it came, still encoded; hash and `body_bytes` are of the decoded body.

    `headers` are the response's, in order: lower-case name, value decoded as Latin-1.
    """

    final_url: str
    hops: tuple[str, ...]
    status: int
    headers: tuple[tuple[str, str], ...]
    content_encoding: ContentEncoding
    payload: bytes
    body_hash: str
    body_bytes: int


@dataclass(frozen=True, slots=True)
class NotFetched:
    """A fetch that brought no page: a refusal by this node's rules, or a failure. `detail` names no address."""

    reason: RefusalCode | FailureCode
    detail: str


AskHop = Callable[[AllowedUrl], Awaitable[NotFetched | None]]
"""Asked before a redirect is followed; None lets it pass."""
CountBytes = Callable[[int], bool]
"""Told of every received piece of a body; false ends the fetch, for the owner's daily limit is reached."""
