"""The session's state table and the handshake, without IO (PROTOCOL.md, section 6).

`TRANSITIONS` is the table; the documentation's copy is checked against it by a test.
"""

import enum
import hmac

from protocol import limits
from protocol.errors import Expired, NotForMe, SessionViolation, UnsupportedVersion
from protocol.job import Certificate, Job, check_validity, open_certificate
from protocol.keys import SigningKey, from_base64url, to_base64url
from protocol.messages import (
    Accept,
    Ack,
    Availability,
    Balance,
    Cancel,
    Challenge,
    Drain,
    Failure,
    Hello,
    Hop,
    HopVerdict,
    Ping,
    Pong,
    Refuse,
    Reputation,
    SessionError,
    Welcome,
)
from protocol.record import Record
from protocol.statements import Kind, Statement, open_self_signed, parse, sign

NONCE_BYTES = 32


class State(enum.StrEnum):
    """Where a session stands; the same word on both sides."""

    OPENED = "opened"
    CHALLENGED = "challenged"
    GREETED = "greeted"
    READY = "ready"
    DRAINING = "draining"
    CLOSED = "closed"


class Side(enum.StrEnum):
    """Who sent a message."""

    DISPATCHER = "dispatcher"
    NODE = "node"


_WORK: tuple[tuple[Side, type], ...] = (
    (Side.NODE, Accept),
    (Side.NODE, Refuse),
    (Side.NODE, Failure),
    (Side.NODE, Record),
    (Side.NODE, Hop),
    (Side.NODE, Availability),
    (Side.NODE, Ping),
    (Side.DISPATCHER, Ack),
    (Side.DISPATCHER, HopVerdict),
    (Side.DISPATCHER, Cancel),
    (Side.DISPATCHER, Pong),
    (Side.DISPATCHER, Balance),
    (Side.DISPATCHER, Reputation),
)

TRANSITIONS: dict[tuple[State, Side, type], State] = {
    (State.OPENED, Side.DISPATCHER, Challenge): State.CHALLENGED,
    (State.CHALLENGED, Side.NODE, Hello): State.GREETED,
    (State.GREETED, Side.DISPATCHER, Welcome): State.READY,
    (State.READY, Side.DISPATCHER, Job): State.READY,
    (State.READY, Side.DISPATCHER, Drain): State.DRAINING,
    **{(State.READY, side, message): State.READY for side, message in _WORK},
    **{(State.DRAINING, side, message): State.DRAINING for side, message in _WORK},
    **{(state, side, SessionError): State.CLOSED for state in State if state is not State.CLOSED for side in Side},
}


class Session:
    """One side's view of a session: feeds on what is sent and received, and knows what may come next."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state = State.OPENED

    def on(self, sender: Side, message_type: type) -> State:
        """Take note of a message by its type; SessionViolation where the state does not admit it."""
        following = TRANSITIONS.get((self.state, sender, message_type))
        if following is None:
            raise SessionViolation(f"a {sender} sends no {message_type.__name__} while the session is {self.state}")
        self.state = following
        return following


def make_challenge(*, nonce: bytes, audience: str, now_ms: int, certificate: Statement) -> Challenge:
    """Make the dispatcher's challenge; `nonce` is 32 fresh random bytes."""
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, got {len(nonce)}")
    return Challenge(
        v=1,
        nonce=to_base64url(nonce),
        audience=audience,
        time_ms=now_ms,
        expires_ms=now_ms + limits.CHALLENGE_LIFETIME_MS,
        certificate=to_base64url(certificate.to_bytes()),
    )


def answer_challenge(challenge: Challenge, hello: Hello, key: SigningKey) -> Statement:
    """Sign a hello that answers a challenge; the hello must repeat nonce, audience and expiry."""
    _check_answer(hello, challenge)
    return sign(Kind.HELLO, hello, key)


def open_challenge(challenge: Challenge, *, audience: str, root_key: str | None, now_ms: int) -> Certificate:
    """On the node: check version, audience, time and certificate; return the certificate of the key that signs jobs."""
    if challenge.v != 1:
        raise UnsupportedVersion(f"the dispatcher speaks protocol {challenge.v}; this node speaks 1: update it")
    if challenge.audience != audience:
        raise NotForMe(f"the challenge is meant for {challenge.audience}, this node dialled {audience}")
    if len(from_base64url(challenge.nonce)) != NONCE_BYTES:
        raise NotForMe(f"the challenge's nonce does not have {NONCE_BYTES} bytes")
    if challenge.expires_ms - challenge.time_ms > limits.CHALLENGE_LIFETIME_MS:
        raise Expired(f"the challenge lasts longer than {limits.CHALLENGE_LIFETIME_MS} ms")
    skew_ms = limits.CLOCK_SKEW_MS
    check_validity("challenge", challenge.time_ms - skew_ms, challenge.expires_ms + skew_ms, now_ms)
    return open_certificate(parse(from_base64url(challenge.certificate)), now_ms=now_ms, root_key=root_key)


def open_hello(statement: Statement, challenge: Challenge, *, now_ms: int) -> Hello:
    """On the dispatcher: verify that a hello answers this challenge, in time, signed by the key it names."""
    hello = open_self_signed(statement, Kind.HELLO, Hello, "node_key")
    _check_answer(hello, challenge)
    check_validity("challenge", challenge.time_ms - limits.CLOCK_SKEW_MS, challenge.expires_ms, now_ms)
    return hello


def _check_answer(hello: Hello, challenge: Challenge) -> None:
    if not hmac.compare_digest(hello.nonce.encode(), challenge.nonce.encode()):
        raise NotForMe("the hello answers another challenge")
    if hello.audience != challenge.audience or hello.expires_ms != challenge.expires_ms:
        raise NotForMe("the hello's audience or expiry is not the challenge's")
