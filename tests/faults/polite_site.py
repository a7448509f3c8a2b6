"""Hundreds of hosts in one process, each with rules of its own, which writes down every visit.

    python -m tests.faults.polite_site HOSTS PORT FILE

Hosts are loopback addresses, 127.0.1.1 and up, on one port. Paths: /robots.txt; /p/ANY a page after the host's latency;
/to/ANY?URL a redirect there. A host that is busy answers 429 or 503 with Retry-After once, after some visits. Says
`ready` once it listens; writes FILE when its standard input ends: a JSON list of visits.
"""

import asyncio
import functools
import random
import sys
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import msgspec
from aiohttp import web

from tests.network.site import page

_BUSY_STATUS = (429, 503)


class HostRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a host wants to be visited. `busy_at` is the visit that is answered with Retry-After, counted from 1, 0 for
    none; it asks for `busy_s` seconds, as a date where `busy_as_date`."""

    address: str
    crawl_delay_s: float
    latency_s: float
    busy_at: int
    busy_s: int
    busy_as_date: bool
    busy_status: int


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A request by the site's wall clock (UTC, ms): from its head's arrival to its answer's departure.

    `stay_away_ms` is the moment before which this visit's answer asks for no other, 0 where it asks for nothing.
    """

    host: str
    path: str
    arrived_ms: float
    left_ms: float
    status: int
    stay_away_ms: float = 0.0


def rules_of(number: int) -> HostRules:
    """The rules of host `number`, counted from 0: the same in every process."""
    chance = random.Random(number)
    delay_s = round(chance.uniform(0.2, 2.0), 1) if number % 5 < 2 else 0.0
    return HostRules(
        address=f"127.0.{1 + number // 250}.{1 + number % 250}",
        crawl_delay_s=delay_s,
        latency_s=round(chance.choice((0.0, 0.02, 0.1) if delay_s else (0.02, 0.1, 0.3)), 2),
        busy_at=chance.randint(2, 4) if number % 4 == 1 else 0,
        busy_s=chance.randint(2, 8),
        busy_as_date=chance.random() < 0.5,
        busy_status=chance.choice(_BUSY_STATUS),
    )


class PoliteSite:
    """Answers for all hosts. Owns the list of visits."""

    def __init__(self, hosts: int, port: int) -> None:
        self._rules = {rules.address: rules for rules in map(rules_of, range(hosts))}
        self._port = port
        self._asked: dict[str, int] = {}
        self.visits: list[Visit] = []

    async def serve(self, until: asyncio.Event) -> None:
        """Listen on every address until told to end."""
        loop = asyncio.get_running_loop()
        server = web.Server(self._answer)
        listener = await loop.create_server(server, list(self._rules), self._port, backlog=256)
        print("ready", flush=True)
        await until.wait()
        listener.close()
        await server.shutdown(1.0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        arrived_ms = _now_ms()
        rules = self._rules[request.host.partition(":")[0]]
        stay_away_ms = 0.0
        if request.path == "/robots.txt":
            delay = f"Crawl-delay: {rules.crawl_delay_s}\n" if rules.crawl_delay_s else ""
            response = web.Response(text=f"User-agent: *\nDisallow: /private/\n{delay}")
        else:
            self._asked[rules.address] = self._asked.get(rules.address, 0) + 1
            is_busy = self._asked[rules.address] == rules.busy_at
            await asyncio.sleep(0 if is_busy else rules.latency_s)
            if is_busy:
                response, stay_away_ms = _busy(rules)
            elif request.path.startswith("/to/"):
                response = web.Response(status=302, headers={"Location": request.query_string})
            else:
                response = web.Response(text=page(request.path), content_type="text/html", charset="utf-8")
        response.force_close()
        await response.prepare(request)
        # The moment before the last byte goes: nobody can know of the end of this visit earlier.
        left_ms = _now_ms()
        await response.write_eof()
        self.visits.append(
            Visit(
                host=rules.address,
                path=request.path_qs,
                arrived_ms=arrived_ms,
                left_ms=left_ms,
                status=response.status,
                stay_away_ms=stay_away_ms,
            )
        )
        return response


def _busy(rules: HostRules) -> tuple[web.Response, float]:
    now_ms = _now_ms()
    until_ms = now_ms + rules.busy_s * 1000
    value = str(rules.busy_s)
    if rules.busy_as_date:
        until_ms = -(-until_ms // 1000) * 1000
        value = format_datetime(datetime.fromtimestamp(until_ms / 1000, UTC), usegmt=True)
    return web.Response(status=rules.busy_status, headers={"Retry-After": value}, text="later"), until_ms


def _now_ms() -> float:
    return time.time_ns() / 1e6


async def _run(hosts: int, port: int, file: Path) -> None:
    site, ended = PoliteSite(hosts, port), asyncio.Event()
    loop = asyncio.get_running_loop()
    reading = loop.run_in_executor(None, functools.partial(sys.stdin.buffer.read))
    reading.add_done_callback(lambda _: ended.set())
    await site.serve(ended)
    file.write_bytes(msgspec.json.encode(site.visits))


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
