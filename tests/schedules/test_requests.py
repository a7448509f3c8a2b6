"""Schedules over HTTP: what is refused names every field at fault, and another team's are not there."""

from typing import Any

import pytest

from tests.lab_desk import OTHER_TEAM
from tests.schedules.conftest import House, scrape

GOOD = {"name": "n", "cron": "every hour", "request": scrape("https://a.example/")}


async def test_a_schedule_is_shown_as_it_was_made(house: House) -> None:
    made = await house.make(name="morning", cron="every weekday at 9am", timezone="Europe/Berlin", overlap="run")
    assert (made["name"], made["cron"], made["fields"]) == ("morning", "every weekday at 9am", "0 9 * * mon-fri")
    assert (made["timezone"], made["overlap"], made["enabled"]) == ("Europe/Berlin", "run", True)
    assert made["request"] == scrape("https://a.example/")
    assert len(made["nextRuns"]) == 5 and made["runs"] == []
    status, listed = await house.ask("GET", "/v1/schedules")
    assert status == 200
    (shown,) = listed["schedules"]
    assert shown == {name: value for name, value in made.items() if name != "runs"}
    assert await house.read(made["id"]) == made


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"name": None}, ["name"]),
        ({"name": " "}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
        ({"cron": None}, ["cron"]),
        ({"cron": "every blue moon"}, ["cron"]),
        ({"timezone": "Mars"}, ["timezone"]),
        ({"cron": "x", "timezone": "Mars", "overlap": "no", "enabled": 1}, ["cron", "timezone", "overlap", "enabled"]),
        ({"crom": "x"}, ["crom"]),
        ({"request": None}, ["request"]),
        ({"request": {"kind": "map", "body": {}}}, ["request.kind"]),
        ({"request": {"kind": "scrape"}}, ["request.body"]),
        ({"request": {"kind": "scrape", "body": {"url": "https://a.example/"}, "more": 1}}, ["request.more"]),
        (
            {"request": {"kind": "scrape", "body": {"url": 7, "formats": 8}}},
            ["request.body.url", "request.body.formats"],
        ),
        ({"request": {"kind": "scrape", "body": {"url": "http://10.0.0.1/"}}}, ["request.body.url"]),
        ({"request": {"kind": "crawl", "body": {"url": "https://a.example/", "limit": 0}}}, ["request.body.limit"]),
        ({"webhook": "http://127.0.0.1/"}, ["webhook"]),
        ({"webhook": {"url": "x", "evens": 1}}, ["webhook.url", "webhook.evens"]),
        (
            {"request": {"kind": "scrape", "body": {"url": "https://a.example/"}}, "webhook": "https://h.example/"},
            ["webhook"],
        ),
        ({"request": scrape("https://a.example/" + "x" * 2_000_000)}, ["request.body"]),
    ],
)
async def test_what_is_wrong_is_named_all_at_once(house: House, change: dict[str, Any], fields: list[str]) -> None:
    body = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    status, answer = await house.ask("POST", "/v1/schedules", body)
    assert status == 400, answer
    assert sorted(problem["field"] for problem in answer["details"]["problems"]) == sorted(fields)
    made = await house.make()
    patch = {name: value for name, value in change.items() if value is not None}
    if patch:
        status, answer = await house.ask("PATCH", f"/v1/schedules/{made['id']}", patch)
        assert status == 400, answer
        assert (await house.read(made["id"])) == made


async def test_another_teams_schedule_is_not_there(house: House) -> None:
    made = await house.make()
    other = await house.desks.key(house.ledger, OTHER_TEAM)
    path = f"/v1/schedules/{made['id']}"
    for method, address, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "x"}),
        ("DELETE", path, None),
        ("POST", f"{path}/run", None),
    ):
        status, answer = await house.ask(method, address, body, key=other)
        never = await house.ask(method, address.replace(made["id"], "no-such-id"), body, key=other)
        assert (status, never[0]) == (404, 404)
        assert answer["error"].replace(made["id"], "no-such-id") == never[1]["error"]
    assert (await house.ask("GET", "/v1/schedules", key=other))[1]["schedules"] == []
    assert await house.read(made["id"]) == made


async def test_a_team_has_so_many_schedules_and_lists_them_in_pages(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.adapters.schedule_api.TEAM_SCHEDULES", 5)
    monkeypatch.setattr("dispatcher.adapters.schedule_api.PAGE_SCHEDULES", 2)
    made = [(await house.make())["id"] for _ in range(5)]
    status, answer = await house.ask("POST", "/v1/schedules", GOOD)
    assert (status, answer["code"]) == (409, "CONFLICT")
    listed: list[str] = []
    path: str | None = "/v1/schedules"
    while path:
        _, answer = await house.ask("GET", path)
        listed += [each["id"] for each in answer["schedules"]]
        path = answer["next"].removeprefix(house.desk.url) if "next" in answer else None
    assert listed == sorted(made)
    assert (await house.ask("GET", "/v1/schedules?page=2"))[0] == 400
