"""A node that speaks the protocol well and tells lies about what it fetched."""

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import get_args

import aiohttp
import msgspec

from protocol.base58 import encode
from protocol.job import Certificate, Job, Purpose, open_job
from protocol.keys import SigningKey
from protocol.messages import (
    Ack,
    Balance,
    Challenge,
    FromDispatcher,
    Hello,
    RefusalCode,
    Refuse,
    Reputation,
    SessionError,
    decode_from_dispatcher,
    encode_message,
)
from protocol.record import Record
from protocol.session import answer_challenge, open_challenge
from protocol.statements import Kind, Statement, parse, sign
from tests.network.site import page

_WAIT_S = 20.0
TOLD = (Balance, Reputation)
"""What a node is told at any time."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Given:
    """A job as the dispatcher signed it."""

    job: Job
    job_hash: str


Lie = Callable[[Record, bytes], tuple[Record, bytes]]


class Liar:
    """A connected node of one slot. `key` is its own; each has a fresh one."""

    def __init__(self, gateway_url: str) -> None:
        self.key = SigningKey(os.urandom(32))
        self.wallet = encode(os.urandom(32))
        self._url = gateway_url
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._certificate: Certificate | None = None

    async def __aenter__(self) -> "Liar":
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(self._url, max_msg_size=0)
        challenge = decode_from_dispatcher(await self._socket.receive_str(timeout=_WAIT_S))
        assert isinstance(challenge, Challenge)
        audience = self._url.removesuffix("/v1/node")
        self._certificate = open_challenge(challenge, audience=audience, root_key=None, now_ms=now_ms())
        hello = Hello(
            nonce=challenge.nonce,
            audience=challenge.audience,
            expires_ms=challenge.expires_ms,
            node_key=self.key.public,
            wallet=self.wallet,
            agent="liar/1",
            purposes=get_args(Purpose),
            max_concurrent_jobs=1,
        )
        await self._socket.send_bytes(answer_challenge(challenge, hello, self.key).to_bytes())
        await self._socket.receive_str(timeout=_WAIT_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._socket is not None and self._http is not None
        await self._socket.close()
        await self._http.close()

    async def job(self) -> Given:
        """Wait for a job."""
        assert self._socket is not None and self._certificate is not None
        frame = await self._socket.receive(timeout=_WAIT_S)
        while frame.type is aiohttp.WSMsgType.TEXT and isinstance(decode_from_dispatcher(frame.data), TOLD):
            frame = await self._socket.receive(timeout=_WAIT_S)
        assert frame.type is aiohttp.WSMsgType.BINARY, frame
        statement = parse(frame.data)
        job = open_job(statement, certificate=self._certificate, node_key=self.key.public, now_ms=now_ms())
        return Given(job, statement.digest())

    def record(self, given: Given) -> tuple[Record, bytes]:
        """An honest record, and the body it is of."""
        body = page(given.job.url).encode()
        moment_ms = now_ms()
        return (
            Record(
                job_id=given.job.job_id,
                lease=given.job.lease,
                job_hash=given.job_hash,
                node_key=self.key.public,
                wallet=self.wallet,
                url=given.job.url,
                final_url=given.job.url,
                mode="direct",
                purpose=given.job.purpose,
                status=200,
                content_type="text/html; charset=utf-8",
                content_encoding="identity",
                body_hash=hashlib.sha256(body).hexdigest(),
                body_bytes=len(body),
                wire_bytes=len(body),
                started_ms=moment_ms,
                finished_ms=moment_ms,
            ),
            body,
        )

    async def deliver(
        self, record: Record, body: bytes, *, signed_by: SigningKey | None = None
    ) -> FromDispatcher | None:
        """Send a record; the dispatcher's next word, None where it hangs up without one."""
        statement: Statement = sign(Kind.RECORD, record, signed_by or self.key)
        return await self.send(statement.to_bytes() + body)

    async def hand_back(self, given: Given) -> None:
        """Refuse a job, for another node to fetch."""
        refusal = Refuse(job_id=given.job.job_id, lease=given.job.lease, reason=RefusalCode.BUSY)
        answer = await self.send(encode_message(refusal))
        assert isinstance(answer, Ack) and answer.outcome == "noted"

    async def send(self, frame: bytes | str) -> FromDispatcher | None:
        """Send a frame of any kind; the dispatcher's next text message, None where it hangs up without one."""
        assert self._socket is not None
        if isinstance(frame, str):
            await self._socket.send_str(frame)
        else:
            await self._socket.send_bytes(frame)
        while True:
            answer = await self._socket.receive(timeout=_WAIT_S)
            if answer.type is aiohttp.WSMsgType.TEXT:
                message = decode_from_dispatcher(answer.data)
                if not isinstance(message, TOLD):
                    return message
            elif answer.type is not aiohttp.WSMsgType.BINARY:
                return None

    async def reputation(self, *, after: str) -> Reputation:
        """Wait for the reputation one of whose parts gives a reason."""
        assert self._socket is not None
        async with asyncio.timeout(_WAIT_S):
            while True:
                frame = await self._socket.receive()
                message = decode_from_dispatcher(frame.data) if frame.type is aiohttp.WSMsgType.TEXT else None
                if isinstance(message, Reputation) and after in [part.reason for part in message.parts]:
                    return message

    async def is_hung_up_on(self) -> bool:
        """Whether the dispatcher closes the session now."""
        assert self._socket is not None
        async with asyncio.timeout(_WAIT_S):
            while True:
                frame = await self._socket.receive()
                if frame.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    return True


def rejected(answer: FromDispatcher | None) -> bool:
    """Whether an answer says that the result does not hold."""
    return isinstance(answer, Ack) and answer.outcome == "rejected" and answer.reward == 0


def ended(answer: FromDispatcher | None) -> str | None:
    """The code the session ended with, None where the answer is something else."""
    return answer.code if isinstance(answer, SessionError) else None


def other_body(record: Record, body: bytes) -> tuple[Record, bytes]:
    return record, body.replace(b"Page", b"Sage")


def other_length(record: Record, body: bytes) -> tuple[Record, bytes]:
    return msgspec.structs.replace(record, wire_bytes=len(body) - 1), body


def other_url(record: Record, body: bytes) -> tuple[Record, bytes]:
    url = record.url + "x"
    return msgspec.structs.replace(record, url=url, final_url=url), body


def other_purpose(record: Record, body: bytes) -> tuple[Record, bytes]:
    return msgspec.structs.replace(record, purpose="archive"), body


def private_final_url(record: Record, body: bytes) -> tuple[Record, bytes]:
    return msgspec.structs.replace(record, final_url="http://10.0.0.1/"), body


def other_job_hash(record: Record, body: bytes) -> tuple[Record, bytes]:
    return msgspec.structs.replace(record, job_hash="0" * 64), body


def bomb(record: Record, body: bytes) -> tuple[Record, bytes]:
    """A body that is not in the encoding it is said to be in."""
    return msgspec.structs.replace(record, content_encoding="gzip"), body


LIES: tuple[Lie, ...] = (
    other_body,
    other_length,
    other_url,
    other_purpose,
    private_final_url,
    other_job_hash,
    bomb,
)
