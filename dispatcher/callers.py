"""Finds out who asks: the team behind an API key, if the key is one and may ask now."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec
import structlog

from dispatcher.api_keys import matching_key, parse_prefix
from dispatcher.caller import Caller, KeyLimits
from dispatcher.errors import KeyExpired, KeyRevoked, RateLimited, StoreError, Unauthorized
from dispatcher.jobs import ApiKey
from dispatcher.rate_limits import DEFAULT_PER_MINUTE, OwnRates, Rates
from dispatcher.recent_callers import RecentCallers
from dispatcher.telemetry import Telemetry

NO_ONES_PREFIX: Final = "mw_" + "a" * 12
"""What is looked up for a key that does not look like one, so that it takes as long as any other."""
_NOTED_EVERY_MS: Final = 60_000
_MOST_NOTED: Final = 10_000

_log = structlog.get_logger("callers")


class KnownKeys(Protocol):
    """The part of the ledger that this needs."""

    async def keys_with_prefix(self, prefix: str) -> list[ApiKey]:
        """See KeyLedger."""
        ...

    async def note_key_used(self, key_id: str, now_ms: int) -> None:
        """See AccountKeyLedger."""
        ...


class RefusedKeys(Protocol):
    """Is told of keys that were right once and are no more."""

    async def note(self, team_id: str, actor: str, action: str, subject: str, detail: str = "") -> None:
        """See Auditor."""
        ...


class Callers:
    """Recognises keys. Nothing but the right whole key learns whether its prefix exists, or that it has ended.

    A key without a rate of its own may make `default_per_minute` requests here, whatever it makes elsewhere. Without
    `recent` every request asks the ledger.
    """

    def __init__(
        self,
        *,
        keys: KnownKeys,
        key_secret: bytes,
        clock: Callable[[], int],
        rates: Rates,
        default_per_minute: int = DEFAULT_PER_MINUTE,
        refused: RefusedKeys,
        recent: RecentCallers | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._keys, self._secret, self._clock = keys, key_secret, clock
        self._rates, self._refused, self._telemetry = rates, refused, telemetry or Telemetry()
        self._recent = recent
        self._default_rates, self._default_per_minute = OwnRates(), default_per_minute
        self._noted: dict[str, int] = {}
        self._told: dict[str, int] = {}

    async def caller_of(self, bearer: str) -> Caller:
        """Return who a key belongs to. Raises KeyRevoked and KeyExpired for a key that was one, Unauthorized for
        anything else; RateLimited where a key asks too fast."""
        caller = self._recent.get(bearer) if self._recent is not None else None
        if caller is None:
            caller = await self._recognise(bearer)
        per_minute, rates = caller.limits.rate_per_minute, self._rates
        if per_minute is None:
            per_minute, rates = self._default_per_minute, self._default_rates
        rate = await rates.take(caller.key_id, per_minute=per_minute, now_ms=self._clock())
        if not rate.granted:
            raise RateLimited(
                f"this key may make {rate.limit} requests a minute; the next one in {rate.wait_ms / 1000:.1f} s",
                retry_after_s=-(-rate.wait_ms // 1000),
                standing=rate,
            )
        return msgspec.structs.replace(caller, rate=rate)

    async def _recognise(self, bearer: str) -> Caller:
        asked_ms = self._recent.now_ms() if self._recent is not None else 0.0
        candidates = await self._keys.keys_with_prefix(parse_prefix(bearer) or NO_ONES_PREFIX)
        key = matching_key(self._secret, bearer, candidates)
        if key is None:
            self._telemetry.keys_refused.add("unknown")
            raise Unauthorized("this API key is not known here; create one with: meadow key create")
        now_ms = self._clock()
        if key.revoked_ms is not None:
            await self._tell_refused(key, "revoked", now_ms)
            raise KeyRevoked(f"this API key ({key.prefix}) was revoked at {_moment(key.revoked_ms)}; use another one")
        if key.expires_ms is not None and key.expires_ms <= now_ms:
            await self._tell_refused(key, "expired", now_ms)
            how = "it was rotated; use the key that replaced it" if key.rotated_to else "create another one"
            raise KeyExpired(f"this API key ({key.prefix}) expired at {_moment(key.expires_ms)}; {how}")
        await self._note(key, now_ms)
        caller = Caller(
            team_id=key.team_id,
            key_id=key.key_id,
            scopes=frozenset(key.scopes),
            default_purpose=key.purpose,
            limits=KeyLimits(
                rate_per_minute=key.rate_per_minute,
                max_concurrency=key.max_concurrency,
                daily_credits=key.daily_credits,
            ),
        )
        if self._recent is not None:
            lives_ms = None if key.expires_ms is None else key.expires_ms - now_ms
            self._recent.keep(bearer, caller, asked_ms=asked_ms, lives_ms=lives_ms)
        return caller

    async def _tell_refused(self, key: ApiKey, why: str, now_ms: int) -> None:
        """Count a key that is no more; its team's audit log says so once a minute at most."""
        self._telemetry.keys_refused.add(why)
        if now_ms - self._told.get(key.key_id, 0) < _NOTED_EVERY_MS:
            return
        if len(self._told) >= _MOST_NOTED:
            self._told.clear()
        self._told[key.key_id] = now_ms
        try:
            await self._refused.note(key.team_id, key.key_id, "key.refused", key.key_id, f"{why}: {key.prefix}")
        except StoreError as error:
            _log.warning("refused_key_not_noted", key=key.prefix, error=str(error))

    async def _note(self, key: ApiKey, now_ms: int) -> None:
        """Note when a key was used, to the minute: once a minute at most."""
        if now_ms - max(self._noted.get(key.key_id, 0), key.last_used_ms or 0) < _NOTED_EVERY_MS:
            return
        if len(self._noted) >= _MOST_NOTED:
            self._noted.clear()
        self._noted[key.key_id] = now_ms
        try:
            await self._keys.note_key_used(key.key_id, now_ms)
        except StoreError as error:
            _log.warning("key_use_not_noted", key=key.prefix, error=str(error))


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
