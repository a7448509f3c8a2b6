"""The team that asks, and what the key it uses may do. Who that is, `callers` finds out."""

from typing import Final

import msgspec

from dispatcher.errors import Forbidden
from dispatcher.key_scopes import LAB_SCOPES, Scope
from dispatcher.rate_standing import RateStanding
from protocol.job import Purpose


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one key may ask for; None: no limit of its own.

    `max_concurrency` counts pages that were asked for and have not ended; `daily_credits` credits in a day of UTC.
    """

    rate_per_minute: int | None = None
    max_concurrency: int | None = None
    daily_credits: int | None = None


NO_LIMITS: Final = KeyLimits()


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The team that asks, with the key it uses. `default_purpose` holds where a request names none;
    `rate` is where the key stands with this request, None where it was not asked by one."""

    team_id: str
    key_id: str
    scopes: frozenset[Scope] = frozenset(LAB_SCOPES)
    default_purpose: Purpose | None = None
    limits: KeyLimits = NO_LIMITS
    rate: RateStanding | None = None

    def has_any(self, scopes: frozenset[Scope]) -> bool:
        """Tell whether the key has one of these scopes, or none is needed."""
        return not scopes or not scopes.isdisjoint(self.scopes)

    def require_any(self, scopes: frozenset[Scope], what: str) -> None:
        """Raise Forbidden unless the key has one of these scopes, or none is needed; `what` says what was asked."""
        if self.has_any(scopes):
            return
        needed = " or ".join(sorted(scopes))
        has = ", ".join(sorted(self.scopes)) or "none"
        raise Forbidden(
            f"{what} takes a key with the scope {needed}; this key has {has}."
            f" Make one with: meadow key create --scope {min(scopes)}"
        )

    def require(self, scope: Scope, what: str) -> None:
        """Raise Forbidden unless the key has this scope."""
        self.require_any(frozenset({scope}), what)
