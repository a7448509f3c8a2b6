"""One job, from the lab to the auditor: the fourteen steps of the design, in order, through a house in memory."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dispatcher.adapters.system_clock import new_id, now_ms
from dispatcher.api_keys import key_mac, make_key
from dispatcher.compliance import Decision
from dispatcher.dataset_request import DatasetRequest
from dispatcher.datasets import JobsSource
from dispatcher.frontier import DEFAULT_POOL
from dispatcher.jobs import ApiKey, JobState
from dispatcher.matching import Wanted, choose
from dispatcher.node_sessions import NodeSession
from dispatcher.scrape_request import ScrapeRequest, decode_batch
from protocol import base58
from protocol.messages import Hello
from protocol.record import open_record
from protocol.statements import parse
from provenance.adapters.dataset_files import DatasetFiles
from provenance.audit import Evidence, audit_dataset
from provenance.audit_report import Outcome
from provenance.checkpoint import open_checkpoint, parse_vkey
from provenance.tariff import reward
from tests.small_house import House, LinkToDispatcher, LinkToNode, small_house

PAGE = "/news/mill-pond-otters"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with small_house(tmp_path) as built:
        yield built


async def test_one_job_from_the_lab_to_the_auditor(house: House) -> None:
    # 1. A lab posts a job: known by its key, decoded to a typed request.
    key = make_key(random.Random(7).randbytes(39))
    stored = ApiKey(
        key_id=new_id(), team_id="lab", name="", prefix=key.prefix, mac=key_mac(b"s" * 32, key.text), created_ms=0
    )
    await house.ledger.add_key(stored)
    caller = await house.intake.caller_of(key.text)
    team = caller.team_id
    request = decode_batch(
        msgspec.json.encode({"urls": [house.site_url + PAGE], "purpose": "research"}), test_sites=house.test_sites
    )
    assert isinstance(request, ScrapeRequest)

    # 2. It is committed to the ledger, and only then accepted and put on the frontier.
    batch = await house.intake.submit(team, request, idempotency_key=None, request_hash="")
    [job] = await house.ledger.jobs_of(batch.batch_id)
    assert (job.state, await house.frontier.size()) == (JobState.QUEUED, 1)

    # 3. The frontier leases it under a fencing token.
    [lease] = await house.frontier.lease(DEFAULT_POOL, limit=10, now_ms=now_ms(), lease_ms=30_000)
    assert (lease.job_id, lease.host) == (job.job_id, job.host)

    # 4. The gate: URL rules and the site's robots.txt.
    passage = await house.core.gate.pass_through(job.url)
    assert passage.verdict.decision is Decision.ALLOW
    members = await house.core.gate.pass_through(house.site_url + "/private/members")
    assert (members.verdict.decision, members.verdict.code) == (Decision.DENY, "robots_disallowed")

    # 5. Matching picks a node for the declared purpose. (The lease goes back; the scheduler takes it from here.)
    link_to_node = LinkToNode(house.node, house.signer.certificate)
    hello = Hello(
        nonce="",
        audience="",
        expires_ms=0,
        node_key=house.node_key.public,
        wallet=base58.encode(house.node_key.public_bytes),
        agent="test",
        purposes=("research",),
        max_concurrent_jobs=1,
    )
    session = NodeSession(hello=hello, link=link_to_node, window=1, opened_ms=now_ms())
    house.core.nodes.add(session)
    assert choose([session.view()], Wanted(purpose="train-ai"), pick=lambda _: 0) is None
    assert choose([session.view()], Wanted(purpose="research"), pick=lambda _: 0) == session.view()
    await house.frontier.release(job.job_id, lease.token, not_before_ms=0)

    # 6. The signed job is sent; the node checks signature, owner, URL and address rules itself, and accepts.
    link_to_dispatcher = LinkToDispatcher(house.core.exchange, session)
    house.node.link = link_to_dispatcher
    while not await house.core.scheduler.lease_once():  # the site asks for 50 ms between visits
        await asyncio.sleep(0.01)
        house.core.scheduler.wake()
    await house.core.scheduler.settle_tasks()
    assert link_to_dispatcher.said[0] == "Accept"
    assert session.in_flight[job.job_id].job.lease > lease.token

    # 7. The node fetches the page directly.
    # 8. It signs a record and sends it with the body as it came, in one frame.
    await house.node.finish(finish_ms=10_000, acknowledge_ms=1_000)
    assert link_to_dispatcher.said == ["Accept", "Record"]

    # 9. The dispatcher verifies, stores body, result, credit and log entry, and then acknowledges.
    [ack] = link_to_node.acks
    result = (await house.ledger.results([job.job_id]))[job.job_id]
    record = open_record(parse(result.record))
    assert (ack.outcome, ack.log_index, result.log_index) == ("stored", 0, 0)
    assert (record.url, record.status, record.purpose) == (job.url, 200, "research")
    assert ack.reward == reward(record.mode, record.wire_bytes, record.status) > 0
    assert (session.in_flight, await house.frontier.size()) == ({}, 0)
    [conduct] = (await house.ledger.conducts([session.node_key])).values()
    assert (conduct.stored, conduct.fruitless, conduct.expired, conduct.credits) == (1, 0, 0, 1)

    # 10. The credit is pending through its hold (none here), then confirmed.
    assert (await house.ledger.node_totals(house.node_key.public)).pending == ack.reward
    assert await house.ledger.confirm_credits(now_ms()) == 1

    # 11. Cleaning turns the body into a document; the lab reads it.
    assert house.fetched == [job.job_id]
    await house.core.cleaning.clean_one(job.job_id)
    page = await house.intake.status(team, batch.batch_id, from_position=0, limit=10)
    assert page.jobs[0].state is JobState.COMPLETED
    assert "otter" in page.documents[job.job_id].markdown.lower()

    # 12. The log is published: tiles, a signed checkpoint, its anchor.
    wanted = DatasetRequest(source=JobsSource((batch.batch_id,)))
    building = await house.dataset_desk.create(caller, wanted, idempotency_key=None, request_hash="")
    await house.datasets.look()
    while await house.ledger.log_size() < 2:
        await asyncio.sleep(0.01)
    await house.log.publish_once()
    await house.log.anchor_pending()
    note = (house.folder / "log" / "checkpoint").read_bytes()
    assert open_checkpoint(note, log_key=parse_vkey(house.log_key.vkey)).checkpoint.size == 2

    # 13. Confirmed credits are paid, epoch by epoch.
    await house.payouts.pay_once()
    totals = await house.ledger.node_totals(house.node_key.public)
    assert (totals.confirmed, totals.paid) == (0, ack.reward)
    while not link_to_node.balances:
        await asyncio.sleep(0.01)
    assert [balance.paid for balance in link_to_node.balances] == [ack.reward]

    # 14. The auditor takes the row and checks every step.
    await house.datasets.finished(building.dataset_id)
    report = await audit_dataset(
        DatasetFiles(house.folder / "datasets" / building.dataset_id), Evidence(house.tiles, house.chain)
    )
    steps = {step.step: step.outcome for step in report.rows[0].steps}
    assert steps == {
        "content": Outcome.OK,
        "record": Outcome.OK,
        "log entry": Outcome.OK,
        "inclusion": Outcome.OK,
        "checkpoint": Outcome.OK,
        "cosignatures": Outcome.NOT_CHECKED,
        "anchor": Outcome.OK,
        "credit": Outcome.OK,
        "body": Outcome.NOT_CHECKED,
    }
    assert not [step for step in report.whole if step.outcome is Outcome.FAILED]
