"""Who a key belongs to is remembered for a moment, and no longer."""

from __future__ import annotations

import msgspec
import pytest

from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key
from dispatcher.callers import Callers
from dispatcher.errors import KeyExpired, KeyRevoked, RateLimited, Unauthorized
from dispatcher.jobs import ApiKey
from dispatcher.rate_limits import OwnRates, Rates
from dispatcher.rate_standing import RateStanding
from dispatcher.recent_callers import RecentCallers

SECRET = bytes(32)
NEW = make_key(bytes(range(RANDOM_BYTES)))
START_MS = 5_000


class Stored:
    """Keys in a list; counts how often it is asked. Takes notes for the audit log, which are not looked at."""

    def __init__(self, *, expires_ms: int | None = None, rate_per_minute: int | None = None) -> None:
        key = ApiKey(
            key_id="k",
            team_id="t",
            name="",
            prefix=NEW.prefix,
            mac=key_mac(SECRET, NEW.text),
            created_ms=1,
            expires_ms=expires_ms,
            rate_per_minute=rate_per_minute,
        )
        self.keys = [key]
        self.asked = 0

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        self.asked += 1
        return [key for key in self.keys if key.prefix == prefix]

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        pass

    async def note(self, team_id: str, actor: str, action: str, subject: str, detail: str = "") -> None:
        pass


class NoServer(Rates):
    """Buckets that may not be asked."""

    async def take(self, key_id: str, *, per_minute: int, now_ms: int) -> RateStanding:
        raise AssertionError(f"the buckets of all dispatchers were asked for {key_id}")


class Door:
    """Callers of stored keys, with a clock that is set by hand."""

    def __init__(self, stored: Stored, rates: Rates | None = None) -> None:
        self.now_ms = START_MS
        self.callers = Callers(
            keys=stored,
            key_secret=SECRET,
            clock=lambda: self.now_ms,
            rates=rates or OwnRates(),
            refused=stored,
            default_per_minute=2,
            recent=RecentCallers(monotonic_ms=lambda: self.now_ms),
        )


async def test_a_key_is_read_once_a_second() -> None:
    stored = Stored()
    door = Door(stored)
    first = await door.callers.caller_of(NEW.text)
    door.now_ms += 999
    again = await door.callers.caller_of(NEW.text)
    assert again == msgspec.structs.replace(first, rate=again.rate)
    assert stored.asked == 1
    stored.keys = [msgspec.structs.replace(stored.keys[0], revoked_ms=door.now_ms)]
    door.now_ms += 1
    with pytest.raises(KeyRevoked):
        await door.callers.caller_of(NEW.text)


async def test_what_is_no_key_is_looked_up_every_time() -> None:
    stored = Stored()
    door = Door(stored)
    await door.callers.caller_of(NEW.text)
    for offered in (NEW.text[:-1] + "_", NEW.text[:-1], "mw_" + "b" * 12 + NEW.text[15:], "no key"):
        for _ in range(2):
            asked = stored.asked
            with pytest.raises(Unauthorized):
                await door.callers.caller_of(offered)
            assert stored.asked == asked + 1, offered


async def test_nobody_is_remembered_past_the_end_of_the_key() -> None:
    door = Door(Stored(expires_ms=START_MS + 300))
    await door.callers.caller_of(NEW.text)
    door.now_ms += 299
    await door.callers.caller_of(NEW.text)
    door.now_ms += 1
    with pytest.raises(KeyExpired):
        await door.callers.caller_of(NEW.text)


async def test_a_keys_rate_is_counted_for_the_remembered_too() -> None:
    stored = Stored(rate_per_minute=3)
    door = Door(stored)
    left = [caller.rate.remaining for _ in range(3) if (caller := await door.callers.caller_of(NEW.text)).rate]
    assert left == [2, 1, 0]
    assert stored.asked == 1


async def test_a_key_without_a_rate_has_the_default_one_which_asks_no_server() -> None:
    door = Door(Stored(), NoServer())
    left = [caller.rate for _ in range(2) if (caller := await door.callers.caller_of(NEW.text))]
    assert [(rate.limit, rate.remaining) for rate in left if rate is not None] == [(2, 1), (2, 0)]
    with pytest.raises(RateLimited, match="may make 2 requests a minute"):
        await door.callers.caller_of(NEW.text)
    door.now_ms += 30_000
    assert (await door.callers.caller_of(NEW.text)).rate is not None
