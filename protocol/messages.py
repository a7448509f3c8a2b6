"""Session messages between dispatcher and node: JSON text frames, told apart by `type` (PROTOCOL.md, section 5).

Jobs, results and the hello are signed statements and travel in binary frames (`protocol.statements`).
"""

import enum
from typing import Annotated, Literal

import msgspec

from protocol import limits
from protocol.errors import MalformedMessage
from protocol.field_types import (
    AgentText,
    CountryText,
    JobCount,
    PublicKeyText,
    ReputationScore,
    Uint,
    UrlText,
    Uuid7Text,
    WalletText,
)
from protocol.job import Mode, Purpose
from protocol.statements import shortened


class RefusalCode(enum.StrEnum):
    """Why a node does not fetch a job. `POLICY_REFUSALS` hold on every node; the rest, on this node at this time."""

    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_FOR_ME = "not_for_me"
    URL_REFUSED = "url_refused"
    ADDRESS_REFUSED = "address_refused"
    UNSUPPORTED_MODE = "unsupported_mode"
    BLOCKED_BY_OWNER = "blocked_by_owner"
    PURPOSE_NOT_ALLOWED = "purpose_not_allowed"
    CAP_REACHED = "cap_reached"
    OUTSIDE_SCHEDULE = "outside_schedule"
    PAUSED = "paused"
    BUSY = "busy"
    STOPPING = "stopping"


POLICY_REFUSALS = frozenset({RefusalCode.URL_REFUSED, RefusalCode.ADDRESS_REFUSED})


class FailureCode(enum.StrEnum):
    """Why a fetch that was tried brought no record. `PERMANENT_FAILURES` are not tried again."""

    DNS_FAILED = "dns_failed"
    CONNECT_FAILED = "connect_failed"
    TLS_FAILED = "tls_failed"
    TIMEOUT = "timeout"
    BAD_RESPONSE = "bad_response"
    BODY_TOO_LARGE = "body_too_large"
    BODY_CORRUPT = "body_corrupt"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    HOP_REFUSED = "hop_refused"


PERMANENT_FAILURES = frozenset({FailureCode.BODY_TOO_LARGE, FailureCode.TOO_MANY_REDIRECTS, FailureCode.HOP_REFUSED})


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class Challenge(_Message, frozen=True, kw_only=True, tag="challenge"):
    """Dispatcher, first: prove your key. `certificate` is a statement of kind CERTIFICATE, base64url."""

    v: int
    nonce: str
    audience: str
    time_ms: Uint
    expires_ms: Uint
    certificate: str


class Hello(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The node's answer to the challenge: the payload of a signed statement of kind HELLO, in a binary frame."""

    v: Literal[1] = 1
    nonce: str
    audience: str
    expires_ms: Uint
    node_key: PublicKeyText
    wallet: WalletText
    agent: AgentText
    country: CountryText | None = None
    modes: tuple[Mode, ...] = ("direct",)
    purposes: tuple[Purpose, ...]
    max_concurrent_jobs: JobCount = 1


class Welcome(_Message, frozen=True, kw_only=True, tag="welcome"):
    """Dispatcher: the session is open. Send `ping` every `ping_interval_ms`.

    `your_address` is the public address the node is seen at: its own network (section 10.2). Not checked here.
    """

    session_id: Uuid7Text
    ping_interval_ms: Uint
    time_ms: Uint
    your_address: str | None = None


class Accept(_Message, frozen=True, kw_only=True, tag="accept"):
    """Node: the job is checked and its fetch begins."""

    job_id: Uuid7Text
    lease: Uint


class Refuse(_Message, frozen=True, kw_only=True, tag="refuse"):
    """Node: the job is not fetched, and why. `detail` names no resolved address."""

    job_id: Uuid7Text
    lease: Uint
    reason: RefusalCode
    detail: str = ""


class Failure(_Message, frozen=True, kw_only=True, tag="failure"):
    """Node: the fetch was tried and brought no record. `detail` names no resolved address."""

    job_id: Uuid7Text
    lease: Uint
    reason: FailureCode
    detail: str = ""


class Hop(_Message, frozen=True, kw_only=True, tag="hop"):
    """Node: the page redirects to `url`, which passes the URL rules; may it be fetched?"""

    job_id: Uuid7Text
    lease: Uint
    url: UrlText


class HopVerdict(_Message, frozen=True, kw_only=True, tag="hop_verdict"):
    """Dispatcher: robots rules and pace of the hop's host are settled. Sent when the host may be visited."""

    job_id: Uuid7Text
    lease: Uint
    url: UrlText
    allowed: bool
    reason: str = ""


class Ack(_Message, frozen=True, kw_only=True, tag="ack"):
    """Dispatcher: what became of a result, a failure or a refusal. The node may now forget the body.

    `reward` is the pending credit in base units of the token, 0 where nothing is earned.
    """

    job_id: Uuid7Text
    lease: Uint
    outcome: Literal["stored", "duplicate", "stale", "rejected", "noted"]
    reason: str = ""
    reward: Uint = 0
    log_index: Uint | None = None


class Cancel(_Message, frozen=True, kw_only=True, tag="cancel"):
    """Dispatcher: stop working on a job; no answer is due."""

    job_id: Uuid7Text
    lease: Uint
    reason: str = ""


class Availability(_Message, frozen=True, kw_only=True, tag="availability"):
    """Node: how many jobs it holds at once from now on; 0 with a reason while paused or at a cap."""

    max_concurrent_jobs: JobCount
    reason: str = ""


class Ping(_Message, frozen=True, kw_only=True, tag="ping"):
    """Node: still here."""

    time_ms: Uint


class Pong(_Message, frozen=True, kw_only=True, tag="pong"):
    """Dispatcher: still here too; echoes the ping's time."""

    time_ms: Uint


class Balance(_Message, frozen=True, kw_only=True, tag="balance"):
    """Dispatcher: what this node has earned so far by the state of its credits, in base units of the token."""

    pending: Uint
    confirmed: Uint
    paid: Uint
    void: Uint
    time_ms: Uint


class ReputationPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a reputation: what was counted, what it is worth, and the figures in plain words."""

    name: str
    value: ReputationScore
    reason: str


class Reputation(_Message, frozen=True, kw_only=True, tag="reputation"):
    """Dispatcher: how this node's conduct has been counted so far. Nothing follows from it on the node."""

    score: ReputationScore
    parts: Annotated[tuple[ReputationPart, ...], msgspec.Meta(max_length=limits.REPUTATION_PARTS)] = ()
    time_ms: Uint


class Drain(_Message, frozen=True, kw_only=True, tag="drain"):
    """Dispatcher: no more jobs; finish the ones in hand and reconnect after `reconnect_after_ms`."""

    reconnect_after_ms: Uint


class SessionError(_Message, frozen=True, kw_only=True, tag="error"):
    """Either side, last: why the session ends. `code` is of PROTOCOL.md, section 7."""

    code: str
    detail: str = ""


FromDispatcher = Challenge | Welcome | HopVerdict | Ack | Cancel | Pong | Balance | Reputation | Drain | SessionError
FromNode = Accept | Refuse | Failure | Hop | Availability | Ping | SessionError

_encoder = msgspec.json.Encoder()
_from_dispatcher: msgspec.json.Decoder[FromDispatcher] = msgspec.json.Decoder(FromDispatcher)
_from_node: msgspec.json.Decoder[FromNode] = msgspec.json.Decoder(FromNode)


def encode_message(message: FromDispatcher | FromNode) -> str:
    """Encode a session message as the text of one frame; MalformedMessage where it holds half a surrogate pair."""
    try:
        return _encoder.encode(message).decode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedMessage(f"a {type(message).__name__} holds half of a surrogate pair") from error


def decode_from_dispatcher(text: str | bytes) -> FromDispatcher:
    """Decode a text frame that a dispatcher sent; MalformedMessage otherwise. Unknown members are ignored."""
    data = _as_bytes(text)
    try:
        return _from_dispatcher.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a dispatcher's message: {shortened(error)}") from error


def decode_from_node(text: str | bytes) -> FromNode:
    """Decode a text frame that a node sent; MalformedMessage otherwise. Unknown members are ignored."""
    data = _as_bytes(text)
    try:
        return _from_node.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"not a node's message: {shortened(error)}") from error


def _as_bytes(text: str | bytes) -> bytes:
    try:
        data = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise MalformedMessage("a text frame holds half of a surrogate pair") from error
    if len(data) > limits.TEXT_FRAME_BYTES:
        raise MalformedMessage(f"a text frame is limited to {limits.TEXT_FRAME_BYTES} bytes, got {len(data)}")
    return data
