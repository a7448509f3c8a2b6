"""What a lab's document says of its page, as the page's record comes into the log, a checkpoint and the chain."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec

from dispatcher.adapters.memory_bus import MemoryBus
from dispatcher.adapters.memory_chain import MemoryChain
from dispatcher.adapters.system_clock import now_ms
from dispatcher.lab_documents import lab_document
from dispatcher.log_coverage import UNANCHORED_S, UNCOVERED_S, LogCoverages
from dispatcher.log_service import LogService
from dispatcher.page_evidence import PageEvidence
from dispatcher.robots_evidence import RobotsUsages
from protocol import base58
from protocol.keys import SigningKey
from protocol.record import Header
from provenance.adapters.local_tiles import LocalTiles
from provenance.anchor import parse_anchor
from provenance.checkpoint import NoteSigner, open_checkpoint
from tests.dispatcher.conftest import PAGE, Room

ORIGIN = "meadow.test/log"
SIGNER = NoteSigner(ORIGIN, SigningKey(b"\4" * 32))
ROBOTS = "User-agent: *\nAllow: /\nContent-Usage: / train-ai=n\nLicense: https://a.example/license.xml\n"


async def test_a_document_says_how_far_its_record_has_come(room: Room, tmp_path: Path) -> None:
    tiles, now_s = LocalTiles(tmp_path / "log"), [0.0]
    log = LogService(
        ledger=room.truth,
        store=tiles,
        origin=ORIGIN,
        signer=SIGNER,
        chain=MemoryChain(authority=base58.encode(b"\7" * 32), genesis_hash="g"),
        clock=now_ms,
        bus=MemoryBus(),
    )
    evidence = PageEvidence(LogCoverages(room.truth, tiles, monotonic=lambda: now_s[0]), RobotsUsages(room.truth))
    intake = room.core.intake(key_secret=b"s" * 32, evidence=evidence)
    room.robots.put("https://a.example", ROBOTS)
    node = room.connect()
    [job] = await room.submit("https://a.example/page")
    await room.dispatch()
    [(node_job, job_hash)] = node.link.jobs
    headers = (Header("link", '</by>; rel="license"'), Header("x-robots-tag", "noai"))
    statement = node.record(node_job, job_hash, PAGE, headers=headers)
    await room.exchange.on_result(node.session, statement, memoryview(PAGE))
    await room.truth.complete(job.job_id, document_hash=None, dropped="no_text", now_ms=now_ms())

    async def told() -> Any:
        page = await intake.status("team", job.batch_id, from_position=0, limit=1)
        document = lab_document(page, page.jobs[0], log_origin=ORIGIN, base_url="https://api.example")
        return msgspec.json.decode(msgspec.json.encode(document))["metadata"]

    metadata = await told()
    record_id = hashlib.sha256(statement.to_bytes()).hexdigest()
    assert metadata["provenance"] == {
        "recordId": record_id,
        "contentHash": None,
        "bodyHash": hashlib.sha256(PAGE).hexdigest(),
        "logIndex": 0,
        "logOrigin": ORIGIN,
        "integrity": "direct",
        "nodeKey": node.session.node_key,
        "proofUrl": f"https://api.example/log/proof/0/{record_id}.tlog-proof",
    }
    assert metadata["compliance"] == {
        "purpose": "train-ai",
        "robotsHash": hashlib.sha256(ROBOTS.encode()).hexdigest(),
        "aipref": {
            "header": None,
            "robots": ["train-ai=n"],
            "preferences": {"train-ai": "disallow", "ai-use": "unknown", "search": "unknown"},
            "forPurpose": "disallow",
        },
        "tdmrep": None,
        "rsl": [{"url": "https://a.example/license.xml", "source": "robots.txt"}],
        "licenses": [{"url": "https://a.example/by", "source": "header"}],
        "robotsDirectives": [{"source": "header", "agent": "*", "directives": ["noai"]}],
    }
    await log.publish_once()
    now_s[0] += UNCOVERED_S + 1
    checkpoint = (await told())["provenance"]["checkpoint"]
    head = open_checkpoint(await tiles.read("checkpoint") or b"", log_key=SIGNER.verifier).checkpoint
    assert (checkpoint["size"], checkpoint["root"]) == (head.size, head.root.hex()) == (1, head.root.hex())
    assert checkpoint["url"] == "https://api.example/log/checkpoints/1"
    assert "anchor" not in (await told())["provenance"]
    await log.anchor_pending()
    now_s[0] += UNANCHORED_S + 1
    anchor = (await told())["provenance"]["anchor"]
    stated = parse_anchor(anchor["memo"])
    assert (stated.origin, stated.size, stated.root, stated.sequence) == (ORIGIN, 1, head.root, 0)
    # More entries and heads change nothing of what was said.
    before = await told()
    await asyncio.gather(*(room.truth.append_entry(b"%d" % number) for number in range(5)))
    await log.publish_once()
    now_s[0] += 1_000
    assert await told() == before
