"""`/healthz` says whether the stores answer, and which does not."""

from pathlib import Path

import msgspec
from aiohttp.test_utils import make_mocked_request

from dispatcher.adapters.health import Health, HealthAnswer
from dispatcher.adapters.redis_frontier import open_redis_frontier
from dispatcher.frontier import HostPace
from tests.stores import opened_ledger, redis_alone


async def ask(health: Health) -> tuple[int, HealthAnswer]:
    response = await health.handle(make_mocked_request("GET", "/healthz"))
    assert isinstance(response.body, bytes)
    return response.status, msgspec.json.decode(response.body, type=HealthAnswer)


async def test_health_follows_the_frontiers_server(tmp_path: Path) -> None:
    async with opened_ledger(tmp_path / "ledger.sqlite3") as ledger:
        async with redis_alone(tmp_path / "valkey") as url:
            frontier = await open_redis_frontier(url, default_pace=HostPace(delay_ms=0, max_concurrent=1))
            health = Health(ledger=ledger, frontier=frontier)
            assert await ask(health) == (200, HealthAnswer(True, {"ledger": "ok", "frontier": "ok"}))
        status, answer = await ask(health)
        assert (status, answer.ok, answer.stores["ledger"]) == (503, False, "ok")
        assert answer.stores["frontier"] != "ok"
        await frontier.close()
