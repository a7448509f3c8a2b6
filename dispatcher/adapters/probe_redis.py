"""What `meadow doctor` finds out about the Redis server that holds the queue. Writes one key, which ends by itself."""

import secrets
import time
from collections.abc import Mapping

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dispatcher.adapters.redis_checks import unfit
from dispatcher.adapters.redis_errors import explain, redacted
from dispatcher.doctor import Check, fail, judge_memory, judge_persistence, judge_skew, ok, split_advice

TIMEOUT_S = 3.0
_KEY = "meadow:doctor:"
_KEY_MS = 10_000


async def probe_redis(url: str) -> list[Check]:
    """Look at the server of MEADOW_REDIS_URL."""
    where = redacted(url)
    try:
        client = Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        return [fail("redis", f"MEADOW_REDIS_URL={where} is not an address", "write redis://, rediss:// or unix://")]
    try:
        return await _questions(client, where)
    except (RedisError, OSError) as error:
        return [fail("redis", *_told(f"MEADOW_REDIS_URL: {explain(error, where)}"))]
    finally:
        await client.aclose()


async def _questions(client: Redis, where: str) -> list[Check]:
    info: Mapping[str, str | int | float] = await client.info()
    shown = f"{where} runs version {info.get('valkey_version') or info.get('redis_version')}"
    checks: list[Check] = []
    if reason := unfit(info):
        checks.append(fail("redis", *_told(f"MEADOW_REDIS_URL: {where} {reason}")))
    else:
        try:
            key = _KEY + secrets.token_hex(8)
            await client.set(key, "1", px=_KEY_MS)
            await client.delete(key)
            checks.append(ok("redis", f"{shown}, takes writes"))
        except RedisError as error:
            checks.append(fail("redis", *_told(f"MEADOW_REDIS_URL: {explain(error, where)}")))
    begun_ms = time.time() * 1000
    seconds, micros = await client.time()
    ended_ms = time.time() * 1000
    skew_ms = int(seconds * 1000 + micros // 1000 - (begun_ms + ended_ms) / 2)
    checks.append(judge_skew("redis-clock", where, skew_ms, int(ended_ms - begun_ms) + 1))
    checks.append(judge_memory(info))
    checks.append(judge_persistence(info))
    return checks


def _told(text: str) -> tuple[str, str]:
    """Messages of this kind part what to do with a semicolon or a colon."""
    says, fix = split_advice(text)
    return (says, fix) if fix else (text, "")
