"""A lab at a real desk with accounts: requests with its key, and its jobs brought to an end."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import ClientSession, web

from dispatcher.adapters.lab_api import LabApi
from dispatcher.adapters.lab_auth import tell_rate
from dispatcher.adapters.system_clock import now_ms
from dispatcher.cli_accounts import serve_accounts
from dispatcher.core import Core
from dispatcher.intake import Intake
from dispatcher.jobs import JobState
from dispatcher.settling import Settling
from tests.lab_desk import KEY_SECRET, Desk, Desks, pages


def with_accounts(app: web.Application, core: Core, intake: Intake, api: LabApi) -> None:
    app.on_response_prepare.append(tell_rate)
    serve_accounts(app, core, service=intake, pages=api, key_secret=KEY_SECRET)


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> tuple[int, str]:
        return self.status, self.body["code"]


class Lab:
    """A lab's side: requests with its key."""

    def __init__(self, http: ClientSession, desk: Desk, key: str) -> None:
        self.http, self.desk, self.key = http, desk, key

    def with_key(self, key: str) -> Lab:
        return Lab(self.http, self.desk, key)

    async def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        data = None if body is None else msgspec.json.encode(body)
        if body is not None:
            sent["Content-Type"] = "application/json"
        async with self.http.request(method, self.desk.url + path, data=data, headers=sent) as answer:
            return Answer(answer.status, await answer.json(), dict(answer.headers))

    async def post(self, path: str, body: object = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", path)

    async def made(self, **wish: object) -> Lab:
        """A lab with a new key."""
        answer = await self.post("/v1/keys", wish)
        assert answer.status == 200, answer.body
        return self.with_key(answer.body["key"])

    async def batch(self, number: int, **fields: object) -> str:
        answer = await self.post("/v2/batch/scrape", {"urls": pages(number), **fields})
        assert answer.status == 200, answer.body
        return str(answer.body["id"])


def settling(desk: Desk) -> Settling:
    return Settling(ledger=desk.ledger, events=desk.core.events, clock=now_ms)


async def complete(desks: Desks, desk: Desk, batch_id: str, *, completed: int, refused: int = 0) -> None:
    jobs = [job for job in await desk.ledger.jobs_of(batch_id, limit=1_000) if job.state is JobState.QUEUED]
    for place, job in enumerate(jobs[: completed + refused]):
        await (desks.complete(desk, job) if place < completed else desks.refuse(desk, job))
