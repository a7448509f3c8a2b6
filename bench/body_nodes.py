"""Nodes that answer each job at once with a page of their own: `python -m bench.body_nodes URL NODES PAGES BYTES`.

Real handshakes, real signatures, real frames over real sockets; only the fetch is left out: the pages are made and
packed with gzip before the first job. Prints a JSON line when all sessions are open.

`python -m bench.body_nodes --raw URL COUNT BYTES` sends COUNT such frames over one WebSocket, 64 ahead of the answers,
and prints how long that took.
"""

import asyncio
import gzip
import hashlib
import random
import sys
import time
from collections.abc import Sequence

import aiohttp
import msgspec

from node_agent.adapters.websocket_session import WebSocketSession, open_session
from node_agent.dispatcher_url import parse_dispatcher_url
from protocol import base58
from protocol.job import Job
from protocol.keys import SigningKey
from protocol.messages import Challenge, Hello
from protocol.record import Record
from protocol.statements import Kind, Statement, decode_canonical, sign

AT_ONCE = 64
"""Jobs a node holds at once, and frames sent ahead of their answers."""


class Sent(msgspec.Struct, frozen=True):
    """Sessions open, or frames answered; and the seconds it took."""

    count: int
    seconds: float


class Page(msgspec.Struct, frozen=True):
    """A packed page."""

    packed: bytes
    body_hash: str
    body_bytes: int


def make_pages(count: int, size_bytes: int) -> list[Page]:
    """Make different pages of words that shrink to about a fifth, the same in every run."""
    chance = random.Random(11)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(3, 11))) for _ in range(6_000)]
    block = " ".join(chance.choices(words, k=size_bytes // 7)).encode()
    pages = []
    for number in range(count):
        head = f"<!doctype html><title>{number}</title><p>".encode()
        start = number * 37 % (len(block) // 2)
        body = (head + block[start:] + block[:start])[:size_bytes]
        pages.append(Page(gzip.compress(body, 1), hashlib.sha256(body).hexdigest(), len(body)))
    return pages


def record_frame(job: Job, job_hash: str, page: Page, key: SigningKey) -> bytes:
    """Sign the record of a job and put the page behind it."""
    now_ms = time.time_ns() // 1_000_000
    record = Record(
        job_id=job.job_id,
        lease=job.lease,
        job_hash=job_hash,
        node_key=key.public,
        wallet=base58.encode(key.public_bytes),
        url=job.url,
        final_url=job.url,
        mode=job.mode,
        purpose=job.purpose,
        status=200,
        content_type="text/html; charset=utf-8",
        content_encoding="gzip",
        body_hash=page.body_hash,
        body_bytes=page.body_bytes,
        wire_bytes=len(page.packed),
        started_ms=now_ms,
        finished_ms=now_ms,
    )
    return sign(Kind.RECORD, record, key).to_bytes() + page.packed


async def _node(session: WebSocketSession, key: SigningKey, pages: Sequence[Page], place: list[int]) -> None:
    async def answers() -> None:
        async for frame in session.frames():
            if isinstance(frame, Statement):
                job = decode_canonical(frame.payload, Job)
                page = pages[place[0] % len(pages)]
                place[0] += 1
                await session.send_result(record_frame(job, frame.digest(), page, key))

    async with asyncio.TaskGroup() as group:
        group.create_task(session.keep_alive())
        group.create_task(answers())


async def _nodes(url: str, count: int, pages: Sequence[Page]) -> None:
    place = [0]
    started = time.perf_counter()
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
        for number in range(count):
            key = SigningKey(hashlib.sha256(b"body node %d" % number).digest())

            def hello_for(challenge: Challenge, key: SigningKey = key) -> Hello:
                return Hello(
                    nonce=challenge.nonce,
                    audience=challenge.audience,
                    expires_ms=challenge.expires_ms,
                    node_key=key.public,
                    wallet=base58.encode(key.public_bytes),
                    agent="meadow-bench/1",
                    purposes=("train-ai",),
                    max_concurrent_jobs=AT_ONCE,
                )

            session = await open_session(
                http,
                parse_dispatcher_url(url),
                root_key=None,
                key=key,
                hello_for=hello_for,
                now_ms=lambda: time.time_ns() // 1_000_000,
            )
            group.create_task(_node(session, key, pages, place))
        print(msgspec.json.encode(Sent(count, time.perf_counter() - started)).decode(), flush=True)


async def _raw(url: str, frames: Sequence[bytes]) -> Sent:
    async with aiohttp.ClientSession() as http, http.ws_connect(url, compress=0) as socket:
        started = time.perf_counter()
        free = asyncio.Semaphore(AT_ONCE)

        async def receive() -> None:
            for _ in frames:
                await socket.receive()
                free.release()

        receiving = asyncio.ensure_future(receive())
        for frame in frames:
            await free.acquire()
            await socket.send_bytes(frame)
        await receiving
        return Sent(len(frames), time.perf_counter() - started)


def main() -> None:
    """Hold sessions until terminated, or send frames and end."""
    match sys.argv[1:]:
        case ["--raw", url, count, size]:
            key = SigningKey(b"\x07" * 32)
            job = Job(
                job_id="019a0000-0000-7000-8000-000000000000",
                lease=1,
                node_key=key.public,
                url="https://site.example/page",
                purpose="train-ai",
                issued_ms=0,
                expires_ms=1,
            )
            frames = [record_frame(job, "0" * 64, page, key) for page in make_pages(int(count), int(size))]
            print(msgspec.json.encode(asyncio.run(_raw(url, frames))).decode(), flush=True)
        case [url, nodes, pages, size]:
            asyncio.run(_nodes(url, int(nodes), make_pages(int(pages), int(size))))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
