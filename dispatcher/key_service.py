"""Makes, lists, rotates and revokes a team's API keys, each noted in the audit log."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from dispatcher.account_ledger import AccountKeyLedger, AuditLogLedger
from dispatcher.api_keys import RANDOM_BYTES, key_mac, make_key
from dispatcher.audit import Auditor
from dispatcher.errors import Conflict, NotFound
from dispatcher.jobs import ApiKey
from dispatcher.key_request import KeyWish


class KeyRoom(AccountKeyLedger, AuditLogLedger, Protocol):
    """The parts of the ledger that this needs."""

    async def add_key(self, key: ApiKey) -> None:
        """See KeyLedger."""
        ...

    async def revoke_key(self, key_id: str, now_ms: int) -> bool:
        """See KeyLedger."""
        ...


class MadeKey(msgspec.Struct, frozen=True):
    """A key that was just made. `text` is the key itself: it is shown once and stored nowhere."""

    text: str
    key: ApiKey


class KeyService:
    """The keys of teams. `randomness` gives as many random bytes as it is asked for."""

    def __init__(
        self,
        *,
        ledger: KeyRoom,
        key_secret: bytes,
        clock: Callable[[], int],
        new_id: Callable[[], str],
        randomness: Callable[[int], bytes],
    ) -> None:
        self._ledger, self._secret, self._clock, self._new_id = ledger, key_secret, clock, new_id
        self._randomness = randomness
        self._audit = Auditor(ledger=ledger, clock=clock, new_id=new_id)

    async def create(self, team_id: str, wish: KeyWish, *, actor: str) -> MadeKey:
        """Make a key. `actor` is who asks, as in the audit log."""
        made = self._make(team_id, wish)
        await self._ledger.add_key(made.key)
        await self._audit.note(team_id, actor, "key.created", made.key.key_id, _told(made.key))
        return made

    async def keys(self, team_id: str, *, after: str = "", limit: int = 100) -> list[ApiKey]:
        """A team's keys, ended ones too, oldest first."""
        return await self._ledger.keys_of_team(team_id, after=after, limit=limit)

    async def revoke(self, team_id: str, key_id: str, *, actor: str) -> ApiKey:
        """Revoke a key, from now on; Conflict where it is revoked already."""
        await self.key(team_id, key_id)
        if not await self._ledger.revoke_key(key_id, self._clock()):
            raise Conflict(f"the key {key_id} is revoked already")
        await self._audit.note(team_id, actor, "key.revoked", key_id)
        return await self.key(team_id, key_id)

    async def rotate(self, team_id: str, key_id: str, *, grace_ms: int, actor: str) -> MadeKey:
        """Make a key that may do what another may, and end that one after a time of grace."""
        old = await self.key(team_id, key_id)
        wish = msgspec.convert(old, KeyWish, from_attributes=True)
        made = self._make(team_id, wish)
        if not await self._ledger.rotate_key(old, made.key, until_ms=self._clock() + grace_ms):
            raise Conflict(f"the key {key_id} is revoked or was rotated already; rotate the one that replaced it")
        await self._audit.note(team_id, actor, "key.rotated", key_id, f"to {made.key.key_id}")
        return made

    async def key(self, team_id: str, key_id: str) -> ApiKey:
        """A key of a team; NotFound for an unknown one, and for another team's."""
        key = await self._ledger.key_of_team(team_id, key_id)
        if key is None:
            raise NotFound(f"no key {key_id}")
        return key

    def _make(self, team_id: str, wish: KeyWish) -> MadeKey:
        new = make_key(self._randomness(RANDOM_BYTES))
        key = ApiKey(
            key_id=self._new_id(),
            team_id=team_id,
            name=wish.name,
            prefix=new.prefix,
            mac=key_mac(self._secret, new.text),
            created_ms=self._clock(),
            expires_ms=wish.expires_ms,
            purpose=wish.purpose,
            rate_per_minute=wish.rate_per_minute,
            max_concurrency=wish.max_concurrency,
            daily_credits=wish.daily_credits,
            scopes=wish.scopes,
        )
        return MadeKey(new.text, key)


def key_state(key: ApiKey, now_ms: int) -> str:
    """Say whether a key is active, expired or revoked."""
    if key.revoked_ms is not None:
        return "revoked"
    return "expired" if key.expires_ms is not None and key.expires_ms <= now_ms else "active"


def _told(key: ApiKey) -> str:
    return f"{key.prefix} for {' '.join(key.scopes)}"
