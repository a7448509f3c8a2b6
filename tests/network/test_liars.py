"""Nodes that lie: they are never paid, and every page is fetched by an honest node in the end."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from dispatcher.reputation import LOW
from protocol.keys import SigningKey
from protocol.messages import Ack
from tests.network.liar import LIES, Liar, Lie, ended, rejected
from tests.network.processes import Node, Up
from tests.network.site import Site, serving


@dataclass
class Stage:
    """A network without honest nodes; what was asked of it, and the keys of those who lied."""

    up: Up
    site: Site
    batches: list[str]
    liars: list[str]
    caught: list[str]

    def ask(self, name: str) -> str:
        """Ask for a page of its own; the batch."""
        batch_id = self.up.lab.batch([self.site.url(f"/p/{name}")])
        self.batches.append(batch_id)
        return batch_id

    def liar(self) -> Liar:
        """A liar that is remembered."""
        liar = Liar(self.up.ready.gateway_url)
        self.liars.append(liar.key.public)
        return liar


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with serving() as site:
        up = Up(tmp_path_factory.mktemp("liars"), sites=[site.address]).started()
        try:
            yield Stage(up, site, [], [], [])
        finally:
            up.close()


@pytest.mark.parametrize("lie", LIES, ids=[lie.__name__ for lie in LIES])
async def test_a_false_result_is_rejected(stage: Stage, lie: Lie) -> None:
    async with stage.liar() as liar:
        stage.ask(lie.__name__)
        answer = await liar.deliver(*lie(*liar.record(await liar.job())))
        assert rejected(answer), answer
        stage.caught.append(liar.key.public)


async def test_a_record_that_another_node_signed_ends_the_session(stage: Stage) -> None:
    async with stage.liar() as liar:
        stage.ask("foreign")
        record, body = liar.record(await liar.job())
        other = SigningKey(os.urandom(32))
        foreign = msgspec.structs.replace(record, node_key=other.public)
        assert ended(await liar.deliver(foreign, body, signed_by=other)) == "not_for_me"
        assert await liar.is_hung_up_on()


async def test_a_forged_signature_ends_the_session(stage: Stage) -> None:
    async with stage.liar() as liar:
        stage.ask("forged")
        record, body = liar.record(await liar.job())
        assert ended(await liar.deliver(record, body, signed_by=SigningKey(os.urandom(32)))) == "bad_signature"
        assert await liar.is_hung_up_on()


@pytest.mark.parametrize(
    "garbage",
    [os.urandom(300), b"", b"\x03" + bytes(68), '{"type":"no such"}', "[[[[", '{"type":"ping"}', "\x00" * 70_000],
    ids=["noise", "nothing", "an empty record", "an unknown type", "no JSON", "a ping without time", "too long"],
)
async def test_garbage_ends_the_session_with_a_reason(stage: Stage, garbage: bytes | str) -> None:
    async with stage.liar() as liar:
        code = ended(await liar.send(garbage))
        assert code is not None
        assert await liar.is_hung_up_on()


async def test_results_that_nobody_asked_for_are_stale(stage: Stage) -> None:
    async with stage.liar() as holder:
        stage.ask("unsolicited")
        stolen = await holder.job()
        async with stage.liar() as thief:
            record, body = thief.record(stolen)
            unknown = msgspec.structs.replace(record, job_id="01890000-0000-7000-8000-000000000000")
            for claim in (record, unknown):
                answer = await thief.deliver(claim, body)
                assert isinstance(answer, Ack)
                assert (answer.outcome, answer.reward) == ("stale", 0)


async def test_a_record_sent_again_is_paid_once(stage: Stage) -> None:
    liar = Liar(stage.up.ready.gateway_url)
    async with liar:
        batch_id = stage.ask("replayed")
        given = await liar.job()
        while not given.job.url.endswith("/p/replayed"):
            await liar.hand_back(given)
            given = await liar.job()
        record, body = liar.record(given)
        answers = [await liar.deliver(record, body) for _ in range(4)]
        outcomes = [answer.outcome for answer in answers if isinstance(answer, Ack)]
        assert outcomes == ["stored", "duplicate", "duplicate", "duplicate"]
        changed = msgspec.structs.replace(record, started_ms=record.started_ms - 1)
        answer = await liar.deliver(changed, body)
        assert isinstance(answer, Ack)
        assert answer.outcome == "stale"
    stage.up.lab.wait(batch_id)
    ledger = stage.up.ledger
    assert ledger.number("SELECT count(*) FROM credits WHERE node_key = ?", liar.key.public) == 1


def test_no_liar_was_paid_and_an_honest_node_fetches_every_page(stage: Stage, tmp_path: Path) -> None:
    node = Node(tmp_path / "honest", stage.up.ready.api_url, sites=[stage.site.address])
    try:
        for batch_id in stage.batches:
            assert stage.up.lab.wait(batch_id, timeout_s=60)["completed"] == 1
    finally:
        node.close()
    ledger = stage.up.ledger
    assert len(stage.batches) >= len(LIES) + 4
    for key in stage.liars:
        assert ledger.number("SELECT count(*) FROM credits WHERE node_key = ?", key) == 0
        assert ledger.number("SELECT count(*) FROM results WHERE node_key = ?", key) == 0
        assert ledger.number("SELECT count(*) FROM lease_ends WHERE node_key = ?", key) == 0
    rejections = ledger.rows("SELECT node_key, rejected FROM node_conduct WHERE rejected > 0")
    assert sorted(key for key, _ in rejections) == sorted(stage.caught)
    assert {rejected for _, rejected in rejections} == {1}
    assert ledger.broken() == []
    assert "Traceback" not in stage.up.said()


async def test_a_node_that_lies_again_and_again_hears_it_and_loses_its_place(stage: Stage) -> None:
    async with stage.liar() as liar:
        for number in range(14):
            stage.ask(f"again-{number}")
        for _ in range(14):
            record, body = liar.record(await liar.job())
            assert rejected(await liar.deliver(record, body + b"!"))
        reputation = await liar.reputation(after="0 of 14 answers were accepted")
    assert reputation.score < LOW
    assert {part.name: part.value for part in reputation.parts}["answers"] == 0
