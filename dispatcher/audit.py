"""The audit log: who did what when with which key. Appended to and never changed."""

from collections.abc import Callable
from typing import Final

from dispatcher.account_ledger import AuditEntry, AuditLogLedger

OPERATOR: Final = "operator"
NETWORK: Final = "network"
"""The actor of what was done without a key: by a schedule, or before keys were noted."""
MAX_DETAIL: Final = 500


class Auditor:
    """Notes what was done. Note it after it is done, before it is answered."""

    def __init__(self, *, ledger: AuditLogLedger, clock: Callable[[], int], new_id: Callable[[], str]) -> None:
        self._ledger, self._clock, self._new_id = ledger, clock, new_id

    async def note(self, team_id: str, actor: str, action: str, subject: str, detail: str = "") -> None:
        """Append an entry. `actor` is a key's id or `OPERATOR`; `action` as `key.created`; `subject` an id."""
        await self._ledger.note_action(
            AuditEntry(
                entry_id=self._new_id(),
                team_id=team_id,
                at_ms=self._clock(),
                actor=actor,
                action=action,
                subject=subject[:MAX_DETAIL],
                detail=detail[:MAX_DETAIL],
            )
        )
