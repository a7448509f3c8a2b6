import asyncio
import os

import pytest
from aiohttp import web

from node_agent.adapters import system_clock
from node_agent.journal import Outcome
from protocol.keys import SigningKey, to_base64url
from protocol.messages import Ack, Cancel, Failure, RefusalCode, Refuse
from protocol.statements import Kind, Statement, sign
from tests.node_agent.conftest import RunningNode, Site
from tests.node_agent.played_dispatcher import Dispatcher, Result


async def test_job_signed_by_another_key_is_refused(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    job = dispatcher.job(site.url())
    await dispatcher.send_statement(sign(Kind.JOB, job, SigningKey(os.urandom(32))))
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason is RefusalCode.BAD_SIGNATURE
    assert not site.requests
    assert not list(node.journal.newest(None))


async def test_job_signed_by_the_root_key_itself_is_refused(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    job = dispatcher.job(site.url())
    await dispatcher.send_statement(sign(Kind.JOB, job, dispatcher.root))
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason is RefusalCode.BAD_SIGNATURE


async def test_tampered_job_is_refused(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    job = dispatcher.job(site.url("/one"))
    signed = sign(Kind.JOB, job, dispatcher.job_key)
    await dispatcher.send_statement(signed._replace(payload=signed.payload.replace(b"/one", b"/two")))
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason is RefusalCode.BAD_SIGNATURE
    assert not site.requests


async def test_signature_of_another_kind_does_not_hold(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    job = dispatcher.job(site.url())
    as_record = sign(Kind.RECORD, job, dispatcher.job_key)
    await dispatcher.send_statement(Statement(Kind.JOB, as_record.signature, as_record.payload))
    answer = await dispatcher.answer(job)
    assert isinstance(answer, Refuse)
    assert answer.reason is RefusalCode.BAD_SIGNATURE


async def test_expired_job_is_refused(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    now_ms = system_clock.now_ms()
    refusal = await dispatcher.refusal(site.url(), issued_ms=now_ms - 200_000, expires_ms=now_ms - 1)
    assert refusal.reason is RefusalCode.EXPIRED
    refusal = await dispatcher.refusal(site.url(), issued_ms=now_ms + 100_000, expires_ms=now_ms + 200_000)
    assert refusal.reason is RefusalCode.EXPIRED
    assert not site.requests


async def test_job_for_another_node_is_refused(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    refusal = await dispatcher.refusal(site.url(), node_key=to_base64url(os.urandom(32)))
    assert refusal.reason is RefusalCode.NOT_FOR_ME
    assert not site.requests


async def test_relayed_job_is_not_supported(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    refusal = await dispatcher.refusal(site.url(), mode="relayed")
    assert refusal.reason is RefusalCode.UNSUPPORTED_MODE


@pytest.mark.parametrize("language", ["de\r\nCookie: a=b", "", "x" * 300, "日本"])
async def test_header_injection_is_refused(
    dispatcher: Dispatcher, node: RunningNode, site: Site, language: str
) -> None:
    refusal = await dispatcher.refusal(site.url(), accept_language=language)
    assert refusal.reason is RefusalCode.UNSUPPORTED_MODE
    assert not site.requests


@pytest.mark.parametrize("change", [{"kind": Kind.RECORD}, {"payload": b"{}"}, {"payload": b"\xff"}])
async def test_frame_that_is_no_job_ends_the_session(
    dispatcher: Dispatcher, node: RunningNode, site: Site, change: dict[str, object]
) -> None:
    signed = sign(Kind.JOB, dispatcher.job(site.url()), dispatcher.job_key)
    await dispatcher.send_statement(signed._replace(**change))  # type: ignore[arg-type]  # a test breaks any field
    await dispatcher.until(dispatcher.errors)
    await dispatcher.connected(sessions=2)
    assert not site.requests


async def test_lease_delivered_twice_is_fetched_once(dispatcher: Dispatcher, node: RunningNode, site: Site) -> None:
    dispatcher.acknowledges = False
    job = dispatcher.job(site.url("/once"))
    signed = sign(Kind.JOB, job, dispatcher.job_key)
    await dispatcher.send_statement(signed)
    await dispatcher.send_statement(signed)
    await dispatcher.answer(job)
    await dispatcher.send_statement(signed)
    answers = await dispatcher.until(lambda: dispatcher.answers(job)[1:] and dispatcher.answers(job))
    assert all(isinstance(answer, Result) for answer in answers)
    await dispatcher.send(Ack(job_id=job.job_id, lease=job.lease, outcome="stored", reward=5))
    await dispatcher.until(lambda: node.jobs.acknowledged)
    await dispatcher.send_statement(signed)
    last = (await dispatcher.until(lambda: [a for a in dispatcher.answers(job) if isinstance(a, Refuse)]))[0]
    assert last.reason is RefusalCode.EXPIRED
    assert site.paths() == ["/once"]


async def test_cancelled_fetch_is_aborted_without_an_answer(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    begun = asyncio.Event()

    async def never(request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(60)
        return web.Response()

    site.handlers["/never"] = never
    job = await dispatcher.give(site.url("/never"))
    await begun.wait()
    await dispatcher.send(Cancel(job_id=job.job_id, lease=job.lease))
    await dispatcher.until(lambda: [e for e in node.journal.newest(1) if e.outcome is Outcome.CANCELLED])
    assert (await dispatcher.result(site.url("/next"))).record.status == 200
    assert not dispatcher.answers(job)


async def test_more_jobs_than_allowed_are_refused_as_busy(
    dispatcher: Dispatcher, node: RunningNode, site: Site
) -> None:
    release = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="done")

    site.handlers["/wait"] = waits
    held = [await dispatcher.give(site.url("/wait")) for _ in range(4)]
    refusal = await dispatcher.refusal(site.url("/wait"))
    assert refusal.reason is RefusalCode.BUSY
    release.set()
    for job in held:
        assert not isinstance(await dispatcher.answer(job), Refuse | Failure)
