"""Each slot of a schedule is run once, whatever happens to those who run it."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from dispatcher.adapters.system_clock import now_ms
from dispatcher.api_keys import parse_prefix
from dispatcher.errors import LedgerError
from dispatcher.schedule_duty import ScheduleDuty
from tests.schedules.conftest import House, scrape

HOUR_MS = 3_600_000


def at(schedule: dict[str, Any], place: int = 0) -> int:
    return int(datetime.fromisoformat(schedule["nextRuns"][place]).timestamp() * 1000)


def states(schedule: dict[str, Any]) -> list[str]:
    """The states of its runs, oldest first."""
    return [run["state"] for run in reversed(schedule["runs"])]


async def test_a_slot_is_run_when_it_has_come_and_once(house: House) -> None:
    made = await house.make()
    await house.duty.once()
    assert (await house.read(made["id"]))["runs"] == []
    house.clock.ms = at(made)
    for _ in range(3):
        await house.duty.once()
    schedule = await house.read(made["id"])
    (run,) = schedule["runs"]
    assert (run["state"], run["manual"], run["slot"]) == ("started", False, made["nextRuns"][0])
    assert schedule["nextRuns"][:4] == made["nextRuns"][1:]
    batch = await house.ledger.batch(run["job"])
    assert batch is not None
    assert (batch.team_id, batch.kind) == ("team-alpha", "batch_scrape")
    assert [job.url for job in await house.ledger.jobs_of(run["job"])] == ["https://a.example/"]


async def test_every_kind_of_request_is_made_as_a_lab_would(house: House) -> None:
    for kind, body in (
        ("scrape", {"url": "https://a.example/"}),
        ("batch_scrape", {"urls": ["https://a.example/"], "formats": ["links"]}),
        ("crawl", {"url": "https://a.example/", "sitemap": "skip"}),
    ):
        made = await house.make(request={"kind": kind, "body": body})
        house.clock.ms = at(made)
        await house.duty.once()
        (run,) = (await house.read(made["id"]))["runs"]
        batch = await house.ledger.batch(run["job"])
        assert batch is not None
        assert batch.kind == kind


async def test_a_schedules_webhook_goes_into_its_request(house: House) -> None:
    made = await house.make(webhook={"url": "https://hook.example/x", "events": ["completed"]})
    assert made["request"]["body"]["webhook"]["events"] == ["completed"]
    house.clock.ms = at(made)
    await house.duty.once()
    (webhook,) = await house.ledger.open_webhooks()
    assert (webhook.host, webhook.events) == ("hook.example", ("completed",))


async def test_of_slots_that_nobody_worked_at_the_last_is_run_and_the_others_are_missed(house: House) -> None:
    made = await house.make()
    house.clock.ms = at(made) + 3 * HOUR_MS + 600_000
    await house.duty.once()
    schedule = await house.read(made["id"])
    assert states(schedule) == ["missed", "missed", "missed", "started"]
    assert schedule["runs"][0]["slot"] == made["nextRuns"][3]
    assert schedule["nextRuns"][0] == made["nextRuns"][4]
    assert schedule["runs"][1]["detail"] == "nobody worked at its time"


async def test_a_long_absence_is_noted_within_bounds(house: House) -> None:
    made = await house.make(cron="every minute")
    house.clock.ms = at(made) + 1_000 * 60_000
    await house.duty.once()
    runs = await house.ledger.runs(made["id"], limit=2_000)
    assert [run.state for run in runs] == ["started", *["missed"] * 100]
    assert runs[-1].detail == "and 900 slots before it were missed"


async def test_a_slot_is_left_out_while_the_run_before_goes_on(house: House) -> None:
    made = await house.make()
    for place in range(2):
        house.clock.ms = at(made, place)
        await house.duty.once()
    schedule = await house.read(made["id"])
    assert states(schedule) == ["started", "skipped"]
    first = schedule["runs"][1]["job"]
    assert schedule["runs"][0]["detail"] == f"the job {first} of the run before goes on"
    await house.end(first)
    house.clock.ms = at(made, 2)
    await house.duty.once()
    assert states(await house.read(made["id"])) == ["started", "skipped", "started"]


async def test_runs_may_overlap_where_that_is_wanted(house: House) -> None:
    made = await house.make(overlap="run")
    for place in range(3):
        house.clock.ms = at(made, place)
        await house.duty.once()
    schedule = await house.read(made["id"])
    assert states(schedule) == ["started"] * 3
    assert len({run["job"] for run in schedule["runs"]}) == 3


async def test_a_run_that_was_broken_off_between_its_writes_starts_one_job(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await house.make()
    house.clock.ms = at(made)

    async def dies(*_: object) -> None:
        raise LedgerError("the process ended here")

    with monkeypatch.context() as patched:
        patched.setattr(house.ledger, "end_start", dies)
        with pytest.raises(LedgerError):
            await house.duty.once()
    assert states(await house.read(made["id"])) == ["starting"]
    await house.ask("PATCH", f"/v1/schedules/{made['id']}", {"request": scrape("https://other.example/")})
    await house.duty.once()
    (run,) = (await house.read(made["id"]))["runs"]
    assert run["state"] == "started"
    assert [job.url for job in await house.ledger.jobs_of(run["job"])] == ["https://a.example/"]
    assert (await house.ledger.job_counts()).total == 1


async def test_two_that_believe_they_lead_run_a_slot_once(house: House) -> None:
    made = await house.make(overlap="run")
    second = ScheduleDuty(ledger=house.ledger, keys=house.ledger, desk=house.requests, clock=house.clock.now_ms)
    for place in range(5):
        house.clock.ms = at(made, place)
        await asyncio.gather(house.duty.once(), second.once())
    assert states(await house.read(made["id"])) == ["started"] * 5
    assert (await house.ledger.job_counts()).total == 5


async def test_a_run_whose_key_has_ended_is_refused_with_the_reason_and_goes_on_with_another(house: House) -> None:
    made = await house.make()
    (stored,) = await house.ledger.keys_with_prefix(parse_prefix(house.key) or "")
    await house.ledger.revoke_key(stored.key_id, now_ms())
    house.clock.ms = at(made)
    await house.duty.once()
    house.key = await house.desks.key(house.ledger)
    (run,) = (await house.read(made["id"]))["runs"]
    assert (run["state"], "job" in run) == ("refused", False)
    assert run["detail"].startswith("KEY_REVOKED: the key of this schedule was revoked")
    assert (await house.ask("PATCH", f"/v1/schedules/{made['id']}", {"name": "again"}))[0] == 200
    house.clock.ms = at(made, 1)
    await house.duty.once()
    assert states(await house.read(made["id"])) == ["refused", "started"]


async def test_a_run_that_cannot_be_paid_for_is_refused_with_the_reason(house: House) -> None:
    made = await house.make(request={"kind": "batch_scrape", "body": {"urls": ["https://a.example/"] * 3}})
    await house.ledger.add_credits("team-alpha", 1, kind="purchase", note="", now_ms=now_ms())
    house.clock.ms = at(made)
    await house.duty.once()
    (run,) = (await house.read(made["id"]))["runs"]
    assert run["state"] == "refused"
    assert run["detail"].startswith("INSUFFICIENT_CREDITS: ")


async def test_a_schedule_can_be_run_by_hand_paused_and_deleted(house: House) -> None:
    made = await house.make()
    path = f"/v1/schedules/{made['id']}"
    status, answer = await house.ask("POST", f"{path}/run")
    assert (status, answer["run"]["state"], answer["run"]["manual"]) == (200, "started", True)
    by_hand = answer["run"]["job"]
    assert (await house.ask("POST", f"{path}/run"))[0] == 409, "in the same millisecond"
    status, answer = await house.ask("PATCH", path, {"enabled": False})
    assert (status, answer["schedule"]["enabled"], answer["schedule"]["nextRuns"]) == (200, False, [])
    house.clock.ms = at(made, 2)
    await house.duty.once()
    assert len((await house.read(made["id"]))["runs"]) == 1
    status, answer = await house.ask(
        "PATCH", path, {"enabled": True, "cron": "every day at 09:30", "timezone": "Asia/Tokyo"}
    )
    assert status == 200
    assert answer["schedule"]["nextRuns"][0].endswith("T00:30:00.000Z")
    assert (await house.ask("DELETE", path))[0] == 200
    assert (await house.ask("GET", path))[0] == 404
    house.clock.ms += 48 * HOUR_MS
    await house.duty.once()
    assert await house.ledger.batch(by_hand) is not None, "its jobs stay"
