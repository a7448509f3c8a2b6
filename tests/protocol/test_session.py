"""The session's table, walked from both ends, and the handshake."""

import itertools

import pytest

from protocol.errors import NotForMe, SessionViolation
from protocol.ids import uuid7
from protocol.job import Job
from protocol.messages import (
    Ack,
    Challenge,
    Drain,
    Hello,
    Ping,
    Pong,
    SessionError,
    Welcome,
    decode_from_dispatcher,
    decode_from_node,
    encode_message,
)
from protocol.record import Record, open_record
from protocol.session import (
    TRANSITIONS,
    Session,
    Side,
    State,
    answer_challenge,
    make_challenge,
    open_challenge,
    open_hello,
)
from protocol.statements import Kind, parse, sign, split
from tests.vectors.fixed import (
    AUDIENCE,
    BODY,
    CERTIFICATE,
    HELLO,
    JOB,
    JOB_KEY,
    JOB_STATEMENT,
    NODE,
    NONCE,
    NOW_MS,
    OTHER,
    ROOT,
    record,
)

EVERYTHING = sorted({message for _, _, message in TRANSITIONS}, key=lambda message: message.__name__)
PATHS: dict[State, tuple[tuple[Side, type], ...]] = {
    State.OPENED: (),
    State.CHALLENGED: ((Side.DISPATCHER, Challenge),),
    State.GREETED: ((Side.DISPATCHER, Challenge), (Side.NODE, Hello)),
    State.READY: ((Side.DISPATCHER, Challenge), (Side.NODE, Hello), (Side.DISPATCHER, Welcome)),
    State.DRAINING: (
        (Side.DISPATCHER, Challenge),
        (Side.NODE, Hello),
        (Side.DISPATCHER, Welcome),
        (Side.DISPATCHER, Drain),
    ),
    State.CLOSED: ((Side.NODE, SessionError),),
}


@pytest.mark.parametrize("state", list(State))
def test_every_message_of_every_side_in_every_state(state: State) -> None:
    for side, message in itertools.product(Side, EVERYTHING):
        session = Session()
        for sender, sent in PATHS[state]:
            session.on(sender, sent)
        assert session.state is state
        following = TRANSITIONS.get((state, side, message))
        if following is None:
            with pytest.raises(SessionViolation):
                session.on(side, message)
            assert session.state is state
        else:
            assert session.on(side, message) is following


def test_no_job_before_the_welcome_nor_after_the_drain() -> None:
    admitted = {state for state, side, message in TRANSITIONS if message is Job}
    assert admitted == {State.READY}
    assert not any(state is State.CLOSED for state, _, _ in TRANSITIONS)
    with pytest.raises(SessionViolation):
        Session().on(Side.NODE, Record)


def test_one_session_in_memory() -> None:
    dispatcher, node = Session(), Session()
    challenge = make_challenge(nonce=NONCE, audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE)

    def both(side: Side, message: type) -> None:
        assert dispatcher.on(side, message) is node.on(side, message)

    received = decode_from_dispatcher(encode_message(challenge))
    assert isinstance(received, Challenge)
    both(Side.DISPATCHER, Challenge)
    certificate = open_challenge(received, audience=AUDIENCE, root_key=ROOT.public, now_ms=NOW_MS)
    assert certificate.job_key == JOB_KEY.public
    hello = answer_challenge(received, HELLO, NODE)
    both(Side.NODE, Hello)
    assert open_hello(parse(hello.to_bytes()), challenge, now_ms=NOW_MS + 5) == HELLO
    both(Side.DISPATCHER, Welcome)
    both(Side.DISPATCHER, Job)
    frame = sign(Kind.RECORD, record(), NODE).to_bytes() + BODY
    both(Side.NODE, Record)
    statement, body = split(frame)
    assert open_record(statement).job_hash == JOB_STATEMENT.digest()
    assert bytes(body) == BODY
    ack = Ack(job_id=JOB.job_id, lease=JOB.lease, outcome="stored", reward=1, log_index=0)
    assert decode_from_dispatcher(encode_message(ack)) == ack
    both(Side.DISPATCHER, Ack)
    assert decode_from_node(encode_message(Ping(time_ms=1))) == Ping(time_ms=1)
    both(Side.NODE, Ping)
    both(Side.DISPATCHER, Pong)
    both(Side.DISPATCHER, Drain)
    both(Side.NODE, Record)
    both(Side.DISPATCHER, Ack)
    assert node.state is State.DRAINING


def test_a_hello_is_not_signed_for_another_challenge() -> None:
    other = make_challenge(nonce=NONCE[::-1], audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE)
    with pytest.raises(NotForMe):
        answer_challenge(other, HELLO, NODE)


def test_the_secret_is_not_shown() -> None:
    assert OTHER.seed.hex() not in repr(OTHER)
    assert OTHER.public in repr(OTHER)


def test_a_nonce_and_an_id_have_their_sizes() -> None:
    with pytest.raises(ValueError, match="32"):
        make_challenge(nonce=NONCE[:-1], audience=AUDIENCE, now_ms=NOW_MS, certificate=CERTIFICATE)
    with pytest.raises(ValueError, match="10"):
        uuid7(NOW_MS, bytes(9))
    with pytest.raises(ValueError, match="48"):
        uuid7(1 << 48, bytes(10))
