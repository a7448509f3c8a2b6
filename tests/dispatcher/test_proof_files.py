"""Provenance as a log grows: checkpoint, anchor and proof appear when they are true, and the proof never changes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from dispatcher.adapters.lab_errors import json_errors
from dispatcher.adapters.log_files import LogFiles
from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.proof_files import ProofFiles
from dispatcher.adapters.sql_ledger import SqlLedger
from dispatcher.adapters.system_clock import now_ms
from dispatcher.compliance import RobotsRules, RobotsState
from dispatcher.errors import LedgerError
from dispatcher.log_coverage import UNCOVERED_S, LogCoverages
from dispatcher.log_service import LogService
from dispatcher.proof_service import ProofService
from dispatcher.robots_evidence import KeptRobots, RobotsUsages
from protocol import base58
from protocol.keys import SigningKey
from provenance.adapters.local_tiles import LocalTiles
from provenance.checkpoint import NoteSigner
from provenance.errors import LogUnavailable
from provenance.tlog_proof import parse_proof, proof_path, verify_proof
from tests.dispatcher.conftest import Faults, PlayedRobots, breaking
from tests.stores import opened_ledger

ORIGIN = "meadow.test/log"
SIGNER = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))


class Seconds:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Desk:
    ledger: SqlLedger
    log: LogService
    coverages: LogCoverages
    client: TestClient[web.Request, web.Application]
    seconds: Seconds

    async def append(self, *entries: bytes) -> None:
        for entry in entries:
            await self.ledger.append_entry(entry)

    def path(self, index: int, entry: bytes) -> str:
        return f"/log/{proof_path(index, hashlib.sha256(entry).hexdigest())}"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened_ledger(tmp_path / "ledger.db") as ledger:
        tiles, seconds = LocalTiles(tmp_path / "log"), Seconds()
        coverages = LogCoverages(ledger, tiles, monotonic=seconds)
        chain = MemoryChain(authority=base58.encode(b"\7" * 32), genesis_hash="g")
        log = LogService(
            ledger=ledger, store=tiles, origin=ORIGIN, signer=SIGNER, chain=chain, clock=now_ms, bus=MemoryBus()
        )
        app = web.Application(middlewares=[json_errors])
        app.add_routes(ProofFiles(ProofService(ledger, coverages, tiles)).routes())
        app.add_routes(LogFiles(tiles).routes())
        async with TestClient(TestServer(app)) as client:
            yield Desk(ledger, log, coverages, client, seconds)


async def test_a_proof_appears_with_the_checkpoint_and_never_changes(desk: Desk) -> None:
    entries = [b"entry %d" % number for number in range(300)]
    await desk.append(*entries[:3])
    waiting = await desk.client.get(desk.path(1, entries[1]))
    assert (waiting.status, (await waiting.json())["code"]) == (404, "NOT_IN_A_CHECKPOINT_YET")
    assert int(waiting.headers["Retry-After"]) > 0
    await desk.log.publish_once()
    still = await desk.client.get(desk.path(1, entries[1]))
    assert still.status == 404  # what was just asked of the ledger is not asked again at once
    desk.seconds.now_s += UNCOVERED_S + 0.1
    answer = await desk.client.get(desk.path(1, entries[1]))
    first = await answer.read()
    assert (answer.status, answer.content_type) == (200, "text/plain") and "immutable" in answer.headers[
        "Cache-Control"
    ]
    proof = parse_proof(first)
    assert (proof.index, proof.extra) == (1, entries[1])
    assert verify_proof(proof, entries[1], log_key=SIGNER.verifier).checkpoint.size == 3
    for start in range(3, 300, 99):
        await desk.append(*entries[start : start + 99])
        await desk.log.publish_once()
    desk.seconds.now_s += 1_000
    assert await (await desk.client.get(desk.path(1, entries[1]))).read() == first
    for index, size in ((2, 3), (3, 102), (101, 102), (102, 201), (255, 300), (299, 300)):
        proof = parse_proof(await (await desk.client.get(desk.path(index, entries[index]))).read())
        assert verify_proof(proof, entries[index], log_key=SIGNER.verifier).checkpoint.size == size
    again = await desk.client.get(desk.path(1, entries[1]), headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


async def test_only_what_is_in_the_log_has_a_proof(desk: Desk) -> None:
    await desk.append(b"a", b"b")
    await desk.log.publish_once()
    digest = hashlib.sha256(b"a").hexdigest()
    for path in (
        desk.path(1, b"a"),
        desk.path(7, b"a"),
        f"/log/proof/00/{digest}.tlog-proof",
        f"/log/proof/-1/{digest}.tlog-proof",
        f"/log/proof/{10**30}/{digest}.tlog-proof",
        f"/log/proof/0/{digest.upper()}.tlog-proof",
        f"/log/proof/0/{digest[:-1]}.tlog-proof",
        f"/log/proof/0/{digest}",
    ):
        answer = await desk.client.get(path)
        assert answer.status == 404 and "Retry-After" not in answer.headers, path
    assert (await desk.client.get(desk.path(0, b"a"))).status == 200
    assert (await desk.client.get("/log/checkpoints/2")).status == 200


async def test_an_anchor_is_told_once_it_is_there(desk: Desk) -> None:
    await desk.append(b"a", b"b")
    await desk.log.publish_once()
    found = await desk.coverages.of([0, 1, 5])
    assert sorted(found) == [0, 1] and found[0] == found[1] and found[0].anchor_signature is None
    await desk.log.anchor_pending()
    assert (await desk.coverages.of([0]))[0].anchor_signature is None  # as it was asked a moment ago
    desk.seconds.now_s += 60
    assert (await desk.coverages.of([0]))[0].anchor_signature is not None


class CutTiles(LocalTiles):
    """Takes tiles and no checkpoints: as a dispatcher leaves the log that ends between the two."""

    async def write_once(self, path: str, data: bytes) -> None:
        if path.startswith("checkpoints/"):
            raise LogUnavailable("cut on purpose")
        await super().write_once(path, data)


async def test_a_checkpoint_that_is_not_published_yet_covers_nothing(desk: Desk, tmp_path: Path) -> None:
    """The ledger has a checkpoint before the public log shows it."""
    await desk.append(b"a")
    chain = MemoryChain(authority=base58.encode(b"\7" * 32), genesis_hash="g")
    cut = LogService(
        ledger=desk.ledger,
        store=CutTiles(tmp_path / "log"),
        origin=ORIGIN,
        signer=SIGNER,
        chain=chain,
        clock=now_ms,
        bus=MemoryBus(),
    )
    with pytest.raises(LogUnavailable, match="cut on purpose"):
        await cut.publish_once()
    assert await desk.ledger.coverage(0) is not None
    assert await desk.coverages.of([0]) == {}
    await desk.log.publish_once()
    desk.seconds.now_s += 1
    assert sorted(await desk.coverages.of([0])) == [0]


async def test_what_is_known_is_not_asked_again(desk: Desk) -> None:
    await desk.append(*[b"%d" % number for number in range(10)])
    await desk.log.publish_once()
    faults = Faults()
    coverages = LogCoverages(breaking(desk.ledger, faults), LocalTiles(Path("unused")), monotonic=desk.seconds)
    coverages._log = desk.coverages._log
    for _ in range(3):
        assert sorted(await coverages.of(range(20))) == list(range(10))
    assert faults.calls == ["coverage", "coverage"]
    await asyncio.gather(*(desk.coverages.of([3]) for _ in range(20)))


async def test_a_page_waits_until_what_its_robots_txt_says_is_kept(desk: Desk) -> None:
    robots = PlayedRobots()
    robots.put("https://a.example", "User-agent: *\nContent-Usage: / train-ai=n\n")
    robots.put("https://b.example", "User-agent: *\nDisallow: /private\n")
    faults = Faults({"keep_robots_usage": 1}, error=LedgerError)
    kept = KeptRobots(robots, breaking(desk.ledger, faults), now_ms)
    busy = await kept.read("https://a.example")
    assert (busy.state, busy.retry_after_ms > 0) == (RobotsState.BUSY, True)
    rules = await kept.read("https://a.example")
    silent: RobotsRules = await kept.read("https://b.example")
    assert rules.digest is not None and silent.digest is not None
    usages = RobotsUsages(desk.ledger)
    for _ in range(2):
        found = await usages.of([rules.digest, silent.digest, "0" * 64])
        assert list(found) == [rules.digest] and found[rules.digest].preferences("/x") == ("train-ai=n",)
    assert faults.calls == ["keep_robots_usage"] * 2
