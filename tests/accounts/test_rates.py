"""Buckets of requests: in this process and on a Redis server, by one contract."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.adapters.rate_headers import rate_fields
from dispatcher.adapters.redis_rates import open_redis_rates
from dispatcher.errors import SetupError
from dispatcher.rate_limits import REQUEST_UNITS, Bucket, LenientRates, OwnRates, Rates, take
from dispatcher.rate_standing import RateStanding
from tests.servers import RedisServer, missing_redis
from tests.stores import shared_redis

NOW_MS = 1_780_000_000_000


@pytest.fixture(params=["own", "redis"])
async def rates(request: pytest.FixtureRequest) -> AsyncIterator[Rates]:
    if request.param == "own":
        yield OwnRates()
        return
    opened = await open_redis_rates(shared_redis().url, namespace=secrets.token_hex(4))
    yield opened
    await opened.close()


async def test_a_bucket_holds_a_minute_and_fills_at_its_rate(rates: Rates) -> None:
    async def ask(after_ms: int) -> RateStanding:
        return await rates.take("k", per_minute=4, now_ms=NOW_MS + after_ms)

    first = [await ask(0) for _ in range(5)]
    assert [standing.granted for standing in first] == [True, True, True, True, False]
    assert [standing.remaining for standing in first] == [3, 2, 1, 0, 0]
    assert (first[-1].wait_ms, first[-1].full_ms) == (15_000, 60_000)
    assert not (await ask(14_999)).granted
    assert (await ask(15_000)).granted
    assert not (await ask(14_000)).granted
    assert (await ask(3_600_000)).remaining == 3


async def test_keys_have_buckets_of_their_own(rates: Rates) -> None:
    standings = [await rates.take(key, per_minute=1, now_ms=NOW_MS) for key in ("a", "b", "a")]
    assert [standing.granted for standing in standings] == [True, True, False]


async def test_no_more_than_the_rate_is_granted_however_many_ask_at_once(rates: Rates) -> None:
    standings = await asyncio.gather(*(rates.take("k", per_minute=20, now_ms=NOW_MS) for _ in range(100)))
    assert sum(standing.granted for standing in standings) == 20


async def test_while_the_server_is_away_everything_passes_and_then_the_limit_holds_again() -> None:
    if reason := missing_redis():
        pytest.skip(reason)
    with RedisServer() as server:
        opened = await open_redis_rates(server.url)
        rates = LenientRates(opened)
        assert (await rates.take("k", per_minute=1, now_ms=NOW_MS)).granted
        assert not (await rates.take("k", per_minute=1, now_ms=NOW_MS)).granted
    for later_ms in (1, 2, 3_000):
        assert (await rates.take("k", per_minute=1, now_ms=NOW_MS + later_ms)).granted
    await opened.close()


async def test_a_wrong_address_is_named() -> None:
    with pytest.raises(SetupError, match="Redis URL is not one"):
        await open_redis_rates("http://example.org")


@given(
    per_minute=st.integers(1, 10_000),
    steps=st.lists(st.integers(0, 200_000), min_size=1, max_size=60),
)
def test_over_any_stretch_of_time_no_more_than_the_rate_and_one_bucket_are_granted(
    per_minute: int, steps: list[int]
) -> None:
    bucket, now_ms, granted = None, NOW_MS, 0
    for step in steps:
        now_ms += step
        bucket, standing = take(bucket, per_minute=per_minute, now_ms=now_ms)
        granted += standing.granted
        assert 0 <= bucket.units <= per_minute * REQUEST_UNITS
        assert standing.granted or standing.wait_ms > 0
        assert granted <= per_minute + (now_ms - NOW_MS) * per_minute / 60_000
    assert isinstance(bucket, Bucket)


@given(
    limit=st.integers(1, 1_000_000),
    remaining=st.integers(0, 1_000_000),
    wait_ms=st.integers(0, 60_000),
    full_ms=st.integers(0, 60_000),
)
def test_the_header_fields_are_structured_fields(limit: int, remaining: int, wait_ms: int, full_ms: int) -> None:
    fields = rate_fields(RateStanding(limit=limit, granted=True, remaining=remaining, wait_ms=wait_ms, full_ms=full_ms))
    assert http_sf.parse(fields["RateLimit-Policy"].encode(), tltype="list") == [("key", {"q": limit, "w": 60})]
    listed: Any = http_sf.parse(fields["RateLimit"].encode(), tltype="list")
    [(_, left)] = listed
    assert left == {"r": remaining, "t": int(fields["RateLimit-Reset"])}
