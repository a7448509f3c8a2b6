"""Requests with an idempotency key that keep no key with their jobs: answered once, given again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from dispatcher.account_ledger import StoredAnswer
from dispatcher.adapters.idempotent_posts import STALE_MS
from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_auth import caller_of, read_json
from dispatcher.adapters.system_clock import new_id
from dispatcher.core import Core
from dispatcher.errors import Conflict
from dispatcher.intake import Intake
from dispatcher.ledger import Ledger
from dispatcher.settling import ANSWERS_KEPT_MS, Settling
from tests.accounts.lab import Answer, Lab, with_accounts
from tests.lab_desk import Desks
from tests.ledger.conftest import NOW_MS
from tests.stores import opened_ledger


class Maker:
    """A route that makes something: slowly, or not at all, as its body says."""

    def __init__(self) -> None:
        self.made: list[bytes] = []
        self.go = asyncio.Event()
        self.go.set()

    def add(self, app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
        with_accounts(app, core, intake, api)

        async def make(request: web.Request) -> web.Response:
            await caller_of(request, intake)
            body = await read_json(request)
            assert isinstance(body, bytes)
            await self.go.wait()
            if b"refuse" in body:
                raise Conflict("not now")
            self.made.append(body)
            return web.json_response({"success": True, "id": new_id()})

        app.router.add_post("/v1/webhooks", make)


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
async def lab(tmp_path: Path, maker: Maker) -> AsyncIterator[Lab]:
    desks = Desks()
    async with (
        opened_ledger(tmp_path / "ledger.sqlite") as ledger,
        desks.desk(ledger, more=maker.add) as desk,
        ClientSession() as http,
    ):
        yield Lab(http, desk, await desks.key(ledger))


async def post(lab: Lab, body: object, key: str = "once") -> Answer:
    return await lab.post("/v1/webhooks", body, x_idempotency_key=key)


async def test_the_same_request_again_gets_the_same_answer(lab: Lab, maker: Maker) -> None:
    first, again, other = await post(lab, {"a": 1}), await post(lab, {"a": 1}), await post(lab, {"a": 1}, "twice")
    assert first.status == again.status == 200
    assert first.body == again.body != other.body
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert len(maker.made) == 2


async def test_another_body_under_the_same_key_is_refused(lab: Lab, maker: Maker) -> None:
    await post(lab, {"a": 1})
    assert (await post(lab, {"a": 2})).code == (409, "IDEMPOTENCY_CONFLICT")
    assert len(maker.made) == 1


async def test_many_at_once_make_one_thing(lab: Lab, maker: Maker) -> None:
    maker.go.clear()
    asked = [asyncio.create_task(post(lab, {"a": 1})) for _ in range(6)]
    done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 5:
        done, _ = await asyncio.wait(asked, return_when=asyncio.ALL_COMPLETED, timeout=0.05)
    maker.go.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409, 409, 409]
    assert {answer.body["code"] for answer in answers if answer.status == 409} == {"IDEMPOTENCY_IN_PROGRESS"}
    assert len(maker.made) == 1


async def test_a_request_that_changed_nothing_may_be_made_again(lab: Lab, maker: Maker) -> None:
    assert (await post(lab, {"refuse": True})).code == (409, "CONFLICT")
    assert (await post(lab, {"a": 1})).status == 200


async def test_a_claim_that_was_cut_off_is_taken_over(ledger: Ledger) -> None:
    def claim(created_ms: int, request_hash: str = "h") -> StoredAnswer:
        return StoredAnswer(
            team_id="t", idempotency_key="k", request_hash=request_hash, status=0, body=b"", created_ms=created_ms
        )

    assert await ledger.claim_answer(claim(NOW_MS), stale_before_ms=NOW_MS - STALE_MS) is None
    soon, late = NOW_MS + 1_000, NOW_MS + STALE_MS + 1
    assert await ledger.claim_answer(claim(soon), stale_before_ms=soon - STALE_MS) == claim(NOW_MS)
    assert await ledger.claim_answer(claim(late, "other"), stale_before_ms=late - STALE_MS) == claim(NOW_MS)
    assert await ledger.claim_answer(claim(late), stale_before_ms=late - STALE_MS) is None
    await ledger.drop_answer("t", "k")
    answers = await asyncio.gather(*(ledger.claim_answer(claim(late + n), stale_before_ms=0) for n in range(8)))
    assert answers.count(None) == 1


async def test_answers_are_forgotten_after_a_day(ledger: Ledger) -> None:
    claim = StoredAnswer(team_id="t", idempotency_key="k", request_hash="h", status=0, body=b"", created_ms=NOW_MS)
    await ledger.claim_answer(claim, stale_before_ms=0)
    await Settling(ledger=ledger, events=NoEvents(), clock=lambda: NOW_MS + ANSWERS_KEPT_MS).once()
    assert await ledger.claim_answer(claim, stale_before_ms=0) == claim
    await Settling(ledger=ledger, events=NoEvents(), clock=lambda: NOW_MS + ANSWERS_KEPT_MS + 1).once()
    assert await ledger.claim_answer(claim, stale_before_ms=0) is None


class NoEvents:
    def ended(self, batch_id: str) -> None:
        """Nobody waits."""
